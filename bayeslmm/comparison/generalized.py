r"""Leave-one-out of generalized models: the random effects of one term integrated out at draws of everything else.

At a draw of the coefficients, covariances, dispersions and all other random effects, level j of the term has effects
:math:`b_j = Lu`, :math:`u \sim N(0, I)`, and rows of densities :math:`f_i(u)`. By Gauss-Hermite quadrature with nodes
around the draws of u, wider than these by what one row tells,

.. math:: p(y_i \mid y_{j \setminus i}) = \frac{\int \prod_{k \in j} f_k(u)\,\varphi(u)\,du}
          {\int \prod_{k \in j, k \ne i} f_k(u)\,\varphi(u)\,du}, \qquad
          p(y_j) = \int \prod_{k \in j} f_k(u)\,\varphi(u)\,du ,

the first for a row left out, the second for a level (Merkle, Furr and Rabe-Hesketh 2019, *Psychometrika* 84).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from bayeslmm.comparison.pareto_loo import LeftOut, leave_out
from bayeslmm.families import Family, Response
from bayeslmm.types import Array, Codes

NODES = {0: 1, 1: 25, 2: 13, 3: 9}  # per effect, by the number of effects
WIDER = 1.3  # nodes' spread over that of the draws of u


@dataclass(frozen=True, slots=True)
class IntegratedTerm:
    """The term whose effects are integrated out; none has S = 0, one level and no columns.

    Attributes
    ----------
    codes, columns
        Level of each row (n,), and columns (n, S).
    centre, root
        Where the nodes lie, u = centre + root x for standard x, shapes (J, S) and (J, S, S).
    """

    codes: Codes
    columns: Array
    centre: Array
    root: Array

    @classmethod
    def around(cls, codes: Codes, columns: Array, u: Array) -> "IntegratedTerm":
        """Place the nodes around draws of u, shape (D, J, S)."""
        count = np.maximum(np.bincount(codes, minlength=u.shape[1]), 1)
        centre = u.mean(axis=0)
        covariance = np.einsum("djs,djt->jst", u - centre, u - centre) / max(len(u) - 1, 1)
        wider = WIDER * np.sqrt(count / np.maximum(count - 1, 1))
        root = np.linalg.cholesky(covariance + 1e-6 * np.eye(u.shape[2]))
        return cls(codes, columns, centre, wider[:, None, None] * root)


def generalized_left_out(
    family: Family,
    response: Response,
    term: IntegratedTerm,
    predictor: Callable[[int], Array],
    factors: Array,
    working: Array,
    *,
    by_level: bool,
) -> LeftOut:
    """Return the predictive densities of rows, or of levels of the term, left out.

    Parameters
    ----------
    family, response
        The response.
    term
        The term integrated out.
    predictor
        Gives the linear predictor of draw d without that term, (n,).
    factors
        Factors of its covariance at every draw, shape (D, S, S).
    working
        Working values of the dispersion parameters, shape (D, m).
    by_level
        Whether a level is left out at a time, or a row.
    """
    values = [
        _at_draw(family, response, term, predictor(d), factors[d], working[d], by_level) for d in range(len(factors))
    ]
    return leave_out(np.array([out for out, _ in values]), np.array([within for _, within in values]))


def _at_draw(
    family: Family, response: Response, term: IntegratedTerm, eta: Array, factor: Array, working: Array, by_level: bool
) -> tuple[Array, Array]:
    """Return log densities given the others and given all, each (n,) or (J,), at one draw."""
    n_levels, size = term.centre.shape
    x, logs = normal_nodes(NODES[size], size)
    u = term.centre[:, None, :] + x @ term.root.transpose(0, 2, 1)  # (J, K, S)
    determinant = np.sum(np.log(np.diagonal(term.root, axis1=1, axis2=2)), axis=1)
    base = logs + determinant[:, None] - 0.5 * np.sum(u**2, axis=2) + 0.5 * np.sum(x**2, axis=1)  # (J, K)
    turned = u @ factor.T
    rows = np.empty((len(eta), len(x)))
    for k in range(len(x)):
        moved = eta + np.einsum("ns,ns->n", term.columns, turned[term.codes, k])
        rows[:, k] = family.log_density(response, moved, working)
    joint = base + np.array([np.bincount(term.codes, rows[:, k], n_levels) for k in range(len(x))]).T
    whole = np.logaddexp.reduce(joint, axis=1)
    if by_level:
        inside = np.logaddexp.reduce(2.0 * joint - base, axis=1) - whole
        return whole, inside
    own, total = joint[term.codes], whole[term.codes]
    alone = np.bincount(term.codes, minlength=n_levels)[term.codes] == 1
    others = np.where(alone, 0.0, np.logaddexp.reduce(own - rows, axis=1))
    return total - others, np.logaddexp.reduce(own + rows, axis=1) - total


def normal_nodes(count: int, size: int) -> tuple[Array, Array]:
    """Return nodes x (K, S) and log weights (K,) of integrals over the standard normal distribution in S dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    logs = np.log(weights) - 0.5 * np.log(2.0 * np.pi)
    places = np.array(list(product(range(count), repeat=size)), dtype=int).reshape(-1, size)
    return nodes[places], logs[places].sum(axis=1)

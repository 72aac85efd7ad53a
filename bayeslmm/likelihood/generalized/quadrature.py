r"""Adaptive Gauss-Hermite quadrature for one grouping factor with up to three effects.

Given :math:`\beta` the levels are independent. With :math:`\Omega_j = L_jL_j^\top` at the mode,
:math:`A_j = L_j^{-\top}`, nodes x and weights :math:`\omega_x` of the Gauss-Hermite rule in S dimensions,

.. math:: \log L_j = \log\sum_x \omega_x e^{|x|^2}\exp\bigl[\ell_j(u_x) - \tfrac12|u_x|^2\bigr]
          - \tfrac12\log|\Omega_j| - \tfrac S2\log\pi, \qquad u_x = \hat u_j + \sqrt2 A_jx ;

one node is Laplace's approximation (Pinheiro and Bates 1995). For the gradient the nodes move with the mode and with
:math:`\Omega`: with shares :math:`r_x` of the sum, :math:`v_x` the derivative of the bracket by u,
:math:`V = \sqrt2\sum r_x x v_x^\top` and Q the symmetric part, by halves of the diagonal, of the lower triangle of VA,
they act as if :math:`\Omega^{-1}` in Laplace's gradient were :math:`\Omega^{-1} + 2AQA^\top`.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from bayeslmm.errors import OptionError
from bayeslmm.families import Family, Response
from bayeslmm.likelihood.accumulate import add_effects
from bayeslmm.likelihood.generalized.laplace import Evaluation, Explicit, Point, assemble
from bayeslmm.likelihood.generalized.mode import Mode, Problem, find_mode
from bayeslmm.likelihood.generalized.pair_inverse import PairBlock, PairInverse
from bayeslmm.likelihood.generalized.predictor import Predictor, add_values
from bayeslmm.types import Array

MOST_EFFECTS = 3  # a grid of n_quad^S nodes
MOST_NODES = 100


def check_quadrature(predictor: Predictor, n_quad: int) -> None:
    """Refuse quadrature where it does not apply.

    Raises
    ------
    OptionError
        If there is more than one term or too many effects, or n_quad is out of range.
    """
    if not 0 <= n_quad <= MOST_NODES:
        raise OptionError(f"n_quad must be from 0 to {MOST_NODES}, not {n_quad}.")
    if n_quad <= 1:
        return
    if len(predictor.shapes) != 1:
        raise OptionError(
            f"n_quad={n_quad} needs one random term; this model has {len(predictor.shapes)}. Use n_quad=1, Laplace's "
            "approximation."
        )
    size = predictor.shapes[0].n_columns
    if size > MOST_EFFECTS:
        raise OptionError(
            f"n_quad={n_quad} needs a random term of at most {MOST_EFFECTS} effects; this one has {size}. Use "
            "n_quad=1, Laplace's approximation."
        )


def grid(n_quad: int, size: int) -> tuple[Array, Array]:
    """Return the nodes, (K, S), and log weights with exp(|x|^2) multiplied in, (K,)."""
    nodes, weights = np.polynomial.hermite.hermgauss(n_quad)
    logs = np.log(weights) + nodes**2
    places = np.array(list(product(range(n_quad), repeat=size)))
    return nodes[places], logs[places].sum(axis=1)


def evaluate_quadrature(
    problem: Problem, point: Point, start: Sequence[Array], n_quad: int, *, gradient: bool = True
) -> Evaluation:
    """Evaluate minus twice the log-likelihood by adaptive quadrature; coefficients are parameters.

    Parameters
    ----------
    problem, point
        A model of one random term, and where.
    start
        Start of u.
    n_quad
        Nodes in each dimension.
    gradient
        Whether the gradient is wanted.

    Raises
    ------
    FittingError
        If there is no mode.
    """
    mode = find_mode(problem, point.lambdas, point.working, point.beta, start)
    rule = _Rule(problem, point, mode, n_quad)
    base = problem.response.base
    constant = float(np.sum(base if problem.response.weights is None else base * problem.response.weights))
    log_sum = np.logaddexp.reduce(rule.logs, axis=0)
    shape = problem.predictor.shapes[0]
    value = -2.0 * (float(np.sum(log_sum)) + constant) + mode.factor.log_det + shape.n_effects * np.log(np.pi)
    if not gradient:
        return Evaluation(value, point, mode, None)
    explicit, blocks = rule.derivatives(np.exp(rule.logs - log_sum))
    inverse = PairInverse((PairBlock((0, 0), problem.predictor.pattern.codes[0], blocks),))
    by_dispersion = problem.family.by_dispersion(problem.response, mode.eta, point.working)
    return Evaluation(value, point, mode, assemble(problem, point, mode, inverse, by_dispersion, explicit))


class _Rule:
    """The nodes of all levels at one mode, and the log of each one's term, (K, J)."""

    def __init__(self, problem: Problem, point: Point, mode: Mode, n_quad: int) -> None:
        predictor = problem.predictor
        self.problem, self.point, self.mode = problem, point, mode
        self.codes, self.z, self.factor = predictor.pattern.codes[0], predictor.z[0], point.lambdas[0]
        shape = predictor.shapes[0]
        lower = np.tril(mode.factor.nest_z[0][:, :, : shape.n_columns])
        self.upper = np.linalg.inv(lower).transpose(0, 2, 1)  # A = L^-T, (J, S, S)
        self.nodes, log_weights = grid(n_quad, shape.n_columns)
        self.fixed = predictor.offset + predictor.X @ point.beta
        self.logs = np.empty((len(self.nodes), shape.n_levels))
        for x, node in enumerate(self.nodes):
            u = self.effects(node)
            rows = _rows(problem.family, problem.response, self.eta(u), point.working)
            at_level = np.zeros((shape.n_levels, 1))
            add_values(self.codes, np.ones((predictor.n, 1)), rows[0], at_level)
            self.logs[x] = at_level[:, 0] - 0.5 * np.sum(u * u, axis=1) + log_weights[x]

    def effects(self, node: Array) -> Array:
        """Return u at a node, (J, S)."""
        return self.mode.u[0] + np.sqrt(2.0) * self.upper @ node

    def eta(self, u: Array) -> Array:
        """Return the linear predictor, (n,)."""
        eta = self.fixed.copy()
        add_effects(self.codes, self.z, u @ self.factor.T, eta)
        return eta

    def derivatives(self, shares: Array) -> tuple[Explicit, Array]:
        """Return the explicit derivatives of log L, and what takes the inverse's place, (J, S, S)."""
        predictor, point = self.problem.predictor, self.point
        shape = predictor.shapes[0]
        by_lambda = np.zeros_like(self.factor)
        by_beta = np.zeros(predictor.p)
        by_working = np.zeros((self.problem.family.n_dispersion, predictor.n))
        by_u = np.zeros((shape.n_levels, shape.n_columns))
        moments = np.zeros((shape.n_levels, shape.n_columns, shape.n_columns))
        for x, node in enumerate(self.nodes):
            share = shares[x]
            u = self.effects(node)
            eta = self.eta(u)
            slopes = _rows(self.problem.family, self.problem.response, eta, point.working)[1]
            at_level = np.zeros_like(by_u)
            add_values(self.codes, self.z, slopes, at_level)
            by_lambda += (share[:, None] * at_level).T @ u
            of_row = share[self.codes]
            by_beta += predictor.X.T @ (of_row * slopes)
            if len(by_working):
                by_working += (
                    of_row * self.problem.family.by_dispersion(self.problem.response, eta, point.working)[:, 0]
                )
            v = share[:, None] * (at_level @ self.factor - u)
            by_u += v
            moments += np.sqrt(2.0) * node[None, :, None] * v[:, None, :]
        turned = moments @ self.upper
        half = np.tril(turned, -1) + 0.5 * np.einsum("jss,st->jst", turned, np.eye(shape.n_columns))
        symmetric = 0.5 * (half + half.transpose(0, 2, 1))
        transposed = self.upper.transpose(0, 2, 1)
        blocks = self.upper @ transposed + 2.0 * self.upper @ symmetric @ transposed
        return Explicit((by_lambda,), by_beta, by_working, [by_u]), blocks


def _rows(family: Family, response: Response, eta: Array, working: Array) -> Array:
    return family.derivatives(response, eta, working)

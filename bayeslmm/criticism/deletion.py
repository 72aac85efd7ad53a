r"""What changes when sets of rows are left out, the relative covariance factors held: from the one factor of the fit.

With everything times the roots of the weights, e the residuals at the estimate, H the leverages of
`likelihood.left_out` and :math:`T = \tilde X R^{-\top}` its fixed part,

.. math:: \hat\beta - \hat\beta_{(I)} = R^{-\top} T_I^\top (I - H_{II})^{-1} e_I, \qquad
          r^2_{(I)} = r^2 - e_I^\top (I - H_{II})^{-1} e_I,

and :math:`\sigma^2_{(I)} = r^2_{(I)}/\nu_{(I)}` (Christensen, Pearson and Johnson 1992, *Technometrics* 34). Cook's
distance of a change d is :math:`d^\top \mathrm{Cov}(\hat\beta)^{-1} d / p`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.left_out import (
    CELLS,
    IDENTIFIED,
    DataRows,
    Sets,
    known_covariance,
    row_parts,
)
from bayeslmm.likelihood.normal_prior import FixedPosterior, NormalPrior, fixed_posterior
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Deletion:
    """What leaving out each of U sets changes.

    Attributes
    ----------
    change
        Coefficients of all rows less those without the set, in the user's columns, shape (U, p); NaN where the other
        rows do not identify them.
    squares
        By how much the penalised residual sum of squares falls, shape (U,).
    """

    change: Array
    squares: Array


def flat_posterior(factor: Factor) -> FixedPosterior:
    """Return the coefficients given the factor under flat priors."""
    p = factor.products.n_fixed
    return fixed_posterior(factor, NormalPrior(np.zeros((p, p)), np.zeros(p), 0.0, 0))


def leverages(kernel: Kernel, posterior: FixedPosterior, data: DataRows, sigma: float) -> Array:
    """Return the derivative of every row's conditional mean by its own response, shape (n,)."""
    parts = row_parts(kernel, posterior, data)
    return np.asarray(parts.leverage + parts.fixed**2 @ (1.0 / (1.0 + sigma**2 * posterior.pull)), dtype=float)


@limits_threads
def delete_sets(kernel: Kernel, factor: Factor, data: DataRows, sets: Sets) -> Deletion:
    """Leave out every set of rows in turn, coefficients under flat priors."""
    posterior = flat_posterior(factor)
    parts = row_parts(kernel, posterior, data, leverages=False)
    change = np.zeros((len(sets.sizes), kernel.p))
    squares = np.zeros(len(sets.sizes))
    turn = kernel.fixed.matrix @ posterior.root if kernel.p else np.zeros((0, 0))
    width = max(factor.products.n_trailing, int(sets.sizes.max(initial=1)), 1)
    for places, members in sets.batches(max(1, CELLS // width)):
        T = parts.fixed[members]
        left = np.eye(members.shape[1]) - known_covariance(factor, parts.rows, members) - T @ T.transpose(0, 2, 1)
        for g, place in enumerate(places):
            moved, squares[place] = _without(left[g], T[g], parts.residual[members[g]])
            change[place] = turn @ moved
    return Deletion(change, squares)


def _without(left: Array, T: Array, e: Array) -> tuple[Array, float]:
    """Return ``T' M^-1 e`` and ``e' M^-1 e`` for M, what is left of the identity; NaN where M is singular."""
    try:
        lower = np.linalg.cholesky(left)
    except np.linalg.LinAlgError:
        return np.full(T.shape[1], np.nan), np.nan
    if np.diagonal(lower).min() ** 2 < IDENTIFIED:
        return np.full(T.shape[1], np.nan), np.nan
    solved = solve_triangular(lower, np.column_stack([T, e]), lower=True)
    return solved[:, :-1].T @ solved[:, -1], float(solved[:, -1] @ solved[:, -1])


def cooks_distance(change: Array, covariance: Array) -> Array:
    """Return ``d' C^-1 d / p`` of every row d of the changes (U, p), for the covariance C (p, p) of the estimates."""
    p = len(covariance)
    if p == 0:
        return np.zeros(len(change))
    scale = np.sqrt(np.diagonal(covariance))
    d = change / scale
    solved = np.linalg.solve(covariance / np.outer(scale, scale), d.T).T
    return np.asarray(np.einsum("up,up->u", d, solved) / p)

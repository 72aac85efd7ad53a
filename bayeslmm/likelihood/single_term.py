r"""One term without a trailing matrix, start to finish in compiled loops.

With a single random-effects term every level is eliminated on its own and only X and y remain, so an evaluation is a
few thousand operations and the calls between them would cost more than they do. Levels are eliminated by the loops of
`elimination`; the other equations are those of `selected_inverse` and `normal_prior`.
"""

import numba
import numpy as np

from bayeslmm.likelihood.elimination import eliminate_level, scale_rows
from bayeslmm.likelihood.marginal import SAFE_PIVOT
from bayeslmm.types import Array

NO_VARIANCE = 1e150  # precision's root of coefficients taken as known


@numba.njit(cache=True, nogil=True)
def reduce_single(z: Array, xy: Array, total: Array, factor: Array, low: Array, rows: Array, schur: Array) -> float:
    """Eliminate every level and factor what remains of X and y.

    Parameters
    ----------
    z, xy, total
        Cross-products of the term with itself (J, S, S), of the term with X and y (J, S, p + 1), and of X and y.
    factor
        lambda, lower triangular, shape (S, S).
    low, rows, schur
        Filled with the Cholesky factors L (J, S, S) in lower triangles, ``L^-1 lambda' xy`` (J, S, p + 1), and the
        lower Cholesky factor of the rest (p + 1, p + 1).

    Returns
    -------
    log |Omega|; NaN if a pivot is not positive.
    """
    order = total.shape[0]
    scale_rows(z, xy, factor, factor, low, rows)
    # no other term meets the levels: there are no entries
    log_det = eliminate_level(low, rows, np.zeros(1, dtype=np.int64), np.zeros((1, 0)))
    if not np.isfinite(log_det):
        return np.nan
    for a in range(order):
        for b in range(a + 1):
            schur[a, b] = total[a, b]
    for j in range(rows.shape[0]):
        for s in range(rows.shape[1]):
            for a in range(order):
                value = rows[j, s, a]
                for b in range(a + 1):
                    schur[a, b] -= value * rows[j, s, b]
    return log_det if cholesky_in_place(schur) else np.nan


@numba.njit(cache=True, nogil=True)
def cholesky_in_place(matrix: Array) -> bool:
    """Replace the lower triangle by its Cholesky factor; return whether every pivot was positive."""
    for a in range(matrix.shape[0]):
        for b in range(a + 1):
            value = matrix[a, b]
            for c in range(b):
                value -= matrix[a, c] * matrix[b, c]
            if a == b:
                if not value > 0.0:
                    return False
                matrix[a, a] = np.sqrt(value)
            else:
                matrix[a, b] = value / matrix[b, b]
    return True


@numba.njit(cache=True, nogil=True)
def solve_lower(lower: Array, right: Array) -> None:
    """Solve ``L x = right`` in place, right (p,)."""
    for a in range(right.shape[0]):
        value = right[a]
        for b in range(a):
            value -= lower[a, b] * right[b]
        right[a] = value / lower[a, a]


@numba.njit(cache=True, nogil=True)
def solve_upper(lower: Array, right: Array) -> None:
    """Solve ``L' x = right`` in place, right (p,)."""
    for a in range(right.shape[0] - 1, -1, -1):
        value = right[a]
        for b in range(a + 1, right.shape[0]):
            value -= lower[b, a] * right[b]
        right[a] = value / lower[a, a]


@numba.njit(cache=True, nogil=True)
def fixed_given_sigma(
    schur: Array, precision: Array, mean: Array, sigma: float, beta: Array, root: Array
) -> tuple[float, float]:
    """Combine X's part of the factor with a normal prior at one sigma.

    Parameters
    ----------
    schur
        Lower Cholesky factor with y last, shape (p + 1, p + 1).
    precision, mean
        The prior, shapes (p, p) and (p,).
    sigma
        Residual standard deviation.
    beta, root
        Filled with the conditional mean (p,) and the lower Cholesky factor of ``K + sigma**2 Pi`` (p, p).

    Returns
    -------
    ``log|K + sigma^2 Pi| + Q``, Q the quadratic form of data and prior at beta, and the derivative of both by log
    sigma; NaN if the precision is not positive definite.
    """
    p = beta.shape[0]
    variance = sigma * sigma
    estimate = schur[p, :p].copy()
    solve_upper(schur[:p, :p], estimate)
    for a in range(p):
        for b in range(a + 1):
            value = variance * precision[a, b]
            for c in range(b + 1):
                value += schur[a, c] * schur[b, c]
            root[a, b] = value
    if not cholesky_in_place(root):
        return np.nan, np.nan
    shift = np.zeros(p)
    for a in range(p):
        for b in range(p):
            shift[a] += precision[a, b] * (mean[b] - estimate[b])
    beta[:] = variance * shift
    solve_lower(root, beta)
    solve_upper(root, beta)
    by_data, by_prior, log_det, trace = 0.0, 0.0, 0.0, 0.0
    for a in range(p):
        value = 0.0
        for b in range(a, p):
            value += schur[b, a] * beta[b]
        by_data += value * value
        log_det += 2.0 * np.log(root[a, a])
    for a in range(p):
        value = 0.0
        for b in range(p):
            value += precision[a, b] * (estimate[b] + beta[b] - mean[b])
        by_prior += value * (estimate[a] + beta[a] - mean[a])
    column = np.empty(p)
    for a in range(p):
        column[:] = precision[:, a]
        solve_lower(root, column)
        solve_upper(root, column)
        trace += column[a]
    beta += estimate
    return log_det + by_data / variance + by_prior, 2.0 * variance * trace - 2.0 * by_data / variance


@numba.njit(cache=True, nogil=True)
def excess_single(low: Array, rows: Array, beta: Array, root: Array, sigma: float) -> Array:
    """Return ``J I - sum C_jj - sum u_j u_j' / sigma^2``, shape (S, S), beta at its conditional mean."""
    n_levels, size, order = rows.shape
    p = order - 1
    out = np.zeros((size, size))
    u = np.empty(size)
    solved = np.empty((p, size))
    column = np.empty(p)
    inner = np.empty((size, size))
    inverse = np.zeros((size, size))
    for j in range(n_levels):
        for s in range(size):
            for a in range(p):
                column[a] = rows[j, s, a]
            solve_lower(root, column)
            for a in range(p):
                solved[a, s] = column[a]
        for s in range(size):
            for t in range(s + 1):
                value = 1.0 if s == t else 0.0
                for a in range(p):
                    value += solved[a, s] * solved[a, t]
                inner[s, t] = value
                inner[t, s] = value
        for s in range(size - 1, -1, -1):
            value = rows[j, s, p]
            for a in range(p):
                value -= rows[j, s, a] * beta[a]
            for r in range(s + 1, size):
                value -= low[j, r, s] * u[r]
            u[s] = value / low[j, s, s]
        for t in range(size):
            inverse[t, t] = 1.0 / low[j, t, t]
            for s in range(t + 1, size):
                value = 0.0
                for r in range(t, s):
                    value -= low[j, s, r] * inverse[r, t]
                inverse[s, t] = value / low[j, s, s]
        for s in range(size):
            for t in range(s + 1):
                value = u[s] * u[t] / (sigma * sigma)
                for a in range(s, size):
                    for b in range(t, size):
                        value += inverse[a, s] * inner[a, b] * inverse[b, t]
                out[s, t] -= value
                if s != t:
                    out[t, s] -= value
    for s in range(size):
        out[s, s] += n_levels
    return out


@numba.njit(cache=True, nogil=True)
def covariance_slope_single(
    z: Array, xy: Array, factor: Array, low: Array, rows: Array, beta: Array, root: Array, sigma: float
) -> Array:
    r"""Return the derivative G of the profiled objective by ``lambda lambda'``, shape (S, S), lambda singular or not.

    .. math:: G = \sum_j P_j - B_j (R R^\top)^{-1} B_j^\top - s_j s_j^\top / \sigma^2

    with :math:`P_j = A_j - T_j^\top T_j` for the term's cross-products :math:`A_j` with itself and
    :math:`T_j = L_j^{-1} \lambda^\top A_j`, and with its cross-products with X and with the residuals reduced alike:
    :math:`B_j` and :math:`s_j`. Nothing is divided by lambda.

    Parameters
    ----------
    z, xy, factor
        As for :func:`reduce_single`.
    low, rows
        What it leaves.
    beta, root, sigma
        As for :func:`excess_single`.
    """
    n_levels, size, order = xy.shape
    p = order - 1
    out = np.zeros((size, size))
    solved, reduced, column = np.empty((size, size)), np.empty((size, order)), np.empty(p)
    for j in range(n_levels):
        for t in range(size):
            for s in range(size):
                value = 0.0
                for r in range(s, size):
                    value += factor[r, s] * z[j, r, t]
                for r in range(s):
                    value -= low[j, s, r] * solved[r, t]
                solved[s, t] = value / low[j, s, s]
        for t in range(size):
            for a in range(order):
                value = xy[j, t, a]
                for s in range(size):
                    value -= solved[s, t] * rows[j, s, a]
                reduced[t, a] = value
            for a in range(p):
                reduced[t, p] -= reduced[t, a] * beta[a]
                column[a] = reduced[t, a]
            solve_lower(root, column)
            for a in range(p):
                reduced[t, a] = column[a]
        for s in range(size):
            for t in range(s + 1):
                value = z[j, s, t] - reduced[s, p] * reduced[t, p] / (sigma * sigma)
                for r in range(size):
                    value -= solved[r, s] * solved[r, t]
                for a in range(p):
                    value -= reduced[s, a] * reduced[t, a]
                out[s, t] += value
    for s in range(size):
        for t in range(s):
            out[t, s] = out[s, t]
    return out


@numba.njit(cache=True, nogil=True)
def squares_single(low: Array, rows: Array, beta: Array) -> Array:
    """Return ``sum u_j u_j'``, shape (S, S), u at its conditional mean given beta."""
    n_levels, size, order = rows.shape
    out = np.zeros((size, size))
    u = np.empty(size)
    for j in range(n_levels):
        for s in range(size - 1, -1, -1):
            value = rows[j, s, order - 1]
            for a in range(order - 1):
                value -= rows[j, s, a] * beta[a]
            for r in range(s + 1, size):
                value -= low[j, r, s] * u[r]
            u[s] = value / low[j, s, s]
            for t in range(s, size):
                out[s, t] += u[s] * u[t]
    for s in range(size):
        for t in range(s):
            out[s, t] = out[t, s]
    return out


@numba.njit(cache=True, nogil=True)
def coefficients_single(schur: Array) -> Array:
    """Return the coefficients (p,) at their conditional mean, from the factor of what remains of X and y."""
    p = schur.shape[0] - 1
    beta = schur[p, :p].copy()
    solve_upper(schur[:p, :p], beta)
    return beta


@numba.njit(cache=True, nogil=True)
def root_single(schur: Array, reml: bool) -> Array:
    """Return the root R of the coefficients' precision that a criterion supposes: ML takes them as known, (p, p)."""
    p = schur.shape[0] - 1
    return schur[:p, :p].copy() if reml else np.eye(p) * NO_VARIANCE


@numba.njit(cache=True, nogil=True)
def objective_single(log_det: float, schur: Array, n: int, reml: bool, sigma: float) -> tuple[float, float]:
    """Return the objective but for the weights' logarithms, and sigma.

    Parameters
    ----------
    log_det, schur
        What :func:`reduce_single` returns and leaves.
    n, reml, sigma
        Rows, the criterion, and the residual standard deviation, NaN where it is profiled.
    """
    p = schur.shape[0] - 1
    dof = n - p if reml else n
    r2 = schur[p, p] ** 2
    if np.isnan(sigma):
        sigma = np.sqrt(r2 / dof)
    value = log_det + dof * np.log(2.0 * np.pi * sigma**2) + r2 / sigma**2
    if reml:
        for a in range(p):
            value += 2.0 * np.log(schur[a, a])
    return value, sigma


@numba.njit(inline="always")
def slopes_single(
    z: Array, xy: Array, factor: Array, low: Array, rows: Array, beta: Array, root: Array, sigma: float
) -> tuple[Array, Array]:
    """Return the excess and the gradient of the profiled objective by lambda, both (S, S); lambda may be singular.

    Arguments as in :func:`covariance_slope_single`.
    """
    excess = excess_single(low, rows, beta, root, sigma)
    slope = np.zeros(excess.shape)
    for s in range(len(factor)):
        if not abs(factor[s, s]) >= SAFE_PIVOT:
            return excess, 2.0 * covariance_slope_single(z, xy, factor, low, rows, beta, root, sigma) @ factor
    for s in range(len(factor)):
        column = excess[:, s].copy()
        solve_upper(factor, column)
        slope[:, s] = 2.0 * column
    return excess, slope


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_effects(low: Array, rows: Array, beta: Array, sigma: Array, turn: Array, noise: Array) -> None:
    """Overwrite standard normals with draws of b = T u given beta: ``L_j' u_j = y_j - X_j beta + sigma noise_j``.

    low (J, S, S) and rows (J, S, p + 1) are what `reduce_single` leaves, low's diagonal inverted; beta (r, p), sigma
    (r,), turn (S, S), noise (r, J, S).
    """
    n_levels, size, order = rows.shape
    u = np.empty(size)
    for i in range(noise.shape[0]):
        own, scale = beta[i], sigma[i]
        for j in range(n_levels):
            for s in range(size - 1, -1, -1):
                value = rows[j, s, order - 1] + scale * noise[i, j, s]
                for a in range(order - 1):
                    value -= rows[j, s, a] * own[a]
                for t in range(s + 1, size):
                    value -= low[j, t, s] * u[t]
                u[s] = value * low[j, s, s]
            for s in range(size):
                value = 0.0
                for t in range(size):
                    value += turn[s, t] * u[t]
                noise[i, j, s] = value

r"""One term without a trailing matrix, start to finish in compiled loops.

With a single random-effects term every level is eliminated on its own and only X and y remain, so an evaluation is a
few thousand operations and the calls between them would cost more than they do. The equations are those of
`elimination`, `selected_inverse` and `normal_prior`.

A function is compiled once for itself and again within every function that calls it, so few of them call others.
"""

import numba
import numpy as np

from bayeslmm.likelihood.marginal import SAFE_PIVOT
from bayeslmm.types import Array

LARGEST = 100.0  # entry of a factor, columns scaled, beyond which sums in sequence lose digits that blocked ones keep
# of a fixed column's squares, not shared with others and random effects, that sums in sequence still know
NEARLY_COLLINEAR = 1e-8
NO_VARIANCE = 1e150  # precision's root of coefficients taken as known


@numba.njit(cache=True, nogil=True, error_model="numpy")
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
    n_levels, size, order = xy.shape
    for a in range(order):
        for b in range(a + 1):
            schur[a, b] = total[a, b]
    log_det = 0.0
    for j in range(n_levels):
        for s in range(size):
            for t in range(size):
                value = 0.0
                for r in range(s, size):
                    value += factor[r, s] * z[j, r, t]
                low[j, s, t] = value
            for t in range(s + 1):  # in place: what comes later in the row is still that of lambda' z
                value = 1.0 if s == t else 0.0
                for r in range(t, size):
                    value += low[j, s, r] * factor[r, t]
                for r in range(t):
                    value -= low[j, s, r] * low[j, t, r]
                if s > t:
                    low[j, s, t] = value / low[j, t, t]
                    continue
                if not value > 0.0:
                    return np.nan
                low[j, s, s] = np.sqrt(value)
                log_det += np.log(value)
            pivot = 1.0 / low[j, s, s]
            for a in range(order):
                value = 0.0
                for r in range(s, size):
                    value += factor[r, s] * xy[j, r, a]
                for r in range(s):
                    value -= low[j, s, r] * rows[j, r, a]
                rows[j, s, a] = value * pivot
            for a in range(order):
                value = rows[j, s, a]
                for b in range(a + 1):
                    schur[a, b] -= value * rows[j, s, b]
    if not np.isfinite(log_det):
        return np.nan
    return log_det if cholesky_in_place(schur) else np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def solve_lower(lower: Array, right: Array) -> None:
    """Solve ``L x = right`` in place, right (p,)."""
    for a in range(right.shape[0]):
        value = right[a]
        for b in range(a):
            value -= lower[a, b] * right[b]
        right[a] = value / lower[a, a]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def solve_upper(lower: Array, right: Array) -> None:
    """Solve ``L' x = right`` in place, right (p,)."""
    for a in range(right.shape[0] - 1, -1, -1):
        value = right[a]
        for b in range(a + 1, right.shape[0]):
            value -= lower[b, a] * right[b]
        right[a] = value / lower[a, a]


@numba.njit(cache=True, nogil=True, error_model="numpy")
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
    estimate, column = np.empty(p), np.empty(p)
    for a in range(p - 1, -1, -1):
        value = schur[p, a]
        for b in range(a + 1, p):
            value -= schur[b, a] * estimate[b]
        estimate[a] = value / schur[a, a]
    for a in range(p):
        for b in range(a + 1):
            value = variance * precision[a, b]
            for c in range(b + 1):
                value += schur[a, c] * schur[b, c]
            root[a, b] = value
    if not cholesky_in_place(root):
        return np.nan, np.nan
    for a in range(p):
        value = 0.0
        for b in range(p):
            value += precision[a, b] * (mean[b] - estimate[b])
        beta[a] = variance * value
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
    for a in range(p):
        for b in range(p):
            column[b] = precision[b, a]
        solve_lower(root, column)
        solve_upper(root, column)
        trace += column[a]
    for a in range(p):
        beta[a] += estimate[a]
    return log_det + by_data / variance + by_prior, 2.0 * variance * trace - 2.0 * by_data / variance


@numba.njit(cache=True, nogil=True, error_model="numpy")
def moments_single(low: Array, rows: Array, beta: Array, root: Array, inverse: Array, squares: Array) -> None:
    r"""Fill ``sum C_jj`` and ``sum u_j u_j'``, (S, S) each, beta at its conditional mean.

    .. math:: C_{jj} = L_j^{-\top} (I + H_j^\top H_j) L_j^{-1}, \qquad H_j = R^{-1} X_j^\top, \qquad
              L_j^\top u_j = y_j - X_j \beta

    with :math:`X_j, y_j` the columns of `rows`: one solution with I, H' and y - X beta as right sides has both.

    Parameters
    ----------
    low, rows
        What :func:`reduce_single` leaves.
    beta, root
        Coefficients (p,) and the lower Cholesky factor R of their precision (p, p).
    """
    n_levels, size, order = rows.shape
    last = size + order - 1
    solved = np.empty((size, last + 1))
    for s in range(size):
        for t in range(size):
            inverse[s, t] = 0.0
            squares[s, t] = 0.0
    for j in range(n_levels):
        for s in range(size - 1, -1, -1):
            for t in range(size):
                solved[s, t] = 1.0 if s == t else 0.0
            own = rows[j, s, order - 1]
            for a in range(order - 1):
                value = rows[j, s, a]
                own -= value * beta[a]
                for b in range(a):
                    value -= root[a, b] * solved[s, size + b]
                solved[s, size + a] = value / root[a, a]
            solved[s, last] = own
            pivot = 1.0 / low[j, s, s]
            for c in range(last + 1):
                value = solved[s, c]
                for r in range(s + 1, size):
                    value -= low[j, r, s] * solved[r, c]
                solved[s, c] = value * pivot
            for t in range(s, size):
                value = 0.0
                for c in range(last):
                    value += solved[s, c] * solved[t, c]
                inverse[t, s] += value
                squares[t, s] += solved[s, last] * solved[t, last]
    for s in range(size):
        for t in range(s):
            inverse[t, s] = inverse[s, t]
            squares[t, s] = squares[s, t]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def evaluate_single(
    z: Array, xy: Array, total: Array, n: int, reml: bool, sigma: float, factor: Array, low: Array, rows: Array,
    schur: Array, beta: Array, root: Array, gradient: bool, inverse: Array, excess: Array, slope: Array,
) -> tuple[float, float]:  # fmt: skip
    """Return the profiled objective but for the weights' logarithms, and sigma; NaN where digits are lost.

    Parameters
    ----------
    z, xy, total, factor, low, rows, schur
        As for :func:`reduce_single`.
    n, reml, sigma
        Rows, the criterion, and the residual standard deviation, NaN where it is profiled.
    beta, root
        Filled with the coefficients (p,), and the root of their precision that the criterion supposes: ML takes them
        as known, (p, p).
    gradient
        Whether to fill what follows.
    inverse, excess, slope
        Filled, (S, S) each: ``sum C_jj``, ``J I - sum C_jj - sum u_j u_j' / sigma^2``, and the gradient by lambda; NaN
        where lambda cannot be inverted.
    """
    size, p = factor.shape[0], beta.shape[0]
    for a in range(size):
        for b in range(a + 1):
            if not abs(factor[a, b]) <= LARGEST:
                return np.nan, np.nan
    log_det = reduce_single(z, xy, total, factor, low, rows, schur)
    value, sigma = objective_single(log_det, schur, n, reml, sigma)
    for a in range(p - 1, -1, -1):
        pivot, share = schur[a, a], schur[p, a]
        if not pivot * pivot >= NEARLY_COLLINEAR * total[a, a]:
            return np.nan, np.nan
        for b in range(p):
            root[a, b] = schur[a, b] if reml and b <= a else 0.0
        if not reml:
            root[a, a] = NO_VARIANCE
        for b in range(a + 1, p):
            share -= schur[b, a] * beta[b]
        beta[a] = share / pivot
    if not np.isfinite(value):
        return np.nan, np.nan
    if gradient:
        slopes_single(factor, low, rows, beta, root, sigma, inverse, excess, slope)
    return value, sigma


@numba.njit(inline="always")
def slopes_single(
    factor: Array, low: Array, rows: Array, beta: Array, root: Array, sigma: float, inverse: Array, excess: Array,
    slope: Array,
) -> None:  # fmt: skip
    """Fill the derivatives of the profiled objective; arguments as in :func:`evaluate_single`."""
    moments_single(low, rows, beta, root, inverse, slope)
    for t in range(len(factor)):
        for s in range(len(factor) - 1, -1, -1):
            excess[s, t] = (len(low) if s == t else 0.0) - inverse[s, t] - slope[s, t] / (sigma * sigma)
            value = 2.0 * excess[s, t]
            for r in range(s + 1, len(factor)):
                value -= factor[r, s] * slope[r, t]
            slope[s, t] = value / factor[s, s] if abs(factor[s, s]) >= SAFE_PIVOT else np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
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
        As for :func:`moments_single`, and the residual standard deviation.
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def coefficients_single(schur: Array) -> Array:
    """Return the coefficients (p,) at their conditional mean, from the factor of what remains of X and y."""
    p = schur.shape[0] - 1
    beta = np.empty(p)
    for a in range(p - 1, -1, -1):
        beta[a] = schur[p, a]
        for b in range(a + 1, p):
            beta[a] -= schur[b, a] * beta[b]
        beta[a] /= schur[a, a]
    return beta


@numba.njit(cache=True, nogil=True, error_model="numpy")
def root_single(schur: Array, reml: bool) -> Array:
    """Return the root R of the coefficients' precision that a criterion supposes: ML takes them as known, (p, p)."""
    p = schur.shape[0] - 1
    root = np.zeros((p, p))
    for a in range(p):
        root[a, a] = NO_VARIANCE
        for b in range(a + 1):
            if reml:
                root[a, b] = schur[a, b]
    return root


@numba.njit(cache=True, nogil=True, error_model="numpy")
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
    r2 = schur[p, p] * schur[p, p]
    if np.isnan(sigma):
        sigma = np.sqrt(r2 / dof)
    value = log_det + dof * np.log(2.0 * np.pi * sigma * sigma) + r2 / (sigma * sigma)
    if reml:
        for a in range(p):
            value += 2.0 * np.log(schur[a, a])
    return value, sigma


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

r"""The search over the factor of a single random term, boundary included, in compiled loops.

The steps are those of `bayeslmm.inference.optimum.search`: BFGS over square roots M of :math:`\lambda\lambda^\top`, in
which no direction is missing where the covariance is singular; diagonals of lambda that do not matter become zero; and
a singular solution is left where the derivative G by :math:`\lambda\lambda^\top` has a negative direction. A solution
has :math:`G\lambda = 0` and :math:`G \succeq 0`.
"""

import numba
import numpy as np

from bayeslmm.inference.optimum.chart import BASE_FLOOR, LARGEST_CHANGE, MINIMUM_RELIABILITY
from bayeslmm.inference.optimum.search import ACCEPTED_GRADIENT, EM_STEPS, MAXIMUM_ROUNDS, NEGLIGIBLE, SMALL_PIVOT
from bayeslmm.likelihood.single_term import (
    coefficients_single,
    covariance_slope_single,
    excess_single,
    objective_single,
    reduce_single,
    root_single,
    squares_single,
)
from bayeslmm.types import Array

SUFFICIENT_DECREASE = 1e-4
CURVATURE_SHARE = 0.9  # of the slope that may be left after a step
TRIALS = 30
STEPS = 200
CHARTS = 20
ROUNDED_PIVOT = 1e-12  # a diagonal of lambda that is zero but for rounding
ROUNDING = 2e-14  # relative error of the objective that two values may differ by
LARGEST_ROUNDING = 1e-7  # error of the objective by rounding above which another search has to judge


@numba.njit(cache=True, nogil=True)
def search_factor(
    z: Array, both: Array, total: Array, n: int, reml: bool, sigma: float, start: Array, diagonal: bool, gain: float,
    low: Array, rows: Array, schur: Array,
) -> tuple[Array, float, float, bool]:  # fmt: skip
    """Minimise the profiled objective over lambda.

    Parameters
    ----------
    z, both, total, n, reml, sigma, low, rows, schur
        As for :func:`~bayeslmm.likelihood.single_term.profiled_single`.
    start
        Where the search starts, shape (S, S).
    diagonal
        Whether lambda is diagonal.
    gain
        Of the objective, where a descent stops.

    Returns
    -------
    lambda with a non-negative diagonal, negligible entries of it zero; the objective; sigma; and whether this is a
    minimum for certain. ``low``, ``rows`` and ``schur`` are those at lambda.
    """
    factor = start
    settled = False
    for _ in range(EM_STEPS if len(start) > 1 else 1):
        factor = _em_step(z, both, total, n, reml, sigma, factor, diagonal, low, rows, schur)
    for _ in range(MAXIMUM_ROUNDS):
        factor, value, norm = _descend(
            z, both, total, n, reml, sigma, factor, diagonal, gain, low, rows, schur
        )  # fmt: skip
        if not np.isfinite(value):
            break
        factor, changed = _drop_negligible(z, both, total, n, reml, sigma, factor, value, low, rows, schur)
        if changed:
            continue
        factor, escaped = _leave_boundary(z, both, total, n, reml, sigma, factor, value, diagonal, low, rows, schur)
        if not escaped and norm <= ACCEPTED_GRADIENT:
            settled = True
            break
    value, scale = _value(z, both, total, factor, n, reml, sigma, low, rows, schur)
    rounding = np.sqrt(n) * 2.3e-16 * total[-1, -1] / scale**2
    return factor, value, scale, settled and rounding <= LARGEST_ROUNDING


@numba.njit(cache=True, nogil=True)
def _value(
    z: Array, both: Array, total: Array, factor: Array, n: int, reml: bool, sigma: float, low: Array, rows: Array,
    schur: Array,
) -> tuple[float, float]:  # fmt: skip
    log_det = reduce_single(z, both, total, factor, low, rows, schur)
    return objective_single(log_det, schur, n, reml, sigma) if np.isfinite(log_det) else (np.nan, np.nan)


@numba.njit(cache=True, nogil=True)
def _with_slope(
    z: Array, both: Array, total: Array, factor: Array, n: int, reml: bool, sigma: float, low: Array, rows: Array,
    schur: Array,
) -> tuple[float, Array]:  # fmt: skip
    """Return the objective and its derivative by ``lambda lambda'``."""
    value, scale = _value(z, both, total, factor, n, reml, sigma, low, rows, schur)
    if not np.isfinite(value):
        return np.nan, np.zeros(factor.shape)
    beta, root = coefficients_single(schur), root_single(schur, reml)
    return value, covariance_slope_single(z, both, factor, low, rows, beta, root, scale)


@numba.njit(cache=True, nogil=True)
def _em_step(
    z: Array, both: Array, total: Array, n: int, reml: bool, sigma: float, factor: Array, diagonal: bool, low: Array,
    rows: Array, schur: Array,
) -> Array:  # fmt: skip
    """Return the factor of the mean posterior second moments of the effects; lambda where it is no better."""
    value, scale = _value(z, both, total, factor, n, reml, sigma, low, rows, schur)
    if not np.isfinite(value):
        return factor
    beta, root = coefficients_single(schur), root_single(schur, reml)
    inner = np.eye(len(factor)) - excess_single(low, rows, beta, root, scale) / len(z)
    if diagonal:
        moved = factor * np.sqrt(np.maximum(np.diag(inner), 0.0))
    else:
        values, vectors = np.linalg.eigh(inner)
        moved = triangular(factor @ (vectors * np.sqrt(np.maximum(values, 0.0))))
    new, _ = _value(z, both, total, moved, n, reml, sigma, low, rows, schur)
    return moved if new <= value else factor


@numba.njit(cache=True, nogil=True)
def triangular(root: Array) -> Array:
    """Return the lower triangular L, non-negative diagonal, with ``L L' = root root'``; root (S, m), m >= S."""
    size, width = root.shape
    turned = root.copy()
    for a in range(size):
        for b in range(a + 1, width):
            if turned[a, b] == 0.0:
                continue
            length = np.hypot(turned[a, a], turned[a, b])
            cosine, sine = turned[a, a] / length, turned[a, b] / length
            for c in range(a, size):
                own, other = turned[c, a], turned[c, b]
                turned[c, a] = cosine * own + sine * other
                turned[c, b] = cosine * other - sine * own
            turned[a, b] = 0.0
        if turned[a, a] < 0.0:
            turned[a:, a] = -turned[a:, a]
    return turned[:, :size].copy()


@numba.njit(cache=True, nogil=True)
def _chart(factor: Array, both: Array, n: int, reml: bool, sigma: float, low: Array, rows: Array, schur: Array,
           diagonal: bool) -> Array:  # fmt: skip
    """Return the changes of the root, (d, S, S), that have about unit curvature, as `bayeslmm.inference.optimum.chart`.

    The levels' factors are those at `factor`.
    """
    size, levels = factor.shape[0], both.shape[0]
    _, scale = objective_single(0.0, schur, n, reml, sigma)
    beta, root = coefficients_single(schur), root_single(schur, reml)
    known = excess_single(low, rows, beta, root, scale) + squares_single(low, rows, beta) / scale**2
    base, reliability = factor.copy(), np.empty(size)
    for a in range(size):
        base[a, a] = max(abs(base[a, a]), BASE_FLOOR)
        reliability[a] = np.sqrt(min(max(known[a, a] / levels, MINIMUM_RELIABILITY), 1.0))
    basis = np.zeros((size if diagonal else size * size, size, size))
    k = 0
    for a in range(size):
        for b in range(size):
            if diagonal and a != b:
                continue
            unit = np.sqrt((4.0 if a == b else 2.0) * levels) * reliability[a] * reliability[b]
            basis[k, :, b] = base[:, a] / unit
            k += 1
    return basis


@numba.njit(cache=True, nogil=True)
def _moved(centre: Array, basis: Array, x: Array) -> Array:
    root = centre.copy()
    for k in range(len(x)):
        root += x[k] * basis[k]
    return root


@numba.njit(cache=True, nogil=True)
def _gradient(slope: Array, root: Array, basis: Array) -> Array:
    by_root = 2.0 * slope @ root
    out = np.empty(len(basis))
    for k in range(len(basis)):
        out[k] = np.sum(by_root * basis[k])
    return out


@numba.njit(cache=True, nogil=True)
def _descend(
    z: Array, both: Array, total: Array, n: int, reml: bool, sigma: float, factor: Array, diagonal: bool, gain: float,
    low: Array, rows: Array, schur: Array,
) -> tuple[Array, float, float]:  # fmt: skip
    """Run BFGS, coordinates chosen anew where steps are long; return lambda, the objective and the gradient's norm."""
    value, norm = np.nan, np.inf
    for _ in range(CHARTS):
        value, slope = _with_slope(z, both, total, factor, n, reml, sigma, low, rows, schur)
        if not np.isfinite(value):
            break
        basis = _chart(factor, both, n, reml, sigma, low, rows, schur, diagonal)
        factor, value, norm, limited = _descend_in_chart(
            z, both, total, n, reml, sigma, factor, value, slope, basis, gain, low, rows, schur
        )  # fmt: skip
        if not limited:
            break
    return factor, value, norm


@numba.njit(cache=True, nogil=True)
def _descend_in_chart(
    z: Array, both: Array, total: Array, n: int, reml: bool, sigma: float, centre: Array, value: float, slope: Array,
    basis: Array, gain: float, low: Array, rows: Array, schur: Array,
) -> tuple[Array, float, float, bool]:  # fmt: skip
    d = len(basis)
    shortest = np.empty(d)  # change of a factor, as a share of it, per unit of each coordinate
    for k in range(d):
        shortest[k] = np.abs(basis[k]).max()
    x, inverse, root, fresh, limited = np.zeros(d), np.eye(d), centre.copy(), True, False
    gradient = _gradient(slope, root, basis)
    largest = max(np.abs(centre).max(), BASE_FLOOR)
    for _ in range(STEPS):
        direction = -(inverse @ gradient)
        along = np.dot(gradient, direction)
        if -0.5 * along <= gain:
            break
        longest = LARGEST_CHANGE * largest / max(np.max(np.abs(direction) * shortest), 1e-300)
        step, low_end, high_end, slack = min(1.0, longest), 0.0, np.inf, ROUNDING * abs(value)
        moved = False
        best_x, best_value, best_gradient, best_root = x, value, gradient, root
        for _trial in range(TRIALS):
            new_x = x + step * direction
            new_root = _moved(centre, basis, new_x)
            new, slope = _with_slope(z, both, total, triangular(new_root), n, reml, sigma, low, rows, schur)
            if not (np.isfinite(new) and new <= value + SUFFICIENT_DECREASE * step * along + slack):
                high_end = step
                bend = new - value - along * step
                share = -along * step / (2.0 * bend) if np.isfinite(bend) and bend > 0.0 and low_end == 0.0 else 0.5
                step = low_end + min(max(share, 0.1), 0.7) * (high_end - low_end)
            else:
                new_gradient = _gradient(slope, new_root, basis)
                if not moved or new <= best_value:
                    best_x, best_value, best_gradient, best_root, moved = new_x, new, new_gradient, new_root, True
                if np.dot(new_gradient, direction) >= CURVATURE_SHARE * along:
                    break
                if step >= longest:
                    limited = True
                    break
                low_end = step
                step = min(2.0 * step, longest) if np.isinf(high_end) else 0.5 * (low_end + high_end)
            if step * -along <= slack:
                break
        if not moved:
            if fresh:
                break
            inverse, fresh = np.eye(d), True
            continue
        change, travelled = best_gradient - gradient, best_x - x
        curvature = np.dot(change, travelled)
        if curvature > 1e-10 * np.sqrt(np.dot(change, change) * np.dot(travelled, travelled)):
            left = np.eye(d) - np.outer(travelled, change) / curvature
            inverse = left @ inverse @ left.T + np.outer(travelled, travelled) / curvature
        x, value, gradient, root, fresh = best_x, best_value, best_gradient, best_root, False
        if limited:
            break
    return triangular(root), value, np.sqrt(np.dot(gradient, gradient)), limited


@numba.njit(cache=True, nogil=True)
def _drop_negligible(
    z: Array, both: Array, total: Array, n: int, reml: bool, sigma: float, factor: Array, value: float, low: Array,
    rows: Array, schur: Array,
) -> tuple[Array, bool]:  # fmt: skip
    """Set small diagonals of lambda to zero where that does not raise the objective; return whether any was set."""
    kept, changed = factor.copy(), False
    for a in range(factor.shape[0]):
        pivot = kept[a, a]
        if pivot == 0.0 or abs(pivot) >= SMALL_PIVOT:
            continue
        kept[a, a] = 0.0
        if abs(pivot) <= ROUNDED_PIVOT:
            continue
        without, _ = _value(z, both, total, kept, n, reml, sigma, low, rows, schur)
        if without <= value + NEGLIGIBLE:
            changed = True
        else:
            kept[a, a] = pivot
    return kept, changed


@numba.njit(cache=True, nogil=True)
def _leave_boundary(
    z: Array, both: Array, total: Array, n: int, reml: bool, sigma: float, factor: Array, value: float, diagonal: bool,
    low: Array, rows: Array, schur: Array,
) -> tuple[Array, bool]:  # fmt: skip
    """Return a lower point off the boundary and True, or lambda and False if the boundary holds the minimum."""
    size = factor.shape[0]
    if np.abs(np.diag(factor)).min() >= SMALL_PIVOT:
        return factor, False
    _, slope = _with_slope(z, both, total, factor, n, reml, sigma, low, rows, schur)
    if diagonal:
        curvatures, directions = np.diag(slope).copy(), np.eye(size)
    else:
        curvatures, directions = np.linalg.eigh(slope)
    best, lowest, found = factor, value, False
    root = np.zeros((size, size + 1))
    for k in range(size):
        if not curvatures[k] < 0.0:
            continue
        for power in range(7):
            root[:, :size] = factor
            root[:, size] = directions[:, k] * 10.0 ** (-0.5 * power)
            if diagonal:
                trial = factor.copy()
                trial[k, k] = np.hypot(factor[k, k], root[k, size])
            else:
                trial = triangular(root)
            new, _ = _value(z, both, total, trial, n, reml, sigma, low, rows, schur)
            if new < value - NEGLIGIBLE and new < lowest:
                best, lowest, found = trial, new, True
            elif found:
                break
    return best, found

r"""Searches for many responses at once where there is a single random term, from start to end in compiled loops.

The same steps as :class:`~bayeslmm.intervals.refits.Refitter` takes for one response: BFGS in coordinates of unit
curvature at the first fit's optimum, until less than a given gain is left. A search that comes near the boundary, or
does not settle, is left to the full search.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.marginal import SAFE_PIVOT
from bayeslmm.likelihood.single_term import profiled_single, solve_upper
from bayeslmm.types import Array, Index

LONGEST_STEP = 4.0  # of the coordinates of unit curvature
SUFFICIENT_DECREASE = 1e-4
HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Estimates:
    """Where the searches for m responses ended.

    Attributes
    ----------
    lambdas
        The kernel's factors, shape (m, S, S).
    beta, R_X
        Coefficients of the kernel's columns (m, p), and the factors of their cross-products, Z eliminated, (m, p, p).
    sigma, value
        Residual standard deviations, and the objectives but for the weights' logarithms, shape (m,).
    settled
        Whether the search ended inside and with nothing left to gain, shape (m,).
    """

    lambdas: Array
    beta: Array
    R_X: Array
    sigma: Array
    value: Array
    settled: NDArray[np.bool_]


def search_responses(
    z: Array, zx: Array, xx: Array, zy: Array, xy: Array, yy: Array, n: int, reml: bool, sigma: float | None,
    start: Array, entries: tuple[Index, Index], whitening: Array, *, gain: float, near: float, steps: int,
) -> Estimates:  # fmt: skip
    """Fit m responses.

    Parameters
    ----------
    z, zx, xx
        Cross-products of the term with itself (J, S, S), of the term with X (J, S, p), and of X (p, p).
    zy, xy, yy
        Those with the responses: (m, J, S), (m, p), (m,).
    n, reml, sigma
        Rows, the criterion, and the residual standard deviation where it is known.
    start, entries, whitening
        The first fit's factor (S, S), its free entries, and the coordinates of unit curvature there, (d, d).
    gain
        Of the objective, where a search stops.
    near
        A diagonal of the factor below which a search is left to another.
    steps
        Most steps of a search.
    """
    m, p, size = len(yy), xx.shape[0], start.shape[0]
    found = Estimates(
        np.zeros((m, size, size)), np.zeros((m, p)), np.zeros((m, p, p)), np.zeros(m), np.zeros(m), np.zeros(m, bool)
    )
    rows, columns = (np.ascontiguousarray(part, dtype=np.int64) for part in entries)
    _search(
        *(np.ascontiguousarray(part, dtype=float) for part in (z, zx, xx, zy, xy, yy)), n, reml,
        np.nan if sigma is None else sigma, np.ascontiguousarray(start), rows, columns,
        np.ascontiguousarray(whitening), gain, near, steps, found.lambdas, found.beta, found.R_X, found.sigma,
        found.value, found.settled,
    )  # fmt: skip
    return found


@numba.njit(cache=True, nogil=True)
def _search(
    z: Array, zx: Array, xx: Array, zy: Array, xy: Array, yy: Array, n: int, reml: bool, sigma: float, start: Array,
    rows: Index, columns: Index, whitening: Array, gain: float, near: float, steps: int, lambdas: Array, beta: Array,
    roots: Array, sigmas: Array, values: Array, settled: NDArray[np.bool_],
) -> None:  # fmt: skip
    levels, size, p = zx.shape
    d = len(rows)
    both, total = np.zeros((levels, size, p + 1)), np.zeros((p + 1, p + 1))
    both[:, :, :p] = zx
    total[:p, :p] = xx
    low, reduced, schur = np.zeros((levels, size, size)), np.zeros((levels, size, p + 1)), np.zeros((p + 1, p + 1))
    for i in range(len(yy)):
        both[:, :, p] = zy[i]
        total[p, :p] = xy[i]
        total[:p, p] = xy[i]
        total[p, p] = yy[i]
        x, inverse = np.zeros(d), np.eye(d)
        factor = start.copy()
        value, scale, slope = _evaluate(z, both, total, factor, n, reml, sigma, low, reduced, schur)
        gradient = whitening.T @ _entries(slope, rows, columns)
        ended = False
        for _ in range(steps):
            if not np.isfinite(value):
                break
            direction = -(inverse @ gradient)
            along = np.dot(gradient, direction)
            if -0.5 * along <= gain:
                ended = True
                break
            length = np.sqrt(np.dot(direction, direction))
            step = min(1.0, LONGEST_STEP / length)
            moved = False
            for _trial in range(HALVINGS):
                candidate = x + step * direction
                factor = _moved(start, rows, columns, whitening @ candidate)
                new, new_scale, slope = _evaluate(z, both, total, factor, n, reml, sigma, low, reduced, schur)
                if np.isfinite(new) and new <= value + SUFFICIENT_DECREASE * step * along:
                    moved = True
                    break
                step *= 0.5
            if not moved:
                break
            new_gradient = whitening.T @ _entries(slope, rows, columns)
            change, travelled = new_gradient - gradient, candidate - x
            curvature = np.dot(change, travelled)
            if curvature > 1e-10 * np.sqrt(np.dot(change, change) * np.dot(travelled, travelled)):
                left = np.eye(d) - np.outer(travelled, change) / curvature
                inverse = left @ inverse @ left.T + np.outer(travelled, travelled) / curvature
            x, value, scale, gradient = candidate, new, new_scale, new_gradient
        factor = _moved(start, rows, columns, whitening @ x)
        smallest = np.inf
        for s in range(size):
            smallest = min(smallest, factor[s, s])
        if not ended or smallest < near:
            continue
        _evaluate(z, both, total, factor, n, reml, sigma, low, reduced, schur)
        estimate = schur[p, :p].copy()
        solve_upper(schur[:p, :p], estimate)
        lambdas[i], beta[i], roots[i] = factor, estimate, schur[:p, :p]
        sigmas[i], values[i], settled[i] = scale, value, True


@numba.njit(cache=True, nogil=True)
def _evaluate(
    z: Array, both: Array, total: Array, factor: Array, n: int, reml: bool, sigma: float, low: Array, rows: Array,
    schur: Array,
) -> tuple[float, float, Array]:  # fmt: skip
    """Return the objective, sigma and the gradient by lambda (S, S); NaN where lambda cannot safely be inverted."""
    size = both.shape[1]
    for s in range(size):
        if not abs(factor[s, s]) >= SAFE_PIVOT:
            return np.nan, np.nan, np.zeros((size, size))
    value, scale, _, slope = profiled_single(z, both, total, factor, n, reml, sigma, low, rows, schur)
    return value, scale, slope


@numba.njit(cache=True, nogil=True)
def _entries(slope: Array, rows: Index, columns: Index) -> Array:
    out = np.empty(len(rows))
    for k in range(len(rows)):
        out[k] = slope[rows[k], columns[k]]
    return out


@numba.njit(cache=True, nogil=True)
def _moved(start: Array, rows: Index, columns: Index, change: Array) -> Array:
    factor = start.copy()
    for k in range(len(rows)):
        factor[rows[k], columns[k]] += change[k]
    return factor

r"""A point of a search in compiled loops: the factor of a random term, and the objective with its derivatives there.

Points are written in place.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.single_term import (
    coefficients_single,
    covariance_slope_single,
    objective_single,
    reduce_single,
    root_single,
    slopes_single,
    squares_single,
)
from bayeslmm.types import Array

LARGEST = 100.0  # entry of a factor, columns scaled, beyond which sums in sequence lose digits that blocked ones keep
NEARLY_COLLINEAR = (
    1e-8  # of a fixed column, not shared with others and random effects, that sums in sequence still know
)


class SingleTerm(NamedTuple):
    """The data of one random term, and the criterion.

    Attributes
    ----------
    z, xy, total
        Cross-products of the term with itself (J, S, S), of the term with X and y (J, S, p + 1), and of X and y.
    n, reml, sigma
        Rows, the criterion, and the residual standard deviation, NaN where it is profiled.
    diagonal
        Whether the term's effects are independent.
    """

    z: Array
    xy: Array
    total: Array
    n: int
    reml: bool
    sigma: float
    diagonal: bool


class Work(NamedTuple):
    """Room for an evaluation, and the record of all.

    Attributes
    ----------
    low, rows, schur
        Filled by :func:`~bayeslmm.likelihood.single_term.reduce_single`.
    factors, values
        Every lambda evaluated and the objective there, in order, shapes (m, S, S) and (m,); m = 0 keeps none.
    tally
        How many were evaluated, and whether one of them lost its digits, or the room for them has run out; shape (2,).
    """

    low: Array
    rows: Array
    schur: Array
    factors: Array
    values: Array
    tally: NDArray[np.int64]


class Point(NamedTuple):
    """A factor and the objective there, written in place; matrices have shape (S, S).

    Attributes
    ----------
    factor
        lambda.
    slope, excess
        As `bayeslmm.inference.optimum.search.Point` has them.
    known
        How much of each effect's variance the data know, summed over levels, shape (S,).
    numbers
        The objective but for the weights' logarithms, and sigma, shape (2,).
    gradient
        By the coordinates of a chart, the first d entries of S S.
    """

    factor: Array
    slope: Array
    excess: Array
    known: Array
    numbers: Array
    gradient: Array


@numba.njit(cache=True, nogil=True)
def room(xy: Array, kept: int) -> Work:
    """Return room for evaluations of a term with `xy` (J, S, p + 1), of which up to `kept` are recorded."""
    levels, size, order = xy.shape
    return Work(
        np.zeros((levels, size, size)), np.zeros((levels, size, order)), np.zeros((order, order)),
        np.zeros((kept, size, size)), np.zeros(kept), np.zeros(2, dtype=np.int64),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def empty_point(size: int) -> Point:
    """Return room for a point of S effects."""
    shape = (size, size)
    return Point(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(size), np.zeros(2), np.zeros(size * size))


@numba.njit(cache=True, nogil=True)
def _reduce(term: SingleTerm, factor: Array, work: Work) -> float:
    """Eliminate the levels; return log |Omega|, or NaN where too few digits would be left."""
    for a in range(len(factor)):
        for b in range(a + 1):
            if not abs(factor[a, b]) <= LARGEST:
                return np.nan
    log_det = reduce_single(term.z, term.xy, term.total, factor, work.low, work.rows, work.schur)
    for a in range(len(term.total) - 1):
        if not work.schur[a, a] ** 2 >= NEARLY_COLLINEAR * term.total[a, a]:
            return np.nan
    return log_det


@numba.njit(cache=True, nogil=True)
def value_at(term: SingleTerm, factor: Array, work: Work) -> tuple[float, float]:
    """Return the objective at lambda, and sigma; keep a record."""
    log_det, place = _reduce(term, factor, work), work.tally[0]
    work.tally[0] += 1
    kept = len(work.values)
    if not np.isfinite(log_det) or (kept and place >= kept):
        work.tally[1] = 1
        return np.nan, np.nan
    value, sigma = objective_single(log_det, work.schur, term.n, term.reml, term.sigma)
    if not np.isfinite(value):
        work.tally[1] = 1
    elif kept:
        work.values[place] = value
        copy(factor, work.factors[place])
    return value, sigma


@numba.njit(cache=True, nogil=True)
def copy(matrix: Array, out: Array) -> None:
    """Write a matrix into another."""
    for a in range(out.shape[0]):
        for b in range(out.shape[1]):
            out[a, b] = matrix[a, b]


@numba.njit(cache=True, nogil=True)
def evaluate(term: SingleTerm, point: Point, work: Work) -> None:
    """Fill a point with the objective and its gradient at its factor, singular or not."""
    value, sigma = value_at(term, point.factor, work)
    point.numbers[0], point.numbers[1] = value, sigma
    if work.tally[1]:
        return
    beta, root = coefficients_single(work.schur), root_single(work.schur, term.reml)
    excess, slope = slopes_single(term.z, term.xy, point.factor, work.low, work.rows, beta, root, sigma)
    squares = squares_single(work.low, work.rows, beta)
    copy(excess, point.excess)
    copy(slope, point.slope)
    for a in range(len(excess)):
        point.known[a] = excess[a, a] + squares[a, a] / sigma**2


@numba.njit(cache=True, nogil=True)
def move(point: Point, to: Point) -> None:
    """Make a point the same as another."""
    copy(to.factor, point.factor)
    copy(to.slope, point.slope)
    copy(to.excess, point.excess)
    for a in range(len(to.known)):
        point.known[a] = to.known[a]
    for k in range(len(to.gradient)):
        point.gradient[k] = to.gradient[k]
    point.numbers[0], point.numbers[1] = to.numbers[0], to.numbers[1]


@numba.njit(inline="always")
def covariance_slope(term: SingleTerm, factor: Array, work: Work) -> Array:
    """Return the derivative of the objective by ``lambda lambda'``, shape (S, S); zeros where digits are lost."""
    log_det = _reduce(term, factor, work)
    if not np.isfinite(log_det):
        work.tally[1] = 1
        return np.zeros(factor.shape)
    _, sigma = objective_single(log_det, work.schur, term.n, term.reml, term.sigma)
    beta, root = coefficients_single(work.schur), root_single(work.schur, term.reml)
    return covariance_slope_single(term.z, term.xy, factor, work.low, work.rows, beta, root, sigma)

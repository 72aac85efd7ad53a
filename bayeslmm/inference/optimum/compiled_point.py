r"""A point of a search in compiled loops: the factors of the terms, and the objective with its derivatives there.

The factors of all terms stand on the diagonal of one matrix (S, S), S effects in formula order. What the data are and
how they are evaluated varies: `bayeslmm.inference.optimum.compiled_terms`. Points are written in place.
"""

from typing import NamedTuple

import numba
import numpy as np

from bayeslmm.inference.optimum.compiled_terms import Terms, Work, fill_slopes, reduce_terms, slopes_by_covariance
from bayeslmm.likelihood.single_term import objective_single
from bayeslmm.types import Array


class Point(NamedTuple):
    """Factors and the objective there, written in place; matrices have shape (S, S).

    Attributes
    ----------
    factor
        lambda of all terms, each on its place of the diagonal.
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
def empty_point(size: int) -> Point:
    """Return room for a point of S effects."""
    shape = (size, size)
    return Point(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(size), np.zeros(2), np.zeros(size * size))


@numba.njit(cache=True, nogil=True)
def value_at(terms: Terms, factor: Array, work: Work) -> tuple[float, float]:
    """Return the objective at lambda, and sigma; keep a record."""
    log_det, place = reduce_terms(terms, factor, work), work.tally[0]
    work.tally[0] += 1
    kept = len(work.values)
    if not np.isfinite(log_det) or (kept and place >= kept):
        work.tally[1] = 1
        return np.nan, np.nan
    value, sigma = objective_single(log_det, work.schur, terms.n, terms.reml, terms.sigma)
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
def evaluate(terms: Terms, point: Point, work: Work) -> None:
    """Fill a point with the objective and its gradient at its factor, singular or not."""
    value, sigma = value_at(terms, point.factor, work)
    point.numbers[0], point.numbers[1] = value, sigma
    if not work.tally[1]:
        fill_slopes(terms, point.factor, work, sigma, point.excess, point.slope, point.known)


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
def covariance_slope(terms: Terms, factor: Array, work: Work) -> Array:
    """Return the derivative of the objective by ``lambda lambda'``, shape (S, S); zeros where digits are lost."""
    log_det = reduce_terms(terms, factor, work)
    if not np.isfinite(log_det):
        work.tally[1] = 1
        return np.zeros(factor.shape)
    _, sigma = objective_single(log_det, work.schur, terms.n, terms.reml, terms.sigma)
    return slopes_by_covariance(terms, factor, work, sigma)

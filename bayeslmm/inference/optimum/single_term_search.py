r"""The search over the factor of a single random term, from start to end in compiled loops.

It takes the steps of `bayeslmm.inference.optimum.search` one for one: with a single term an evaluation is so short that
the calls between them would cost more than they do. Fits, their bootstrap and fits of many responses share it.

Points are written in place and functions called once are inlined, which halves the time it takes to compile.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.inference.optimum.chart import BASE_FLOOR, LARGEST_CHANGE, MINIMUM_RELIABILITY
from bayeslmm.inference.optimum.quasi_newton import (
    CURVATURE_SHARE,
    MAXIMUM_STEPS,
    MAXIMUM_TRIALS,
    ROUNDING,
    SUFFICIENT_DECREASE,
    parabola_minimum,
    update,
)
from bayeslmm.inference.optimum.search import (
    ACCEPTED_GRADIENT,
    EM_STEPS,
    MAXIMUM_CHARTS,
    MAXIMUM_ROUNDS,
    NEGLIGIBLE,
    ROUNDED_PIVOT,
    SMALL_PIVOT,
    VARIANCES,
)
from bayeslmm.likelihood.single_term import (
    cholesky_in_place,
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


class Chart(NamedTuple):
    """Coordinates x of unit curvature, as in `bayeslmm.inference.optimum.chart`: ``root = centre + sum x_k basis_k``.

    Centre (S, S), basis (d, S, S), units (d,). A square chart lets any root of the covariance move.
    """

    centre: Array
    basis: Array
    units: Array
    square: bool


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
def search_factor(term: SingleTerm, point: Point, gain: float, work: Work) -> tuple[float, bool]:
    """Minimise the profiled objective over lambda.

    Parameters
    ----------
    term
        The data.
    point
        Its factor is where the search starts, and it is moved to where the search ends: lambda with a non-negative
        diagonal, negligible entries of it zero.
    gain
        Of the objective, where a descent stops.
    work
        Filled. What it has of the last evaluation is not of the minimum.

    Returns
    -------
    The norm of the gradient in coordinates of unit curvature, and whether no direction leads down. Nothing counts if
    the record says that an evaluation was lost: the search ends there.
    """
    size, norm, held = len(point.factor), np.inf, False
    trial, best = empty_point(size), empty_point(size)
    evaluate(term, point, work)
    for _ in range(EM_STEPS if size > 1 else 1):
        _em_step(term, point, trial, work)
    for _ in range(MAXIMUM_ROUNDS):
        for square in (False, True):
            if not square or np.diag(point.factor).min() == 0.0:
                norm = _descend(term, point, trial, best, square, gain, work)
                _drop_negligible(term, point, trial, work)
        held = not _leave_boundary(term, point, trial, best, work)
        if work.tally[1] or (held and norm <= ACCEPTED_GRADIENT):
            break
    return norm, held


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
def _value(term: SingleTerm, factor: Array, work: Work) -> tuple[float, float]:
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
        _copy(factor, work.factors[place])
    return value, sigma


@numba.njit(cache=True, nogil=True)
def _copy(matrix: Array, out: Array) -> None:
    for a in range(out.shape[0]):
        for b in range(out.shape[1]):
            out[a, b] = matrix[a, b]


@numba.njit(cache=True, nogil=True)
def evaluate(term: SingleTerm, point: Point, work: Work) -> None:
    """Fill a point with the objective and its gradient at its factor, singular or not."""
    value, sigma = _value(term, point.factor, work)
    point.numbers[0], point.numbers[1] = value, sigma
    if work.tally[1]:
        return
    beta, root = coefficients_single(work.schur), root_single(work.schur, term.reml)
    excess, slope = slopes_single(term.z, term.xy, point.factor, work.low, work.rows, beta, root, sigma)
    squares = squares_single(work.low, work.rows, beta)
    _copy(excess, point.excess)
    _copy(slope, point.slope)
    for a in range(len(excess)):
        point.known[a] = excess[a, a] + squares[a, a] / sigma**2


@numba.njit(cache=True, nogil=True)
def move(point: Point, to: Point) -> None:
    """Make a point the same as another."""
    _copy(to.factor, point.factor)
    _copy(to.slope, point.slope)
    _copy(to.excess, point.excess)
    for a in range(len(to.known)):
        point.known[a] = to.known[a]
    for k in range(len(to.gradient)):
        point.gradient[k] = to.gradient[k]
    point.numbers[0], point.numbers[1] = to.numbers[0], to.numbers[1]


@numba.njit(inline="always")
def _em_step(term: SingleTerm, point: Point, trial: Point, work: Work) -> None:
    """Move the covariance to the mean of the posterior second moments of the effects, if that is lower."""
    size = len(point.factor)
    inner = np.zeros((size, size))
    for a in range(size):
        for b in range(a + 1):
            if a == b or not term.diagonal:
                inner[a, b] = (1.0 if a == b else 0.0) - point.excess[a, b] / len(term.z)
    if not cholesky_in_place(inner):
        return
    for a in range(size):
        for b in range(a + 1):
            trial.factor[a, b] = 0.0
            for c in range(b, a + 1):
                trial.factor[a, b] += point.factor[a, c] * inner[c, b]
    evaluate(term, trial, work)
    if trial.numbers[0] <= point.numbers[0]:
        move(point, trial)


@numba.njit(cache=True, nogil=True)
def turn(root: Array, rotation: Array) -> None:
    """Make a root (S, m), m >= S, lower triangular with a non-negative diagonal; ``old root = root rotation'``.

    By plane rotations, for which a singular root is no obstacle; rotation (m, m) is filled.
    """
    size, width = root.shape
    for a in range(width):
        for b in range(width):
            rotation[a, b] = 1.0 if a == b else 0.0
    for a in range(size):
        for b in range(a + 1, width):
            length = np.hypot(root[a, a], root[a, b])
            if root[a, b] != 0.0:
                cosine, sine = root[a, a] / length, root[a, b] / length
                _rotate(root, a, b, cosine, sine)
                _rotate(rotation, a, b, cosine, sine)
                root[a, b] = 0.0
        if root[a, a] < 0.0:
            _turn_column(root, a)
            _turn_column(rotation, a)


@numba.njit(cache=True, nogil=True)
def _rotate(matrix: Array, a: int, b: int, cosine: float, sine: float) -> None:
    for c in range(matrix.shape[0]):
        own, other = matrix[c, a], matrix[c, b]
        matrix[c, a] = cosine * own + sine * other
        matrix[c, b] = cosine * other - sine * own


@numba.njit(cache=True, nogil=True)
def _turn_column(matrix: Array, a: int) -> None:
    for c in range(matrix.shape[0]):
        matrix[c, a] = -matrix[c, a]


@numba.njit(inline="always")
def _chart(term: SingleTerm, point: Point, square: bool) -> Chart:
    """Return coordinates centred on a point."""
    size, levels = len(point.factor), len(term.z)
    d = size if term.diagonal else size * size if square else size * (size + 1) // 2
    centre, basis, units, k = np.zeros((size, size)), np.zeros((d, size, size)), np.zeros(d), 0
    _copy(point.factor, centre)
    for b in range(size):
        for a in range(size):
            if (a < b and not square) or (a != b and term.diagonal):
                continue
            known = max(point.known[a] / levels, MINIMUM_RELIABILITY), max(point.known[b] / levels, MINIMUM_RELIABILITY)
            units[k] = np.sqrt((4.0 if a == b else 2.0) * levels * min(known[0], 1.0) * min(known[1], 1.0))
            for c in range(size):
                base = max(abs(centre[c, a]), BASE_FLOOR) if a == c else centre[c, a]
                basis[k, c, b] = base / units[k]
            k += 1
    return Chart(centre, basis, units, square)


@numba.njit(cache=True, nogil=True)
def _gradient(chart: Chart, point: Point, rotation: Array) -> None:
    """Fill a point's gradient by the coordinates, the root there being ``lambda rotation'``."""
    size = len(point.slope)
    for k in range(len(chart.units)):
        point.gradient[k] = 0.0
        for a in range(size):
            for c in range(size):
                along = 0.0
                for b in range(size):
                    along += chart.basis[k, a, b] * rotation[b, c]
                point.gradient[k] += point.slope[a, c] * along


@numba.njit(inline="always")
def _descend(term: SingleTerm, point: Point, trial: Point, best: Point, square: bool, gain: float, work: Work) -> float:
    """Run BFGS, coordinates chosen anew where steps are long; return the gradient's norm."""
    size, norm = len(point.factor), np.inf
    for _ in range(MAXIMUM_CHARTS):
        chart = _chart(term, point, square and not term.diagonal)
        _gradient(chart, point, np.eye(size))
        limited = _descend_in_chart(term, chart, point, trial, best, gain, work)
        norm = 0.0
        for k in range(len(chart.units)):
            norm += point.gradient[k] ** 2
        for a in range(size):
            if point.factor[a, a] < 0.0:  # a column may be turned: the objective stays
                _turn_column(point.factor, a)
                _turn_column(point.slope, a)
                _turn_column(point.excess, a)
                for b in range(size):
                    point.excess[a, b] = -point.excess[a, b]
        if not limited or work.tally[1]:
            break
    return np.sqrt(norm)


@numba.njit(inline="always")
def _descend_in_chart(
    term: SingleTerm, chart: Chart, point: Point, trial: Point, best: Point, gain: float, work: Work
) -> bool:
    """Take the steps of :func:`~bayeslmm.inference.optimum.quasi_newton.descend`; return whether one was limited."""
    d = len(chart.units)
    x, direction, step, change = np.zeros(d), np.zeros(d), np.zeros(d), np.zeros(d)
    inverse, fresh = np.eye(d), True
    for _ in range(MAXIMUM_STEPS):
        along, longest = 0.0, 1e300
        for k in range(d):
            direction[k] = 0.0
            for m in range(d):
                direction[k] -= inverse[k, m] * point.gradient[m]
            along += point.gradient[k] * direction[k]
            longest = min(longest, LARGEST_CHANGE / max(abs(direction[k] / chart.units[k]), 1e-300))
        if -0.5 * along <= gain:
            return False
        size = _line_search(term, chart, x, direction, along, longest, point, trial, best, work)
        if work.tally[1] or (size == 0.0 and fresh):
            return False
        fresh = size == 0.0
        if fresh:
            inverse = np.eye(d)
            continue
        for k in range(d):
            step[k], change[k] = size * direction[k], best.gradient[k] - point.gradient[k]
            x[k] += step[k]
        inverse = update(inverse, step, change)
        move(point, best)
        if size >= longest:
            return True
    return False


@numba.njit(inline="always")
def _line_search(
    term: SingleTerm, chart: Chart, x: Array, direction: Array, slope: float, longest: float, point: Point,
    trial: Point, best: Point, work: Work,
) -> float:  # fmt: skip
    """Do what :func:`~bayeslmm.inference.optimum.quasi_newton.line_search` does.

    Return the step to the best point, zero where there is none.
    """
    value, rotation = point.numbers[0], np.eye(len(point.factor))
    slack = ROUNDING * abs(value)
    low, high, low_value, low_slope = 0.0, np.inf, value, slope
    size, found = min(1.0, longest), 0.0
    for _ in range(MAXIMUM_TRIALS):
        _copy(chart.centre, trial.factor)
        for k in range(len(x)):
            for a in range(len(rotation)):
                for b in range(len(rotation)):
                    trial.factor[a, b] += (x[k] + size * direction[k]) * chart.basis[k, a, b]
        if chart.square:
            turn(trial.factor, rotation)
        evaluate(term, trial, work)
        if work.tally[1]:
            break
        _gradient(chart, trial, rotation)
        new, new_slope = trial.numbers[0], 0.0
        for k in range(len(x)):
            new_slope += trial.gradient[k] * direction[k]
        if not new <= value + SUFFICIENT_DECREASE * size * slope + slack:
            high = size
            size = parabola_minimum(low, low_value, low_slope, size, new)
        else:
            if found == 0.0 or new <= best.numbers[0]:
                found = size
                move(best, trial)
            if new_slope >= CURVATURE_SHARE * slope or size >= longest:
                break
            low, low_value, low_slope = size, new, new_slope
            size = min(2.0 * size, longest) if np.isinf(high) else 0.5 * (low + high)
        if size * -slope <= slack:  # what is left to gain is smaller than the error of the objective
            break
    return found


@numba.njit(inline="always")
def _drop_negligible(term: SingleTerm, point: Point, trial: Point, work: Work) -> None:
    """Set small diagonals of lambda to zero where that does not raise the objective."""
    changed = False
    _copy(point.factor, trial.factor)
    for a in range(len(point.factor)):
        pivot = point.factor[a, a]
        if not abs(pivot) < SMALL_PIVOT:
            continue
        trial.factor[a, a] = 0.0
        if abs(pivot) <= ROUNDED_PIVOT:
            point.factor[a, a] = 0.0
        elif _value(term, trial.factor, work)[0] <= point.numbers[0] + NEGLIGIBLE:
            changed = True
        else:
            trial.factor[a, a] = pivot
    if changed:
        evaluate(term, trial, work)
        move(point, trial)


@numba.njit(inline="always")
def _leave_boundary(term: SingleTerm, point: Point, trial: Point, best: Point, work: Work) -> bool:
    """Move to a lower point off the boundary; return whether there is one, or the boundary holds the minimum."""
    size, smallest = len(point.factor), np.inf
    for a in range(size):
        smallest = min(smallest, abs(point.factor[a, a]))
    if smallest >= SMALL_PIVOT:
        return False
    curvatures, directions = _curvatures(term, point, work)
    lowest, found = point.numbers[0], False
    root, rotation = np.zeros((size, size + 1)), np.zeros((size + 1, size + 1))
    for k in range(size):
        for variance in VARIANCES:
            if not curvatures[k] < 0.0:
                break
            _copy(point.factor, root[:, :size])
            for a in range(size):
                root[a, size] = np.sqrt(variance) * directions[a, k]
            turn(root, rotation)
            _copy(root, trial.factor)
            value = _value(term, trial.factor, work)[0]
            if value < point.numbers[0] - NEGLIGIBLE and value < lowest:
                lowest, found = value, True
                _copy(trial.factor, best.factor)
            elif found:
                break
    if found:
        evaluate(term, best, work)
        move(point, best)
    return found


@numba.njit(inline="always")
def _curvatures(term: SingleTerm, point: Point, work: Work) -> tuple[Array, Array]:
    """Return derivatives of the objective along directions of the covariance (S,), and the directions (S, S)."""
    slope = covariance_slope(term, point.factor, work)
    if not term.diagonal:
        return np.linalg.eigh(slope)
    return np.diag(slope).copy(), np.eye(len(slope))


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

r"""The search over the factors of the random terms, from start to end in compiled loops.

It takes the steps of `bayeslmm.inference.optimum.search` one for one: with a single term, or few effects, an evaluation
is so short that the calls between them would cost more than they do. Bootstraps and fits of many responses share it. A
single fit does not: it gains less than a millisecond by it, and the first one would wait until all this is compiled.

Points are written in place and functions called once are inlined, which halves the time it takes to compile.
"""

import numba
import numpy as np

from bayeslmm.inference.optimum.chart import LARGEST_CHANGE
from bayeslmm.inference.optimum.compiled_chart import Chart, chart_at, fill_gradient, turn, turn_column
from bayeslmm.inference.optimum.compiled_point import (
    Point,
    copy,
    covariance_slope,
    empty_point,
    evaluate,
    move,
    value_at,
)
from bayeslmm.inference.optimum.compiled_terms import Effects, Terms, Work
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
from bayeslmm.likelihood.single_term import cholesky_in_place
from bayeslmm.types import Array


@numba.njit(cache=True, nogil=True)
def search_factor(terms: Terms, point: Point, gain: float, work: Work) -> tuple[float, bool]:
    """Minimise the profiled objective over lambda.

    Parameters
    ----------
    terms
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
    evaluate(terms, point, work)
    for _ in range(EM_STEPS if _shares_levels(terms.effects) else 1):
        _em_step(terms, point, trial, work)
    for _ in range(MAXIMUM_ROUNDS):
        for square in (False, True):
            if not square or np.diag(point.factor).min() == 0.0:
                norm = _descend(terms, point, trial, best, square, gain, work)
                _drop_negligible(terms, point, trial, work)
        held = not _leave_boundary(terms, point, trial, best, work)
        if work.tally[1] or (held and norm <= ACCEPTED_GRADIENT):
            break
    return norm, held


@numba.njit(inline="always")
def _em_step(terms: Terms, point: Point, trial: Point, work: Work) -> None:
    """Move the covariance to the mean of the posterior second moments of the effects, if that is lower."""
    effects, size = terms.effects, len(point.factor)
    inner = np.zeros((size, size))
    for a in range(size):
        for b in range(a + 1):
            if a == b or (effects.correlated[a] and effects.term[a] == effects.term[b]):
                inner[a, b] = (1.0 if a == b else 0.0) - point.excess[a, b] / effects.levels[a]
    if not cholesky_in_place(inner):
        return
    for a in range(size):
        for b in range(a + 1):
            trial.factor[a, b] = 0.0
            for c in range(b, a + 1):
                trial.factor[a, b] += point.factor[a, c] * inner[c, b]
    evaluate(terms, trial, work)
    if trial.numbers[0] <= point.numbers[0]:
        move(point, trial)


@numba.njit(inline="always")
def _descend(terms: Terms, point: Point, trial: Point, best: Point, square: bool, gain: float, work: Work) -> float:
    """Run BFGS, coordinates chosen anew where steps are long; return the gradient's norm."""
    size, norm = len(point.factor), np.inf
    for _ in range(MAXIMUM_CHARTS):
        chart = chart_at(terms.effects, point, square)
        fill_gradient(chart, point, np.eye(size))
        limited = _descend_in_chart(terms, chart, point, trial, best, gain, work)
        norm = 0.0
        for k in range(len(chart.units)):
            norm += point.gradient[k] ** 2
        for a in range(size):
            if point.factor[a, a] < 0.0:  # a column may be turned: the objective stays
                turn_column(point.factor, a)
                turn_column(point.slope, a)
                turn_column(point.excess, a)
                for b in range(size):
                    point.excess[a, b] = -point.excess[a, b]
        if not limited or work.tally[1]:
            break
    return np.sqrt(norm)


@numba.njit(inline="always")
def _descend_in_chart(
    terms: Terms, chart: Chart, point: Point, trial: Point, best: Point, gain: float, work: Work
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
        size = _line_search(terms, chart, x, direction, along, longest, point, trial, best, work)
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
    terms: Terms, chart: Chart, x: Array, direction: Array, slope: float, longest: float, point: Point,
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
        copy(chart.centre, trial.factor)
        for k in range(len(x)):
            for a in range(len(rotation)):
                for b in range(len(rotation)):
                    trial.factor[a, b] += (x[k] + size * direction[k]) * chart.basis[k, a, b]
        if chart.square:
            turn(trial.factor, rotation)
        evaluate(terms, trial, work)
        if work.tally[1]:
            break
        fill_gradient(chart, trial, rotation)
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
def _drop_negligible(terms: Terms, point: Point, trial: Point, work: Work) -> None:
    """Set small diagonals of lambda to zero where that does not raise the objective."""
    changed = False
    copy(point.factor, trial.factor)
    for a in range(len(point.factor)):
        pivot = point.factor[a, a]
        if not abs(pivot) < SMALL_PIVOT:
            continue
        trial.factor[a, a] = 0.0
        if abs(pivot) <= ROUNDED_PIVOT:
            point.factor[a, a] = 0.0
        elif value_at(terms, trial.factor, work)[0] <= point.numbers[0] + NEGLIGIBLE:
            changed = True
        else:
            trial.factor[a, a] = pivot
    if changed:
        evaluate(terms, trial, work)
        move(point, trial)


@numba.njit(inline="always")
def _leave_boundary(terms: Terms, point: Point, trial: Point, best: Point, work: Work) -> bool:
    """Move to a lower point off the boundary; return whether there is one, or the boundary holds the minimum."""
    size, smallest = len(point.factor), np.inf
    for a in range(size):
        smallest = min(smallest, abs(point.factor[a, a]))
    if smallest >= SMALL_PIVOT:
        return False
    curvatures, directions = _curvatures(terms, point, work)
    lowest, found = point.numbers[0], False
    root, rotation = np.zeros((size, size + 1)), np.zeros((size + 1, size + 1))
    for k in range(size):
        for variance in VARIANCES:
            if not curvatures[k] < 0.0:
                break
            copy(point.factor, root[:, :size])
            for a in range(size):
                root[a, size] = np.sqrt(variance) * directions[a, k]
            turn(root, rotation)
            copy(root, trial.factor)
            value = value_at(terms, trial.factor, work)[0]
            if value < point.numbers[0] - NEGLIGIBLE and value < lowest:
                lowest, found = value, True
                copy(trial.factor, best.factor)
            elif found:
                break
    if found:
        evaluate(terms, best, work)
        move(point, best)
    return found


@numba.njit(inline="always")
def _curvatures(terms: Terms, point: Point, work: Work) -> tuple[Array, Array]:
    """Return derivatives of the objective along directions of the covariance (S,), and the directions (S, S)."""
    effects, slope = terms.effects, covariance_slope(terms, point.factor, work)
    size = len(slope)
    curvatures, directions, first = np.diag(slope).copy(), np.eye(size), 0
    while first < size:
        end = first + 1
        while end < size and effects.term[end] == effects.term[first]:
            end += 1
        if effects.correlated[first]:
            values, vectors = np.linalg.eigh(np.ascontiguousarray(slope[first:end, first:end]))
            curvatures[first:end], directions[first:end, first:end] = values, vectors
        first = end
    return curvatures, directions


@numba.njit(cache=True, nogil=True)
def _shares_levels(effects: Effects) -> bool:
    """Whether some term has several effects."""
    return bool(np.any(effects.term[1:] == effects.term[:-1]))

r"""The search over the factor of a single random term, from start to end in compiled loops.

It takes the steps of `bayeslmm.inference.optimum.search` one for one: with a single term an evaluation is so short that
the calls between them would cost more than they do. Fits, their bootstrap and fits of many responses share it.

Points are written in place and functions called once are inlined, which halves the time it takes to compile.
"""

import numba
import numpy as np

from bayeslmm.inference.optimum.chart import LARGEST_CHANGE
from bayeslmm.inference.optimum.compiled_chart import Chart, chart_at, fill_gradient, turn, turn_column
from bayeslmm.inference.optimum.compiled_point import (
    Point,
    SingleTerm,
    Work,
    copy,
    covariance_slope,
    empty_point,
    evaluate,
    move,
    value_at,
)
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


@numba.njit(inline="always")
def _descend(term: SingleTerm, point: Point, trial: Point, best: Point, square: bool, gain: float, work: Work) -> float:
    """Run BFGS, coordinates chosen anew where steps are long; return the gradient's norm."""
    size, norm = len(point.factor), np.inf
    for _ in range(MAXIMUM_CHARTS):
        chart = chart_at(term, point, square and not term.diagonal)
        fill_gradient(chart, point, np.eye(size))
        limited = _descend_in_chart(term, chart, point, trial, best, gain, work)
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
        copy(chart.centre, trial.factor)
        for k in range(len(x)):
            for a in range(len(rotation)):
                for b in range(len(rotation)):
                    trial.factor[a, b] += (x[k] + size * direction[k]) * chart.basis[k, a, b]
        if chart.square:
            turn(trial.factor, rotation)
        evaluate(term, trial, work)
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
def _drop_negligible(term: SingleTerm, point: Point, trial: Point, work: Work) -> None:
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
        elif value_at(term, trial.factor, work)[0] <= point.numbers[0] + NEGLIGIBLE:
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
            copy(point.factor, root[:, :size])
            for a in range(size):
                root[a, size] = np.sqrt(variance) * directions[a, k]
            turn(root, rotation)
            copy(root, trial.factor)
            value = value_at(term, trial.factor, work)[0]
            if value < point.numbers[0] - NEGLIGIBLE and value < lowest:
                lowest, found = value, True
                copy(trial.factor, best.factor)
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

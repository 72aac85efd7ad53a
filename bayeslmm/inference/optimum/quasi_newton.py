r"""BFGS for functions whose coordinates have about unit curvature.

It starts from the identity as inverse Hessian and takes whole steps at once, and it stops on what is left to gain,
:math:`\tfrac12 g^\top H^{-1} g`, rather than on the gradient: where the function is flat, as near the boundary of a
covariance, a small gradient says little (Nocedal and Wright 2006, chapters 3 and 6).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

from bayeslmm.types import Array

Function = Callable[[Array], tuple[float, Array]]

SUFFICIENT_DECREASE = 1e-4
CURVATURE_SHARE = 0.9  # of the slope that may be left after a step
MAXIMUM_TRIALS = 25
MAXIMUM_STEPS = 500
ROUNDING = 2e-14  # relative error of the function that two values may differ by


@dataclass(frozen=True, slots=True)
class Descent:
    """Where a descent ended.

    Attributes
    ----------
    x, value, gradient
        The last point.
    gain
        What one more step would be expected to gain.
    n_steps
        Number of steps.
    limited
        Whether it stopped because a step was as long as allowed: time for other coordinates.
    """

    x: Array
    value: float
    gradient: Array
    gain: float
    n_steps: int
    limited: bool = False


def descend(
    function: Function,
    start: Array,
    *,
    tolerance: float,
    longest: Callable[[Array], float],
    max_steps: int = MAXIMUM_STEPS,
) -> Descent:
    """Minimise from `start`.

    Parameters
    ----------
    function
        Returns value and gradient at x, shape (k,); an infinite value where there is none.
    start
        First point, shape (k,).
    tolerance
        Stop when the expected gain of a step falls below this.
    longest
        Largest multiple of a direction (k,) that may be tried at once.
    max_steps
        Stop after so many steps.
    """
    x = start
    value, gradient = function(x)
    inverse = np.eye(len(x))
    fresh = True
    for step in range(max_steps):
        direction = -inverse @ gradient
        slope = float(gradient @ direction)
        if -0.5 * slope <= tolerance:
            return Descent(x, value, gradient, -0.5 * slope, step)
        limit = longest(direction)
        found = line_search(function, x, value, direction, slope, min(1.0, limit), limit)
        if found is None:
            if fresh:
                return Descent(x, value, gradient, -0.5 * slope, step)
            inverse, fresh = np.eye(len(x)), True
            continue
        moved, new_value, new_gradient, limited = found
        inverse = update(inverse, moved - x, new_gradient - gradient)
        x, value, gradient, fresh = moved, new_value, new_gradient, False
        if limited:
            return Descent(x, value, gradient, 0.5 * float(gradient @ inverse @ gradient), step + 1, True)
    return Descent(x, value, gradient, 0.5 * float(gradient @ inverse @ gradient), max_steps)


@numba.njit(cache=True, nogil=True)
def update(inverse: Array, step: Array, change: Array) -> Array:
    """Return the BFGS update of the inverse Hessian, or the old one where the curvature is not positive."""
    d, along, length, bend = len(step), 0.0, 0.0, 0.0
    turned = np.zeros(d)
    for a in range(d):
        for b in range(d):
            turned[a] += inverse[a, b] * change[b]
        along += step[a] * change[a]
        length += step[a] * step[a]
        bend += change[a] * change[a]
    if along <= 1e-10 * np.sqrt(length * bend):
        return inverse
    share = 1.0
    for a in range(d):
        share += change[a] * turned[a] / along
    moved = np.empty((d, d))
    for a in range(d):
        for b in range(d):
            both = step[a] * turned[b] + turned[a] * step[b]
            moved[a, b] = inverse[a, b] + (step[a] * step[b] * share - both) / along
    return moved


def line_search(
    function: Function, x: Array, value: float, direction: Array, slope: float, first: float, longest: float
) -> tuple[Array, float, Array, bool] | None:
    """Find a step with the weak Wolfe conditions by bracketing; None if no step lowers the function.

    Point, value and gradient, and whether the step is the longest allowed.

    Parameters
    ----------
    function, x, value
        What is minimised, the point and the value there.
    direction, slope
        Direction, shape (k,), and the derivative along it.
    first, longest
        First and largest multiple of the direction to try.
    """
    slack = ROUNDING * abs(value)
    low, high = 0.0, np.inf
    low_value, low_slope = value, slope
    best: tuple[Array, float, Array, bool] | None = None
    size = first
    for _ in range(MAXIMUM_TRIALS):
        moved = x + size * direction
        new_value, gradient = function(moved)
        new_slope = float(gradient @ direction)
        if not new_value <= value + SUFFICIENT_DECREASE * size * slope + slack:
            high = size
            size = parabola_minimum(low, low_value, low_slope, size, new_value)
        else:
            if best is None or new_value <= best[1]:
                best = moved, new_value, gradient, size >= longest
            if new_slope >= CURVATURE_SHARE * slope or size >= longest:
                return best
            low, low_value, low_slope = size, new_value, new_slope
            size = min(2.0 * size, longest) if np.isinf(high) else 0.5 * (low + high)
        if size * -slope <= slack:  # what is left to gain is smaller than the error of the function
            break
    return best


@numba.njit(cache=True, nogil=True)
def parabola_minimum(low: float, low_value: float, low_slope: float, high: float, high_value: float) -> float:
    """Return the minimum of the parabola through one end's value and slope and the other's value, kept inside."""
    width = high - low
    if not np.isfinite(high_value):
        return low + 0.1 * width
    bend = high_value - low_value - low_slope * width
    share = -low_slope * width / (2.0 * bend) if bend > 0 else 0.5
    return low + min(max(share, 0.1), 0.7) * width

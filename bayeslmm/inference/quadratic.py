r"""A normal approximation from values of the log density alone.

Where a matrix has to be factored at each point, a gradient takes as long as three values, and in few dimensions second
differences of values cost less than those of gradients: :math:`1 + d + d^2` values, steps h of about a standard
deviation,

.. math::

   \partial_a f &\approx \frac{f(h_a) - f(-h_a)}{2 h_a}, \qquad
   \partial_a^2 f \approx \frac{f(h_a) - 2 f(0) + f(-h_a)}{h_a^2}, \\
   \partial_a\partial_b f &\approx \frac{f(h_a + h_b) + f(-h_a - h_b) - f(h_a) - f(-h_a) - f(h_b) - f(-h_b)
   + 2 f(0)}{2 h_a h_b},

with errors in fourth derivatives only; then one step of Newton's method (Nocedal and Wright 2006, section 8.1).
"""

from collections.abc import Callable

import numpy as np

from bayeslmm.inference.laplace import Laplace
from bayeslmm.types import Array

MOST_MOVES = 4  # of the stencil, before gradients have to search
NEAR = 0.5  # standard deviations that the mode may lie from the stencil's centre
LIKE_STEPS = 3.0  # times a step, or its inverse: where a standard deviation may lie
FARTHEST = 3.0  # standard deviations a move may go


def laplace_of_values(
    evaluate: Callable[[Array], Array], start: Array, steps: Array, most_variance: Array
) -> Laplace | None:
    """Return the normal approximation of a log density, from its values around a point near its mode.

    Parameters
    ----------
    evaluate
        Returns the log density at points (m, d), shape (m,).
    start
        Where to begin, shape (d,).
    steps
        Rough standard deviations, shape (d,).
    most_variance
        Variances of the coordinates, shape (d,), above which the density is not taken to be near normal.

    Returns
    -------
    Laplace or None
        None where the density is far from normal, or its mode far from the start.
    """
    centre, evaluations = start, 0
    for _ in range(MOST_MOVES):
        offsets = stencil(len(centre))
        values = evaluate(centre + offsets * steps)
        evaluations += len(values)
        if not np.isfinite(values).all():
            return None
        gradient, hessian = stencil_derivatives(values, len(centre))  # per step
        if np.linalg.eigvalsh(hessian).max() >= 0.0:
            return None
        covariance = -np.linalg.inv(hessian)
        move = covariance @ gradient
        distance, sds = float(np.sqrt(gradient @ move)), np.sqrt(np.diag(covariance))
        if distance <= NEAR and sds.max() <= LIKE_STEPS and sds.min() >= 1.0 / LIKE_STEPS:
            found = covariance * np.outer(steps, steps)
            if (np.diag(found) > most_variance).any():
                return None
            return Laplace(centre + steps * move, found, float(values[0]) + 0.5 * distance**2, evaluations)
        centre = centre + steps * move * min(1.0, FARTHEST / distance)
        steps = steps * np.clip(sds, 1.0 / LIKE_STEPS, LIKE_STEPS)
    return None


def stencil(dimension: int) -> Array:
    """Return the centre, points a step above and below along each axis, and along each diagonal, (1 + d + d², d)."""
    unit = np.eye(dimension)
    pairs = np.array([unit[a] + unit[b] for a in range(dimension) for b in range(a)]).reshape(-1, dimension)
    return np.concatenate([np.zeros((1, dimension)), unit, -unit, pairs, -pairs])


def stencil_derivatives(values: Array, dimension: int) -> tuple[Array, Array]:
    """Return gradient (d,) and Hessian (d, d), in units of the steps, from values at a `stencil`."""
    d, middle = dimension, values[0]
    above, below = values[1 : 1 + d], values[1 + d : 1 + 2 * d]
    both, neither = np.split(values[1 + 2 * d :], 2)
    hessian = np.diag(above + below - 2.0 * middle)
    rows, columns = np.tril_indices(d, -1)
    mixed = 0.5 * (both + neither + 2.0 * middle - (above + below)[rows] - (above + below)[columns])
    hessian[rows, columns] = hessian[columns, rows] = mixed
    return 0.5 * (above - below), hessian

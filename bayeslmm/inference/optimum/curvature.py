r"""The Hessian of the objective in theta, by central differences of its gradient.

It costs two gradients per entry of theta, so a fit does not do it unasked.
"""

import numpy as np
from numpy.typing import ArrayLike

from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.types import Array

STEP = 1e-4  # of theta, columns scaled: truncation (its square) and rounding of the gradient (1e-12 / step) balance


def hessian(kernel: Kernel, theta: ArrayLike, method: str = "reml", sigma: float | None = None) -> Array:
    """Return the second derivatives of `Kernel.objective` by theta, shape (k, k).

    Parameters
    ----------
    kernel
        The data.
    theta
        Free entries of the user's relative covariance factors, shape (k,).
    method
        "ml" or "reml".
    sigma
        Residual standard deviation, if it is known.
    """
    theta = np.asarray(theta, dtype=float)
    steps = STEP * theta_units(kernel)
    rows = [
        (kernel.gradient(theta + step, method, sigma) - kernel.gradient(theta - step, method, sigma)) / (2 * size)
        for step, size in zip(np.diag(steps), steps, strict=True)
    ]
    found = np.array(rows).reshape(len(theta), len(theta))
    return (found + found.T) / 2.0


def smallest_curvature(kernel: Kernel, matrix: Array) -> float:
    """Return the smallest eigenvalue of a Hessian by theta, each entry in units of its column's scale.

    So it does not depend on the units of the columns. Positive: a strict minimum, on the boundary too; about zero: a
    direction the data say nothing of; NaN without random terms.
    """
    units = theta_units(kernel)
    return float(np.linalg.eigvalsh(matrix * np.outer(units, units))[0]) if len(units) else np.nan


def theta_units(kernel: Kernel) -> Array:
    """Return what each entry of theta is measured in: one over the root mean square of its row's column, (k,)."""
    units = [1.0 / m.scale[s.free_entries[0]] for m, s in zip(kernel.maps, kernel.shapes, strict=True)]
    return np.concatenate(units) if units else np.zeros(0)

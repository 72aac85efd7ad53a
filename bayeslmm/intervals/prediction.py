r"""Limits of predictions that allow for the error of the covariance parameters.

With θ and σ known, the error of a prediction has variance :math:`v(\theta, \sigma) = \sigma^2 a(\theta)`. They are
estimated, with consequences of two kinds. The prediction moves with θ, which adds the variance of
:math:`\hat\eta(\theta)` (Kackar and Harville 1984, *J. Amer. Statist. Assoc.* 79, 853-862). And v itself is an
estimate, so that the limits are those of a t distribution (Satterthwaite 1946):

.. math:: \bar v = \operatorname{E} v + \operatorname{var}\hat\eta, \qquad
          \mathrm{df} = \frac{2\bar v^2}{\operatorname{var} v + 2\bar v^2/\nu} .

Mean and variance are over :math:`\theta \sim N(\hat\theta, 2H^{-1})`, H the Hessian of the profiled objective, with
:math:`\sigma^2 = \hat\sigma^2(\theta)`; given θ, σ² has ν degrees of freedom. They come from three points of
Gauss-Hermite quadrature along each axis of H, so that a variance estimated as zero counts as well: v is even in θ.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from bayeslmm.inference.optimum.curvature import hessian, theta_units
from bayeslmm.likelihood.conditional import effect_modes, fixed_modes
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import evaluate
from bayeslmm.types import Array, Criterion

NODE = np.sqrt(3.0)  # of three-point Gauss-Hermite quadrature, whose outer weights are one sixth
OUTER = 1.0 / 6.0
FLAT = 1e-8  # eigenvalue of the scaled Hessian, relative to the largest, below which the data say nothing


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The coefficients that go with one value of θ.

    Attributes
    ----------
    theta
        Shape (k,).
    beta
        Shape (p,), user's columns.
    effects
        Random effects b, one (J, S) per term.
    sigma
        The residual standard deviation there.
    """

    theta: Array
    beta: Array
    effects: tuple[Array, ...]
    sigma: float


def coefficients_at(kernel: Kernel, theta: Array, method: Criterion, sigma: float | None) -> Coefficients:
    """Return coefficients and sigma given θ; sigma is the one given, or its estimate."""
    lambdas = kernel.lambdas(theta)
    found = evaluate(kernel.products, lambdas, method, sigma)
    beta = fixed_modes(found.factor)
    effects = tuple(
        u @ (m.matrix @ f).T for u, m, f in zip(effect_modes(found.factor, beta), kernel.maps, lambdas, strict=True)
    )
    user = kernel.fixed.matrix @ beta + kernel.fixed.centring.constant * kernel.y_mean
    return Coefficients(theta, user, effects, found.sigma)


def theta_axes(kernel: Kernel, theta: Array, method: Criterion, sigma: float | None) -> Array:
    """Return one standard deviation of θ along each axis of its normal approximation, shape (r, k).

    Axes along which the objective is flat, or falls, are left out.
    """
    if not len(theta):
        return np.zeros((0, 0))
    units = theta_units(kernel)
    values, vectors = np.linalg.eigh(hessian(kernel, theta, method, sigma) * np.outer(units, units))
    kept = values > FLAT * max(values.max(), 0.0)
    return np.asarray((vectors[:, kept] * np.sqrt(2.0 / values[kept])).T * units)


def full_limits(
    kernel: Kernel,
    theta: Array,
    method: Criterion,
    sigma: float | None,
    error: Callable[[Coefficients], tuple[Array, Array]],
    level: float,
) -> tuple[Array, Array]:
    """Return the limits of m predictions.

    Parameters
    ----------
    kernel
        The data.
    theta
        The optimum, shape (k,).
    method
        "ml" or "reml".
    sigma
        The residual standard deviation where it is known, else None.
    error
        Predictions and the variances of their errors, (m,) each, if θ and σ were as given.
    level
        Probability between the limits.
    """
    mean, variance = error(coefficients_at(kernel, theta, method, sigma))
    expected, spread, moved = variance.copy(), np.zeros_like(variance), np.zeros_like(variance)
    for axis in theta_axes(kernel, theta, method, sigma):
        ends = [error(coefficients_at(kernel, theta + side * NODE * axis, method, sigma)) for side in (-1.0, 1.0)]
        expected += OUTER * sum(v - variance for _, v in ends)
        spread += _axis_variance([v - variance for _, v in ends])
        moved += _axis_variance([m - mean for m, _ in ends])
    total = np.maximum(expected, 0.0) + moved
    if sigma is None:
        spread = spread + 2.0 * total**2 / (kernel.n - (kernel.p if method == "reml" else 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread > 0, 2.0 * total**2 / spread, np.inf)
    half = stdtrit(np.minimum(df, 1e10), 0.5 + level / 2) * np.sqrt(total)
    return mean - half, mean + half


def _axis_variance(changes: list[Array]) -> Array:
    """Return the variance, along one axis, of what changes by so much at the outer points."""
    values = np.array(changes)
    return np.asarray(OUTER * np.sum(values**2, axis=0) - (OUTER * np.sum(values, axis=0)) ** 2)

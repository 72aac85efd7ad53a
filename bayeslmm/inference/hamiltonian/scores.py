r"""The density of the covariance parameters in normal scores.

In :math:`\phi = (\log t, \mathrm{atanh}\,r)` a posterior has long tails: :math:`\log t` goes to minus infinity where a
variance may be zero, :math:`\mathrm{atanh}\,r` to infinity where a correlation may be one. Here each coordinate is

.. math:: x = \Phi^{-1}(F(u)), \qquad \log p_x = \log p_u - \log\frac{dx}{du}, \qquad
          \frac{dx}{du} = \frac{f(u)}{\varphi(x)} ,

with F the distribution function of a normal truncated at zero for t, with the mode and the curvature of the Laplace
approximation, and of the prior for a partial correlation, whose :math:`(1 + r)/2` is Beta(a, a) under LKJ. Variances
of zero and correlations of one then lie where a normal density ends, and a correlation the data say nothing about is
exactly normal. log sigma and further coordinates stay as they are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, gammaln, log_ndtr, ndtr, ndtri

from bayeslmm.covariance import sd_places
from bayeslmm.inference.importance.proposals import LOG_2PI, TruncatedMap, identity_map, truncated_map
from bayeslmm.inference.laplace import Laplace
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.partial_correlations import correlation_exponents
from bayeslmm.types import Array

LEAST_VARIANCE = 0.005  # of log t, below which a standard deviation is as normal in log t
SMALLEST_TAIL = 1e-16  # (1 - |r|) / 2, below which r is one to working precision


@dataclass(frozen=True, slots=True)
class CorrelationScores:
    """Maps the atanh of partial correlations to normal scores of symmetric beta distributions.

    Attributes
    ----------
    places
        Which coordinates of phi, shape (k,).
    shapes
        a, shape (k,).
    """

    places: NDArray[np.intp]
    shapes: Array

    def forward(self, u: Array) -> tuple[Array, Array]:
        """Return x and log dx/du for u = atanh r, both (..., k)."""
        tail = 1.0 / (1.0 + np.exp(2.0 * np.abs(u)))
        x = -np.sign(u) * ndtri(np.maximum(betainc(self.shapes, self.shapes, tail), np.finfo(float).tiny))
        return x, self.log_slope(u, x)

    def backward(self, x: Array) -> Array:
        """Return u for x, both (..., k)."""
        tail = np.maximum(betaincinv(self.shapes, self.shapes, ndtr(-np.abs(x))), SMALLEST_TAIL)
        return np.sign(x) * 0.5 * (np.log1p(-tail) - np.log(tail))

    def log_slope(self, u: Array, x: Array) -> Array:
        """Return log dx/du, (..., k)."""
        a = self.shapes
        constant = gammaln(a + 0.5) - gammaln(a) - 0.5 * np.log(np.pi)
        return constant - 2.0 * a * np.logaddexp(u, -u) + 2.0 * a * np.log(2.0) + 0.5 * (x**2 + LOG_2PI)


@dataclass(slots=True)
class ScoredDensity:
    """The log density of (phi, log sigma) in normal scores.

    Attributes
    ----------
    density
        The model.
    sds
        The scores of standard deviations.
    correlations
        Those of partial correlations.
    """

    density: CovarianceDensity
    sds: TruncatedMap
    correlations: CorrelationScores

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return self.density.dimension

    def parameters(self, x: Array) -> Array:
        """Return (phi, log sigma) for x, shape (m, d)."""
        u = self.sds.backward(x)
        places = self.correlations.places
        u[:, places] = self.correlations.backward(x[:, places])
        return u

    def scores(self, u: Array) -> tuple[Array, Array]:
        """Return x and dx/du at one point u = (phi, log sigma), shape (d,)."""
        x = self.sds.forward(u[None])[0][0]
        slopes = np.ones_like(x)
        slopes[self.sds.places] = np.exp(self._log_sd_slopes(u, x)[0])
        x[self.correlations.places], logs = self.correlations.forward(u[self.correlations.places])
        slopes[self.correlations.places] = np.exp(logs)
        return x, slopes

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Return the log density of x, up to a constant, with its gradient, shape (d,).

        Raises
        ------
        FittingError
            Where the likelihood cannot be evaluated.
        """
        u = self.parameters(x[None])[0]
        value, gradient = self.density.value_and_gradient(u)
        gradient = gradient.copy()
        scored = self.correlations
        logs = scored.log_slope(u[scored.places], x[scored.places])
        bends = -2.0 * scored.shapes * np.tanh(u[scored.places])
        for places, log_slopes, bend in (
            (self.sds.places, *self._log_sd_slopes(u, x)),
            (scored.places, logs, bends),
        ):
            slopes = np.exp(log_slopes)
            value -= float(np.sum(log_slopes))
            gradient[places] = (gradient[places] - bend - x[places] * slopes) / slopes
        return value, gradient

    def _log_sd_slopes(self, u: Array, x: Array) -> tuple[Array, Array]:
        """Return log dx/du of the standard deviations, and its derivative by u with x held, both (k,)."""
        sds = self.sds
        t, scores = np.exp(u[sds.places]), x[sds.places]
        standard = (t - sds.mean) / sds.scale
        log_density = -0.5 * standard**2 - np.log(sds.scale) - log_ndtr(sds.mean / sds.scale)
        return log_density + u[sds.places] + 0.5 * scores**2, 1.0 - standard * t / sds.scale


def scored_density(density: CovarianceDensity, laplace: Laplace) -> ScoredDensity:
    """Return a density in the normal scores that the Laplace approximation and the priors of correlations suggest."""
    places = sd_places(density.kernel.shapes)
    sds = truncated_map(laplace.mode, np.diag(laplace.covariance), places, LEAST_VARIANCE)
    return ScoredDensity(density, sds or identity_map(), _correlation_scores(density))


def _correlation_scores(density: CovarianceDensity) -> CorrelationScores:
    places: list[int] = []
    shapes: list[Array] = []
    start = 0
    for shape, term in zip(density.kernel.shapes, density.priors.terms, strict=True):
        if term.correlation is not None:
            places += range(start + shape.n_columns, start + shape.n_coordinates)
            shapes.append(correlation_exponents(term))
        start += shape.n_coordinates
    return CorrelationScores(np.array(places, dtype=np.intp), np.concatenate([np.zeros(0), *shapes]))

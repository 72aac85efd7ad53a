r"""Counts that vary more than Poisson's: the negative binomial distribution with variance :math:`\mu + \mu^2/k`.

With :math:`d = \eta - \log k` and :math:`q = \mu/(\mu + k) = 1/(1 + e^{-d})`,

.. math:: \ell = y\eta - (y + k)\log(1 + e^d) + [\log\Gamma(y + k) - \log\Gamma(k) - y\log k] - \log y!,

in which nothing cancels as k grows to Poisson's limit.
"""

from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import betainc, expit

from bayeslmm.families.definition import Family, Kernel, Parameter
from bayeslmm.families.poisson import REMEDY, count_base
from bayeslmm.families.response import Request, Response, below_zero, counts, plain
from bayeslmm.families.special import bounded_exp, logistic, rising, softplus
from bayeslmm.types import Array

SMALLEST_SHAPE, LARGEST_SHAPE = 0.05, 100.0  # where the search for the shape starts, at the least and the most


@numba.njit(cache=True, nogil=True)
def log_row(y: float, x: float, log_shape: float) -> tuple[float, float, float, float]:
    """Return log f + log y! and its first three derivatives at linear predictor x, without the part of Gamma(k)."""
    k = bounded_exp(log_shape)
    d = x - log_shape
    q = logistic(d)
    spread = (y + k) * q * logistic(-d)
    return y * x - (y + k) * softplus(d), y * logistic(-d) - k * q, -spread, -spread * (1.0 - 2.0 * q)


@numba.njit(cache=True, nogil=True)
def log_row_by_shape(y: float, x: float, log_shape: float) -> tuple[float, float, float]:
    """Return the derivatives by log k of log f and of its first two derivatives, without the part of Gamma(k)."""
    k = bounded_exp(log_shape)
    _, first, second, third = log_row(y, x, log_shape)
    q = logistic(x - log_shape)
    return -k * softplus(x - log_shape) + y - first, -k * q - second, -k * q * (1.0 - q) - third


@numba.njit(cache=True, nogil=True)
def log_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the log link."""
    for i in range(len(y)):
        value, first, second, third = log_row(y[i], eta[i], phi[0, i])
        out[0, i] = value + rising(y[i], bounded_exp(phi[0, i]))[0]
        out[1, i] = first
        out[2, i] = second
        out[3, i] = third


@numba.njit(cache=True, nogil=True)
def log_rows_by_shape(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n) for the log link."""
    for i in range(len(y)):
        value, first, second = log_row_by_shape(y[i], eta[i], phi[0, i])
        out[0, 0, i] = value + rising(y[i], bounded_exp(phi[0, i]))[1]
        out[0, 1, i] = first
        out[0, 2, i] = second


SHAPE = Parameter(
    "shape",
    "log",
    "InverseGamma(0.4, 0.3)",
    "nearly flat in log shape from 0.1 to 100, little mass near zero, Poisson's limit possible; as in brms",
)


def start_shape(y: Array) -> float:
    """Return the logarithm of the shape by moments."""
    mean, variance = float(np.mean(y)), float(np.var(y))
    excess = max(variance - mean, mean**2 / LARGEST_SHAPE)
    shape = mean**2 / excess if excess > 0 else 1.0
    return float(np.log(np.clip(shape, SMALLEST_SHAPE, LARGEST_SHAPE)))


class NegativeBinomial(Family):
    """Counts with variance ``mu + mu^2/shape``.

    Parameters
    ----------
    link
        "log".
    """

    name: ClassVar[str] = "negative_binomial"
    links: ClassVar[tuple[str, ...]] = ("log",)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The shape k."""
        return (SHAPE,)

    @property
    def kernel(self) -> Kernel:
        """The loop of the log link."""
        return log_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log shape."""
        return log_rows_by_shape

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``mu k/(mu + k)``."""
        log_shape = self.rows_of(working, len(eta))[0]
        weights = np.exp(-np.logaddexp(-eta, -log_shape))
        return weights if response.weights is None else weights * response.weights

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read counts."""
        y = counts(values, request, REMEDY)
        return plain(y, count_base(y), request)

    def start(self, response: Response) -> Array:
        """Return the logarithm of the shape by moments."""
        return np.array([start_shape(response.y)])

    def start_predictor(self, response: Response) -> Array:
        """Return the logarithm of the count, moved off zero."""
        return np.log(response.y + 0.5)

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``mu + mu^2/k``."""
        mean = self.link.mean(eta)
        return mean + mean**2 * np.exp(-self.rows_of(working, len(eta))[0])

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y < y) and P(Y <= y)."""
        log_shape = self.rows_of(working, len(eta))[0]
        shape, share = np.exp(log_shape), expit(log_shape - eta)
        below = betainc(shape, np.maximum(response.y, 1.0), share)
        return np.array([below_zero(response.y, below), betainc(shape, response.y + 1.0, share)])

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw counts: Poisson's with a gamma mean."""
        shape = np.exp(self.rows_of(working, len(eta))[0])
        return rng.poisson(self.link.mean(eta) * rng.gamma(shape, 1.0 / shape)).astype(float)

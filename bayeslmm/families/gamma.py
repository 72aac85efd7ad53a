r"""Positive measurements with a constant coefficient of variation: the gamma distribution of shape a.

.. math:: \ell = a\,(\log a - \log\mu - y/\mu) + (a - 1)\log y - \log\Gamma(a).
"""

import math
from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import gammainc

from bayeslmm.families.definition import Family, Kernel, Parameter
from bayeslmm.families.response import Request, Response, plain, positive
from bayeslmm.families.special import bounded_exp, digamma
from bayeslmm.types import Array


@numba.njit(cache=True, nogil=True)
def log_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the log link."""
    for i in range(len(y)):
        a = bounded_exp(phi[0, i])
        ratio = a * y[i] * bounded_exp(-eta[i])
        out[0, i] = a * (phi[0, i] - eta[i] + math.log(y[i])) - ratio - math.lgamma(a)
        out[1, i] = ratio - a
        out[2, i] = -ratio
        out[3, i] = ratio


@numba.njit(cache=True, nogil=True)
def log_rows_by_shape(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n) for the log link."""
    for i in range(len(y)):
        a = bounded_exp(phi[0, i])
        ratio = y[i] * bounded_exp(-eta[i])
        out[0, 0, i] = a * (phi[0, i] + 1.0 - eta[i] + math.log(y[i]) - ratio - digamma(a))
        out[0, 1, i] = a * (ratio - 1.0)
        out[0, 2, i] = -a * ratio


@numba.njit(cache=True, nogil=True)
def inverse_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the inverse link; a linear predictor that is not positive has no density."""
    for i in range(len(y)):
        a = bounded_exp(phi[0, i])
        x = eta[i]
        if not x > 0.0:
            out[0, i] = -math.inf
            out[1:, i] = 0.0
            continue
        out[0, i] = a * (phi[0, i] + math.log(x) + math.log(y[i]) - y[i] * x) - math.lgamma(a)
        out[1, i] = a * (1.0 / x - y[i])
        out[2, i] = -a / x / x
        out[3, i] = 2.0 * a / x / x / x


@numba.njit(cache=True, nogil=True)
def inverse_rows_by_shape(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n) for the inverse link."""
    for i in range(len(y)):
        a = bounded_exp(phi[0, i])
        x = eta[i]
        if not x > 0.0:
            out[0, :, i] = 0.0
            continue
        out[0, 0, i] = a * (phi[0, i] + 1.0 + math.log(x) + math.log(y[i]) - y[i] * x - digamma(a))
        out[0, 1, i] = a * (1.0 / x - y[i])
        out[0, 2, i] = -a / x / x


class Gamma(Family):
    """Positive measurements with variance ``mu^2/shape``.

    Parameters
    ----------
    link
        "log" (default) or "inverse".
    """

    name: ClassVar[str] = "gamma"
    links: ClassVar[tuple[str, ...]] = ("log", "inverse")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The shape a."""
        reason = "nearly flat in log shape: the data say much about it; as in brms"
        return (Parameter("shape", "log", "Gamma(0.01, 0.01)", reason),)

    @property
    def kernel(self) -> Kernel:
        """The loop of the link."""
        return log_rows if self.link.name == "log" else inverse_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log shape."""
        return log_rows_by_shape if self.link.name == "log" else inverse_rows_by_shape

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return a, or ``a mu^2`` for the inverse link."""
        shape = np.exp(self.rows_of(working, len(eta))[0])
        weights = shape * (1.0 if self.link.name == "log" else self.link.mean(eta) ** 2)
        return weights if response.weights is None else weights * response.weights

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read positive numbers."""
        remedy = "The gamma distribution is for positive measurements; model zeros apart, or use another family."
        y = positive(values, request, remedy)
        return plain(y, -np.log(y), request)

    def start(self, response: Response) -> Array:
        """Return the logarithm of the shape from the spread of log y."""
        return np.array([-np.log(np.clip(np.var(np.log(response.y)), 1e-2, 10.0))])

    def start_predictor(self, response: Response) -> Array:
        """Return the link of the response drawn towards its mean."""
        return self.link.predictor(0.5 * (response.y + np.mean(response.y)))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``mu^2/a``."""
        return self.link.mean(eta) ** 2 * np.exp(-self.rows_of(working, len(eta))[0])

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y <= y), twice."""
        shape = np.exp(self.rows_of(working, len(eta))[0])
        return np.tile(gammainc(shape, shape * response.y / self.link.mean(eta)), (2, 1))

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw gamma variables."""
        shape = np.exp(self.rows_of(working, len(eta))[0])
        return rng.gamma(shape, self.link.mean(eta) / shape)

r"""Positive measurements whose logarithm is normal about the linear predictor with deviation :math:`\sigma`.

.. math:: \ell = -\log y - \tfrac12\log 2\pi - \log\sigma - \tfrac12(\log y - \eta)^2/\sigma^2
"""

import math
from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import ndtr

from bayeslmm.families.definition import Kernel, Parameter
from bayeslmm.families.gaussian import Gaussian, scaled
from bayeslmm.families.response import Request, Response, positive
from bayeslmm.families.special import HALF_LOG_2PI
from bayeslmm.types import Array


@numba.njit(cache=True, nogil=True)
def log_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n), less ``-log y``; phi holds log sigma, size the weights that divide the variance."""
    for i in range(len(y)):
        precision = size[i] * math.exp(-2.0 * phi[0, i])
        rest = math.log(y[i]) - eta[i]
        out[0, i] = -HALF_LOG_2PI - phi[0, i] - 0.5 * precision * rest * rest
        out[1, i] = precision * rest
        out[2, i] = -precision
        out[3, i] = 0.0


@numba.njit(cache=True, nogil=True)
def log_rows_by_sigma(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n)."""
    for i in range(len(y)):
        precision = size[i] * math.exp(-2.0 * phi[0, i])
        rest = math.log(y[i]) - eta[i]
        out[0, 0, i] = precision * rest * rest - 1.0
        out[0, 1, i] = -2.0 * precision * rest
        out[0, 2, i] = 2.0 * precision


class LogNormal(Gaussian):
    """Positive measurements of median ``exp(eta)``.

    Parameters
    ----------
    link
        "identity", of the mean of the logarithm.
    """

    name: ClassVar[str] = "lognormal"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The standard deviation of the logarithm."""
        return (Parameter("sigma", "log", "HalfStudentT(3, 1)", "in units of sd(log y)", True),)

    @property
    def kernel(self) -> Kernel:
        """The loop over the logarithms."""
        return log_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log sigma."""
        return log_rows_by_sigma

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read positive numbers."""
        remedy = "The lognormal distribution is for positive measurements; model zeros apart, or use another family."
        y = positive(values, request, remedy)
        return scaled(y, -np.log(y), request)

    def start(self, response: Response) -> Array:
        """Return the logarithm of the standard deviation of the logarithms."""
        return super().start(_of_logarithms(response))

    def start_predictor(self, response: Response) -> Array:
        """Return the logarithms."""
        return np.log(response.y)

    def predictor_location(self, response: Response) -> float:
        """Return the mean of the logarithms."""
        return super().predictor_location(_of_logarithms(response))

    def predictor_scale(self, response: Response) -> float:
        """Return the standard deviation of the logarithms."""
        return super().predictor_scale(_of_logarithms(response))

    def mean(self, eta: Array, working: Array) -> Array:
        """Return ``exp(eta + sigma^2/2)``."""
        return np.exp(eta + 0.5 * np.exp(2.0 * self.rows_of(working, len(eta))[0]))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``exp(2 eta + s^2) (exp(s^2) - 1)``, s^2 the variance of the logarithm."""
        spread = super().variance(response, eta, working)
        return np.exp(2.0 * eta + spread) * np.expm1(spread)

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y <= y), twice."""
        unit = np.exp(-self.rows_of(working, len(eta))[0]) * np.sqrt(response.size)
        return np.tile(ndtr((np.log(response.y) - eta) * unit), (2, 1))

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw lognormal variables."""
        return np.exp(super().simulate(response, eta, working, rng))


def _of_logarithms(response: Response) -> Response:
    return response.with_y(np.log(response.y), response.base)

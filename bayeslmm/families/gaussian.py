r"""Measurements with normal errors, :math:`\ell = -\tfrac12\log 2\pi - \log\sigma - \tfrac12(y - \eta)^2/\sigma^2`."""

import math
from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import ndtr

from bayeslmm.families.definition import Family, Kernel, Parameter
from bayeslmm.families.response import Request, Response, multiplicities, single_column
from bayeslmm.families.special import HALF_LOG_2PI
from bayeslmm.types import Array


@numba.njit(cache=True, nogil=True)
def identity_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the identity link; phi holds log sigma, size the prior weights that divide the variance."""
    for i in range(len(y)):
        precision = size[i] * math.exp(-2.0 * phi[0, i])
        rest = y[i] - eta[i]
        out[0, i] = -HALF_LOG_2PI - phi[0, i] - 0.5 * precision * rest * rest
        out[1, i] = precision * rest
        out[2, i] = -precision
        out[3, i] = 0.0


@numba.njit(cache=True, nogil=True)
def identity_rows_by_sigma(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n) for the identity link."""
    for i in range(len(y)):
        precision = size[i] * math.exp(-2.0 * phi[0, i])
        rest = y[i] - eta[i]
        out[0, 0, i] = precision * rest * rest - 1.0
        out[0, 1, i] = -2.0 * precision * rest
        out[0, 2, i] = 2.0 * precision


def scaled(y: Array, base: Array, request: Request) -> Response:
    """Return a response whose prior weights divide each row's variance; they are kept as its size."""
    weights = multiplicities(request, len(y))
    if weights is None:
        return Response(y, np.ones(len(y)), base)
    return Response(y, weights, base + 0.5 * np.log(weights))


class Gaussian(Family):
    """Measurements with normal errors of one standard deviation; a weight divides a row's variance.

    Parameters
    ----------
    link
        "identity".
    """

    name: ClassVar[str] = "gaussian"
    links: ClassVar[tuple[str, ...]] = ("identity",)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The residual standard deviation."""
        return (Parameter("sigma", "log", "HalfStudentT(3, 1)", "in units of sd(y)", True),)

    @property
    def kernel(self) -> Kernel:
        """The loop of the identity link."""
        return identity_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log sigma."""
        return identity_rows_by_sigma

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``w/sigma^2``."""
        return response.size * np.exp(-2.0 * self.rows_of(working, len(eta))[0])

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read numbers."""
        y = single_column(values, request)
        return scaled(y, np.zeros(len(y)), request)

    def start(self, response: Response) -> Array:
        """Return the logarithm of the response's standard deviation."""
        return np.array([np.log(float(np.std(response.y)) or 1.0)])

    def start_predictor(self, response: Response) -> Array:
        """Return the response."""
        return response.y.copy()

    def trials(self, response: Response) -> Array:
        """Return ones: the size of a row is its weight."""
        return np.ones(len(response.size))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``sigma^2/w``."""
        return np.exp(2.0 * self.rows_of(working, len(eta))[0]) / response.size

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y <= y), twice."""
        unit = np.exp(-self.rows_of(working, len(eta))[0]) * np.sqrt(response.size)
        return np.tile(ndtr((response.y - eta) * unit), (2, 1))

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw normal variables."""
        sd = np.exp(self.rows_of(working, len(eta))[0]) / np.sqrt(response.size)
        return eta + sd * rng.standard_normal(len(eta))

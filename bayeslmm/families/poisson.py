r"""Counts: the Poisson distribution, :math:`\ell = y\eta - e^\eta - \log y!`."""

from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import gammaln, pdtr

from bayeslmm.families.definition import Family, Kernel
from bayeslmm.families.response import Request, Response, below_zero, counts, plain
from bayeslmm.families.special import LARGEST
from bayeslmm.families.vectorised import LOWEST, exponential
from bayeslmm.types import Array

REMEDY = "Counts are whole numbers from zero; for positive measurements use 'gamma' or 'lognormal'."


@numba.njit(cache=True, nogil=True, error_model="numpy")
def log_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the log link."""
    for i in range(len(y)):
        mean = exponential(max(min(eta[i], LARGEST), LOWEST))
        out[0, i] = y[i] * eta[i] - mean
        out[1, i] = y[i] - mean
        out[2, i] = -mean
        out[3, i] = -mean


def count_base(y: Array) -> Array:
    """Return -log y!, (n,)."""
    return -gammaln(y + 1.0)


class Poisson(Family):
    """Counts with variance equal to the mean.

    Parameters
    ----------
    link
        "log".
    """

    name: ClassVar[str] = "poisson"
    links: ClassVar[tuple[str, ...]] = ("log",)

    @property
    def kernel(self) -> Kernel:
        """The loop of the log link."""
        return log_rows

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return the mean."""
        mean = self.link.mean(eta)
        return mean if response.weights is None else mean * response.weights

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read counts."""
        y = counts(values, request, REMEDY)
        return plain(y, count_base(y), request)

    def start(self, response: Response) -> Array:
        """Return nothing: there is no dispersion."""
        return np.zeros(0)

    def start_predictor(self, response: Response) -> Array:
        """Return the logarithm of the count, moved off zero."""
        return np.log(response.y + 0.5)

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return the mean."""
        return self.link.mean(eta)

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y < y) and P(Y <= y)."""
        mean = self.link.mean(eta)
        return np.array([below_zero(response.y, pdtr(np.maximum(response.y - 1.0, 0.0), mean)), pdtr(response.y, mean)])

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw counts."""
        return rng.poisson(self.link.mean(eta)).astype(float)

r"""Proportions between zero and one that are not counts: the beta distribution of mean :math:`\mu`, precision c.

.. math:: \ell = \log\Gamma(c) - \log\Gamma(\mu c) - \log\Gamma((1 - \mu)c)
          + (\mu c - 1)\log y + ((1 - \mu)c - 1)\log(1 - y).

The polygamma functions come multiplied by powers of their arguments, so that nothing overflows where a mean nears zero
or one (Ferrari and Cribari-Neto 2004).
"""

import math
from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import betainc, expit, logit, polygamma

from bayeslmm.families.definition import Family, Kernel, Parameter
from bayeslmm.families.response import Request, Response, plain, refuse, single_column
from bayeslmm.families.special import bounded_exp, logistic, scaled_polygammas
from bayeslmm.types import Array


@numba.njit(cache=True, nogil=True)
def logit_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the logit link."""
    for i in range(len(y)):
        c = bounded_exp(phi[0, i])
        x = max(min(eta[i], 600.0), -600.0)
        m, w = logistic(x), logistic(-x)
        a, b = m * c, w * c
        log_y, log_rest = math.log(y[i]), math.log1p(-y[i])
        a1, a2, a3 = scaled_polygammas(a)
        b1, b2, b3 = scaled_polygammas(b)
        slope = c * m * w * (log_y - log_rest) - w * a1 + m * b1  # dl/dmu times dmu/deta
        bend = -(w * w * a2 + m * m * b2)
        third = -(w * w * w * a3 - m * m * m * b3)
        odd = w - m
        out[0, i] = math.lgamma(c) - math.lgamma(a) - math.lgamma(b) + a * log_y + b * log_rest
        out[1, i] = slope
        out[2, i] = bend + slope * odd
        out[3, i] = third + 3.0 * bend * odd + slope * (1.0 - 6.0 * m * w)


@numba.njit(cache=True, nogil=True)
def logit_rows_by_precision(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n) for the logit link."""
    for i in range(len(y)):
        c = bounded_exp(phi[0, i])
        x = max(min(eta[i], 600.0), -600.0)
        m, w = logistic(x), logistic(-x)
        a, b = m * c, w * c
        log_y, log_rest = math.log(y[i]), math.log1p(-y[i])
        a1, a2, a3 = scaled_polygammas(a)
        b1, b2, b3 = scaled_polygammas(b)
        slope = c * m * w * (log_y - log_rest) - w * (a1 + a2) + m * (b1 + b2)
        bend = -(w * w * (2.0 * a2 + a3) + m * m * (2.0 * b2 + b3))
        out[0, 0, i] = scaled_polygammas(c)[0] - a1 - b1 + a * log_y + b * log_rest
        out[0, 1, i] = slope
        out[0, 2, i] = bend + slope * (w - m)


class Beta(Family):
    """Proportions with variance ``mu (1 - mu)/(1 + precision)``.

    Parameters
    ----------
    link
        "logit".
    """

    name: ClassVar[str] = "beta"
    links: ClassVar[tuple[str, ...]] = ("logit",)
    log_concave: ClassVar[bool] = False

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The precision c."""
        reason = "nearly flat in log precision: the data say much about it; as in brms"
        return (Parameter("precision", "log", "Gamma(0.01, 0.01)", reason),)

    @property
    def kernel(self) -> Kernel:
        """The loop of the logit link."""
        return logit_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log precision."""
        return logit_rows_by_precision

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``(c mu (1 - mu))^2 (psi'(mu c) + psi'((1 - mu) c))``."""
        c = np.exp(self.rows_of(working, len(eta))[0])
        m, w = expit(np.clip(eta, -100, 100)), expit(-np.clip(eta, -100, 100))
        weights = (c * m * w) ** 2 * (polygamma(1, m * c) + polygamma(1, w * c))
        return weights if response.weights is None else weights * response.weights

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read numbers strictly between zero and one."""
        y = single_column(values, request)
        remedy = (
            "The beta distribution has none of these: move them inwards, (y (n - 1) + 0.5)/n, or, if they are shares "
            "of counts, use 'binomial'."
        )
        refuse((y <= 0) | (y >= 1), y, request, "is not strictly between 0 and 1", remedy)
        return plain(y, -np.log(y) - np.log1p(-y), request)

    def start(self, response: Response) -> Array:
        """Return the logarithm of the precision by moments."""
        mean, variance = float(np.mean(response.y)), float(np.var(response.y))
        return np.array([np.log(np.clip(mean * (1 - mean) / max(variance, 1e-12) - 1, 0.5, 1e4))])

    def start_predictor(self, response: Response) -> Array:
        """Return the logit of the response drawn towards its mean."""
        return logit(0.5 * (response.y + np.mean(response.y)))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``mu (1 - mu)/(1 + c)``."""
        mean = self.link.mean(eta)
        return mean * (1.0 - mean) / (1.0 + np.exp(self.rows_of(working, len(eta))[0]))

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y <= y), twice."""
        c = np.exp(self.rows_of(working, len(eta))[0])
        return np.tile(betainc(c * expit(eta), c * expit(-eta), response.y), (2, 1))

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw beta variables, kept off zero and one."""
        c, m = np.exp(self.rows_of(working, len(eta))[0]), self.link.mean(eta)
        return np.clip(rng.beta(m * c, (1 - m) * c), 1e-12, 1 - 1e-12)

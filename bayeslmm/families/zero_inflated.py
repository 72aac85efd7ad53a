r"""Counts with more zeros than their distribution has: a share :math:`\pi` of the rows is always zero (Lambert 1992).

With :math:`g_0(\eta)` the log density of a zero among the counts, :math:`\zeta = \mathrm{logit}\,\pi` and
:math:`q = 1/(1 + e^{\zeta - g_0})`, a zero has

.. math:: \ell = \log(e^\zeta + e^{g_0}) - \log(1 + e^\zeta), \quad \ell' = qg_0', \quad
          \ell'' = qg_0'' + q(1 - q)g_0'^2, \quad
          \ell''' = qg_0''' + 3q(1 - q)g_0'g_0'' + q(1 - q)(1 - 2q)g_0'^3,

and any other count :math:`\log f - \log(1 + e^\zeta)`. The last dispersion parameter is :math:`\zeta`; it may differ
between rows.
"""

import math
from typing import Any, ClassVar

import numba
import numpy as np

from bayeslmm.families import negative_binomial, poisson
from bayeslmm.families.definition import Family, Kernel, Parameter
from bayeslmm.families.negative_binomial import log_row, log_row_by_shape
from bayeslmm.families.response import Request, Response, below_zero
from bayeslmm.families.special import LARGEST, logistic, softplus
from bayeslmm.types import Array

ZERO = Parameter("zero", "logit", "Uniform(0, 1)", "every share of extra zeros alike")


@numba.njit(cache=True, nogil=True)
def zero_row(g0: float, g1: float, g2: float, g3: float, zeta: float) -> tuple[float, float, float, float]:
    """Return the log density of a zero and its first three derivatives."""
    gap = zeta - g0
    value = g0 + softplus(gap) - softplus(zeta) if gap < 0.0 else zeta + softplus(-gap) - softplus(zeta)
    q = logistic(-gap)
    if q * abs(g3) < 1e-300:
        return value, 0.0, 0.0, 0.0
    spread = q * logistic(gap)
    odd = spread * (1.0 - 2.0 * q)
    return value, q * g1, q * g2 + spread * g1 * g1, q * g3 + 3.0 * spread * g1 * g2 + odd * g1 * g1 * g1


@numba.njit(cache=True, nogil=True)
def poisson_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for Poisson counts; phi holds zeta."""
    poisson.log_rows(y, size, eta, phi, out)
    for i in range(len(y)):
        zeta = phi[0, i]
        if y[i] > 0.0:
            out[0, i] -= softplus(zeta)
        else:
            out[0, i], out[1, i], out[2, i], out[3, i] = zero_row(out[0, i], out[1, i], out[2, i], out[3, i], zeta)


@numba.njit(cache=True, nogil=True)
def poisson_rows_by_zero(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n) for Poisson counts."""
    for i in range(len(y)):
        zeta = phi[0, i]
        mean = math.exp(min(eta[i], LARGEST))
        fill_by_zero(y[i] == 0.0, -mean, -mean, -mean, zeta, out[0, :, i])


@numba.njit(cache=True, nogil=True)
def fill_by_zero(is_zero: bool, g0: float, g1: float, g2: float, zeta: float, out: Array) -> None:
    """Fill out (3,) with the derivatives by zeta of the log density and its first two derivatives."""
    out[0] = -logistic(zeta)
    out[1] = 0.0
    out[2] = 0.0
    if not is_zero:
        return
    q = logistic(g0 - zeta)
    spread = q * logistic(zeta - g0)
    out[0] = (1.0 - q) * logistic(-zeta) - q * logistic(zeta)
    if q * abs(g2) > 1e-300:
        out[1] = -spread * g1
        out[2] = -spread * g2 - spread * (1.0 - 2.0 * q) * g1 * g1


@numba.njit(cache=True, nogil=True)
def negative_binomial_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for negative binomial counts; phi holds log shape and zeta."""
    negative_binomial.log_rows(y, size, eta, phi, out)
    for i in range(len(y)):
        zeta = phi[1, i]
        if y[i] > 0.0:
            out[0, i] -= softplus(zeta)
        else:
            out[0, i], out[1, i], out[2, i], out[3, i] = zero_row(out[0, i], out[1, i], out[2, i], out[3, i], zeta)


@numba.njit(cache=True, nogil=True)
def negative_binomial_rows_by_dispersion(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (2, 3, n) for negative binomial counts."""
    negative_binomial.log_rows_by_shape(y, size, eta, phi, out)
    for i in range(len(y)):
        zeta = phi[1, i]
        g0, g1, g2, _ = log_row(0.0, eta[i], phi[0, i])
        fill_by_zero(y[i] == 0.0, g0, g1, g2, zeta, out[1, :, i])
        if y[i] == 0.0:
            k0, k1, k2 = log_row_by_shape(0.0, eta[i], phi[0, i])
            q = logistic(g0 - zeta)
            spread = q * logistic(zeta - g0)
            out[0, 0, i] = q * k0
            out[0, 1, i] = spread * k0 * g1 + q * k1
            out[0, 2, i] = spread * k0 * g2 + q * k2 + spread * (1.0 - 2.0 * q) * k0 * g1 * g1 + 2.0 * spread * g1 * k1


class _WithZeros(Family):
    """What zero-inflated families share: reading, starting and drawing."""

    links: ClassVar[tuple[str, ...]] = ("log",)
    log_concave: ClassVar[bool] = False
    counts: ClassVar[type[Family]]

    def __init__(self, link: str | None = None) -> None:
        super().__init__(link)
        self._counts = self.counts(link)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Those of the counts, then the share of extra zeros."""
        return (*self._counts.parameters, ZERO)

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return those of the counts."""
        return self._counts.expected_weights(response, eta, np.asarray(working)[:-1])

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read counts."""
        return self._counts.read(values, request)

    def start(self, response: Response) -> Array:
        """Return the counts' start, and half the zeros as extra ones."""
        share = 0.5 * np.mean(response.y == 0)
        zero = np.clip(share, 0.02, 0.9)
        return np.concatenate([self._counts.start(response), [np.log(zero / (1 - zero))]])

    def start_predictor(self, response: Response) -> Array:
        """Return the logarithm of the count; zeros at the mean of the others."""
        positive = response.y[response.y > 0]
        mean = float(positive.mean()) if len(positive) else 0.5
        return np.log(np.where(response.y > 0, response.y, 0.5 * mean))

    def mean(self, eta: Array, working: Array) -> Array:
        """Return ``(1 - pi) exp(eta)``."""
        zeta = self.rows_of(working, len(eta))[-1]
        return self.link.mean(eta) / (1.0 + np.exp(zeta))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return that of the mixture with zero."""
        inner = np.asarray(working)[:-1]
        rest = 1.0 / (1.0 + np.exp(self.rows_of(working, len(eta))[-1]))
        mean = self.link.mean(eta)
        return rest * (self._counts.variance(response, eta, inner) + mean**2) - (rest * mean) ** 2

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y < y) and P(Y <= y)."""
        rest = 1.0 / (1.0 + np.exp(self.rows_of(working, len(eta))[-1]))
        found = 1.0 - rest + rest * self._counts.cdf(response, eta, np.asarray(working)[:-1])
        found[0] = below_zero(response.y, found[0])
        return found

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw counts and set a share of them to zero."""
        y = self._counts.simulate(response, eta, np.asarray(working)[:-1], rng)
        zeta = self.rows_of(working, len(eta))[-1]
        return np.where(rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-zeta)), 0.0, y)


class ZeroInflatedPoisson(_WithZeros):
    """Poisson counts and extra zeros.

    Parameters
    ----------
    link
        "log".
    """

    name: ClassVar[str] = "zero_inflated_poisson"
    counts: ClassVar[type[Family]] = poisson.Poisson

    @property
    def kernel(self) -> Kernel:
        """The loop of the log link."""
        return poisson_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by zeta."""
        return poisson_rows_by_zero


class ZeroInflatedNegativeBinomial(_WithZeros):
    """Negative binomial counts and extra zeros.

    Parameters
    ----------
    link
        "log".
    """

    name: ClassVar[str] = "zero_inflated_negative_binomial"
    counts: ClassVar[type[Family]] = negative_binomial.NegativeBinomial

    @property
    def kernel(self) -> Kernel:
        """The loop of the log link."""
        return negative_binomial_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log shape and zeta."""
        return negative_binomial_rows_by_dispersion

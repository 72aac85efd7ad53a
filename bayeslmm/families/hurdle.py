r"""Zeros apart from counts: a zero has probability :math:`\pi`, other counts the distribution without its zeros.

With :math:`g_0` the log density of a zero, a positive count has

.. math:: \ell = \log f - \log(1 - e^{g_0}) - \log(1 + e^\zeta),

in which :math:`\log(1 - e^{g_0})` is the log probability of the complementary log-log link at
:math:`\log(-g_0)`,
and a zero :math:`\ell = \zeta - \log(1 + e^\zeta)`, :math:`\zeta = \mathrm{logit}\,\pi` (Mullahy 1986).
"""

import math
from typing import ClassVar

import numba
import numpy as np

from bayeslmm.families import negative_binomial, poisson
from bayeslmm.families.binomial import log_cloglog
from bayeslmm.families.definition import Family, Kernel
from bayeslmm.families.response import Response, below_zero
from bayeslmm.families.special import logistic, softplus
from bayeslmm.families.zero_inflated import _WithZeros
from bayeslmm.types import Array

SAME = -36.0  # below this log(1 + exp(x)) is exp(x) in double precision


@numba.njit(cache=True, nogil=True)
def poisson_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for Poisson counts; phi holds zeta."""
    poisson.log_rows(y, size, eta, phi, out)
    for i in range(len(y)):
        zeta = phi[0, i]
        if y[i] == 0.0:
            out[0, i] = -softplus(-zeta)
            out[1:, i] = 0.0
        else:
            value, first, second, third = log_cloglog(eta[i])
            out[0, i] -= value + softplus(zeta)
            out[1, i] -= first
            out[2, i] -= second
            out[3, i] -= third


@numba.njit(cache=True, nogil=True)
def fill_by_zero(is_zero: bool, zeta: float, out: Array) -> None:
    """Fill out (3,) with the derivatives by zeta."""
    out[0] = logistic(-zeta) if is_zero else -logistic(zeta)
    out[1] = 0.0
    out[2] = 0.0


@numba.njit(cache=True, nogil=True)
def poisson_rows_by_zero(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (1, 3, n) for Poisson counts."""
    for i in range(len(y)):
        fill_by_zero(y[i] == 0.0, phi[0, i], out[0, :, i])


@numba.njit(cache=True, nogil=True)
def log_exponent(x: float, log_shape: float) -> tuple[float, float, float, float]:
    r"""Return :math:`\log(-g_0) = \log k + \log\log(1 + e^d)`, d = x - log k, and its first three derivatives by x.

    Its derivative by log k is one less the first of them, and so on: it depends on x and log k through their
    difference, apart from the first term.
    """
    d = x - log_shape
    if d < SAME:
        return x, 1.0, 0.0, 0.0
    s, q = softplus(d), logistic(d)
    first = q / s
    rest = logistic(-d) - first
    second = first * rest
    return log_shape + math.log(s), first, second, second * rest - first * (q * logistic(-d) + second)


@numba.njit(cache=True, nogil=True)
def negative_binomial_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for negative binomial counts; phi holds log shape and zeta."""
    negative_binomial.log_rows(y, size, eta, phi, out)
    for i in range(len(y)):
        zeta = phi[1, i]
        if y[i] == 0.0:
            out[0, i] = -softplus(-zeta)
            out[1:, i] = 0.0
            continue
        x, turn, bend, twist = log_exponent(eta[i], phi[0, i])
        value, first, second, third = log_cloglog(x)
        out[0, i] -= value + softplus(zeta)
        out[1, i] -= first * turn
        out[2, i] -= second * turn * turn + first * bend
        out[3, i] -= third * turn * turn * turn + 3.0 * second * turn * bend + first * twist


@numba.njit(cache=True, nogil=True)
def negative_binomial_rows_by_dispersion(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (2, 3, n) for negative binomial counts."""
    negative_binomial.log_rows_by_shape(y, size, eta, phi, out)
    for i in range(len(y)):
        fill_by_zero(y[i] == 0.0, phi[1, i], out[1, :, i])
        if y[i] == 0.0:
            out[0, :, i] = 0.0
            continue
        x, turn, bend, twist = log_exponent(eta[i], phi[0, i])
        _, first, second, third = log_cloglog(x)
        rest = 1.0 - turn
        out[0, 0, i] -= first * rest
        out[0, 1, i] -= second * rest * turn - first * bend
        out[0, 2, i] -= third * rest * turn * turn + second * (rest - 2.0 * turn) * bend - first * twist


def positive_draws(law: object, uniform: Array, zero: Array) -> Array:
    """Return draws of a count distribution without its zeros, by its quantile function above the zeros' share."""
    return np.maximum(law.ppf(zero + (1.0 - zero) * uniform), 1.0)  # type: ignore[attr-defined]


class _Hurdle(_WithZeros):
    """What hurdle families share."""

    log_concave: ClassVar[bool] = False
    zeros_apart: ClassVar[bool] = True

    def start(self, response: Response) -> Array:
        """Return the start of the counts, and the share of zeros."""
        zero = np.clip(np.mean(response.y == 0), 0.002, 0.998)
        return self._start(self._counts.start(response), float(np.log(zero / (1 - zero))))

    def _law(self, eta: Array, working: Array) -> object:
        raise NotImplementedError

    def _log_zero(self, eta: Array, working: Array) -> Array:
        raise NotImplementedError

    def mean(self, eta: Array, working: Array) -> Array:
        """Return ``(1 - pi) exp(eta)/(1 - exp(g0))``."""
        zeta = self.rows_of(working, len(eta))[-1]
        return self.link.mean(eta) / -np.expm1(self._log_zero(eta, working)) / (1.0 + np.exp(zeta))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return that of the mixture of zero and counts without zeros."""
        share = -np.expm1(self._log_zero(eta, working))
        rest = 1.0 / (1.0 + np.exp(self.rows_of(working, len(eta))[-1]))
        mean = self.link.mean(eta)
        square = (self._counts.variance(response, eta, self._of_counts(working)) + mean**2) / share
        return rest * square - (rest * mean / share) ** 2

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y < y) and P(Y <= y)."""
        zero = np.exp(self._log_zero(eta, working))
        rest = 1.0 / (1.0 + np.exp(self.rows_of(working, len(eta))[-1]))
        inner = (self._counts.cdf(response, eta, self._of_counts(working)) - zero) / (1.0 - zero)
        found = 1.0 - rest + rest * np.maximum(inner, 0.0)
        found[0] = below_zero(response.y, found[0])
        return found

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw zeros, and counts without zeros."""
        y = positive_draws(self._law(eta, working), rng.random(len(eta)), np.exp(self._log_zero(eta, working)))
        zeta = self.rows_of(working, len(eta))[-1]
        return np.where(rng.random(len(eta)) < 1.0 / (1.0 + np.exp(-zeta)), 0.0, y)


class HurdlePoisson(_Hurdle):
    """Zeros, and Poisson counts without zeros.

    Parameters
    ----------
    link
        "log".
    """

    name: ClassVar[str] = "hurdle_poisson"
    counts: ClassVar[type[Family]] = poisson.Poisson
    log_concave: ClassVar[bool] = True

    @property
    def kernel(self) -> Kernel:
        """The loop of the log link."""
        return poisson_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by zeta."""
        return poisson_rows_by_zero

    def _law(self, eta: Array, working: Array) -> object:
        from scipy.stats import poisson as law

        return law(self.link.mean(eta))

    def _log_zero(self, eta: Array, working: Array) -> Array:
        return -self.link.mean(eta)


class HurdleNegativeBinomial(_Hurdle):
    """Zeros, and negative binomial counts without zeros.

    Parameters
    ----------
    link
        "log".
    """

    name: ClassVar[str] = "hurdle_negative_binomial"
    counts: ClassVar[type[Family]] = negative_binomial.NegativeBinomial

    @property
    def kernel(self) -> Kernel:
        """The loop of the log link."""
        return negative_binomial_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by log shape and zeta."""
        return negative_binomial_rows_by_dispersion

    def _law(self, eta: Array, working: Array) -> object:
        from scipy.stats import nbinom

        shape = np.exp(self.rows_of(working, len(eta))[0])
        return nbinom(shape, shape / (shape + self.link.mean(eta)))

    def _log_zero(self, eta: Array, working: Array) -> Array:
        log_shape = self.rows_of(working, len(eta))[0]
        return -np.exp(log_shape) * np.logaddexp(0.0, eta - log_shape)

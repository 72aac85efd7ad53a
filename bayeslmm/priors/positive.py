"""Priors for standard deviations: distributions on the positive half line."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from bayeslmm.errors import PriorError
from bayeslmm.priors.prior import Array, Prior, Size, inside
from bayeslmm.priors.real_line import student_t_logpdf, student_t_sd

LOG_2 = math.log(2.0)


class PositivePrior(Prior):
    """A prior on x > 0, closed under a change of units."""

    __slots__ = ()

    @property
    def support(self) -> tuple[float, float]:
        """From zero up."""
        return (0.0, math.inf)

    def logpdf(self, x: ArrayLike) -> Array:
        """Return the log density at x, -inf below zero."""
        x = np.asarray(x, float)
        with np.errstate(divide="ignore"):
            return inside(self.support, x, self._logpdf(np.abs(x)), -math.inf)

    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return the derivative of the log density at x, zero below zero."""
        x = np.asarray(x, float)
        with np.errstate(divide="ignore"):
            return inside(self.support, x, self._dlogpdf(np.abs(x)), 0.0)

    def affine(self, shift: float, scale: float) -> Self:
        """Return the prior of scale x; a positive prior cannot be shifted."""
        if shift != 0:
            raise PriorError(f"{type(self).__name__} starts at zero and cannot be shifted by {shift:g}.")
        return self._scaled(scale)

    @abstractmethod
    def _logpdf(self, x: Array) -> Array: ...

    @abstractmethod
    def _dlogpdf(self, x: Array) -> Array: ...

    @abstractmethod
    def _scaled(self, scale: float) -> Self: ...


@dataclass(frozen=True, slots=True)
class HalfNormal(PositivePrior):
    """The upper half of Normal(0, sigma)."""

    sigma: float = 1.0

    def _check(self) -> None:
        self._require_positive("sigma")

    def _logpdf(self, x: Array) -> Array:
        return -0.5 * (x / self.sigma) ** 2 - math.log(self.sigma) + 0.5 * math.log(2 / math.pi)

    def _dlogpdf(self, x: Array) -> Array:
        return -x / self.sigma**2

    def _scaled(self, scale: float) -> "HalfNormal":
        return HalfNormal(scale * self.sigma)

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.abs(rng.normal(0.0, self.sigma, size))

    @property
    def mean(self) -> float:
        """The mean."""
        return self.sigma * math.sqrt(2 / math.pi)

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return self.sigma * math.sqrt(1 - 2 / math.pi)


@dataclass(frozen=True, slots=True)
class HalfStudentT(PositivePrior):
    """The upper half of StudentT(nu, 0, sigma)."""

    nu: float
    sigma: float = 1.0

    def _check(self) -> None:
        self._require_positive("nu", "sigma")

    def _logpdf(self, x: Array) -> Array:
        return student_t_logpdf(x / self.sigma, self.nu) - math.log(self.sigma) + LOG_2

    def _dlogpdf(self, x: Array) -> Array:
        z = x / self.sigma
        return -(self.nu + 1) * z / (self.nu + z**2) / self.sigma

    def _scaled(self, scale: float) -> "HalfStudentT":
        return HalfStudentT(self.nu, scale * self.sigma)

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.abs(self.sigma * rng.standard_t(self.nu, size))

    @property
    def mean(self) -> float:
        """The mean, for nu > 1."""
        if self.nu <= 1:
            return math.inf
        log_ratio = gammaln((self.nu + 1) / 2) - gammaln(self.nu / 2)
        return 2 * self.sigma * math.sqrt(self.nu / math.pi) * math.exp(log_ratio) / (self.nu - 1)

    @property
    def sd(self) -> float:
        """The standard deviation, for nu > 2."""
        full = student_t_sd(self.nu, self.sigma)
        return math.sqrt(full**2 - self.mean**2) if math.isfinite(full) else full


@dataclass(frozen=True, slots=True)
class HalfCauchy(PositivePrior):
    """The upper half of Cauchy(0, beta)."""

    beta: float = 1.0

    def _check(self) -> None:
        self._require_positive("beta")

    def _logpdf(self, x: Array) -> Array:
        return -np.log1p((x / self.beta) ** 2) - math.log(math.pi * self.beta / 2)

    def _dlogpdf(self, x: Array) -> Array:
        return -2 * x / (self.beta**2 + x**2)

    def _scaled(self, scale: float) -> "HalfCauchy":
        return HalfCauchy(scale * self.beta)

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.abs(self.beta * rng.standard_cauchy(size))

    @property
    def mean(self) -> float:
        """Infinite."""
        return math.inf

    @property
    def sd(self) -> float:
        """There is none."""
        return math.nan


@dataclass(frozen=True, slots=True)
class Exponential(PositivePrior):
    """Exponential distribution with rate `lam`, mean 1/lam."""

    lam: float = 1.0

    def _check(self) -> None:
        self._require_positive("lam")

    def _logpdf(self, x: Array) -> Array:
        return math.log(self.lam) - self.lam * x

    def _dlogpdf(self, x: Array) -> Array:
        return np.full_like(x, -self.lam)

    def _scaled(self, scale: float) -> "Exponential":
        return Exponential(self.lam / scale)

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(rng.exponential(1 / self.lam, size))

    @property
    def mean(self) -> float:
        """The mean."""
        return 1 / self.lam

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return 1 / self.lam


@dataclass(frozen=True, slots=True)
class Gamma(PositivePrior):
    """Gamma distribution with shape `alpha` and rate `beta`, mean alpha/beta."""

    alpha: float
    beta: float

    def _check(self) -> None:
        self._require_positive("alpha", "beta")

    def _logpdf(self, x: Array) -> Array:
        power = (self.alpha - 1) * np.log(x) if self.alpha != 1 else 0.0
        return self.alpha * math.log(self.beta) - gammaln(self.alpha) + power - self.beta * x

    def _dlogpdf(self, x: Array) -> Array:
        power = (self.alpha - 1) / x if self.alpha != 1 else 0.0
        return power - self.beta * np.ones_like(x)

    def _scaled(self, scale: float) -> "Gamma":
        return Gamma(self.alpha, self.beta / scale)

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(rng.gamma(self.alpha, 1 / self.beta, size))

    @property
    def mean(self) -> float:
        """The mean."""
        return self.alpha / self.beta

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.alpha) / self.beta


@dataclass(frozen=True, slots=True)
class InverseGamma(PositivePrior):
    """Inverse gamma distribution: beta over a Gamma(alpha, 1) variable."""

    alpha: float
    beta: float

    def _check(self) -> None:
        self._require_positive("alpha", "beta")

    def _logpdf(self, x: Array) -> Array:
        x = np.maximum(x, np.finfo(float).tiny)  # exp(-beta / x) wins over every power at zero
        constant = self.alpha * math.log(self.beta) - gammaln(self.alpha)
        return constant - (self.alpha + 1) * np.log(x) - self.beta / x

    def _dlogpdf(self, x: Array) -> Array:
        x = np.maximum(x, 1e-150)
        return -(self.alpha + 1) / x + self.beta / x**2

    def _scaled(self, scale: float) -> "InverseGamma":
        return InverseGamma(self.alpha, scale * self.beta)

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(self.beta / rng.gamma(self.alpha, 1.0, size))

    @property
    def mean(self) -> float:
        """The mean, for alpha > 1."""
        return self.beta / (self.alpha - 1) if self.alpha > 1 else math.inf

    @property
    def sd(self) -> float:
        """The standard deviation, for alpha > 2."""
        if self.alpha <= 2:
            return math.inf if self.alpha > 1 else math.nan
        return self.mean / math.sqrt(self.alpha - 2)

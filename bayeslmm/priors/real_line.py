"""Priors for coefficients: anything on the real line, and the bounded Uniform."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from bayeslmm.errors import PriorError
from bayeslmm.priors.prior import Array, Prior, Size, inside


@dataclass(frozen=True, slots=True)
class Normal(Prior):
    """Normal distribution with mean `mu` and standard deviation `sigma`."""

    mu: float = 0.0
    sigma: float = 1.0

    def _check(self) -> None:
        self._require_positive("sigma")

    def logpdf(self, x: ArrayLike) -> Array:
        """Return the log density at x."""
        z = (np.asarray(x, float) - self.mu) / self.sigma
        return -0.5 * z**2 - math.log(self.sigma) - 0.5 * math.log(2 * math.pi)

    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return the derivative of the log density at x."""
        return (self.mu - np.asarray(x, float)) / self.sigma**2

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(rng.normal(self.mu, self.sigma, size))

    def affine(self, shift: float, scale: float) -> "Normal":
        """Return the prior of shift + scale x."""
        return Normal(shift + scale * self.mu, scale * self.sigma)

    @property
    def mean(self) -> float:
        """The mean."""
        return self.mu

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return self.sigma


@dataclass(frozen=True, slots=True)
class StudentT(Prior):
    """Student's t with `nu` degrees of freedom, location `mu` and scale `sigma`."""

    nu: float
    mu: float = 0.0
    sigma: float = 1.0

    def _check(self) -> None:
        self._require_positive("nu", "sigma")

    def logpdf(self, x: ArrayLike) -> Array:
        """Return the log density at x."""
        return student_t_logpdf((np.asarray(x, float) - self.mu) / self.sigma, self.nu) - math.log(self.sigma)

    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return the derivative of the log density at x."""
        z = (np.asarray(x, float) - self.mu) / self.sigma
        return -(self.nu + 1) * z / (self.nu + z**2) / self.sigma

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(self.mu + self.sigma * rng.standard_t(self.nu, size))

    def affine(self, shift: float, scale: float) -> "StudentT":
        """Return the prior of shift + scale x."""
        return StudentT(self.nu, shift + scale * self.mu, scale * self.sigma)

    @property
    def mean(self) -> float:
        """The mean, for nu > 1."""
        return self.mu if self.nu > 1 else math.nan

    @property
    def sd(self) -> float:
        """The standard deviation, for nu > 2."""
        return student_t_sd(self.nu, self.sigma)


def student_t_logpdf(z: Array, nu: float) -> Array:
    """Return the log density of Student's t with unit scale."""
    constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * math.log(nu * math.pi)
    return constant - (nu + 1) / 2 * np.log1p(z**2 / nu)


def student_t_sd(nu: float, sigma: float) -> float:
    """Return the standard deviation of Student's t: infinite up to nu = 2, absent up to nu = 1."""
    if nu > 2:
        return sigma * math.sqrt(nu / (nu - 2))
    return math.inf if nu > 1 else math.nan


@dataclass(frozen=True, slots=True)
class Cauchy(Prior):
    """Cauchy distribution with location `alpha` and scale `beta`."""

    alpha: float = 0.0
    beta: float = 1.0

    def _check(self) -> None:
        self._require_positive("beta")

    def logpdf(self, x: ArrayLike) -> Array:
        """Return the log density at x."""
        z = (np.asarray(x, float) - self.alpha) / self.beta
        return -np.log1p(z**2) - math.log(math.pi * self.beta)

    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return the derivative of the log density at x."""
        z = (np.asarray(x, float) - self.alpha) / self.beta
        return -2 * z / (1 + z**2) / self.beta

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(self.alpha + self.beta * rng.standard_cauchy(size))

    def affine(self, shift: float, scale: float) -> "Cauchy":
        """Return the prior of shift + scale x."""
        return Cauchy(shift + scale * self.alpha, scale * self.beta)

    @property
    def mean(self) -> float:
        """There is none."""
        return math.nan

    @property
    def sd(self) -> float:
        """There is none."""
        return math.nan


@dataclass(frozen=True, slots=True)
class Laplace(Prior):
    """Laplace (double exponential) distribution with location `mu` and scale `b`."""

    mu: float = 0.0
    b: float = 1.0

    def _check(self) -> None:
        self._require_positive("b")

    def logpdf(self, x: ArrayLike) -> Array:
        """Return the log density at x."""
        return -np.abs(np.asarray(x, float) - self.mu) / self.b - math.log(2 * self.b)

    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return the derivative of the log density at x; zero at the kink."""
        return -np.sign(np.asarray(x, float) - self.mu) / self.b

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(rng.laplace(self.mu, self.b, size))

    def affine(self, shift: float, scale: float) -> "Laplace":
        """Return the prior of shift + scale x."""
        return Laplace(shift + scale * self.mu, scale * self.b)

    @property
    def mean(self) -> float:
        """The mean."""
        return self.mu

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return math.sqrt(2) * self.b


@dataclass(frozen=True, slots=True)
class Logistic(Prior):
    """Logistic distribution with location `mu` and scale `s`."""

    mu: float = 0.0
    s: float = 1.0

    def _check(self) -> None:
        self._require_positive("s")

    def logpdf(self, x: ArrayLike) -> Array:
        """Return the log density at x."""
        away = np.abs(np.asarray(x, float) - self.mu) / self.s
        return -away - 2.0 * np.log1p(np.exp(-away)) - math.log(self.s)

    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return the derivative of the log density at x."""
        return -np.tanh((np.asarray(x, float) - self.mu) / self.s / 2.0) / self.s

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(rng.logistic(self.mu, self.s, size))

    def affine(self, shift: float, scale: float) -> "Logistic":
        """Return the prior of shift + scale x."""
        return Logistic(shift + scale * self.mu, scale * self.s)

    @property
    def mean(self) -> float:
        """The mean."""
        return self.mu

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return math.pi / math.sqrt(3) * self.s


@dataclass(frozen=True, slots=True)
class Uniform(Prior):
    """Uniform distribution between `lower` and `upper`."""

    lower: float = 0.0
    upper: float = 1.0

    def _check(self) -> None:
        if not self.lower < self.upper:
            raise PriorError(f"Uniform: lower must be below upper, got {self.lower:g} and {self.upper:g}.")

    @property
    def support(self) -> tuple[float, float]:
        """From lower to upper."""
        return (self.lower, self.upper)

    def logpdf(self, x: ArrayLike) -> Array:
        """Return the log density at x."""
        x = np.asarray(x, float)
        return inside(self.support, x, np.full_like(x, -math.log(self.upper - self.lower)), -math.inf)

    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return the derivative of the log density at x."""
        return np.zeros_like(np.asarray(x, float))

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Draw from the prior."""
        return np.asarray(rng.uniform(self.lower, self.upper, size))

    def affine(self, shift: float, scale: float) -> "Uniform":
        """Return the prior of shift + scale x."""
        return Uniform(shift + scale * self.lower, shift + scale * self.upper)

    @property
    def mean(self) -> float:
        """The mean."""
        return (self.lower + self.upper) / 2

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return (self.upper - self.lower) / math.sqrt(12)


@dataclass(frozen=True, slots=True)
class Flat(Prior):
    """No preference: density one everywhere (for a standard deviation, everywhere above zero). Improper."""

    proper: ClassVar[bool] = False

    def logpdf(self, x: ArrayLike) -> Array:
        """Return zero."""
        return np.zeros_like(np.asarray(x, float))

    def dlogpdf(self, x: ArrayLike) -> Array:
        """Return zero."""
        return np.zeros_like(np.asarray(x, float))

    def sample(self, rng: np.random.Generator, size: Size = None) -> Array:
        """Raise PriorError: a flat prior cannot be drawn from."""
        raise PriorError("A Flat() prior is improper and cannot be drawn from; give the parameter a proper prior.")

    def affine(self, shift: float, scale: float) -> "Flat":
        """Return the same prior."""
        return self

    @property
    def mean(self) -> float:
        """There is none."""
        return math.nan

    @property
    def sd(self) -> float:
        """There is none."""
        return math.nan

r"""Priors of coefficients that are scale mixtures of normals, which can be integrated out like normal ones.

Given a further coordinate w the prior is normal,

.. math:: \beta \mid w \sim N(\mu, s^2 / w), \qquad
          w \sim \mathrm{Gamma}(\nu/2, \mathrm{rate}\ \nu/2) \;\text{(Student t)}, \qquad
          1/w \sim \mathrm{Exponential}(1/2) \;\text{(Laplace)}, \qquad
          1/\sqrt{4w} \sim \mathrm{Kolmogorov} \;\text{(logistic)},

so that the coefficients are integrated out at every (phi, log w). A Cauchy prior is Student t with nu = 1.

Sources: D. F. Andrews and C. L. Mallows (1974), *Journal of the Royal Statistical Society B* 36, 99-102;
L. A. Stefanski (1991), *Statistics and Probability Letters* 11, 69-70; N. G. Polson, J. G. Scott and J. Windle (2013),
*Journal of the American Statistical Association* 108, 1339-1349.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.special import gammaln

from bayeslmm.likelihood.columns import ColumnMap
from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.posterior.collinear_prior import independent_centring
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Cauchy, Laplace, Logistic, Normal, StudentT
from bayeslmm.types import Array

SMALL_W = 0.4  # up to here the series of one kind falls fast, beyond it that of the other
ORDERS = np.arange(1.0, 8.0)  # terms of the series up to there: the next is below 1e-16 of the first
ODD = np.array([1.0, 3.0, 5.0])  # terms of that beyond
N_GAMMAS = 200  # of those whose sum is w given the coefficient; the rest has a standard deviation of 2e-5


class MixingDensity(Protocol):
    """The density of log w, and w given how far a coefficient is from mu."""

    def log_density(self, log_w: float) -> float:
        """Return log p(log w)."""

    def slope(self, log_w: float) -> float:
        """Return its derivative."""

    def draw(self, z: Array, rng: np.random.Generator) -> Array:
        """Draw w given z = (beta - mu) / s, shapes (D,)."""


@dataclass(frozen=True, slots=True)
class GammaMixing:
    """w of a Student t prior with nu degrees of freedom."""

    nu: float

    def log_density(self, log_w: float) -> float:
        """Return log p(log w)."""
        half = 0.5 * self.nu
        return float(half * np.log(half) - gammaln(half) + half * (log_w - np.exp(log_w)))

    def slope(self, log_w: float) -> float:
        """Return its derivative."""
        return float(0.5 * self.nu * (1.0 - np.exp(log_w)))

    def draw(self, z: Array, rng: np.random.Generator) -> Array:
        """Draw w given z: Gamma((nu + 1) / 2, rate (nu + z²) / 2)."""
        return np.asarray(rng.standard_gamma(0.5 * (self.nu + 1.0), len(z)) * 2.0 / (self.nu + z**2))


@dataclass(frozen=True, slots=True)
class ExponentialMixing:
    """w of a Laplace prior: 1 / w is exponential with mean two."""

    def log_density(self, log_w: float) -> float:
        """Return log p(log w)."""
        return float(-np.log(2.0) - log_w - 0.5 * np.exp(-log_w))

    def slope(self, log_w: float) -> float:
        """Return its derivative."""
        return float(0.5 * np.exp(-log_w) - 1.0)

    def draw(self, z: Array, rng: np.random.Generator) -> Array:
        """Draw w given z: inverse Gaussian with mean 1 / |z| and shape one."""
        return np.asarray(rng.wald(1.0 / np.maximum(np.abs(z), 1e-12), 1.0))


@dataclass(frozen=True, slots=True)
class KolmogorovMixing:
    r"""w of a logistic prior: :math:`1/\sqrt{4w}` has the limiting distribution of Kolmogorov's statistic.

    Two series for the same density, of which one falls fast for small w and the other for large w,

    .. math:: p(\log w) = \frac1w \sum_{j \ge 1} (-1)^{j+1} j^2 e^{-j^2/(2w)}
              = \sqrt{2\pi w} \sum_{m\ \mathrm{odd}} (m^2\pi^2 w - 1)\, e^{-m^2\pi^2 w/2} .

    Given a coefficient w is a Pólya-Gamma variable, PG(2, z), an infinite sum of gamma variables.
    """

    def log_density(self, log_w: float) -> float:
        """Return log p(log w)."""
        terms, _, largest = kolmogorov_series(log_w)
        return float(np.log(np.sum(terms)) + largest)

    def slope(self, log_w: float) -> float:
        """Return its derivative."""
        terms, slopes, _ = kolmogorov_series(log_w)
        return float(np.sum(slopes) / np.sum(terms))

    def draw(self, z: Array, rng: np.random.Generator) -> Array:
        r"""Draw w given z: :math:`\frac1{2\pi^2}\sum_k g_k / ((k - \frac12)^2 + z^2/(4\pi^2))`, g_k Gamma(2)."""
        squares = (np.arange(N_GAMMAS) + 0.5) ** 2
        away = (np.asarray(z, dtype=float)[:, None] / (2.0 * np.pi)) ** 2
        shares = rng.standard_gamma(2.0, (len(z), N_GAMMAS)) / (squares + away)
        rest = 2.0 / N_GAMMAS  # the mean of the terms left out, of which z is a negligible part
        return np.asarray((shares.sum(axis=1) + rest) / (2.0 * np.pi**2))


def kolmogorov_series(log_w: float) -> tuple[Array, Array, float]:
    """Return the terms of p(log w) and their derivatives by log w, both less a common factor, and its logarithm."""
    w = float(np.exp(log_w))
    if w < SMALL_W:
        powers = ORDERS**2 / (2.0 * w)
        terms = np.where(ORDERS % 2 == 1, 1.0, -1.0) * ORDERS**2 * np.exp(powers[0] - powers)
        return terms, terms * (powers - 1.0), -log_w - float(powers[0])
    powers = 0.5 * (ODD * np.pi) ** 2 * w
    sizes = np.exp(powers[0] - powers)
    terms = (2.0 * powers - 1.0) * sizes
    slopes = terms * (0.5 - powers) + 2.0 * powers * sizes
    return terms, slopes, 0.5 * (np.log(2.0 * np.pi) + log_w) - float(powers[0])


@dataclass(frozen=True, slots=True)
class Mixture:
    """A coefficient's prior as a scale mixture.

    Attributes
    ----------
    place
        Of the coefficient, counted from zero.
    normal
        The prior at w = 1.
    mixing
        The distribution of w.
    """

    place: int
    normal: Normal
    mixing: MixingDensity


def as_mixture(place: int, prior: Prior) -> Mixture | None:
    """Return a prior as a scale mixture of normals; None if it is none, a normal prior included."""
    if isinstance(prior, StudentT):
        return Mixture(place, Normal(prior.mu, prior.sigma), GammaMixing(prior.nu))
    if isinstance(prior, Cauchy):
        return Mixture(place, Normal(prior.alpha, prior.beta), GammaMixing(1.0))
    if isinstance(prior, Laplace):
        return Mixture(place, Normal(prior.mu, prior.b), ExponentialMixing())
    if isinstance(prior, Logistic):
        return Mixture(place, Normal(prior.mu, prior.s), KolmogorovMixing())
    return None


def find_mixtures(fixed: Sequence[Prior]) -> tuple[Mixture, ...]:
    """Return the coefficients whose priors are scale mixtures."""
    found = (as_mixture(place, prior) for place, prior in enumerate(fixed))
    return tuple(mixture for mixture in found if mixture is not None)


def at_one(priors: ModelPriors, mixtures: Sequence[Mixture]) -> ModelPriors:
    """Return the priors with normal ones in place of the mixtures, w of one."""
    fixed = list(priors.fixed)
    for mixture in mixtures:
        fixed[mixture.place] = mixture.normal
    return replace(priors, fixed=tuple(fixed))


def stated_turn(priors: ModelPriors, fixed: ColumnMap) -> Array:
    """Return the coefficients of independent columns, where priors are stated, by the kernel's, shape (r, r)."""
    return np.asarray(independent_centring(priors.fixed_centring, priors.collinearity).inverse @ fixed.matrix)


def mixture_rows(mixtures: Sequence[Mixture], priors: ModelPriors, fixed: ColumnMap) -> Array:
    """Return the coefficients of the mixtures as functions of the kernel's, shape (K, p)."""
    return np.asarray(stated_turn(priors, fixed)[independent_places(mixtures, priors)])


def independent_places(mixtures: Sequence[Mixture], priors: ModelPriors) -> list[int]:
    """Return the places of the mixtures' coefficients among those of independent columns."""
    places = [mixture.place for mixture in mixtures]
    collinearity = priors.collinearity
    if collinearity is None:
        return places
    return [int(np.searchsorted(collinearity.kept, place)) for place in places]


def prior_given_mixing(prior: NormalPrior, mixtures: Sequence[Mixture], rows: Array, log_w: Array) -> NormalPrior:
    """Return the normal prior of the kernel's coefficients given log w (K,), from that at w of one."""
    weights = np.array([np.expm1(v) / m.normal.sigma**2 for v, m in zip(log_w, mixtures, strict=True)])
    return replace(
        prior,
        precision=prior.precision + (rows.T * weights) @ rows,
        log_det=prior.log_det + float(log_w.sum()),
    )


def log_mixing_density(mixtures: Sequence[Mixture], log_w: Array) -> tuple[float, Array]:
    """Return log p(log w) and its derivatives, (K,)."""
    pairs = [(m.mixing, float(v)) for v, m in zip(log_w, mixtures, strict=True)]
    return sum(d.log_density(v) for d, v in pairs), np.array([d.slope(v) for d, v in pairs])

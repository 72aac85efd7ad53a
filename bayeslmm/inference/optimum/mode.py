r"""The posterior mode of (sd, correlations, sigma), coefficients and random effects integrated out.

.. math:: f(\lambda) = \min_\sigma\; -2\log p(y\mid\theta,\sigma) - 2\log h_\sigma(\sigma)
          - 2\sum_a \log h_a(\sigma t_a) - 2(\eta - 1)\log|R| .

There are no Jacobians, so flat priors give the REML estimate exactly, boundary included. By the envelope theorem the
gradient by lambda is the partial one at the best sigma.
"""

from collections.abc import Callable, Sequence

import numpy as np
import scipy  # scipy.optimize takes a fifth of a second to load and does so at its first use

from bayeslmm.covariance import TermShape
from bayeslmm.design.names import sd_name
from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.covariance_prior import log_correlation_prior, prior_factor_slope, ratios
from bayeslmm.inference.optimum.maximum import Maximum, code_of, describe
from bayeslmm.inference.optimum.rounding import judged, require_residuals
from bayeslmm.inference.optimum.search import Point, Record, minimise
from bayeslmm.likelihood.conditional import effect_modes
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import Conditional
from bayeslmm.likelihood.marginal import excess_sums, extrapolate_inwards, is_safe
from bayeslmm.likelihood.normal_prior import FixedPosterior, fixed_posterior
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Flat
from bayeslmm.types import Array

WIDEST_BRACKET = 60  # doublings of the bracket of log sigma before giving up
AT_EDGE = 1e-6  # relative distance of a value to the end of its prior
STARTS = 2.0 ** np.array([0, -1, 1, -2, 2, -4, 4, -6, 6, -8, 8])  # ratios of sd to sigma, for priors with bounds


class PosteriorMode:
    """Minus twice the log posterior as a function of the kernel's factors, sigma profiled."""

    def __init__(self, density: CovarianceDensity) -> None:
        self.density = density
        self.kernel = density.kernel
        self.shapes: Sequence[TermShape] = density.kernel.shapes
        self.maps: list[Array] = [
            term.centring.inverse @ columns.matrix
            for term, columns in zip(density.priors.terms, density.kernel.maps, strict=True)
        ]

    def value(self, lambdas: Sequence[Array]) -> float:
        """Return f."""
        posterior, sigma = self.solve(lambdas)
        return self._total(posterior, self._prior_factors(lambdas), sigma)

    def point(self, lambdas: Sequence[Array]) -> Point:
        """Return f with its gradient by each lambda."""
        posterior, sigma = self.solve(lambdas)
        factors = self._prior_factors(lambdas)
        excess, sums = self._excess(posterior, sigma)
        if all(is_safe(factor) for factor in lambdas):
            slopes = self._slopes(lambdas, excess, sigma)
        else:
            slopes = [2.0 * g @ f for g, f in zip(self.covariance_slopes(lambdas), lambdas, strict=True)]
        return Point(self._total(posterior, factors, sigma), slopes, excess, sums)

    def covariance_slopes(self, lambdas: Sequence[Array]) -> Sequence[Array]:
        """Return the gradient by each lambda lambda^T, singular or not."""

        def interior(inner: list[Array]) -> list[Array]:
            posterior, sigma = self.solve(inner)
            slopes = self._slopes(inner, self._excess(posterior, sigma)[0], sigma)
            return [0.5 * np.asarray(np.linalg.solve(f.T, s.T)).T for f, s in zip(inner, slopes, strict=True)]

        return extrapolate_inwards(self.kernel.products, lambdas, interior)

    def start(self) -> list[Array]:
        """Return factors, multiples of the identity, at which the priors allow the sds; the identity if none do."""
        plain = [np.eye(shape.n_columns) for shape in self.shapes]
        for ratio in STARTS:
            lambdas = [ratio * factor for factor in plain]
            if np.isfinite(self.value(lambdas)):
                return lambdas
        return plain

    def impossible(self, lambdas: Sequence[Array], sigma: float) -> str:
        """Say which priors' densities are zero or infinite at given factors and sigma."""
        with np.errstate(divide="ignore"):
            wrong = [
                f"the density of the prior of {name}, {prior}, is not finite at {value:.4g}"
                for name, prior, value in self._scales(lambdas, sigma)
                if not np.isfinite(prior.logpdf(value))
            ]
        return " and ".join(wrong) or "the density of the prior of a correlation is not finite"

    def edges(self, lambdas: Sequence[Array], sigma: float) -> list[str]:
        """Return the priors, as words, that end just where given factors and sigma are."""
        return [
            f"that of {name}, {prior}"
            for name, prior, value in self._scales(lambdas, sigma)
            if any(bound > 0 and abs(value / bound - 1.0) < AT_EDGE for bound in prior.support)
        ]

    def describe_edge(self, lambdas: Sequence[Array], sigma: float) -> str:
        """Say that the search ended where a prior does."""
        return (
            f"The search stopped where a prior ends ({'; '.join(self.edges(lambdas, sigma))}), with no mode inside: "
            "the data want values that it rules out. State a wider prior."
        )

    def _scales(self, lambdas: Sequence[Array], sigma: float) -> list[tuple[str, Prior, float]]:
        """Return name, prior and value of every sd, and of sigma where it has a prior."""
        found: list[tuple[str, Prior, float]] = []
        for factor, term in zip(self._prior_factors(lambdas), self.density.priors.terms, strict=True):
            values = zip(term.effects, term.sd, sigma * ratios(factor), strict=True)
            found += [(sd_name(term.name, effect), prior, float(value)) for effect, prior, value in values]
        if self.density.priors.sigma is not None:
            found.append(("sigma", self.density.priors.sigma, sigma))
        return found

    def best_sigma(self, posterior: FixedPosterior, lambdas: Sequence[Array]) -> float:
        """Return the sigma that minimises f at given factors."""
        if self.density.sigma is not None:
            return self.density.sigma
        relative = [ratios(f) for f in self._prior_factors(lambdas)]

        def slope(log_sigma: float) -> float:
            sigma = float(np.exp(log_sigma))
            return posterior.slope(sigma) - 2.0 * self._prior_slope(sigma, relative)

        products = posterior.eliminated.products
        centre = 0.5 * float(np.log(posterior.eliminated.r_squared / max(products.n - products.n_fixed, 1)))
        if self._flat_in_sigma():
            return float(np.exp(centre))
        low, high = _bracket(slope, centre)
        return float(np.exp(scipy.optimize.brentq(slope, low, high, xtol=1e-13)))

    def _flat_in_sigma(self) -> bool:
        priors = self.density.priors
        positive = [*(prior for term in priors.terms for prior in term.sd), priors.sigma]
        return all(isinstance(prior, Flat) for prior in [*positive, *priors.fixed])

    def solve(self, lambdas: Sequence[Array]) -> tuple[FixedPosterior, float]:
        """Return the coefficients given the factors, and the best sigma."""
        posterior = fixed_posterior(factorise(self.kernel.products, lambdas), self.density.fixed_prior)
        return posterior, self.best_sigma(posterior, lambdas)

    def shift(self) -> float:
        """Return what the flat coefficients' scales add to the objective in the user's columns."""
        flat = [isinstance(prior, Flat) for prior in self.density.priors.independent]
        return 2.0 * float(np.sum(np.log(self.kernel.fixed.scale[flat]))) if flat else 0.0

    def _prior_factors(self, lambdas: Sequence[Array]) -> list[Array]:
        return [turn @ factor for turn, factor in zip(self.maps, lambdas, strict=True)]

    def _excess(self, posterior: FixedPosterior, sigma: float) -> tuple[Sequence[Array], Sequence[Array]]:
        root = posterior.precision_factor(sigma, self.density.fixed_prior)
        sums = inverse_blocks(posterior.factor, root).sums()
        return excess_sums(posterior.factor, posterior.mean(sigma), sums, sigma), sums

    def _total(self, posterior: FixedPosterior, factors: Sequence[Array], sigma: float) -> float:
        value = float(posterior.minus_two_log(np.asarray(sigma)))
        with np.errstate(divide="ignore"):
            for factor, term in zip(factors, self.density.priors.terms, strict=True):
                value -= 2.0 * float(term.log_density(sigma * ratios(factor), sigma))
                value -= 2.0 * log_correlation_prior(factor, term)
        if self.density.sigma is None and self.density.priors.sigma is not None:
            value -= 2.0 * float(self.density.priors.sigma.logpdf(sigma))
        return value

    def _prior_slope(self, sigma: float, relative: Sequence[Array]) -> float:
        """Return the derivative of the log prior by log sigma."""
        total = 0.0
        for term, values in zip(self.density.priors.terms, relative, strict=True):
            by_sd, by_scale = term.slopes(sigma * values, sigma)
            total += float(np.sum(by_sd)) + by_scale
        prior = self.density.priors.sigma
        return total + (float(prior.dlogpdf(sigma)) * sigma if prior is not None else 0.0)

    def _slopes(self, lambdas: Sequence[Array], excess: Sequence[Array], sigma: float) -> list[Array]:
        slopes = []
        for factor, inner, turn, term in zip(lambdas, excess, self.maps, self.density.priors.terms, strict=True):
            inverse = np.linalg.inv(factor)
            by_prior = prior_factor_slope(turn @ factor, term, sigma)
            slope = 2.0 * inverse.T @ inner - 2.0 * turn.T @ by_prior
            if term.correlation is not None:
                slope -= 4.0 * (term.correlation.eta - 1.0) * inverse.T
            slopes.append(slope)
        return slopes


def _bracket(slope: Callable[[float], float], centre: float) -> tuple[float, float]:
    """Return two values of log sigma between which the slope changes sign from - to +."""
    low, high, step = centre - 0.1, centre + 0.1, 0.2
    for _ in range(WIDEST_BRACKET):
        if slope(low) < 0 < slope(high):
            return low, high
        low, high, step = (
            (low - step if slope(low) >= 0 else low),
            (high + step if slope(high) <= 0 else high),
            2 * step,
        )
    raise FittingError("No sigma maximises the posterior: its prior has its mode at zero or none at all.")


def maximise_posterior(density: CovarianceDensity, *, progress: Callable[[int, float], None] | None = None) -> Maximum:
    """Find the posterior mode of (sd, correlations, sigma).

    Parameters
    ----------
    density
        The model with its priors.
    progress
        Called after every evaluation with its number and the objective.

    Raises
    ------
    FittingError
        If the objective cannot be evaluated at the start, no sigma maximises it, or the residuals cannot be told
        from zero.
    """
    return find_mode(PosteriorMode(density), progress=progress)


def find_mode(target: PosteriorMode, *, progress: Callable[[int, float], None] | None = None) -> Maximum:
    """Find the minimum of an objective; parameters and errors as for `maximise_posterior`."""
    density, kernel = target.density, target.kernel
    record = Record(report=progress)
    with blas_threads(kernel.products.order):
        minimum = minimise(target, target.start(), record)
        _, sigma = target.solve(minimum.lambdas)
        if not np.isfinite(minimum.value):
            raise FittingError(
                "No mode with a finite density was found: "
                f"{target.impossible(minimum.lambdas, sigma)}. State a prior that allows for what the data say."
            )
        minimum = judged(minimum, kernel.products, sigma)
        at_edge = not minimum.converged and bool(target.edges(minimum.lambdas, sigma))
    if density.sigma is None:
        residual = float(np.sqrt(factorise(kernel.products, minimum.lambdas).r_squared / kernel.products.n))
        require_residuals(kernel.products, residual, kernel.products.n)
    shift = target.shift()
    return Maximum(
        theta=kernel.theta(minimum.lambdas),
        objective=minimum.value + shift,
        sigma=sigma,
        thetas=kernel.thetas(record.lambdas),
        objectives=np.array(record.values) + shift,
        gradient_norm=minimum.gradient_norm,
        code=code_of(minimum),
        message=target.describe_edge(minimum.lambdas, sigma) if at_edge else describe(minimum, kernel, sigma),
    )


def posterior_conditional(
    density: CovarianceDensity, theta: Array, sigma: float, beta: Array | None = None
) -> Conditional:
    """Return the coefficients given theta and sigma under the priors, in the user's columns.

    The same as `Kernel.conditional`, with beta at its conditional posterior mean, or at given coefficients of the
    kernel's columns, shape (p,).
    """
    kernel = density.kernel
    plain = kernel.conditional(theta, "reml", sigma)
    posterior = fixed_posterior(factorise(kernel.products, kernel.lambdas(theta)), density.fixed_prior)
    beta = posterior.mean(sigma) if beta is None else beta
    root = kernel.fixed.matrix @ posterior.root / np.sqrt(1.0 + sigma**2 * posterior.pull)
    turns = [m.matrix @ f for m, f in zip(kernel.maps, posterior.factor.lambdas, strict=True)]
    effects = effect_modes(posterior.factor, beta)
    return Conditional(
        beta=kernel.fixed.matrix @ beta + kernel.fixed.centring.constant * kernel.y_mean,
        beta_cov=sigma**2 * root @ root.T,
        sigma=sigma,
        u=kernel.user_spherical(effects, theta),
        b=tuple(u @ turn.T for u, turn in zip(effects, turns, strict=True)),
        b_cov=plain.b_cov,
    )

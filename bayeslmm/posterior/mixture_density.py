r"""The log posterior of the covariance parameters with Student t, Cauchy, Laplace or logistic priors of coefficients.

Each such coefficient adds a coordinate log w to phi (`bayeslmm.posterior.scale_mixtures`), and

.. math:: \frac{\partial}{\partial \log w} \log p(y \mid \theta, \sigma, w)
          = \frac12 - \frac{w}{2 s^2} \operatorname{E}\bigl[(\beta - \mu)^2 \mid \theta, \sigma, w, y\bigr].
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.normal_prior import FixedPosterior, NormalPrior
from bayeslmm.posterior.coefficient_priors import kernel_prior, not_normal
from bayeslmm.posterior.collinear_prior import collinear_prior
from bayeslmm.posterior.compiling_single import compile_single, compiled_gradient
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.scale_mixtures import (
    Mixture,
    at_one,
    find_mixtures,
    log_mixing_density,
    mixture_rows,
    prior_given_mixing,
    stated_turn,
)
from bayeslmm.posterior.single_density import SingleTerm
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.real_line import Normal
from bayeslmm.types import Array

STEP = 1e-4  # of log w: central differences err by its square, and by the rounding of the density over it


def covariance_density(kernel: Kernel, priors: ModelPriors, sigma: float | None = None) -> CovarianceDensity:
    """Return the density with coefficients integrated out, scale mixtures of normals among their priors or not.

    Raises
    ------
    PriorError
        If a coefficient's prior can be integrated out in neither way.
    """
    mixtures = find_mixtures(priors.fixed)
    return MixtureDensity(kernel, priors, mixtures, sigma) if mixtures else CovarianceDensity(kernel, priors, sigma)


def not_integrable(priors: ModelPriors) -> list[str]:
    """Return the coefficients that cannot be integrated out, further coordinates allowed, with their priors."""
    return not_normal(at_one(priors, find_mixtures(priors.fixed)))


def can_integrate(priors: ModelPriors) -> bool:
    """Whether the coefficients can be integrated out, with a further coordinate each where need be."""
    return not not_integrable(priors)


class MixtureDensity(CovarianceDensity):
    """A covariance density with coordinates (covariance parameters, log w, log sigma).

    Parameters
    ----------
    kernel
        The data.
    priors
        The model's priors.
    mixtures
        The K coefficients whose priors are scale mixtures.
    sigma
        The residual standard deviation where it is known.
    """

    single = None  # many points in one call know one normal prior only

    def __init__(
        self, kernel: Kernel, priors: ModelPriors, mixtures: tuple[Mixture, ...], sigma: float | None = None
    ) -> None:
        super().__init__(kernel, at_one(priors, mixtures), sigma)
        self.stated = priors
        self.mixtures = mixtures

    @cached_property
    def n_phi(self) -> int:
        """Length of phi, log w included."""
        return self.n_covariance + len(self.mixtures)

    def names(self) -> list[str]:
        """Return a name for each coordinate of x."""
        names = super().names()
        own = [f"log w_{self.priors.fixed_names[mixture.place]}" for mixture in self.mixtures]
        return [*names[: self.n_covariance], *own, *names[self.n_covariance :]]

    def phi(self, lambdas: Sequence[Array]) -> Array:
        """Return phi for the kernel's factors, kept off the boundary, with log w of zero."""
        return np.append(super().phi(lambdas), np.zeros(len(self.mixtures)))

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Return log p(phi, log sigma | y) with its gradient; compiled, but for differences by log w, where it can be.

        Raises
        ------
        FittingError
            Where the likelihood cannot be evaluated.
        """
        if self._compiled is None:
            return self.reference_gradient(x)
        first, last = self.n_covariance, self.n_phi
        covariance = np.delete(x, np.s_[first:last])
        log_w = x[first:last]
        value, gradient = compiled_gradient(self._given_mixing(log_w), covariance)
        slopes = log_mixing_density(self.mixtures, log_w)[1]
        for k in range(len(log_w)):
            step = np.where(np.arange(len(log_w)) == k, STEP, 0.0)
            above, below = (self._given_mixing(log_w + s).value_and_gradient(covariance)[0] for s in (step, -step))
            slopes[k] += (above - below) / (2.0 * STEP)
        return value + self.log_mixing(x[:last]), np.concatenate([gradient[:first], slopes, gradient[first:]])

    @cached_property
    def _compiled(self) -> SingleTerm | None:
        """The compiled density at w of one, where the model has a single term."""
        return compile_single(self)

    def _given_mixing(self, log_w: Array) -> SingleTerm:
        """Return the compiled density given log w, its prior left out."""
        assert self._compiled is not None
        prior = self.fixed_prior_at(np.concatenate([np.zeros(self.n_covariance), log_w]))
        return replace(
            self._compiled,
            precision=np.ascontiguousarray(prior.precision),
            constant=self._compiled.constant - (prior.log_det - self.fixed_prior.log_det),
        )

    def fixed_prior_at(self, phi: Array) -> NormalPrior:
        """Return the normal prior of the coefficients given log w."""
        log_w = phi[self.n_covariance :]
        if self.priors.collinearity is not None:
            return kernel_prior(self.kernel, self._given(log_w))
        return prior_given_mixing(self.fixed_prior, self.mixtures, self._rows, log_w)

    def _given(self, log_w: Array) -> ModelPriors:
        """Return the priors given log w, all of them normal or flat."""
        fixed = list(self.priors.fixed)
        for mixture, v in zip(self.mixtures, log_w, strict=True):
            normal = mixture.normal
            fixed[mixture.place] = Normal(normal.mu, normal.sigma * float(np.exp(-0.5 * v)))
        return replace(self.priors, fixed=tuple(fixed))

    def complete(self, beta: Array, phi: Array, rng: np.random.Generator) -> Array:
        """Return the coefficients of all columns; arguments as in `CovarianceDensity.complete`."""
        if self.priors.collinearity is None:
            return beta
        found = [
            collinear_prior(self._given(log_w)).complete(row[None], rng)[0]
            for row, log_w in zip(beta, phi[:, self.n_covariance :], strict=True)
        ]
        return np.array(found)

    @cached_property
    def _rows(self) -> Array:
        """The coefficients of the mixtures as functions of the kernel's, shape (K, p)."""
        return mixture_rows(self.mixtures, self.priors, self.kernel.fixed)

    def _deviations(self, log_w: Array) -> tuple[Array, Array]:
        """Return coefficients of the mixtures, less mu, by the kernel's, (K, r), and variances given those, (K,)."""
        if self.priors.collinearity is None:
            return self._rows, np.zeros(len(self.mixtures))
        joint = collinear_prior(self._given(log_w))
        rows, variances = joint.deviations([mixture.place for mixture in self.mixtures])
        return rows @ stated_turn(self.priors, self.kernel.fixed), variances

    def log_mixing(self, phi: Array) -> float:
        """Return log p(log w)."""
        return log_mixing_density(self.mixtures, phi[self.n_covariance :])[0]

    def mixing_slopes(self, phi: Array, posterior: FixedPosterior, sigma: float) -> Array:
        """Return the derivatives of the log posterior by log w, shape (K,)."""
        log_w = phi[self.n_covariance :]
        rows, variances = self._deviations(log_w)
        centre = rows @ (posterior.mean(sigma) - self.fixed_prior.mean)
        spread = (rows @ posterior.root) ** 2 @ (sigma**2 / (1.0 + sigma**2 * posterior.pull)) + variances
        scales = np.array([mixture.normal.sigma for mixture in self.mixtures])
        by_data = 0.5 - 0.5 * np.exp(log_w) * (centre**2 + spread) / scales**2
        return np.asarray(by_data + log_mixing_density(self.mixtures, log_w)[1])

    def draw_log_mixing(self, beta: Array, rng: np.random.Generator) -> Array:
        """Draw log w given draws of the coefficients in the user's columns (D, p), shape (D, K)."""
        stated = beta @ self.priors.fixed_centring.inverse.T
        columns = [
            np.log(m.mixing.draw((stated[:, m.place] - m.normal.mu) / m.normal.sigma, rng)) for m in self.mixtures
        ]
        return np.column_stack(columns)

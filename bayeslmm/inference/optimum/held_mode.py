r"""The posterior mode where priors of coefficients are Student t, Cauchy, Laplace or logistic.

Coefficients with normal or flat priors are integrated out, as the random effects are. Those of H are parameters beside
the standard deviations, correlations and sigma, with the densities that the user stated:

.. math:: f(\lambda) = \min_{\sigma, \gamma_H}\; -2\log p(y, \gamma_H \mid \theta, \sigma)
          - 2\log h_\sigma(\sigma) - 2\sum_a \log h_a(\sigma t_a) - 2(\eta - 1)\log|R| .

At given factors sigma and :math:`\gamma_H` are minimised over in turn, each exactly, so f falls until both stand still;
by the envelope theorem the gradient by lambda is the partial one there, that of a model whose coefficients H are known.
Integrating over the scales w of `bayeslmm.posterior.scale_mixtures` would be another mode, of a density in which w is a
parameter.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import PriorError
from bayeslmm.inference.optimum.held_coefficients import HeldCoefficients, HeldEquations, standing_in
from bayeslmm.inference.optimum.maximum import Maximum
from bayeslmm.inference.optimum.mode import PosteriorMode, find_mode, posterior_conditional
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import Conditional, Kernel
from bayeslmm.likelihood.marginal import excess_sums
from bayeslmm.likelihood.normal_prior import FixedPosterior, NormalPrior, fixed_posterior
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.posterior.coefficient_priors import stated_prior
from bayeslmm.posterior.collinear_prior import independent_centring, undetermined
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.scale_mixtures import find_mixtures
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.real_line import Flat
from bayeslmm.types import Array

MAXIMUM_TURNS = 100
SETTLED = 1e-12  # of log sigma


class HeldMode(PosteriorMode):
    """Minus twice the log posterior as a function of the kernel's factors, sigma and the coefficients of H profiled.

    Parameters
    ----------
    kernel
        The data.
    priors
        The model's priors, one of them at least Student t, Cauchy, Laplace or logistic.
    sigma
        The residual standard deviation where it is known.
    """

    def __init__(self, kernel: Kernel, priors: ModelPriors, sigma: float | None = None) -> None:
        places = [mixture.place for mixture in find_mixtures(priors.fixed)]
        flat = tuple(Flat() if place in places else prior for place, prior in enumerate(priors.fixed))
        super().__init__(CovarianceDensity(kernel, replace(priors, fixed=flat), sigma))
        collinearity = priors.collinearity
        inverse = independent_centring(priors.fixed_centring, collinearity).inverse
        own = np.array(places if collinearity is None else np.searchsorted(collinearity.kept, places))
        self.held = HeldCoefficients(
            turn=inverse @ kernel.fixed.matrix,
            shift=inverse @ kernel.fixed.centring.constant * kernel.y_mean,
            places=own,
            priors=tuple(priors.fixed[place] for place in places),
            others=prior_of_others(self.density.priors, own),
        )

    def solve(self, lambdas: Sequence[Array]) -> tuple[FixedPosterior, float]:
        """Return the other coefficients given the factors and the best of H, and the best sigma."""
        factor = factorise(self.kernel.products, lambdas)
        every = fixed_posterior(factor, self.density.fixed_prior)
        sigma = self.best_sigma(every, lambdas)
        for _ in range(MAXIMUM_TURNS):
            held = self.held.best(every, sigma)
            posterior = fixed_posterior(self.held.equations(factor, held), self.held.others)
            before, sigma = sigma, self.best_sigma(posterior, lambdas)
            if abs(np.log(sigma / before)) <= SETTLED:
                break
        return posterior, sigma

    def held_at(self, theta: Array, sigma: float) -> tuple[Array, Array]:
        """Return the best coefficients of H given theta and sigma, (h,), and all of the kernel's there, (p,)."""
        factor = factorise(self.kernel.products, self.kernel.lambdas(theta))
        held = self.held.best(fixed_posterior(factor, self.density.fixed_prior), sigma)
        equations = self.held.equations(factor, held)
        others = fixed_posterior(equations, self.held.others).mean(sigma)
        return held, equations.origin + equations.basis @ others

    def shift(self) -> float:
        """Return zero: the coefficients integrated out are those that priors speak of."""
        return 0.0

    def _excess(self, posterior: FixedPosterior, sigma: float) -> tuple[Sequence[Array], Sequence[Array]]:
        equations = _equations(posterior)
        root = self.held.precision_factor(equations.factor, self.density.fixed_prior, sigma)
        sums = inverse_blocks(equations.factor, root).sums()
        beta = equations.origin + equations.basis @ posterior.mean(sigma)
        return excess_sums(equations.factor, beta, sums, sigma), sums

    def _total(self, posterior: FixedPosterior, factors: Sequence[Array], sigma: float) -> float:
        return super()._total(posterior, factors, sigma) - 2.0 * _equations(posterior).log_prior


def _equations(posterior: FixedPosterior) -> HeldEquations:
    assert isinstance(posterior.eliminated, HeldEquations)
    return posterior.eliminated


def prior_of_others(priors: ModelPriors, held: NDArray[np.intp]) -> NormalPrior:
    """Return the prior of the independent columns' coefficients that are not held, whose own priors are flat ones."""
    location, precision, log_det = (np.asarray(part) for part in stated_prior(priors))
    precision = np.delete(np.delete(precision, held, axis=0), held, axis=1)
    return NormalPrior(precision, np.delete(location, held), float(log_det), int(np.sum(np.diag(precision) > 0)))


def posterior_maximum(
    kernel: Kernel,
    priors: ModelPriors,
    sigma: float | None = None,
    *,
    progress: Callable[[int, float], None] | None = None,
) -> Maximum:
    """Find the posterior mode under any priors it is defined for.

    Parameters
    ----------
    kernel
        The data.
    priors
        The model's priors.
    sigma
        The residual standard deviation where it is known.
    progress
        Called after every evaluation with its number and the objective.

    Raises
    ------
    PriorError
        If a coefficient's prior is neither normal, flat, Student t, Cauchy nor Laplace, or that of a collinear column
        is neither normal nor flat.
    FittingError
        As `bayeslmm.inference.optimum.mode.maximise_posterior`.
    """
    if find_mixtures(priors.fixed):
        check_held(priors)
        return find_mode(HeldMode(kernel, priors, sigma), progress=progress)
    return find_mode(PosteriorMode(CovarianceDensity(kernel, priors, sigma)), progress=progress)


def check_held(priors: ModelPriors) -> None:
    """Check that no coefficient of H is that of a column that is a combination of others.

    Raises
    ------
    PriorError
        If one is.
    """
    together = undetermined(priors)
    if held := [mixture.place for mixture in find_mixtures(priors.fixed) if mixture.place in together]:
        stated = ", ".join(f"{priors.fixed_names[place]!r} ({priors.fixed[place]})" for place in held)
        raise PriorError(
            f"The posterior mode takes normal or flat priors of columns that are combinations of each other, here "
            f"{', '.join(repr(priors.fixed_names[place]) for place in together)}; those of {stated} are neither. "
            "State normal ones, leave a column out, or use method='importance' or 'nuts', which take these."
        )


def normal_priors(
    kernel: Kernel, priors: ModelPriors, theta: Array, sigma: float, known: float | None = None
) -> ModelPriors:
    """Return the priors with normal ones in place of those of H, under which the mode is a posterior mean.

    They have the slopes of the stated priors at the mode, so that the coefficients given theta and sigma have their
    mean there; their covariance is that of a normal prior of this width.

    Parameters
    ----------
    kernel
        The data.
    priors
        The model's priors.
    theta, sigma
        The mode.
    known
        The residual standard deviation where it is known.
    """
    if not find_mixtures(priors.fixed):
        return priors
    return _normal_at(priors, HeldMode(kernel, priors, known).held_at(theta, sigma)[0])


def _normal_at(priors: ModelPriors, held: Array) -> ModelPriors:
    """Return the priors with normal ones in place of those of H, whose coefficients are `held`, shape (h,)."""
    fixed = list(priors.fixed)
    for mixture, value in zip(find_mixtures(priors.fixed), held, strict=True):
        fixed[mixture.place] = standing_in(priors.fixed[mixture.place], float(value))
    return replace(priors, fixed=tuple(fixed))


def mode_coefficients(
    kernel: Kernel, priors: ModelPriors, theta: Array, sigma: float, known: float | None = None
) -> Conditional:
    """Return coefficients and random effects at a posterior mode; parameters as for `normal_priors`."""
    if not find_mixtures(priors.fixed):
        return posterior_conditional(CovarianceDensity(kernel, priors, known), theta, sigma)
    held, coefficients = HeldMode(kernel, priors, known).held_at(theta, sigma)
    normal = CovarianceDensity(kernel, _normal_at(priors, held), known)
    return posterior_conditional(normal, theta, sigma, coefficients)

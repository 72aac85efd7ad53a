r"""A generalized model's posterior where coefficients have Student t, Cauchy, Laplace or logistic priors.

Each such coefficient adds a coordinate log w to x (`bayeslmm.posterior.scale_mixtures`), given which its prior is
:math:`N(\mu, s^2/w)` and everything is as with normal priors. Laplace's objective f there has, with :math:`r^\top\beta`
the coefficient that the prior speaks of, C the inverse of the matrix in the determinant, and g the response of the
determinant to a force on the coefficients (`Gradient.response`),

.. math:: \frac{\partial f}{\partial \log w} = \frac{w}{s^2}\bigl[(r^\top\hat\beta - \mu)^2 + r^\top C r
          - (r^\top\hat\beta - \mu)\,r^\top g\bigr] - 1 .

Samplers of everything have no use for w: `explicit_posterior` leaves it out and takes the priors as they were stated.

Where columns are combinations of each other and their priors are normal, the kernel has the independent ones, as for
normal responses (`bayeslmm.posterior.collinear_prior`). Where one of these priors is a mixture, what they say of the
independent columns depends on all w together; then the kernel has every column, which proper priors allow.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.design.collinearity import independent_columns_of
from bayeslmm.design.design import Design
from bayeslmm.errors import PriorError
from bayeslmm.families import Family, Response
from bayeslmm.likelihood.generalized.laplace import Evaluation
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.predictor import Predictor
from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.posterior.coefficient_priors import normal_prior, not_normal
from bayeslmm.posterior.collinear_prior import identifies
from bayeslmm.posterior.explicit_prior import ExplicitPrior
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.posterior.generalized_explicit import ExplicitDensity
from bayeslmm.posterior.scale_mixtures import (
    Mixture,
    at_one,
    find_mixtures,
    log_mixing_density,
    mixture_rows,
    prior_given_mixing,
)
from bayeslmm.priors.model_priors import ModelPriors, TermPriors
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Flat
from bayeslmm.types import Array


class GeneralizedMixtureDensity(GeneralizedDensity):
    """The log posterior of covariance and dispersion parameters and of log w, coefficients integrated out.

    Parameters
    ----------
    family, response, predictor, terms, dispersion
        As for `GeneralizedDensity`.
    fixed
        Prior of the coefficients in the kernel's columns at w of one.
    priors
        The model's priors.
    """

    def __init__(
        self,
        family: Family,
        response: Response,
        predictor: Predictor,
        terms: Sequence[TermPriors],
        dispersion: Sequence[Prior],
        fixed: NormalPrior,
        priors: ModelPriors,
    ) -> None:
        super().__init__(family, response, predictor, terms, dispersion, fixed)
        self.stated, self.mixtures = priors, find_mixtures(priors.fixed)
        self.rows = mixture_rows(self.mixtures, priors, predictor.fixed)

    @property
    def dimension(self) -> int:
        """Length of x."""
        return super().dimension + len(self.mixtures)

    def log_w(self, x: Array) -> Array:
        """Return log w at x, (..., d)."""
        return x[..., super().dimension :]

    def problem_at(self, x: Array) -> Problem:
        """Return the model with the coefficients' prior given log w."""
        assert self.problem.prior is not None
        prior = prior_given_mixing(self.problem.prior, self.mixtures, self.rows, self.log_w(x))
        return replace(self.problem, prior=prior)

    def start(self, lambdas: Sequence[Array], working: Array) -> Array:
        """Return x for the kernel's factors and working dispersion values, kept off the boundary, log w zero."""
        return np.append(super().start(lambdas, working), np.zeros(len(self.mixtures)))

    def log_prior(self, x: Array) -> tuple[float, Array]:
        """Return the log prior of x with its Jacobian, and its derivatives."""
        value, slopes = super().log_prior(x)
        added, more = log_mixing_density(self.mixtures, self.log_w(x))
        return value + added, np.append(slopes, more)

    def likelihood_slopes(self, x: Array, found: Evaluation) -> Array:
        """Return the derivatives by x of an evaluation's objective, (d,)."""
        assert found.gradient is not None and self.problem.prior is not None
        away = self.rows @ (found.mode.beta - self.problem.prior.mean)
        spread = np.sum(solve_triangular(found.mode.factor.R_X, self.rows.T, lower=True) ** 2, axis=0)
        weights = np.array([np.exp(v) / m.normal.sigma**2 for v, m in zip(self.log_w(x), self.mixtures, strict=True)])
        by_w = weights * (away**2 + spread - away * (self.rows @ found.gradient.response)) - 1.0
        return np.append(super().likelihood_slopes(x, found), by_w)

    def explicit_prior(self) -> ExplicitPrior:
        """Return the priors of the coefficients as they were stated."""
        places = {mixture.place for mixture in self.mixtures}
        fixed = tuple(Flat() if place in places else prior for place, prior in enumerate(self.stated.fixed))
        normal = normal_prior(self.problem.predictor.fixed, replace(self.stated, fixed=fixed))
        return ExplicitPrior(normal, self.rows, tuple(self.stated.fixed[m.place] for m in self.mixtures))


def explicit_posterior(density: GeneralizedDensity, mode: Array, evaluation: Evaluation) -> ExplicitDensity:
    """Return the density of everything but w, centred and whitened at a mode.

    Parameters
    ----------
    density
        The density with coefficients integrated out.
    mode
        Where, w included.
    evaluation
        The evaluation there.
    """
    if not isinstance(density, GeneralizedMixtureDensity):
        return ExplicitDensity(density, mode, evaluation)
    problem = density.problem_at(mode)
    assert problem.prior is not None
    given = GeneralizedDensity(
        problem.family, problem.response, problem.predictor, density.terms, density.dispersion, problem.prior
    )
    return ExplicitDensity(given, mode[: given.dimension], evaluation, density.explicit_prior())


def generalized_density(design: Design, family: Family, priors: ModelPriors) -> GeneralizedDensity:
    """Return the log posterior of a design whose response a family has read, that of all columns the priors tell apart.

    Raises
    ------
    PriorError
        If a coefficient's prior is neither normal, flat, nor a scale mixture of normals.
    ModelError
        If the crossed random effects need more memory than there is.
    """
    mixtures: tuple[Mixture, ...] = find_mixtures(priors.fixed)
    normal = at_one(priors, mixtures)
    if others := not_normal(normal):
        raise PriorError(
            "Coefficients are integrated out under Normal, Flat, StudentT, Cauchy, Laplace and Logistic priors, which "
            f'the prior of {", ".join(others)} is not: state one of these, or use method="advi".'
        )
    family = family.for_response(design.outcome)
    every = not identifies(priors, normal=True)
    if every:
        priors, normal = replace(priors, collinearity=None), replace(normal, collinearity=None)
    else:
        design = independent_columns_of(design)
    predictor = Predictor.build(
        design.X,
        design.terms,
        design.offset,
        [term.name for term in design.terms],
        design.centring if every or not family.takes_constant else None,
    )
    sizes = {parameter.name: parameter.size for parameter in family.parameters}
    dispersion = [prior for name, prior in priors.dispersion for _ in range(sizes[name])]
    fixed = normal_prior(predictor.fixed, normal)
    if mixtures:
        return GeneralizedMixtureDensity(family, design.outcome, predictor, priors.terms, dispersion, fixed, priors)
    return GeneralizedDensity(family, design.outcome, predictor, priors.terms, dispersion, fixed)

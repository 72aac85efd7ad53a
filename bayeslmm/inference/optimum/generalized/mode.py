r"""The posterior mode of a generalized model's (sd, correlations, dispersion).

.. math:: f(\lambda, \phi) = -2\log\hat p(y \mid \lambda, \phi) - 2\sum_a \log h_a(\mathrm{sd}_a)
          - 2(\eta - 1)\log|R| - 2\sum_k \log h_k(\phi_k^*),

coefficients and random effects integrated out by Laplace's approximation, :math:`\phi^*` the dispersion parameters on
their natural scale. As for normal responses there are no Jacobians, so a variance may be zero at the mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.errors import FittingError, PriorError
from bayeslmm.inference.optimum.covariance_prior import log_correlation_prior, prior_factor_slope, ratios
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum, result
from bayeslmm.inference.optimum.generalized.objective import Dispersion, Objective, Parameters
from bayeslmm.inference.optimum.generalized.search import dispersion_spread, em_steps, minimise
from bayeslmm.inference.optimum.generalized.start import starting_parameters
from bayeslmm.likelihood.generalized.laplace import Evaluation, Point, evaluate
from bayeslmm.posterior.generalized import GeneralizedDensity, log_dispersion_prior
from bayeslmm.posterior.generalized_mixture import GeneralizedMixtureDensity
from bayeslmm.types import Array

STARTS = 2.0 ** np.array([0, -1, 1, -2, 2, -4, 4, -6, 6, -8, 8])  # multiples of the first sds, for bounded priors


@dataclass(slots=True, kw_only=True)
class PosteriorObjective(Objective):
    """Minus twice the log posterior, up to the constants of the priors.

    Attributes
    ----------
    density
        The model with its priors.
    """

    density: GeneralizedDensity

    def evaluate(self, point: Point, start: Sequence[Array], *, gradient: bool) -> Evaluation:
        """Evaluate at a point, effects started from `start`."""
        found = evaluate(self.problem, point, start, integrated=True, gradient=gradient)
        value, by_lambda = self._covariances(point)
        by_working = np.zeros(len(point.working))
        first = 0
        for parameter in self.problem.family.parameters:
            here = slice(first, first + parameter.size)
            first += parameter.size
            added, slopes = log_dispersion_prior(
                self.density.dispersion[here], point.working[here], parameter.transform, jacobian=False
            )
            value += added
            by_working[here] = slopes
        if found.gradient is None:
            return replace(found, value=found.value - 2.0 * value)
        slope = found.gradient
        lambdas = tuple(a - 2.0 * b for a, b in zip(slope.lambdas, by_lambda, strict=True))
        share = by_working[:, None] / self.problem.predictor.n  # the derivatives by each row's value are summed
        moved = replace(slope, lambdas=lambdas, working=slope.working - 2.0 * share)
        return replace(found, value=found.value - 2.0 * value, gradient=moved)

    def _covariances(self, point: Point) -> tuple[float, list[Array]]:
        """Return the log prior of the covariances, and its derivatives by the kernel's factors."""
        value, slopes = 0.0, []
        for factor, columns, term in zip(
            point.lambdas, self.problem.predictor.maps, self.density.terms, strict=True
        ):  # fmt: skip
            turn = term.centring.inverse @ columns.matrix
            moved = turn @ factor
            with np.errstate(divide="ignore"):
                value += float(term.log_density(ratios(moved), 1.0)) + log_correlation_prior(moved, term)
            if not np.isfinite(value):
                raise FittingError("The density of a prior is not finite here.")
            slope = turn.T @ prior_factor_slope(moved, term, 1.0)
            if term.correlation is not None and term.correlation.eta != 1.0:
                slope = slope + 2.0 * (term.correlation.eta - 1.0) * np.linalg.inv(factor).T
            slopes.append(slope)
        return value, slopes


def posterior_objective(density: GeneralizedDensity) -> PosteriorObjective:
    """Return what the posterior mode minimises.

    Raises
    ------
    PriorError
        If a coefficient's prior is neither normal nor flat.
    """
    if isinstance(density, GeneralizedMixtureDensity):
        stated = density.stated
        others = ", ".join(f"{stated.fixed_names[m.place]} ({stated.fixed[m.place]})" for m in density.mixtures)
        raise PriorError(
            "The posterior mode of a generalized model takes Normal and Flat priors of coefficients, which the prior "
            f'of {others} is not: use method="importance" or "nuts".'
        )
    return PosteriorObjective(
        problem=density.problem, dispersion=Dispersion(density.problem.family.n_dispersion), density=density
    )


def maximise_generalized_posterior(density: GeneralizedDensity) -> GeneralizedMaximum:
    """Find the posterior mode of (sd, correlations, dispersion).

    Returns
    -------
    GeneralizedMaximum
        Its `loglik` is the log posterior up to the constants of the priors.

    Raises
    ------
    PriorError
        If a coefficient's prior is neither normal nor flat.
    FittingError
        If the objective cannot be evaluated at the start.
    """
    objective = posterior_objective(density)
    likelihood = Objective(density.problem, objective.dispersion)
    first = em_steps(likelihood, starting_parameters(density.problem, objective.dispersion))
    start = _possible_start(objective, first)
    scales = dispersion_spread(objective, start) if objective.dispersion.n_free else np.zeros(0)
    found = result(objective, minimise(objective, start, np.diag(scales)), 0, tuple(objective.values))
    prior = density.problem.prior
    return replace(found, diverging=()) if prior is not None and prior.n_proper == len(prior.mean) else found


def _possible_start(objective: PosteriorObjective, first: Parameters) -> Parameters:
    """Return a start at which the priors have a density.

    Raises
    ------
    FittingError
        If they have none at any.
    """
    for ratio in STARTS:
        trial = replace(first, lambdas=tuple(ratio * factor for factor in first.lambdas))
        try:
            objective(trial, gradient=False)
        except FittingError:
            continue
        return trial
    raise FittingError(
        "No start with a finite posterior density was found: the priors of standard deviations or dispersions rule out "
        "what the data say. State wider priors."
    )

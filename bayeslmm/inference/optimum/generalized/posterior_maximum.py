"""The search for the posterior mode of a generalized model, under any priors it is defined for."""

from dataclasses import replace

import numpy as np

from bayeslmm.inference.optimum.generalized.held import HeldObjective, every_coefficient, held_objective
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum, result
from bayeslmm.inference.optimum.generalized.mode import PosteriorObjective, possible_start
from bayeslmm.inference.optimum.generalized.objective import Dispersion, Objective, Parameters
from bayeslmm.inference.optimum.generalized.search import Solution, dispersion_spread, em_steps, minimise
from bayeslmm.inference.optimum.generalized.start import starting_parameters
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.posterior.generalized_mixture import GeneralizedMixtureDensity
from bayeslmm.types import Array


def posterior_objective(density: GeneralizedDensity) -> PosteriorObjective:
    """Return what the posterior mode minimises.

    Raises
    ------
    PriorError
        If a coefficient's prior is neither normal, flat, Student t nor Cauchy.
    """
    if isinstance(density, GeneralizedMixtureDensity):
        return held_objective(density)
    dispersion = Dispersion(density.problem.family.n_dispersion)
    return PosteriorObjective(problem=density.problem, dispersion=dispersion, density=density)


def known_parameters(objective: Objective, lambdas: tuple[Array, ...], beta: Array, free: Array) -> Parameters:
    """Return an objective's parameters for factors, all of the kernel's coefficients, and dispersion values."""
    if isinstance(objective, HeldObjective):
        return objective.parameters(lambdas, beta, free)
    return Parameters(lambdas, beta, free)


def ended(objective: Objective, solution: Solution, n_quad: int, values: tuple[float, ...]) -> GeneralizedMaximum:
    """Return where a search ended, in the user's columns."""
    if isinstance(objective, HeldObjective):
        return result(*every_coefficient(objective, solution), n_quad, values)
    return result(objective, solution, n_quad, values)


def maximise_generalized_posterior(density: GeneralizedDensity) -> GeneralizedMaximum:
    """Find the posterior mode of (sd, correlations, dispersion) and of coefficients whose priors are not normal.

    Returns
    -------
    GeneralizedMaximum
        Its `loglik` is the log posterior up to the constants of the priors.

    Raises
    ------
    PriorError
        If a coefficient's prior is neither normal, flat, Student t nor Cauchy.
    FittingError
        If the objective cannot be evaluated at the start.
    """
    objective = posterior_objective(density)
    likelihood = Objective(density.problem, Dispersion(density.problem.family.n_dispersion))
    first = em_steps(likelihood, starting_parameters(density.problem, likelihood.dispersion))
    start = possible_start(objective, known_parameters(objective, first.lambdas, first.beta, first.free))
    scales = dispersion_spread(objective, start) if objective.dispersion.n_free else np.zeros(0)
    found = ended(objective, minimise(objective, start, np.diag(scales)), 0, tuple(objective.values))
    prior = found.objective.problem.prior
    return replace(found, diverging=()) if prior is not None and prior.n_proper == len(prior.mean) else found

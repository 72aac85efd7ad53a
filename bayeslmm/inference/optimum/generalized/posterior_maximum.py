"""The search for the posterior mode of a generalized model, under any priors it is defined for."""

from dataclasses import replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.generalized.held import HeldObjective, every_coefficient, held_objective, held_priors
from bayeslmm.inference.optimum.generalized.kinks import next_sides, sides_of
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum, result
from bayeslmm.inference.optimum.generalized.mode import PosteriorObjective, possible_start
from bayeslmm.inference.optimum.generalized.objective import Dispersion, Objective, Parameters
from bayeslmm.inference.optimum.generalized.search import Solution, dispersion_spread, em_steps, minimise
from bayeslmm.inference.optimum.generalized.start import starting_parameters
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.posterior.generalized_mixture import GeneralizedMixtureDensity
from bayeslmm.types import Array

TURNS = 5  # searches for each coefficient whose prior may have a kink, and as many more


def posterior_objective(density: GeneralizedDensity, beta: Array) -> PosteriorObjective:
    """Return what the posterior mode minimises where the kernel's coefficients are these, (p,)."""
    if isinstance(density, GeneralizedMixtureDensity):
        return held_objective(density, sides_of(held_priors(density), density.rows @ beta))
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
    FittingError
        If the objective cannot be evaluated at the start.
    """
    likelihood = Objective(density.problem, Dispersion(density.problem.family.n_dispersion))
    first = em_steps(likelihood, starting_parameters(density.problem, likelihood.dispersion))
    objective = posterior_objective(density, first.beta)
    solution = _search(objective, first)
    values = list(objective.values)
    if isinstance(objective, HeldObjective):
        objective, solution = _settle_sides(objective, solution, values)
    found = ended(objective, solution, 0, tuple(values))
    prior = found.objective.problem.prior
    return replace(found, diverging=()) if prior is not None and prior.n_proper == len(prior.mean) else found


def _search(objective: PosteriorObjective, first: Parameters) -> Solution:
    """Search from factors, all of the kernel's coefficients, and dispersion values."""
    start = possible_start(objective, known_parameters(objective, first.lambdas, first.beta, first.free))
    scales = dispersion_spread(objective, start) if objective.dispersion.n_free else np.zeros(0)
    return minimise(objective, start, np.diag(scales))


def _settle_sides(objective: HeldObjective, solution: Solution, values: list[float]) -> tuple[HeldObjective, Solution]:
    """Search again on other sides of kinks until coefficients stay where they are."""
    density = objective.density
    assert isinstance(density, GeneralizedMixtureDensity)
    for _ in range(TURNS * (1 + len(objective.priors))):
        sides = next_sides(objective.priors, objective.sides, *objective.ends(solution))
        if sides is None:
            return objective, solution
        point, mode = solution.evaluation.point, solution.evaluation.mode
        beta = objective.coefficients(point, mode.beta)
        free = solution.parameters.free[: objective.n_dispersion]
        objective = held_objective(density, sides)
        solution = _search(objective, Parameters(solution.parameters.lambdas, beta, free))
        values += objective.values
    raise FittingError(
        "The posterior mode was not found: coefficients with Laplace priors go back and forth between zero and other "
        "values. Use method='importance' or 'nuts', or normal priors."
    )

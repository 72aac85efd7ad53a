"""Where the search for the maximum of a generalized mixed model starts."""

import numpy as np

from bayeslmm.inference.optimum.generalized.objective import Dispersion, Parameters
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.types import Array

FIRST_SD = 0.3  # of random effects, in units of the predictor's scale; EM steps follow


def starting_parameters(problem: Problem, dispersion: Dispersion) -> Parameters:
    """Return coefficients by weighted least squares on rough predictors, and small random effects."""
    family, response, predictor = problem.family, problem.response, problem.predictor
    # thresholds are the level's only place: an intercept takes up the mean of the offset by itself
    working = family.with_level(family.start(response), float(np.mean(predictor.offset)))
    rough = family.start_predictor(response)
    weights = np.sqrt(np.maximum(family.expected_weights(response, rough, working), 1e-8))
    weights /= weights.max()
    X = predictor.X
    target = weights * (rough - predictor.offset)
    beta: Array = np.linalg.lstsq(weights[:, None] * X, target, rcond=None)[0].astype(float)
    if not np.isfinite(family.derivatives(response, predictor.offset + X @ beta, working)[0]).all():
        level = np.average(rough, weights=weights**2)
        beta = np.linalg.lstsq(X, np.full(predictor.n, level), rcond=None)[0].astype(float)
    size = FIRST_SD * family.predictor_scale(response)
    lambdas = tuple(size * np.eye(shape.n_columns) for shape in predictor.shapes)
    return Parameters(lambdas, beta, dispersion.start(working))

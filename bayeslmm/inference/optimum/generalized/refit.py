"""The maximum of a generalized likelihood for another response, from where a fit ended."""

from dataclasses import replace

import numpy as np
from scipy.linalg import block_diag, solve_triangular

from bayeslmm.families import Response
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum, result
from bayeslmm.inference.optimum.generalized.objective import Objective
from bayeslmm.inference.optimum.generalized.search import dispersion_spread, minimise
from bayeslmm.likelihood.generalized.mode import factor_at

LEAST_SD = 0.05  # in units of the link, columns scaled, added where a variance is zero: there is no slope at zero


def maximise_again(found: GeneralizedMaximum, response: Response) -> GeneralizedMaximum:
    """Fit another response of the same rows.

    Raises
    ------
    FittingError
        If there is no mode at the start.
    """
    old, solution = found.objective, found.solution
    mode, predictor = solution.evaluation.mode, old.problem.predictor
    lambdas = tuple(
        shape.structure.factor_of_root(np.hstack([f, LEAST_SD * np.eye(len(f))])) if (np.diag(f) == 0).any() else f
        for f, shape in zip(solution.parameters.lambdas, predictor.shapes, strict=True)
    )
    start = replace(solution.parameters, lambdas=lambdas)
    effects = mode.u if lambdas else None
    objective = Objective(replace(old.problem, response=response), old.dispersion, old.n_quad, start=effects)
    spread = np.diag(dispersion_spread(objective, start)) if old.dispersion.n_free else np.zeros((0, 0))
    if not old.problem.inner:
        factor = factor_at(replace(old.problem, inner=True), solution.parameters.lambdas, -mode.rows[2])
        root = solve_triangular(factor.R_X, np.eye(predictor.p), lower=True, trans=1) / np.sqrt(2.0)
        spread = block_diag(root, spread)
    return result(objective, minimise(objective, start, spread), found.n_quad, tuple(objective.values))

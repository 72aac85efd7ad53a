"""The maximum of a generalized likelihood for another response or other rows, from where a fit ended."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.linalg import block_diag, solve_triangular

from bayeslmm.families import Family, Response
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum, result
from bayeslmm.inference.optimum.generalized.objective import Objective
from bayeslmm.inference.optimum.generalized.restored import Estimates, restore_maximum
from bayeslmm.inference.optimum.generalized.search import FLATTEST, dispersion_spread, minimise
from bayeslmm.likelihood.columns import TermArrays
from bayeslmm.likelihood.generalized.mode import factor_at
from bayeslmm.types import Array

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
    scales = np.zeros(0)
    if old.dispersion.n_free:
        scales = dispersion_spread(objective, start)
        flat = scales >= FLATTEST
        if flat.any():  # a shape at its limit, a share of zeros of none: nothing there tells the search to come back
            family = old.problem.family
            start = replace(start, free=np.where(flat, old.dispersion.start(family.start(response)), start.free))
            scales = dispersion_spread(objective, start)
    spread = np.diag(scales)
    if not old.problem.inner:
        factor = factor_at(replace(old.problem, inner=True), solution.parameters.lambdas, -mode.rows[2])
        root = solve_triangular(factor.R_X, np.eye(predictor.p), lower=True, trans=1) / np.sqrt(2.0)
        spread = block_diag(root, spread)
    return result(objective, minimise(objective, start, spread), found.n_quad, tuple(objective.values))


def moved_to(
    found: GeneralizedMaximum,
    family: Family,
    response: Response,
    X: Array,
    terms: Sequence[TermArrays],
    *,
    offset: Array | None = None,
    names: Sequence[str] | None = None,
    beta: Array | None = None,
) -> GeneralizedMaximum:
    """Evaluate the likelihood of other rows at the estimates of a maximum: where searches on these rows can start.

    Parameters
    ----------
    found
        The maximum.
    family, response, X, terms, offset, names
        Those of the other rows, as for `maximise_generalized`; columns and effects are those of the maximum.
    beta
        Coefficients in place of the estimates, (p,).

    Raises
    ------
    FittingError
        If there is no mode.
    """
    estimates = Estimates(
        n_quad=found.n_quad,
        theta=found.theta,
        beta=found.beta if beta is None else beta,
        dispersion=found.dispersion,
        status=found.status,
        diverging=(),
        gradient_norm=found.gradient_norm,
        values=(),
    )
    return restore_maximum(family, response, X, terms, estimates, offset=offset, names=names)

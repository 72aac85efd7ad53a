"""A maximum found before, such as one that was saved, evaluated again on its data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bayeslmm.covariance import count_theta, factors_from_theta
from bayeslmm.design.centring import centring_beside_level
from bayeslmm.errors import FittingError
from bayeslmm.families import Family, Response
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum
from bayeslmm.inference.optimum.generalized.objective import Dispersion, Objective
from bayeslmm.inference.optimum.generalized.posterior_maximum import (
    ended,
    known_parameters,
    posterior_objective,
)
from bayeslmm.inference.optimum.generalized.search import Solution
from bayeslmm.likelihood.columns import TermArrays, factor_to_kernel
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.predictor import Predictor
from bayeslmm.likelihood.generalized.quadrature import check_quadrature
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.types import Array

ROUNDING = 1e-9  # diagonals of a factor below this share of the largest are zeros that a rotation has blurred


@dataclass(frozen=True, slots=True)
class Estimates:
    """What a maximum is evaluated again from, in the user's columns; the fields are those of `GeneralizedMaximum`.

    Attributes
    ----------
    n_quad, theta, beta, dispersion, status, diverging, gradient_norm, values
        As there.
    """

    n_quad: int
    theta: Array
    beta: Array
    dispersion: Array
    status: Literal["converged", "boundary", "failed"]
    diverging: tuple[int, ...]
    gradient_norm: float
    values: tuple[float, ...]


def restore_maximum(
    family: Family,
    response: Response,
    X: Array,
    terms: Sequence[TermArrays],
    estimates: Estimates,
    *,
    offset: Array | None = None,
    zero_columns: Array | None = None,
    names: Sequence[str] | None = None,
    density: GeneralizedDensity | None = None,
) -> GeneralizedMaximum:
    """Evaluate the likelihood, or the posterior, at estimates.

    Parameters
    ----------
    family, response, X, terms, offset, zero_columns, names
        As for `maximise_generalized`.
    estimates
        Where the search ended.
    density
        The posterior whose mode was searched for; None for the likelihood.

    Raises
    ------
    FittingError
        If the estimates are not as many as the model has parameters, or have no likelihood.
    """
    family = family.for_response(response)
    predictor = (
        Predictor.build(X, terms, offset, names, None if family.takes_constant else centring_beside_level(X))
        if density is None
        else density.problem.predictor
    )
    check_quadrature(predictor, estimates.n_quad)
    dispersion = Dispersion(family.n_dispersion, zero_columns)
    found = [len(estimates.theta), len(estimates.beta), len(estimates.dispersion)]
    wanted = [count_theta(predictor.shapes), predictor.p, dispersion.n_free]
    if found != wanted:
        raise FittingError(f"There are {found} covariance entries, coefficients and dispersions, not {wanted}.")
    if not all(0 <= j < predictor.p for j in estimates.diverging):
        raise FittingError("A column whose coefficient diverges is not among the fixed columns.")
    factors = factors_from_theta(estimates.theta, predictor.shapes)
    lambdas = tuple(
        _clean(factor_to_kernel(factor, columns, shape))
        for factor, columns, shape in zip(factors, predictor.maps, predictor.shapes, strict=True)
    )
    free = family.with_level(estimates.dispersion, -predictor.fixed.centring.level(estimates.beta))
    beta = predictor.fixed.inverse @ estimates.beta
    if density is None:
        problem = Problem(family, response, predictor, inner=estimates.n_quad == 0)
        objective = Objective(problem, dispersion, max(estimates.n_quad, 1))
    else:
        objective = posterior_objective(density, beta)
    parameters = known_parameters(objective, lambdas, beta, free)
    evaluation = objective(parameters)
    solution = Solution(
        parameters,
        evaluation,
        estimates.gradient_norm,
        singular=estimates.status == "boundary",
        converged=estimates.status != "failed",
    )
    return replace(ended(objective, solution, estimates.n_quad, estimates.values), diverging=estimates.diverging)


def _clean(factor: Array) -> Array:
    """Return a factor whose columns of rounding errors are zero."""
    diagonal = np.abs(np.diag(factor))
    small = diagonal <= ROUNDING * max(float(np.abs(factor).max(initial=0.0)), 1e-300)
    cleaned = factor.copy()
    cleaned[np.diag_indices(len(factor))] = np.where(small, 0.0, np.diag(factor))
    return cleaned

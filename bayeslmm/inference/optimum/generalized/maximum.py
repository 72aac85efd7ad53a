r"""Maximum likelihood for a generalized mixed model, on plain arrays.

First with the coefficients in the inner loop (few parameters, glmer's ``nAGQ = 0``), then, unless that is what was
asked for, from there with the coefficients as parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.linalg import block_diag, solve_triangular

from bayeslmm.covariance import TermShape, theta_from_factors
from bayeslmm.design.centring import centring_beside_level, find_centring
from bayeslmm.design.design import Design
from bayeslmm.errors import ModelError
from bayeslmm.families import Family, Response
from bayeslmm.inference.optimum.generalized.at_infinity import diverging_columns
from bayeslmm.inference.optimum.generalized.objective import Dispersion, Objective, Parameters
from bayeslmm.inference.optimum.generalized.search import (
    NEGLIGIBLE_GAIN,
    ROUGH_GAIN,
    Solution,
    dispersion_spread,
    em_steps,
    minimise,
)
from bayeslmm.inference.optimum.generalized.start import starting_parameters
from bayeslmm.likelihood.columns import TermArrays, factor_to_user
from bayeslmm.likelihood.generalized.laplace import random_factor
from bayeslmm.likelihood.generalized.mode import NEGLIGIBLE, ROUGH, Problem
from bayeslmm.likelihood.generalized.predictor import Predictor, scale_effects
from bayeslmm.likelihood.generalized.quadrature import check_quadrature
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class GeneralizedMaximum:
    """The maximum of the likelihood of a generalized mixed model, in the user's columns.

    Attributes
    ----------
    family
        The response distribution.
    n_quad
        Quadrature points; 1 for Laplace's approximation, 0 with the coefficients in the inner loop.
    theta
        Free entries of the factors of the random effects' covariances.
    beta
        Coefficients, (p,).
    dispersion
        Free values of the dispersion parameters on their working scale; with columns for the last one, its coefficients
        come last.
    loglik
        The log-likelihood, all constants of the densities included.
    u, b
        Modes of the spherical and of the random effects, (J, S) per term; u belongs to the kernel's factors.
    b_cov
        Conditional covariances of b given the parameters, (J, S, S) per term.
    eta
        Linear predictor at the modes, (n,).
    status
        "converged", "boundary" (a covariance is singular) or "failed".
    diverging
        Fixed columns whose coefficients run to infinity, as under complete separation or for a response of one value:
        see `at_infinity.diverging_columns`.
    gradient_norm
        In coordinates of about unit curvature.
    values
        Minus twice the log-likelihood at every evaluation, the coefficients inner ones in the first part.
    objective, solution
        What was minimised and where that ended, in the kernel's columns.
    """

    family: Family
    n_quad: int
    theta: Array
    beta: Array
    dispersion: Array
    loglik: float
    u: tuple[Array, ...]
    b: tuple[Array, ...]
    b_cov: tuple[Array, ...]
    eta: Array
    status: Literal["converged", "boundary", "failed"]
    diverging: tuple[int, ...]
    gradient_norm: float
    values: tuple[float, ...]
    objective: Objective
    solution: Solution

    @property
    def shapes(self) -> tuple[TermShape, ...]:
        """Shapes of the terms."""
        return self.objective.problem.predictor.shapes

    @property
    def dof(self) -> int:
        """Number of parameters."""
        return len(self.theta) + len(self.beta) + len(self.dispersion)


def maximise_generalized(
    family: Family,
    response: Response,
    X: Array,
    terms: Sequence[TermArrays],
    *,
    offset: Array | None = None,
    n_quad: int = 1,
    zero_columns: Array | None = None,
    names: Sequence[str] | None = None,
) -> GeneralizedMaximum:
    """Fit by maximum likelihood.

    Parameters
    ----------
    family, response
        The distribution and what it read.
    X
        Fixed columns of full rank, shape (n, p); of an ordinal family they must not span a constant.
    terms
        Random terms: codes (n,), columns (n, S), n_levels, covariance, centring.
    offset
        Shape (n,).
    n_quad
        1 for Laplace's approximation, more for adaptive Gauss-Hermite quadrature with that many points in each
        dimension, 0 for Laplace's approximation with coefficients that maximise the penalised likelihood.
    zero_columns
        Columns of the share of extra zeros on its logit scale, (n, r), for families that have one.
    names
        Names of the terms for messages.

    Raises
    ------
    OptionError
        If quadrature does not apply to the model.
    ModelError
        If the model does not fit the family or the memory.
    FittingError
        If there is no mode at the start.
    """
    family = family.for_response(response)
    _check(family, X, zero_columns)
    _check_varies(family, response)
    predictor = Predictor.build(X, terms, offset, names, None if family.takes_constant else centring_beside_level(X))
    check_quadrature(predictor, n_quad)
    dispersion = Dispersion(family.n_dispersion, zero_columns)
    last = n_quad == 0
    negligible = NEGLIGIBLE if last else ROUGH
    inner = Objective(Problem(family, response, predictor, inner=True, negligible=negligible), dispersion)
    start = em_steps(inner, starting_parameters(inner.problem, dispersion))
    scales = dispersion_spread(inner, start) if dispersion.n_free else np.zeros(0)
    first = minimise(inner, start, np.diag(scales), NEGLIGIBLE_GAIN if last else ROUGH_GAIN)
    if last:
        return result(inner, first, n_quad, tuple(inner.values))
    mode = first.evaluation.mode
    outer = Objective(
        Problem(family, response, predictor), dispersion, n_quad, start=mode.u if first.parameters.lambdas else None
    )
    root = solve_triangular(mode.factor.R_X, np.eye(predictor.p), lower=True, trans=1) / np.sqrt(2.0)
    second = minimise(outer, replace(first.parameters, beta=mode.beta), block_diag(root, np.diag(scales)))
    return result(outer, second, n_quad, (*inner.values, *outer.values))


def _check_varies(family: Family, response: Response) -> None:
    """Refuse a constant response of a continuous family: its likelihood grows without end as the dispersion shrinks."""
    y = response.y
    if not family.n_dispersion or not len(y) or (y != y[0]).any():
        return
    below, up_to = family.cdf(response, family.start_predictor(response), family.start(response))
    if np.array_equal(below, up_to):
        raise ModelError(f"The response is constant ({y[0]:g}), so there is nothing to model.")


def _check(family: Family, X: Array, zero_columns: Array | None) -> None:
    if not family.takes_constant and find_centring(X).spans_constant:
        raise ModelError(
            f"The fixed columns span a constant, whose place the thresholds of the family {family.name!r} take. Remove "
            "the intercept: `0 + ...`, with treatment coding of factors."
        )
    if zero_columns is not None and not family.has_zero_part:
        raise ModelError(f"The family {family.name!r} has no share of extra zeros that a formula could describe.")


def result(objective: Objective, solution: Solution, n_quad: int, values: tuple[float, ...]) -> GeneralizedMaximum:
    """Return where a search ended, in the user's columns."""
    predictor = objective.problem.predictor
    parameters, mode = solution.parameters, solution.evaluation.mode
    transforms = [m.matrix @ f for m, f in zip(predictor.maps, parameters.lambdas, strict=True)]
    with blas_threads(mode.factor.order):
        variances = inverse_blocks(random_factor(mode)).blocks
    status: Literal["converged", "boundary", "failed"] = "failed"
    if solution.converged:
        status = "boundary" if solution.singular else "converged"
    family = objective.problem.family
    beta = predictor.fixed.matrix @ (mode.beta if objective.problem.inner else parameters.beta)
    level = predictor.fixed.centring.level(beta)
    return GeneralizedMaximum(
        family=family,
        n_quad=n_quad,
        theta=user_theta(predictor, parameters),
        beta=beta,
        dispersion=family.with_level(parameters.free, level),
        loglik=-0.5 * solution.evaluation.value,
        u=tuple(mode.u),
        b=tuple(scale_effects(mode.u, transforms)),
        b_cov=tuple(t @ c @ t.T for c, t in zip(variances, transforms, strict=True)),
        eta=mode.eta + level,
        status=status,
        diverging=diverging_columns(objective.problem, -mode.rows[2]),
        gradient_norm=solution.gradient_norm,
        values=values,
        objective=objective,
        solution=solution,
    )


def user_theta(predictor: Predictor, parameters: Parameters) -> Array:
    """Return theta in the user's columns for the kernel's factors."""
    factors = [
        factor_to_user(f, m, s) for f, m, s in zip(parameters.lambdas, predictor.maps, predictor.shapes, strict=True)
    ]
    return theta_from_factors(factors, predictor.shapes)


def maximise_design(family: Family, design: Design, n_quad: int = 1) -> GeneralizedMaximum:
    """Return :func:`maximise_generalized` for the response, the columns and the terms of a design."""
    return maximise_generalized(
        family,
        design.outcome,
        design.X,
        design.terms,
        offset=design.offset,
        n_quad=n_quad,
        names=[term.name for term in design.terms],
    )

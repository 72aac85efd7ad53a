"""Means and slopes of named groups, of every kind of fit; the numbers are made in `bayeslmm.effects.named_groups`."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bayeslmm.criticism.deletion import flat_posterior
from bayeslmm.design.mean_rows import MeanRows
from bayeslmm.effects.counterfactual import Counterfactual
from bayeslmm.effects.grid import Grid
from bayeslmm.effects.group_comparisons import drawn_averages, linearised_averages
from bayeslmm.effects.named_groups import (
    GroupCells,
    drawn_group_part,
    error_covariance,
    group_cells,
    group_part,
)
from bayeslmm.effects.scales import Scale
from bayeslmm.errors import OptionError, is_word
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.normal_prior import fixed_posterior
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.results.kept_effects import require_effects
from bayeslmm.testing.errors_of_estimation import ErrorsOfEstimation
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.likelihood.normal_prior import FixedPosterior
    from bayeslmm.results.fit import Fit
    from bayeslmm.results.generalized import GeneralizedPointFit
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.posterior import PosteriorFit


def named_group_means(fit: "Fit", grid: Grid, ddf: str | None) -> tuple[MeanRows, ErrorsOfEstimation | Array]:
    """Return the cells of a grid that names groups as functions of themselves, with their errors or draws.

    Raises
    ------
    OptionError
        If degrees of freedom are asked for, or draws of the effects were not kept.
    """
    _check_ddf(ddf)
    averages, groups = grid.crossing.averages, grid.crossing.groups
    cells = group_cells(fit.design, grid.parts, groups)
    # a cell whose combination of groups the fit does not have is as little known as one without rows
    unknown = (averages > 0) @ (1.0 - cells.rows.known)
    m = len(averages)
    own = MeanRows(np.eye(m), np.zeros(m), np.column_stack([grid.rows.departure, unknown]))
    if getattr(fit, "draws", None) is not None:
        return own, _drawn(cast("PosteriorFit", fit), cells) @ averages.T
    point = cast("PointFit", fit)
    mean = cells.X @ np.asarray(point.modes.beta, dtype=float) + cells.offset + group_part(cells.rows, point.modes.b)
    return own, ErrorsOfEstimation(averages @ mean, averages @ _covariance(point, cells) @ averages.T)


def named_group_averages(
    fit: "Fit", rows: Counterfactual, scale: Scale | None, ddf: str | None
) -> tuple[MeanRows, ErrorsOfEstimation | Array]:
    """Return means over the rows of named groups as functions of themselves, with their errors or draws.

    Raises
    ------
    OptionError
        If degrees of freedom are asked for, or draws of the effects were not kept.
    """
    _check_ddf(ddf)
    source: ErrorsOfEstimation | Array
    if getattr(fit, "draws", None) is not None:
        source, departure = drawn_averages(rows, *_draws(cast("PosteriorFit", fit)), scale)
    else:
        point = cast("PointFit", fit)
        beta = np.asarray(point.modes.beta, dtype=float)
        cells, value, departure = linearised_averages(rows, beta, point.modes.b, scale)
        source = ErrorsOfEstimation(value, _covariance(point, cells))
    return MeanRows.themselves(departure), source


def _check_ddf(ddf: str | None) -> None:
    if ddf is not None and not is_word(ddf, ("normal",)):
        raise OptionError(
            f"ddf={ddf!r} is for functions of the coefficients; means of named groups have normal limits."
        )


def _draws(fit: "PosteriorFit") -> tuple[Array, list[Any]]:
    """Return the draws of the coefficients (D, p) and of each term's effects (D, J, S)."""
    require_effects(fit.design, fit.draws)
    beta = np.asarray(fit.draws.beta, dtype=float).reshape(-1, fit.design.p)
    return beta, [np.asarray(b).reshape(len(beta), *b.shape[2:]) for b in fit.draws.effects]


def _drawn(fit: "PosteriorFit", cells: GroupCells) -> Array:
    """Return the draws of the cells, (D, m)."""
    beta, effects = _draws(fit)
    drawn: Array = beta @ cells.X.T + cells.offset
    drawn += drawn_group_part(cells.rows, effects)
    return drawn


def _covariance(fit: "PointFit", cells: GroupCells) -> Array:
    """Return the covariance of the errors of the cells, (m, m), the covariance parameters taken as known."""
    if getattr(fit, "family", None) is not None:
        generalized = cast("GeneralizedPointFit", fit)
        columns = generalized.maximum.objective.problem.predictor
        return error_covariance(columns, flat_posterior(generalized.joint_factor), cells.X, cells.rows, 1.0)
    return error_covariance(fit.kernel, _coefficients(fit), cells.X, cells.rows, fit.sigma)


def _coefficients(fit: "PointFit") -> "FixedPosterior":
    """Return the coefficients given the covariance parameters of a fit, under the priors of a posterior mode."""
    fit.kernel.check_memory()
    factor = factorise(fit.kernel.products, fit.kernel.lambdas(fit.theta))
    if fit.method != "map":
        return flat_posterior(factor)
    density = CovarianceDensity(fit.kernel, fit.normal_priors, fit.spec.sigma)
    return fixed_posterior(factor, density.fixed_prior)

"""Means of named groups, of both kinds of fit; the numbers are made in `bayeslmm.effects.named_groups`."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bayeslmm.criticism.deletion import flat_posterior
from bayeslmm.design.mean_rows import MeanRows, mean_rows
from bayeslmm.effects.grid import Grid
from bayeslmm.effects.named_groups import drawn_group_part, error_covariance, group_part, group_rows
from bayeslmm.errors import OptionError
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.normal_prior import fixed_posterior
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.results.kept_effects import require_effects
from bayeslmm.testing.errors_of_estimation import ErrorsOfEstimation
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.likelihood.normal_prior import FixedPosterior
    from bayeslmm.results.fit import Fit
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.posterior import PosteriorFit


def named_group_means(fit: "Fit", grid: Grid, ddf: str | None) -> tuple[MeanRows, ErrorsOfEstimation | Array]:
    """Return the means of a grid that names groups as functions of themselves, with their errors or draws.

    Raises
    ------
    OptionError
        If degrees of freedom are asked for, draws of the effects were not kept, or the fit is a generalized point fit.
    """
    if ddf not in (None, "normal"):
        raise OptionError(
            f"ddf={ddf!r} is for functions of the coefficients; means of named groups have normal limits."
        )
    crossing = grid.crossing
    assert crossing is not None
    cells = mean_rows(fit.design, crossing.frame.drop(columns=[*crossing.groups]))
    rows = group_rows(fit.design, crossing.frame, crossing.groups)
    # a cell whose combination of groups the fit does not have is as little known as one without rows
    unknown = (crossing.averages > 0) @ (1.0 - rows.known)
    departure = np.column_stack([grid.rows.departure, unknown])
    m = len(crossing.averages)
    own = MeanRows(np.eye(m), np.zeros(m), departure)
    if getattr(fit, "draws", None) is not None:
        draws = cast("PosteriorFit", fit).draws
        require_effects(fit.design, draws)
        beta = np.asarray(draws.beta, dtype=float).reshape(-1, fit.design.p)
        effects: list[Any] = [np.asarray(b).reshape(len(beta), *b.shape[2:]) for b in draws.effects]
        drawn: Array = beta @ cells.X.T + cells.offset
        drawn += drawn_group_part(rows, effects)
        return own, drawn @ crossing.averages.T
    if getattr(fit, "family", None) is not None:
        raise OptionError(
            "Means of named groups of a generalized model need draws: fit with method='importance' or 'nuts'."
        )
    point = cast("PointFit", fit)
    mean = cells.X @ np.asarray(point.modes.beta, dtype=float) + cells.offset + group_part(rows, point.modes.b)
    covariance = error_covariance(point.kernel, _coefficients(point), cells.X, rows, point.sigma)
    return own, ErrorsOfEstimation(crossing.averages @ mean, crossing.averages @ covariance @ crossing.averages.T)


def _coefficients(fit: "PointFit") -> "FixedPosterior":
    """Return the coefficients given the covariance parameters of a fit, under the priors of a posterior mode."""
    fit.kernel.check_memory()
    factor = factorise(fit.kernel.products, fit.kernel.lambdas(fit.theta))
    if fit.method != "map":
        return flat_posterior(factor)
    density = CovarianceDensity(fit.kernel, cast(Any, fit.priors), fit.spec.sigma)
    return fixed_posterior(factor, density.fixed_prior)

"""The methods of fits that give means, contrasts and slopes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bayeslmm.design.mean_rows import MeanRows
from bayeslmm.effects.comparisons import (
    COMPARISON,
    Counterfactuals,
    counterfactuals,
    drawn_comparisons,
    linear_comparisons,
    response_comparisons,
)
from bayeslmm.effects.estimates import EffectEstimates, check_scale
from bayeslmm.effects.grid import Grid, Weights, reference_grid
from bayeslmm.effects.scales import IDENTITY, Scale, scale_of_response
from bayeslmm.effects.slopes import slope_grid
from bayeslmm.effects.specification import read_specification
from bayeslmm.errors import OptionError
from bayeslmm.families import Family
from bayeslmm.testing.errors_of_estimation import ErrorsOfEstimation
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.fit import Fit


class MeansMethods:
    """Means of the response at chosen values of the predictors, of a typical group (random effects of zero)."""

    def means(
        self,
        variables: str,
        *,
        at: Mapping[str, Any] | None = None,
        weights: Weights = "equal",
        ddf: str | None = None,
        scale: str = "link",
    ) -> EffectEstimates:
        r"""Return estimated marginal means, :math:`l^\top\beta` averaged over a grid of the predictors.

        Parameters
        ----------
        variables
            Such as ``"treatment"``, ``"treatment * sex"`` or, for contrasts within each sex, ``"treatment | sex"``.
        at
            Values of predictors; else categories take all their levels, and numbers their mean.
        weights
            "equal" for all levels of the variables averaged over, or "proportional" to their frequency in the data.
        ddf
            As for ``coef_table``; point fits of a normal response only.
        scale
            "link", on which the model is linear, or "response", through the inverse of the link or of a transformed
            response such as ``log(y)``.

        Returns
        -------
        EffectEstimates
            With ``table()``, ``contrast()``, ``plot()`` and, for posteriors, ``draws``.

        Raises
        ------
        OptionError
            If an option is unknown, or the variables cannot be read.
        DataError
            If a variable is no predictor, or has no such value.
        """
        fit = cast("Fit", self)
        grid = reference_grid(fit.design, read_specification(variables), at, weights)
        return _estimates(fit, grid, "means", ddf, scale)

    def slopes(
        self,
        variable: str,
        *,
        at: Mapping[str, Any] | None = None,
        weights: Weights = "equal",
        ddf: str | None = None,
    ) -> EffectEstimates:
        """Return derivatives of the mean by a numeric predictor, on the scale on which the model is linear.

        Parameters
        ----------
        variable
            Such as ``"Days"`` or, by treatment, ``"Days | treatment"``.
        at
            Values of predictors, of the variable itself too.
        weights, ddf
            As for :meth:`means`.

        Raises
        ------
        OptionError
            If an option is unknown.
        DataError
            If the variable is no numeric predictor.
        """
        fit = cast("Fit", self)
        read = read_specification(variable)
        if len(read.shown) != 1:
            raise OptionError(f"slopes are of one variable, and {variable!r} names several: write 'x | treatment'.")
        # contrasts compare the slopes of the groups, so these are shown and not families
        wanted = read_specification(" * ".join(read.by)) if read.by else None
        return _estimates(fit, slope_grid(fit.design, read.shown[0], wanted, at, weights), "slopes", ddf, "link")

    def comparisons(
        self,
        variable: str,
        contrast: Any = None,
        *,
        at: Mapping[str, Any] | None = None,
        by: str | Sequence[str] = (),
        ddf: str | None = None,
        scale: str | None = None,
    ) -> EffectEstimates:
        r"""Return what the mean changes by when a predictor does, averaged over the rows of the fit.

        Every row is taken with one value of the predictor and with the other, all else as it is, for a typical group.

        Parameters
        ----------
        variable
            The predictor that changes.
        contrast
            Of a category: "reference" (each level less the first, what None means), "pairwise" (first less second),
            "sequential", or a pair of levels (from, to). Of a number: a step up from each row's value (None means 1), a
            pair (from, to), or "sd", "iqr", "minmax": one standard deviation around the mean, from quartile to
            quartile, from end to end of the data.
        at
            Values that other predictors have in every row; several are shown one after the other.
        by
            Columns within whose values rows are averaged; ``contrast()`` of the result compares these.
        ddf
            As for ``coef_table``; point fits of a normal response only.
        scale
            "link" or "response", as for :meth:`means`; None means "response" for generalized models, where the change
            of a mean depends on where it starts, else "link". On the response's scale standard errors are by the delta
            method, and limits are symmetric.

        Returns
        -------
        EffectEstimates
            With a column "comparison" before those of `at` and `by`.

        Raises
        ------
        OptionError
            If an option is unknown, or the contrast cannot be read.
        DataError
            If a variable is no predictor, or has no such value.
        """
        fit = cast("Fit", self)
        transform = _scale(fit)
        chosen = scale or ("link" if getattr(fit, "family", None) is None else "response")
        on = check_scale(chosen, transform, fit.design.response)
        columns = (by,) if isinstance(by, str) else tuple(by)
        found = counterfactuals(fit.design, variable, contrast, at, columns)
        families = (COMPARISON,) if found.labels.shape[1] > 1 else ()
        source = _source(fit, ddf)
        if on == "link" or transform is None or transform.name == IDENTITY.name:
            return EffectEstimates(found.labels, linear_comparisons(found), source, "comparisons", families, IDENTITY)
        rows, source = _curved(found, source, transform)
        return EffectEstimates(found.labels, rows, source, "comparisons", families, IDENTITY)


def _curved(
    found: Counterfactuals, source: ErrorsOfEstimation | Array, scale: Scale
) -> tuple[MeanRows, ErrorsOfEstimation | Array]:
    """Return comparisons on the response's scale as functions of the coefficients, or of draws of their own."""
    beta = source.mean(axis=0) if isinstance(source, np.ndarray) else source.beta
    rows = response_comparisons(found, beta, scale)
    if not isinstance(source, np.ndarray):
        return rows, source
    m = len(found.labels)
    return MeanRows(np.eye(m), np.zeros(m), rows.departure), drawn_comparisons(found, source, scale)


def _estimates(fit: "Fit", grid: Grid, kind: str, ddf: str | None, scale: str) -> EffectEstimates:
    transform = _scale(fit)
    on = check_scale(scale, transform, fit.design.response)
    return EffectEstimates(grid.labels, grid.rows, _source(fit, ddf), kind, grid.by, transform, on)


def _scale(fit: "Fit") -> Scale | None:
    family = getattr(fit, "family", None)
    if family is not None:
        # where dispersion parameters share in the mean, the link alone does not give it
        return Scale(family.link.name, family.link.mean) if type(family).mean is Family.mean else None
    response = fit.design.recipe.parts.response
    return None if response.text in fit.design.functions else scale_of_response(response.tree)


def _source(fit: "Fit", ddf: str | None) -> ErrorsOfEstimation | Array:
    draws = getattr(fit, "draws", None)
    if draws is not None:
        if ddf is not None:
            raise OptionError("ddf= is for point fits: a posterior carries its own uncertainty.")
        return np.asarray(draws.beta, dtype=float).reshape(-1, fit.design.p)
    point = cast(Any, fit)
    if getattr(fit, "family", None) is not None:
        if ddf not in (None, "normal"):
            raise OptionError(f"ddf={ddf!r} is for normal responses; tests of this fit are normal.")
        return ErrorsOfEstimation(np.asarray(point.modes.beta, float), np.asarray(point.modes.beta_cov, float))
    return cast(ErrorsOfEstimation, point._errors.find(ddf)[0])

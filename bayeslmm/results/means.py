"""The methods of fits that give means, contrasts and slopes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from bayeslmm.design.mean_rows import MeanRows
from bayeslmm.effects.adjustment import Adjustment
from bayeslmm.effects.counterfactual import Counterfactual, counterfactual, drawn_means, linear_means, linearised_means
from bayeslmm.effects.estimates import EffectEstimates, check_scale
from bayeslmm.effects.grid import Grid, Weights, reference_grid
from bayeslmm.effects.slopes import drawn_slopes, linearised_slopes, slope_grid
from bayeslmm.effects.specification import Specification, names_given, read_specification
from bayeslmm.errors import OptionError
from bayeslmm.results.mean_scale import curved_scale, natural_scale, scale_of_fit
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
            Grouping factors may be named as well: ``"Days | Subject"`` gives the means of single subjects, with their
            random effects and the error of these (normal limits, the covariance parameters taken as known). Terms
            whose groups are not named are those of a typical group.
        at
            Values of predictors, such as ``{"litsize": 12}``, and of groups, such as ``{"Subject": [308, 309]}``; else
            categories and groups take all their levels, and numbers their mean.
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
        scale: str = "link",
    ) -> EffectEstimates:
        """Return derivatives of the mean by a numeric predictor.

        Parameters
        ----------
        variable
            Such as ``"Days"`` or, by treatment, ``"Days | treatment"``; ``"Days | Subject"`` gives the slopes of single
            subjects, their random effects included, as in :meth:`means`.
        at
            Values of predictors, of the variable itself too.
        weights, ddf
            As for :meth:`means`.
        scale
            "link", on which the model is linear, or "response": of the response's mean, through the inverse of the link
            or of a transformed response, with averages over the grid taken on that scale, as R's
            ``emtrends(regrid = "response")`` has them. They depend on where the other predictors are; averages over
            the rows of the data are those of :meth:`comparisons`.

        Raises
        ------
        OptionError
            If an option is unknown, or slopes of named groups are asked for on the response's scale.
        DataError
            If the variable is no numeric predictor.
        """
        fit = cast("Fit", self)
        read = read_specification(variable)
        if len(read.shown) != 1:
            raise OptionError(f"slopes are of one variable, and {variable!r} names several: write 'x | treatment'.")
        # contrasts compare the slopes of the groups, so these are shown and not families
        wanted = read_specification(" * ".join(read.by)) if read.by else None
        grid = slope_grid(fit.design, read.shown[0], wanted, at, weights)
        curve = curved_scale(fit, scale)
        if curve is None:
            return _estimates(fit, grid, "slopes", ddf, "link")
        if grid.crossing.groups:
            raise OptionError(
                f"Slopes of named groups are on the link's scale; comparisons({variable!r}) has differences of their "
                "means on the response's scale."
            )
        source = _source(fit, ddf)
        if isinstance(source, np.ndarray):
            source = drawn_slopes(fit.design, grid, source, curve)
            rows = MeanRows.themselves(grid.rows.departure)
        else:
            rows = linearised_slopes(fit.design, grid, source.beta, curve)
        return EffectEstimates(grid.labels, rows, source, "slopes", grid.by, None)

    def comparisons(
        self,
        variable: str,
        *,
        at: Mapping[str, Any] | None = None,
        by: str | Sequence[str] = (),
        contrast: str = "trt.vs.ctrl",
        step: float | Literal["sd"] | tuple[float, float] | None = None,
        adjust: Adjustment = "none",
        ddf: str | None = None,
        scale: str | None = None,
    ) -> EffectEstimates:
        r"""Return what changing one predictor changes the mean by, averaged over the rows of the data.

        Every row is evaluated with the predictor set to each of its values in turn, all other predictors as they are,
        and random effects of zero; means over the rows are compared. Of a linear model without interactions these are
        differences of coefficients; with a curved link they are average differences of probabilities or counts.

        Parameters
        ----------
        variable
            A category, whose levels are compared, or a number; ``"treatment | sex"`` averages within each sex, and
            ``"Days | Subject"`` within single subjects, their random effects in, as in :meth:`means`.
        at
            One value for other predictors, in every row; of a category itself the levels to compare, the base first.
        by
            Predictors within whose values rows are averaged, as after the bar of `variable`.
        contrast
            Of a category: "trt.vs.ctrl" (each level less the first), "pairwise" or "sequential".
        step
            Of a number: what is added to it, 1 unless given; "sd" for one standard deviation; or a pair (low, high).
        adjust
            As for :meth:`EffectEstimates.contrast`.
        ddf
            As for ``coef_table``; point fits of a normal response only.
        scale
            "link" or "response"; None means "response" for a model with a link, where it gives the mean, else "link".

        Returns
        -------
        EffectEstimates
            With ``table()``, ``plot()`` and, for posteriors, ``draws``.

        Raises
        ------
        OptionError
            If an option is unknown, or not for this predictor.
        DataError
            If a variable is no predictor, or has no such value.
        """
        fit = cast("Fit", self)
        wanted = read_specification(variable)
        further = names_given("by", by)
        wanted = Specification(wanted.shown, tuple(dict.fromkeys((*wanted.by, *further))))
        rows = counterfactual(fit.design, wanted, at, step)
        curve = curved_scale(fit, natural_scale(fit) if scale is None else scale)
        source: ErrorsOfEstimation | Array
        if rows.named:
            from bayeslmm.results.group_means import named_group_averages

            means, source = named_group_averages(fit, rows, curve, ddf)
            return _compared(rows, means, source, wanted.by, contrast, adjust)
        source = _source(fit, ddf)
        if curve is None:
            means = linear_means(rows)
        elif isinstance(source, np.ndarray):
            source, departure = drawn_means(rows, source, curve)
            means = MeanRows.themselves(departure)
        else:
            means = linearised_means(rows, source.beta, curve)
        return _compared(rows, means, source, wanted.by, contrast, adjust)


def _compared(
    rows: Counterfactual,
    means: MeanRows,
    source: ErrorsOfEstimation | Array,
    by: tuple[str, ...],
    contrast: str,
    adjust: Adjustment,
) -> EffectEstimates:
    found = EffectEstimates(rows.labels, means, source, "comparisons", by, None)
    kind: Any = {f"{rows.names[1]} - {rows.names[0]}": [-1.0, 1.0]} if rows.is_number else contrast
    return found.contrast(kind, adjust=adjust)


def _estimates(fit: "Fit", grid: Grid, kind: str, ddf: str | None, scale: str) -> EffectEstimates:
    transform = scale_of_fit(fit)
    on = check_scale(scale, transform, fit.design.response)
    if grid.crossing.groups:
        from bayeslmm.results.group_means import named_group_means

        rows, source = named_group_means(fit, grid, ddf)
        return EffectEstimates(grid.labels, rows, source, kind, grid.by, transform, on)
    return EffectEstimates(grid.labels, grid.rows, _source(fit, ddf), kind, grid.by, transform, on)


def _source(fit: "Fit", ddf: str | None) -> ErrorsOfEstimation | Array:
    draws = getattr(fit, "draws", None)
    if draws is not None:
        if ddf is not None:
            raise OptionError("ddf= is for point fits: a posterior carries its own uncertainty.")
        return np.asarray(draws.beta, dtype=float).reshape(-1, fit.design.p)
    return cast(ErrorsOfEstimation, cast(Any, fit)._errors.find(ddf)[0])

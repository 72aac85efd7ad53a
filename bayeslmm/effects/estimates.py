r"""Estimates of linear functions of the coefficients, with what is known of them.

Everything is :math:`L\beta` + offset: of a point fit with the errors of its estimates and their degrees of freedom, of
a posterior with its draws. Contrasts of estimates are estimates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
import scipy  # scipy.stats takes a second to load and does so at its first use

from bayeslmm.design.mean_rows import MeanRows
from bayeslmm.effects.adjustment import Adjustment, adjusted_p, check_adjustment, critical_values
from bayeslmm.effects.contrasts import contrast_weights
from bayeslmm.effects.scales import LOGARITHMS, Scale
from bayeslmm.effects.specification import names_given
from bayeslmm.errors import OptionError, UnavailableError, check_level, is_word
from bayeslmm.testing.errors_of_estimation import ErrorsOfEstimation
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

On = Literal["link", "response"]
DEFAULTS: dict[str, Adjustment] = {"pairwise": "tukey", "trt.vs.ctrl": "mvt", "sequential": "mvt"}
NOT_ESTIMABLE = "not estimable: the data do not identify this mean (a cell without rows)"


@dataclass(frozen=True, eq=False, repr=False)
class EffectEstimates:
    """Means, contrasts, slopes or comparisons: m functions of the coefficients.

    Attributes
    ----------
    labels
        What each is of, m rows.
    rows
        The functions.
    source
        The errors of a point fit's estimates, or draws of the coefficients, shape (D, p).
    kind
        "means", "slopes", "comparisons" or "contrasts".
    by
        Columns of `labels` within whose values contrasts are made.
    scale
        The transformation of the response, or the link; None where it cannot be undone.
    on
        The scale that is shown.
    adjust
        How p values and limits allow for the number of tests.
    means
        Number of means that contrasts compare.
    """

    labels: pd.DataFrame
    rows: MeanRows
    source: ErrorsOfEstimation | Array
    kind: str
    by: tuple[str, ...]
    scale: Scale | None
    on: On = "link"
    adjust: Adjustment = "none"
    means: int = 0

    @property
    def is_posterior(self) -> bool:
        """Whether there are draws."""
        return isinstance(self.source, np.ndarray)

    @property
    def draws(self) -> Array:
        """Draws of the functions on the scale shown, shape (D, m); NaN where not estimable.

        Raises
        ------
        UnavailableError
            For a point fit.
        """
        if not isinstance(self.source, np.ndarray):
            raise UnavailableError("A point fit has no draws: use table(), or fit with method='importance' or 'nuts'.")
        drawn = self.source @ self.rows.X.T + self.rows.offset
        drawn[:, ~self.rows.estimable] = np.nan
        return self._shown(drawn)

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """Return the estimates.

        Parameters
        ----------
        level
            Probability of the interval.

        Returns
        -------
        DataFrame
            The labels; of a point fit estimate, std_error, df (infinite where normal), t, p, lower and upper, of a
            posterior mean, sd, equal-tailed lower and upper, and probability_of_direction, that of the sign that is
            more probable. On the response's scale the standard error is by the delta method, limits are transformed,
            and t and p are those of the linear scale. A row that is not estimable is NaN, and a column `note` says so.
        """
        check_level(level)
        numbers = self._posterior_columns(level) if self.is_posterior else self._point_columns(level)
        table = pd.concat([self.labels.reset_index(drop=True), pd.DataFrame(numbers)], axis=1)
        bad = ~self.rows.estimable
        if bad.any():
            table.loc[bad, list(numbers)] = np.nan
            table["note"] = np.where(bad, NOT_ESTIMABLE, "")
        return table

    def contrast(
        self,
        kind: str | pd.DataFrame | Mapping[str, Any] = "pairwise",
        *,
        adjust: Adjustment | None = None,
        by: str | tuple[str, ...] | None = None,
    ) -> "EffectEstimates":
        """Return contrasts of the estimates, within the values of the variables after the bar.

        Parameters
        ----------
        kind
            "pairwise" (first less second), "trt.vs.ctrl" (each less the first), "sequential" (each less the one before)
            or "polynomial" (in whole numbers, for equal steps); weights, as a mapping from a name to one number per
            mean or a frame with a column per contrast; or, for interactions, a mapping from each variable to its
            contrast, such as ``{"treatment": "trt.vs.ctrl", "sex": "pairwise"}``.
        adjust
            "tukey" (pairs only), "holm", "bonferroni", "sidak", "mvt" or "none", within each family. None means
            "tukey" for pairs, "mvt" for "trt.vs.ctrl" and "sequential", else "none". Posteriors need none.
        by
            Variables within whose values contrasts are made, in place of those after the bar.

        Raises
        ------
        OptionError
            If an option is unknown, or the weights do not fit the means.
        """
        groups = self.by if by is None else names_given("by", by)
        unknown = [name for name in groups if name not in self.labels]
        if unknown:
            raise OptionError(f"by={unknown[0]!r} is no variable of these; they are {', '.join(self.labels.columns)}.")
        shown = [name for name in self.labels.columns if name not in groups]
        if isinstance(kind, Mapping) and set(map(str, kind)) & set(self.labels.columns):
            return self._interaction(dict(kind), shown, groups, adjust)
        if adjust is not None:
            check_adjustment(adjust, kind if isinstance(kind, str) else "given")
        pieces, labels, means = [], [], 0
        for key, members in self._families(groups):
            names = [" ".join(map(str, row)) for row in self.labels.loc[members, shown].itertuples(index=False)]
            found, weights = contrast_weights(kind, names)
            spread = np.zeros((len(found), len(self.labels)))
            spread[:, members] = weights
            pieces.append(spread)
            labels += [{"contrast": name, **key} for name in found]
            means = len(names)
        chosen = adjust or DEFAULTS.get(kind if isinstance(kind, str) else "", "none")
        return self._combined(np.vstack(pieces), labels, groups, chosen, means)

    def plot(self, level: float = 0.95, *, ax: "Axes | None" = None) -> "Figure":
        """Draw the estimates with their intervals: dots, or a curve with its band along a numeric variable.

        Parameters
        ----------
        level
            Probability of the intervals.
        ax
            Axes of a matplotlib figure to draw into, where there are no panels; None makes a figure.

        Raises
        ------
        OptionError
            If there are several panels and `ax` is given.
        """
        from bayeslmm.plots.effects import estimates_figure

        table = self.table(level)
        if self.is_posterior:
            table = table.rename(columns={"mean": "estimate"})
        return estimates_figure(table, list(self.labels.columns), self.by, self.kind, level, ax)

    def __repr__(self) -> str:
        return self.table().to_string(index=False)

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))

    def _families(self, groups: tuple[str, ...]) -> list[tuple[dict[str, Any], Any]]:
        if not groups:
            return [({}, np.arange(len(self.labels)))]
        keys = [tuple(row) for row in self.labels[list(groups)].itertuples(index=False)]
        return [
            (dict(zip(groups, key, strict=True)), np.array([k for k, other in enumerate(keys) if other == key]))
            for key in dict.fromkeys(keys)
        ]

    def _interaction(
        self, kinds: dict[str, Any], shown: list[str], groups: tuple[str, ...], adjust: Adjustment | None
    ) -> "EffectEstimates":
        """Return products of contrasts of several variables, one after the other."""
        unknown = [name for name in kinds if name not in shown]
        if unknown:
            raise OptionError(f"{unknown[0]!r} is no variable of these; they are {', '.join(shown)}.")
        found = self
        done: list[str] = []
        for name, kind in kinds.items():
            rest = tuple(other for other in found.labels.columns if other != name)
            step = found.contrast(kind, adjust="none", by=rest)
            labels = step.labels.rename(columns={"contrast": name})
            found = replace(step, labels=labels[[*found.labels.columns]])
            done.append(name)
        if adjust is not None:
            check_adjustment(adjust, "given")
        return replace(found, by=groups, adjust=adjust or "none")

    def _combined(
        self, weights: Array, labels: list[dict[str, Any]], by: tuple[str, ...], adjust: Adjustment, means: int
    ) -> "EffectEstimates":
        if self.on == "response" and (self.scale is None or self.scale.name not in LOGARITHMS) and self.kind == "means":
            raise OptionError(
                "Contrasts of means on the response's scale are ratios, for a log or logit scale only: use "
                "scale='link' here."
            )
        rows = self.rows.combine(weights)
        frame = pd.DataFrame(labels)
        return replace(self, labels=frame, rows=rows, kind="contrasts", by=by, adjust=adjust, means=means)

    def _shown(self, values: Array) -> Array:
        if self.on == "link" or self.scale is None:
            return values
        return np.exp(values) if self.kind == "contrasts" else np.asarray(self.scale.inverse(values))

    def _slope(self, values: Array) -> Array:
        if self.on == "link" or self.scale is None:
            return np.ones_like(values)
        return np.exp(values) if self.kind == "contrasts" else self.scale.derivative(values)

    def _posterior_columns(self, level: float) -> dict[str, Array]:
        assert isinstance(self.source, np.ndarray)
        drawn = self.draws
        lower, upper = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        above = np.mean(self.source @ self.rows.X.T + self.rows.offset > 0, axis=0)
        return {"mean": drawn.mean(axis=0), "sd": drawn.std(axis=0, ddof=1), "lower": lower, "upper": upper,
                "probability_of_direction": np.maximum(above, 1.0 - above)}  # fmt: skip

    def _point_columns(self, level: float) -> dict[str, Array]:
        assert not isinstance(self.source, np.ndarray)
        L, errors = self.rows.X, self.source
        estimate = L @ errors.beta + self.rows.offset
        covariance = L @ errors.covariance @ L.T
        error = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
        df = np.asarray(errors.df(L), dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = estimate / error
            correlation = covariance / np.outer(error, error)
        p, half = 2.0 * scipy.stats.t.sf(np.abs(t), df), scipy.stats.t.isf(0.5 - level / 2.0, df)
        if self.adjust != "none":
            for _, members in self._families(self.by):
                at = members[self.rows.estimable[members]]  # the others are no tests
                family = correlation[np.ix_(at, at)]
                p[at] = adjusted_p(t[at], df[at], self.adjust, self.means, family)
                half[at] = critical_values(df[at], self.adjust, self.means, family, level)
        ends = self._shown(estimate - half * error), self._shown(estimate + half * error)
        return {"estimate": self._shown(estimate), "std_error": np.abs(self._slope(estimate)) * error, "df": df, "t": t,
                "p": p, "lower": np.minimum(*ends), "upper": np.maximum(*ends)}  # fmt: skip


def check_scale(on: str, scale: Scale | None, response: str) -> On:
    """Return the scale to show, if there is one.

    Raises
    ------
    OptionError
        If it is unknown, or the response's transformation cannot be undone.
    """
    if not is_word(on, get_args(On)):
        raise OptionError(f"scale={on!r} is unknown; use 'link' or 'response'.")
    if on == "response" and scale is None:
        raise OptionError(f"The response {response} cannot be turned back to its own scale: use scale='link'.")
    return on  # type: ignore[return-value]

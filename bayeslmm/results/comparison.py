"""Fits of one model side by side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayeslmm.design.names import SIGMA, covariance_kind
from bayeslmm.errors import OptionError
from bayeslmm.results.effects import covariance_labels, parameter_names
from bayeslmm.results.fit import Fit
from bayeslmm.results.point import PointFit
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.tables import comparison_cells

ESTIMATE = ("estimate", "std_error")
POSTERIOR = ("mean", "sd", "lower", "upper")


class Comparison(pd.DataFrame):
    """A table of fits side by side: a DataFrame that prints every column, with the digits that matter.

    Rows are parameters; columns are pairs (fit, statistic).
    """

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __str__(self) -> str:
        return comparison_text(self)

    def __repr__(self) -> str:
        return comparison_text(self)

    def _repr_html_(self) -> str:
        return pd.DataFrame(comparison_cells(self)).rename(columns=lambda fit: _heading(self, fit), level=0).to_html()


def compare(*fits: Fit, names: Sequence[str] | None = None, level: float = 0.95) -> Comparison:
    """Put the estimates of several fits side by side.

    Parameters
    ----------
    *fits
        Two fits or more, of any method.
    names
        What to call them; their methods by default.
    level
        Probability between the limits.

    Returns
    -------
    Comparison
        A DataFrame. Rows: fixed coefficients, standard deviations and correlations
        (``"sd_Subject[Days]"``), sigma. Columns: (name, "estimate") and (name, "std_error")
        of a PointFit, and "lower" and "upper" where a profile of it that reaches so far, or else a bootstrap, was
        computed; (name, "mean"), "sd", "lower" and "upper" (equal-tailed) of a PosteriorFit. A parameter a fit does
        not have is NaN.

    Raises
    ------
    OptionError
        If there are fewer than two fits, something else among them, or names do not fit.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> model = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"))
    >>> print(blm.compare(model.fit("ml"), model.fit("reml")))
                                           ml                   reml
                                    estimate  std_error   estimate  std_error
    Intercept                         1527.5       17.7     1527.5       19.4
    sd_Batch[Intercept]                37.26                 42.00
    sigma                              49.51                 49.51
    """
    if len(fits) < 2:
        raise OptionError("compare needs two fits or more, such as compare(reml_fit, bayes_fit).")
    for fit in fits:
        if not isinstance(fit, Fit):
            raise OptionError(f"compare takes fits; {type(fit).__name__} is none.")
    labels = fit_labels(fits, names)
    tables = {label: estimates(fit, level) for label, fit in zip(labels, fits, strict=True)}
    rows = _merged_rows([table.index for table in tables.values()])
    joined = pd.concat({label: table.reindex(rows) for label, table in tables.items()}, axis=1, names=["fit", ""])
    joined.index.name = "parameter"
    table = Comparison(joined)
    table.attrs["level"] = level
    return table


def estimates(fit: Fit, level: float = 0.95) -> pd.DataFrame:
    """Return the estimates of one fit by parameter, fixed effects first, sigma last."""
    if isinstance(fit, Fit):
        names = parameter_names(fit.design, fit.varcorr())[: fit.design.p]
    if isinstance(fit, PointFit):
        fixed = fit.coef_table()[list(ESTIMATE)].set_axis(names)
        varcorr = fit.varcorr()
        values = varcorr["sd"].fillna(varcorr["correlation"]).astype(float).to_numpy()
        random = pd.DataFrame({"estimate": values, "std_error": np.nan}, index=covariance_labels(varcorr))
        limits = fit._computed_limits(level)
        if limits is not None:
            joined = pd.concat([fixed, random])
            return joined.join(limits.reindex(joined.index)).rename_axis("parameter")
    elif isinstance(fit, PosteriorFit):
        fixed = fit.coef_table(level)[list(POSTERIOR)].set_axis(names)
        random = fit.covariance_table(level)[list(POSTERIOR)]
    else:
        raise OptionError(f"{type(fit).__name__} has no table of estimates.")
    return pd.concat([fixed, random]).rename_axis("parameter")


def interval_frames(fits: Sequence[Fit], level: float) -> dict[str, pd.DataFrame]:
    """Return estimate, lower and upper of every fit by name, for drawing.

    A PointFit has Wald limits for its coefficients, and those of a profile or bootstrap of it, if one was computed, for
    standard deviations and correlations.
    """
    frames = {}
    for label, fit in zip(fit_labels(fits), fits, strict=True):
        table = estimates(fit, level)
        if isinstance(fit, PointFit):
            limits = fit.confint(level)
            limits = limits.set_axis(table.index[: len(limits)]).reindex(table.index)
            computed = fit._computed_limits(level)
            if computed is not None:
                limits = limits.fillna(computed)
            frames[label] = pd.concat([table["estimate"], limits], axis=1)
        else:
            frames[label] = table[["mean", "lower", "upper"]].set_axis(["estimate", "lower", "upper"], axis=1)
    rows = _merged_rows([frame.index for frame in frames.values()])
    return {label: frame.reindex(rows) for label, frame in frames.items()}


def comparison_text(table: pd.DataFrame) -> str:
    """Return a comparison laid out for a terminal: fit names above their statistics."""
    texts = comparison_cells(table)
    index = [str(label) for label in texts.index]
    first = max(len(label) for label in [*index, ""])
    header, names, body = [" " * first], [" " * first], [f"{label:<{first}}" for label in index]
    for fit in dict.fromkeys(label for label, _ in texts.columns):
        block = texts[fit]
        widths = [max(len(str(name)), *(len(cell) for cell in block[name])) for name in block.columns]
        total = sum(widths) + 2 * (len(widths) - 1)
        header.append(f"{_heading(table, fit):^{total}}")
        names.append("  ".join(f"{name:>{w}}" for name, w in zip(block.columns, widths, strict=True)))
        for i, row in enumerate(block.itertuples(index=False)):
            body[i] += "   " + "  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True))
    return "\n".join(line.rstrip() for line in ["   ".join(header), "   ".join(names), *body])


def _heading(table: pd.DataFrame, fit: str) -> str:
    """Return a fit's name, with the level of its limits where it has some."""
    level = table.attrs.get("level")
    return f"{fit} ({100 * level:g}% limits)" if level is not None and (fit, "lower") in table.columns else fit


def fit_labels(fits: Sequence[Fit], names: Sequence[str] | None = None) -> list[str]:
    """Return what fits are called beside each other: the names given, or their methods, numbered where they repeat."""
    if names is not None:
        texts = isinstance(names, Sequence | pd.Index) and not isinstance(names, str)
        texts = texts and all(isinstance(name, str) for name in names)
        if not texts or len(names) != len(fits) or len(set(names)) != len(names):
            raise OptionError(f"names={names!r} must hold one name, each its own, for each of {len(fits)} fits.")
        return [str(name) for name in names]
    labels: list[str] = []
    for fit in fits:
        count = 1 + sum(label.split(" ")[0] == fit.method for label in labels)
        labels.append(fit.method if count == 1 else f"{fit.method} {count}")
    return labels


def _merged_rows(indexes: Sequence[pd.Index]) -> list[str]:
    """Merge parameter names: fixed coefficients of all fits, then the random part, sigma last."""
    names = list(dict.fromkeys(name for index in indexes for name in index))
    ranks = {name: 2 if name == SIGMA else int(covariance_kind(name) is not None) for name in names}
    return sorted(names, key=ranks.__getitem__)

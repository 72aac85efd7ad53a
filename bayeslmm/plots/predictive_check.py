"""A statistic of the response beside those of replicates."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayeslmm.plots.canvas import GREY, SMALL, colour, legend_beside, name_rows, one_axes, shorten
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 60  # levels whose names can be read


def statistic_figure(
    observed: Array, replicated: Array, name: str, p_value: float, ax: "Axes | None" = None
) -> "Figure":
    """Draw the distribution of a statistic over replicates, and where that of the response lies.

    Parameters
    ----------
    observed
        Of the response at each replicate's parameters, shape (R,); a line where all are alike.
    replicated
        Of the replicates, shape (R,).
    name
        What it is.
    p_value
        Share of replicates with a statistic at least as large.
    ax
        Axes to draw into; None makes a figure.
    """
    figure, axis = one_axes(5.2, 3.2, ax)
    ends = np.min([observed.min(), replicated.min()]), np.max([observed.max(), replicated.max()])
    bins: Any = np.linspace(*ends, 41) if ends[1] > ends[0] else 1
    axis.hist(replicated, bins=bins, color=colour(0), alpha=0.55, label="replicates")
    if np.ptp(observed) == 0:
        axis.axvline(observed[0], color="black", linewidth=1.8, label="observed")
    else:
        axis.hist(observed, bins=bins, histtype="step", color="black", linewidth=1.4, label="observed, at each draw")
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.set_xlabel(shorten(name, 60), fontsize=SMALL + 1)
    legend_beside(figure, axis, ax, "upper right", ncols=2, title=f"p = {p_value:.3f}", title_fontsize=SMALL)
    return figure


def level_figure(table: pd.DataFrame, title: str, ax: "Axes | None" = None) -> "Figure":
    """Draw observed values over the 95% intervals of replicates, in order of the observed ones.

    Parameters
    ----------
    table
        Columns observed, replicated, lower and upper, a row per value.
    title
        What the values are.
    ax
        Axes to draw into; None makes a figure.
    """
    table = table.sort_values("observed")
    count = len(table)
    figure, axis = one_axes(5.5, 1.2 + min(0.17 * count, 9.0), ax)
    y = np.arange(count, dtype=float)
    axis.hlines(y, table["lower"], table["upper"], color=colour(0), linewidth=2.0, alpha=0.6, label="95% of replicates")
    outside = (table["observed"] < table["lower"]) | (table["observed"] > table["upper"])
    inside = ~outside
    axis.plot(table["observed"][inside], y[inside], "o", color="black", markersize=3.5, label="observed")
    if outside.any():
        axis.plot(
            table["observed"][outside], y[outside], "D", color=colour(1), markersize=4.5, label="observed, outside"
        )
    if count <= MOST_NAMED:
        name_rows(axis, list(table.index), y)
    else:
        axis.set_yticks([])
        axis.set_ylabel(f"{count:,} levels, in order", fontsize=SMALL, color=GREY)
    axis.set_xlabel(shorten(title, 60), fontsize=SMALL + 1)
    legend_beside(figure, axis, ax, "upper right", ncols=3)
    return figure

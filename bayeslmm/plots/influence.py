"""Cook's distances, and the coefficients that the most influential units change."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.plots.canvas import GREY, SMALL, colour, name_rows, one_axes, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 8  # units named beside their distances
MOST_ROWS = 25  # units shown by name; beyond, all by place


def influence_figure(distances: pd.Series, by: str, ax: "Axes | None" = None) -> "Figure":
    """Draw Cook's distances: in order where they are few; else against the place of the unit, the largest named.

    Parameters
    ----------
    distances
        By the label of what was left out.
    by
        What was left out.
    ax
        Axes to draw into; None makes a figure.

    Returns
    -------
    Figure
        A new one, or that of `ax`.
    """
    values = distances.dropna()
    few = len(values) <= MOST_ROWS
    figure, axis = one_axes(6.5, 0.8 + 0.24 * len(values) if few else 3.4, ax)
    title = f"Cook's distance without each {by if by == 'row' else shorten(by)}"
    if few:
        values = values.sort_values(ascending=False, kind="stable")
        places = np.arange(len(values))
        axis.hlines(places, 0, values, color=colour(0), linewidth=1.8)
        axis.plot(values, places, "o", color=colour(0), markersize=4)
        name_rows(axis, [str(label) for label in values.index], places)
        axis.set_ylim(len(values) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set_xlabel(title, fontsize=SMALL + 1)
        return figure
    axis.vlines(np.arange(len(values)), 0, values, color=colour(0), linewidth=0.8)
    for place in np.argsort(-values.to_numpy())[:NAMED]:
        axis.annotate(
            shorten(str(values.index[place]), 16), (place, values.iloc[place]), xytext=(2, 2),
            textcoords="offset points", fontsize=SMALL - 1, color=GREY,
        )  # fmt: skip
    axis.set_ylim(bottom=0)
    axis.set_xlabel(f"{by if by == 'row' else shorten(by)}, in the order of the data", fontsize=SMALL + 1)
    axis.set_ylabel(title, fontsize=SMALL + 1)
    return figure

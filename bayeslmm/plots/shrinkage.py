"""Effects of groups without pooling, with partial and with complete pooling."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.plots.canvas import GREY, SMALL, colour, legend_beside, one_axes, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 40  # levels that can be named


def shrinkage_figure(
    separate: pd.DataFrame, pooled: pd.DataFrame, common: pd.Series, group: str, ax: "Axes | None" = None
) -> "Figure":
    """Draw where each group's own estimate moves to.

    With two or more effects the first two are the axes; with one, groups are in a row.

    Parameters
    ----------
    separate
        Estimates of each group from its own rows alone, levels by effects; NaN where they do not suffice.
    pooled
        Coefficients of each group by the model, the same labels.
    common
        The coefficients all groups share under complete pooling, by effect.
    group
        Name of the grouping factor.
    ax
        Axes to draw into; None makes a figure.
    """
    if separate.shape[1] > 1:
        figure, axis = one_axes(6.4, 5.2, ax)
        x, y = separate.columns[:2]
        starts, ends = separate[[x, y]].to_numpy(), pooled[[x, y]].to_numpy()
        centre = common[[x, y]].to_numpy()
        axis.set_xlabel(shorten(str(x)), fontsize=SMALL + 1)
        axis.set_ylabel(shorten(str(y)), fontsize=SMALL + 1)
    else:
        figure, axis = one_axes(min(max(0.22 * len(separate) + 2.6, 5.6), 12), 4.0, ax)
        name = separate.columns[0]
        order = np.argsort(pooled[name].to_numpy(), kind="stable")
        place = np.arange(len(order), dtype=float)
        starts = np.column_stack([place, separate[name].to_numpy()[order]])
        ends = np.column_stack([place, pooled[name].to_numpy()[order]])
        centre = np.array([np.nan, common[name]])
        axis.axhline(common[name], color=colour(2), linewidth=1, label="complete pooling")
        labels = [shorten(str(level), 16) for level in separate.index[order]]
        axis.set_xticks(place if len(place) <= NAMED else [], labels if len(place) <= NAMED else [], rotation=90)
        axis.set_xlabel(shorten(group), fontsize=SMALL + 1)
        axis.set_ylabel(shorten(str(name)), fontsize=SMALL + 1)
    moved = ends - starts
    axis.quiver(*starts.T, *moved.T, angles="xy", scale_units="xy", scale=1, width=0.0025, color=GREY, zorder=1)
    axis.plot(*starts.T, "o", color=colour(0), markersize=4.5, markerfacecolor="none", label="no pooling: own rows")
    axis.plot(*ends.T, "o", color=colour(1), markersize=4.5, label="partial pooling: the model")
    if np.isfinite(centre).all():
        axis.plot(*centre, "P", color=colour(2), markersize=9, label="complete pooling")
        if len(separate) <= NAMED:
            for level, (a, b) in zip(separate.index, ends, strict=True):
                axis.annotate(shorten(str(level), 12), (a, b), fontsize=SMALL - 2, xytext=(3, 3),
                              textcoords="offset points", color=GREY)  # fmt: skip
    legend_beside(figure, axis, ax, "upper center", ncols=3)
    axis.set_title(f"Shrinkage: {shorten(group)}", fontsize=SMALL + 1.5, loc="left")
    return figure

"""Means, contrasts and slopes with their intervals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.errors import OptionError
from bayeslmm.plots.canvas import GREY, SMALL, colour, legend_beside, name_rows, new_figure, one_axes, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def estimates_figure(
    table: pd.DataFrame, labels: Sequence[str], by: Sequence[str], kind: str, level: float, ax: "Axes | None" = None
) -> "Figure":
    """Draw estimates: a curve with a band along a numeric variable of three values or more, else dots with limits.

    Parameters
    ----------
    table
        The labels, and estimate, lower and upper.
    labels
        Names of the label columns; those in `by` come as panels, or as colours of curves.
    kind
        What is estimated, for the axis.
    level
        Probability of the intervals.
    ax
        Axes to draw into, of a picture without panels; None makes a figure.

    Raises
    ------
    OptionError
        If the picture has several panels and `ax` is given.
    """
    curve = next((n for n in labels if pd.api.types.is_float_dtype(table[n]) and table[n].nunique() > 2), None)
    if curve is not None:
        return _curves(table, curve, [n for n in labels if n != curve], kind, level, ax)
    groups = _groups(table, by)
    heights = [len(part) for part in groups.values()]
    if ax is not None and len(groups) > 1:
        raise OptionError(f"This picture has {len(groups)} panels, which one ax= cannot hold: leave it out.")
    figure, panels = _panels(heights, ax)
    for axis, (title, part) in zip(panels, groups.items(), strict=True):
        _rows(axis, title, part, [n for n in labels if n not in by], kind)
    panels[-1].set_xlabel(f"{kind} with {100 * level:g}% intervals", fontsize=SMALL + 1)
    return figure


def _panels(heights: Sequence[int], ax: "Axes | None") -> tuple["Figure", list["Axes"]]:
    if ax is not None:
        figure, axis = one_axes(0.0, 0.0, ax)
        return figure, [axis]
    figure, axes = new_figure(
        6.5, 0.9 + 0.3 * len(heights) + 0.27 * sum(heights), len(heights), 1, sharex=True,
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    return figure, list(axes[:, 0])


def _rows(axis: "Axes", title: str, part: pd.DataFrame, names: Sequence[str], kind: str) -> None:
    y = np.arange(len(part))
    axis.hlines(y, part["lower"], part["upper"], color=colour(0), linewidth=1.8)
    axis.plot(part["estimate"], y, "o", color=colour(0), markersize=4.5)
    name_rows(axis, [", ".join(str(part[n].iloc[i]) for n in names) for i in range(len(part))], y)
    axis.set_ylim(len(part) - 0.5, -0.5)
    axis.set_title(shorten(title), fontsize=SMALL + 1, loc="left")
    if kind != "means":
        axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)


def _groups(table: pd.DataFrame, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    if not names:
        return {"": table}
    titles = [", ".join(f"{n} {table[n].iloc[i]}" for n in names) for i in range(len(table))]
    return {title: table[[t == title for t in titles]] for title in dict.fromkeys(titles)}


def _curves(
    table: pd.DataFrame, along: str, others: Sequence[str], kind: str, level: float, ax: "Axes | None"
) -> "Figure":
    figure, axis = one_axes(6.5, 4.0, ax)
    for k, (title, part) in enumerate(_groups(table, others).items()):
        part = part.sort_values(along)
        axis.fill_between(part[along], part["lower"], part["upper"], color=colour(k), alpha=0.2, linewidth=0)
        axis.plot(part[along], part["estimate"], color=colour(k), linewidth=1.8, label=shorten(title) or None)
    axis.set_xlabel(shorten(along), fontsize=SMALL + 1)
    axis.set_ylabel(f"{kind} with {100 * level:g}% intervals", fontsize=SMALL + 1)
    if others:
        legend_beside(figure, axis, ax, "right upper")
    return figure

"""The mean response along one predictor, with the curves of groups and the data behind it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.plots.canvas import GREY, SMALL, colour, one_axes, shorten
from bayeslmm.types import AnyArray, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAND, POINTS, GROUPS = 0.2, 0.35, 0.3  # opacities
SPREAD = 0.12  # of a category's width that its points are spread over
LONG = 7  # labels of categories beyond which they are written slantwise
SLANTED = 14  # and beyond which they are written upright, since slanted ones would meet
WIDTH, WIDEST = 0.19, 16.0  # inches of a category, and of the picture


@dataclass(frozen=True, slots=True)
class EffectCurves:
    """What an effects picture shows.

    Attributes
    ----------
    variable, by
        The predictor along the axis, and the one whose values have colours; None without.
    response
        Name of the response.
    means
        Columns x, by (if any), estimate, lower, upper.
    groups
        Curves of single groups: columns x, by (if any), group, mean; empty without.
    points
        The data: columns x, by (if any), y; empty where the response has no number for a row.
    level
        Probability of the band.
    """

    variable: str
    by: str | None
    response: str
    means: pd.DataFrame
    groups: pd.DataFrame
    points: pd.DataFrame
    level: float

    @property
    def levels(self) -> list[object]:
        """Values of `by`, or a single None."""
        return [None] if self.by is None else list(dict.fromkeys(self.means["by"]))

    def of(self, frame: pd.DataFrame, value: object) -> pd.DataFrame:
        """Return the rows of one value of `by`."""
        return frame if self.by is None or frame.empty else frame[frame["by"] == value]


def effect_figure(curves: EffectCurves, ax: "Axes | None" = None) -> "Figure":
    """Draw the mean curve with its band, curves of groups and the data behind it; dots with limits for a category.

    Parameters
    ----------
    curves
        What to show.
    ax
        Axes to draw into; None makes a figure.

    Returns
    -------
    Figure
        A new one, or that of `ax`.
    """
    numeric = pd.api.types.is_numeric_dtype(curves.means["x"])
    levels = 0 if numeric else curves.means["x"].nunique()
    figure, axis = one_axes(min(max(6.5, 1.5 + WIDTH * levels), WIDEST), 4.0, ax)
    if numeric:
        _draw_number(axis, curves)
    else:
        _draw_category(axis, curves)
    axis.set_xlabel(shorten(curves.variable), fontsize=SMALL + 1)
    axis.set_ylabel(shorten(curves.response), fontsize=SMALL + 1)
    if curves.by is not None:
        title = shorten(curves.by)
        if ax is None:
            figure.legend(loc="outside right upper", fontsize=SMALL, frameon=False, title=title, title_fontsize=SMALL)
        else:
            axis.legend(fontsize=SMALL, frameon=False, title=title, title_fontsize=SMALL)
    return figure


def _draw_number(axis: "Axes", curves: EffectCurves) -> None:
    for k, value in enumerate(curves.levels):
        shade = colour(k)
        own = curves.of(curves.groups, value)
        for group in [rows for _, rows in own.groupby("group", sort=False)] if len(own) else []:
            axis.plot(group["x"], group["mean"], color=shade if curves.by else GREY, alpha=GROUPS, linewidth=0.7)
        points = curves.of(curves.points, value)
        if len(points):
            axis.plot(points["x"], points["y"], ".", color=shade, alpha=POINTS, markersize=3, zorder=1)
        part = curves.of(curves.means, value)
        axis.fill_between(part["x"], part["lower"], part["upper"], color=shade, alpha=BAND, linewidth=0, zorder=2)
        label = None if value is None else shorten(str(value))
        axis.plot(part["x"], part["estimate"], color=shade, linewidth=2, label=label, zorder=3)
    if len(curves.points):
        low, _ = axis.get_ylim()
        seen = np.unique(np.asarray(curves.points["x"], dtype=float))
        axis.plot(seen, np.full(len(seen), low), "|", color="black", markersize=6, alpha=0.5, clip_on=False)
        axis.set_ylim(bottom=low)


def _draw_category(axis: "Axes", curves: EffectCurves) -> None:
    names = list(dict.fromkeys(curves.means["x"]))
    places = {name: place for place, name in enumerate(names)}
    count = len(curves.levels)
    for k, value in enumerate(curves.levels):
        shade, shift = colour(k), (k - (count - 1) / 2) * min(0.25, 0.7 / count)
        points = curves.of(curves.points, value)
        if len(points):
            x = _at(points["x"], places) + shift + SPREAD * _even(len(points))
            axis.plot(x, points["y"], ".", color=shade, alpha=POINTS, markersize=3, zorder=1)
        part = curves.of(curves.means, value)
        x = _at(part["x"], places) + shift
        axis.vlines(x, part["lower"], part["upper"], color="black", linewidth=4, zorder=2)
        axis.vlines(x, part["lower"], part["upper"], color=shade, linewidth=2.4, zorder=3)
        label = None if value is None else shorten(str(value))
        axis.plot(x, part["estimate"], "o", color=shade, markeredgecolor="black", markersize=6.5, label=label, zorder=4)
    slanted = len(names) > LONG or sum(len(str(name)) for name in names) > 60
    turn = 0 if not slanted else 35 if len(names) <= SLANTED else 90
    axis.set_xticks(range(len(names)), [shorten(str(name), 20) for name in names], rotation=turn,
                    ha="right" if turn == 35 else "center")  # fmt: skip
    axis.set_xlim(-0.6, len(names) - 0.4)


def _at(values: pd.Series, places: dict[object, int]) -> Array:
    return np.array([places[value] for value in values], dtype=float)


def _even(count: int) -> AnyArray:
    """Return numbers spread evenly over (-1, 1), the golden section apart, so that neighbours differ."""
    return 2.0 * ((0.5 + 0.6180339887498949 * np.arange(count)) % 1.0) - 1.0

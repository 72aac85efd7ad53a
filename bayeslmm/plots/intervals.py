"""Estimates with intervals, fits side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.design.names import covariance_kind
from bayeslmm.plots.canvas import GREY, SMALL, colour, name_rows, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def interval_figure(frames: Mapping[str, pd.DataFrame], level: float) -> "Figure":
    """Draw estimates and intervals, one panel per kind of parameter.

    Fixed coefficients, standard deviations and correlations have panels of their own: they are not on one
    scale.

    Parameters
    ----------
    frames
        By name of the fit, a frame with the columns estimate, lower and upper (NaN without limits) and the
        same rows, named as in a comparison.
    level
        Probability of the intervals.
    """
    rows = list(next(iter(frames.values())).index)
    panels = _panels(rows)
    heights = [len(names) for names in panels.values()]
    size = 0.24 + 0.1 * (len(frames) - 1)
    figure, axes = new_figure(
        7,
        1.0 + 0.55 * len(panels) + size * sum(heights),
        len(panels),
        1,
        gridspec_kw={"height_ratios": heights},
    )
    for axis, (title, names) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(axis, {label: frame.loc[names] for label, frame in frames.items()})
        axis.set_title(title, fontsize=SMALL + 1.5, loc="left")
    handles = axes[0, 0].get_legend_handles_labels()
    title = f"{100 * level:g}% intervals"
    figure.legend(
        *handles,
        loc="outside upper right",
        ncols=len(frames),
        fontsize=SMALL,
        frameon=False,
        title=title,
        title_fontsize=SMALL,
    )
    return figure


def _panels(rows: list[str]) -> dict[str, list[str]]:
    correlations = [name for name in rows if covariance_kind(name) == "cor"]
    deviations = [name for name in rows if covariance_kind(name) == "sd"]
    fixed = [name for name in rows if name not in correlations and name not in deviations]
    panels: dict[str, list[str]] = {}
    if "Intercept" in fixed and len(fixed) > 1:
        panels["Intercept"] = ["Intercept"]
        fixed = [name for name in fixed if name != "Intercept"]
    panels |= {"Fixed effects": fixed, "Standard deviations": deviations, "Correlations": correlations}
    return {title: names for title, names in panels.items() if names}


def _panel(axis: "Axes", frames: Mapping[str, pd.DataFrame]) -> None:
    names = list(next(iter(frames.values())).index)
    positions = np.arange(len(names), dtype=float)
    apart = 0.5 / len(frames)
    for k, (label, frame) in enumerate(frames.items()):
        y = positions + (k - (len(frames) - 1) / 2) * apart
        limits = frame[["lower", "upper"]].to_numpy(dtype=float)
        axis.hlines(y, limits[:, 0], limits[:, 1], color=colour(k), linewidth=1.8)
        axis.plot(frame["estimate"], y, "o", color=colour(k), markersize=4.5, label=label)
    low, high = axis.get_xlim()
    if low < 0 < high:
        axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    name_rows(axis, names, positions)
    axis.set_ylim(len(names) - 0.5, -0.5)

"""Random effects in order of size."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.errors import counted
from bayeslmm.plots.canvas import GREY, SMALL, colour, name_rows, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 60  # levels whose names can still be read


def caterpillar_figure(effects: pd.DataFrame, sds: pd.DataFrame, shown: str) -> "Figure":
    """Draw one panel per effect, levels in the order of the first, with plus and minus two sds.

    Parameters
    ----------
    effects
        Random effects, levels by effects.
    sds
        Their standard deviations, the same labels.
    shown
        What points and lines are, for the axis.
    """
    order = np.argsort(effects.iloc[:, 0].to_numpy(), kind="stable")
    levels, columns = effects.index[order], effects.columns
    named = len(levels) <= NAMED
    height = 0.19 * len(levels) + 1.0 if named else 7.0
    figure, axes = new_figure(2.2 + 2.8 * len(columns), max(height, 2.2), 1, len(columns), sharey=True)
    y = np.arange(len(levels), dtype=float)
    for axis, column in zip(axes[0], columns, strict=True):
        middle = effects[column].to_numpy()[order]
        half = 2 * sds[column].to_numpy()[order]
        axis.axvline(0, color=GREY, linewidth=0.8, zorder=0)
        axis.hlines(y, middle - half, middle + half, color=colour(0), linewidth=1.2 if named else 0.3, alpha=0.7)
        axis.plot(middle, y, "o" if named else ",", color=colour(1), markersize=3.5, linestyle="none")
        axis.set_title(shorten(str(column), 38), fontsize=SMALL + 1.5)
        axis.set_ylim(-0.8, len(levels) - 0.2)
    figure.supxlabel(shown, fontsize=SMALL)
    if named:
        name_rows(axes[0, 0], [str(level) for level in levels], y)
    else:
        axes[0, 0].set_yticks([])
    name = shorten(str(effects.index.name or "level"))
    axes[0, 0].set_ylabel(name if named else f"{name}: {counted(len(levels), 'level')}", fontsize=SMALL + 1)
    return figure

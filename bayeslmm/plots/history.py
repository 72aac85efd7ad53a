"""The course of an optimisation."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayeslmm.plots.canvas import SMALL, colour, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-10  # below, differences of the objective are rounding
MOST = 12  # elements of theta named in the legend


def history_figure(history: pd.DataFrame) -> "Figure":
    """Draw, over the evaluations, how far the objective was above its best value, and theta.

    Parameters
    ----------
    history
        One row per evaluation: objective, theta_1, theta_2, ...
    """
    thetas = [name for name in history.columns if name.startswith("theta_")]
    figure, axes = new_figure(6.5, 5.0 if thetas else 2.8, 2 if thetas else 1, 1, sharex=True)
    top = axes[0, 0]
    excess = np.maximum(history["objective"] - history["objective"].min(), FLOOR)
    top.semilogy(history.index, excess, "o-", color=colour(0), markersize=3, linewidth=1)
    top.set_ylabel("objective above\nits best value", fontsize=SMALL + 1)
    for k, name in enumerate(thetas):
        label = f"θ{name.removeprefix('theta_')}" if k < MOST else None
        axes[1, 0].plot(history.index, history[name], "o-", color=colour(k), markersize=3, linewidth=1, label=label)
    if thetas:
        axes[1, 0].set_ylabel("θ", fontsize=SMALL + 1)
        axes[1, 0].legend(fontsize=SMALL, frameon=False, ncols=2 if len(thetas) > 4 else 1)
    axes[-1, 0].set_xlabel("evaluation", fontsize=SMALL + 1)
    axes[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    return figure

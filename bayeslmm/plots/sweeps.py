"""The course of a mixed-effects forest, sweep by sweep."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.plots.canvas import SMALL, colour, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0


def sweeps_figure(history: pd.DataFrame) -> "Figure":
    """Draw standard deviations, marginal log-likelihood and held-out error by sweep.

    Parameters
    ----------
    history
        One row per sweep: sigma, sd_g[effect], ..., loglik, held_out_rmse.
    """
    panels = [("Standard deviations", [c for c in history if c == "sigma" or c.startswith("sd_")])]
    panels += [("Marginal log-likelihood", ["loglik"])]
    if history["held_out_rmse"].notna().any():
        panels.append(("Held-out root mean squared error", ["held_out_rmse"]))
    figure, axes = new_figure(WIDTH, 2.4 * len(panels), len(panels), 1)
    for axis, (title, columns) in zip(axes[:, 0], panels, strict=True):
        for k, column in enumerate(columns):
            axis.plot(history.index, history[column], "o-", color=colour(k), markersize=3, linewidth=1, label=column)
        _title(axis, title)
        if len(columns) > 1:
            axis.legend(fontsize=SMALL, frameon=False)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[-1, 0].set_xlabel("sweep", fontsize=SMALL + 1)
    return figure


def chains_figure(labels: list[str], draws: NDArray[np.floating]) -> "Figure":
    """Draw the chains of some quantities, one panel each.

    Parameters
    ----------
    labels
        Names of the K quantities.
    draws
        Shape (chains, draws, K).
    """
    figure, axes = new_figure(WIDTH, 1.6 * len(labels), len(labels), 1)
    for k, axis in enumerate(axes[:, 0]):
        for c, chain in enumerate(draws[:, :, k]):
            axis.plot(chain, color=colour(c), linewidth=0.6)
        _title(axis, labels[k])
    axes[-1, 0].set_xlabel("draw", fontsize=SMALL + 1)
    return figure


def _title(axis: "Axes", text: str) -> None:
    axis.set_title(text, loc="left", fontsize=SMALL + 2)

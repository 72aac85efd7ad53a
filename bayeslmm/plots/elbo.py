"""The course of a variational fit."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslmm.plots.canvas import SMALL, colour, legend_beside, one_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW = 50  # shares of the run one running mean is over
LOWEST = 0.02  # share of the run's lowest values left out of the picture: the start is far below the rest
MARGIN = 0.1


def elbo_figure(elbo: NDArray[np.floating], ax: "Axes | None" = None) -> "Figure":
    """Draw the evidence lower bound over the iterations with its running mean.

    Parameters
    ----------
    elbo
        The bound's estimate at each iteration, shape (m,).
    ax
        Axes to draw into; None makes a figure.
    """
    finite = np.where(np.isfinite(elbo), elbo, np.nan)
    figure, panel = one_axes(6.5, 3.2, ax)
    panel.plot(finite, color=colour(0), linewidth=0.5, alpha=0.4, label="estimate")
    width = max(1, len(finite) // WINDOW)
    smooth = np.convolve(np.nan_to_num(finite, nan=np.nanmin(finite)), np.ones(width) / width, mode="valid")
    panel.plot(np.arange(len(smooth)) + width - 1, smooth, color=colour(1), label=f"mean of {width}")
    later = finite[len(finite) // 10 :]
    low, high = np.nanquantile(later, LOWEST), np.nanmax(later)
    panel.set_ylim(low - MARGIN * (high - low), high + MARGIN * (high - low))
    panel.set_xlabel("iteration", fontsize=SMALL + 1)
    panel.set_ylabel("evidence lower bound", fontsize=SMALL + 1)
    legend_beside(figure, panel, ax, "upper center", ncols=2)
    return figure

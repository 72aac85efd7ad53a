"""Residuals."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslmm.plots.canvas import GREY, SMALL, colour, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 5000  # points; beyond, they are drawn as shaded hexagons


def residual_figure(fitted: NDArray[np.float64], residuals: NDArray[np.float64], name: str = "residual") -> "Figure":
    """Draw residuals against fitted values, and their quantiles against those of a normal distribution.

    Parameters
    ----------
    fitted, residuals
        Shape (n,).
    name
        What the residuals are called.
    """
    from scipy.special import ndtri

    figure, axes = new_figure(8.5, 3.8, 1, 2)
    left, right = axes[0]
    if len(fitted) > MANY:
        left.hexbin(fitted, residuals, gridsize=60, cmap="Blues", mincnt=1, linewidths=0)
    else:
        left.plot(fitted, residuals, "o", color=colour(0), markersize=3, alpha=0.5, markeredgewidth=0)
    left.axhline(0, color=GREY, linewidth=0.8)
    left.set_xlabel("fitted", fontsize=SMALL + 1)
    left.set_ylabel(name, fontsize=SMALL + 1)
    ordered = np.sort(residuals)
    expected = ndtri((np.arange(len(ordered)) + 0.5) / len(ordered)) * np.std(residuals)
    step = max(1, len(ordered) // MANY)
    ends = (expected[0], expected[-1])
    right.plot(ends, ends, color=GREY, linewidth=0.8)
    right.plot(expected[::step], ordered[::step], "o", color=colour(0), markersize=3, alpha=0.5, markeredgewidth=0)
    right.set_xlabel("normal quantile", fontsize=SMALL + 1)
    right.set_ylabel(name, fontsize=SMALL + 1)
    return figure

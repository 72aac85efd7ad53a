"""Parameters against each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.plots.canvas import SMALL, colour, density, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 7  # parameters: 21 panels below the diagonal
POINTS = 1500  # draws shown; more hide each other


def pairs_figure(draws: NDArray[np.floating], names: Sequence[str], diverging: NDArray[Any] | None = None) -> "Figure":
    """Draw every pair of parameters below the diagonal and their densities on it.

    Parameters
    ----------
    draws
        Shape (chains, draws, K); beyond 7 parameters the first ones are drawn, and the title says so.
    names
        Names of the K parameters.
    diverging
        Which draws ended in a divergence, shape (chains, draws); all of them are drawn.
    """
    size = min(len(names), MOST)
    flat = np.asarray(draws, dtype=float).reshape(-1, draws.shape[2])[:, :size]
    bad = np.zeros(len(flat), dtype=bool) if diverging is None else np.ravel(diverging).astype(bool)
    step = max(1, len(flat) // POINTS)
    figure, axes = new_figure(1.9 * size + 0.8, 1.75 * size + 0.6, size, size, sharex="col")
    for i in range(size):
        for j in range(size):
            axis = axes[i, j]
            if j > i:
                axis.set_visible(False)
            elif j == i:
                grid, height = density(flat[:, i])
                axis.fill_between(grid, height, color=colour(0), alpha=0.4, linewidth=0)
                axis.set_yticks([])
                axis.spines["left"].set_visible(False)
                axis.set_title(shorten(str(names[i]), 32), fontsize=SMALL)
            else:
                axis.plot(flat[::step, j], flat[::step, i], ".", color=colour(0), markersize=2, alpha=0.35)
                axis.plot(flat[bad, j], flat[bad, i], "x", color=colour(1), markersize=4)
                if j > 0:
                    axis.tick_params(labelleft=False)
            axis.tick_params(labelsize=SMALL - 1.5)
    if size < len(names):
        figure.suptitle(f"The first {size} of {len(names)} parameters", fontsize=SMALL + 2)
    return figure

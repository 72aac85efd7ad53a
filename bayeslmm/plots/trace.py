"""Density and trace of every parameter."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.plots.canvas import SMALL, colour, density, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 24  # parameters drawn; a picture of more is not looked at
POINTS = 500  # draws of a trace shown: more cannot be distinguished at this width


def trace_figure(draws: NDArray[np.floating], names: Sequence[str], diverging: NDArray[Any] | None = None) -> "Figure":
    """Draw one row per parameter: densities of the chains on the left, their traces on the right.

    Parameters
    ----------
    draws
        Shape (chains, draws, K); beyond 24 parameters the first ones are drawn, and the title says so.
    names
        Names of the K parameters.
    diverging
        Which draws ended in a divergence, shape (chains, draws); marked below the traces.
    """
    shown = min(len(names), MOST)
    figure, axes = new_figure(9, 1.15 * shown + 0.6, shown, 2, gridspec_kw={"width_ratios": [1, 1.7]})
    chains, length = draws.shape[:2]
    step = max(1, length // POINTS)
    for k in range(shown):
        left, right = axes[k]
        for chain in range(chains):
            values = np.asarray(draws[chain, :, k], dtype=float)
            left.plot(*density(values), color=colour(chain), linewidth=1)
            right.plot(np.arange(0, length, step), values[::step], color=colour(chain), linewidth=0.5, alpha=0.8)
        if diverging is not None and np.any(diverging):
            low = right.get_ylim()[0]
            where = np.flatnonzero(np.any(diverging, axis=0))
            right.plot(where, np.full(len(where), low), "|", color="black", markersize=5, clip_on=False)
        left.locator_params(axis="x", nbins=6)
        left.set_yticks([])
        left.spines["left"].set_visible(False)
        left.set_title(shorten(str(names[k]), 44), fontsize=SMALL + 1, loc="left", pad=3)
        right.margins(x=0)
        if k < shown - 1:
            right.tick_params(labelbottom=False)
    if shown:
        axes[-1, 1].set_xlabel("draw", fontsize=SMALL)
    if shown < len(names):
        figure.suptitle(f"The first {shown} of {len(names)} parameters", fontsize=SMALL + 2)
    return figure

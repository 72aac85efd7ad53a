"""Ranks of draws among those of all chains: even where the chains agree."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from bayeslmm.plots.canvas import GREY, SMALL, colour, new_figure, shorten
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
BINS = 20


def rank_figure(draws: Array, names: Sequence[str]) -> "Figure":
    """Draw histograms of ranks, a panel per parameter and a line per chain (Vehtari et al. 2021).

    Parameters
    ----------
    draws
        Shape (chains, draws, K).
    names
        The K parameters.
    """
    chains, length, _ = draws.shape
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure, axes = new_figure(2.5 * columns, 1.7 * rows + 0.4, rows, columns, sharex=True)
    bins = min(BINS, max(length // 5, 1))
    edges = np.linspace(0.5, chains * length + 0.5, bins + 1)
    for panel in np.ravel(axes)[len(names) :]:
        panel.set_visible(False)
    for k, (panel, name) in enumerate(zip(np.ravel(axes), names, strict=False)):
        ranks = rankdata(draws[:, :, k]).reshape(chains, length)
        for chain in range(chains):
            counts, _ = np.histogram(ranks[chain], edges)
            panel.stairs(counts * bins / length, edges, color=colour(chain), linewidth=1.1)
        panel.axhline(1, color=GREY, linewidth=0.8)
        panel.set_ylim(0, None)
        panel.set_title(shorten(name), fontsize=SMALL + 1)
    figure.supxlabel("rank among the draws of all chains", fontsize=SMALL)
    figure.supylabel("frequency, 1 expected", fontsize=SMALL)
    return figure

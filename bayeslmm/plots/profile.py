"""Profiles of the likelihood: how far the signed root of its fall is from a straight line."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslmm.plots.canvas import GREY, SMALL, colour, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3
LINES = (0.5, 0.8, 0.95)  # probabilities of the intervals marked


def profile_figure(
    curves: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]], marks: Mapping[float, float]
) -> "Figure":
    """Draw zeta against the value of each parameter, a panel each.

    Parameters
    ----------
    curves
        For each parameter values and zeta, shape (m,) each.
    marks
        zeta of the limits of intervals, by their probability.
    """
    columns = min(COLUMNS, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = new_figure(2.4 * columns + 0.3, 2.2 * rows + 0.2, rows, columns)
    for panel in np.ravel(axes)[len(curves) :]:
        panel.set_visible(False)
    for panel, (name, (values, zeta)) in zip(np.ravel(axes), curves.items(), strict=False):
        for probability, mark in marks.items():
            for side in (-mark, mark):
                panel.axhline(side, color=GREY, linewidth=0.5, alpha=0.6)
            panel.annotate(f"{probability:.0%}", (1, mark), xycoords=("axes fraction", "data"), fontsize=SMALL - 2,
                           ha="right", va="bottom", color=GREY)  # fmt: skip
        panel.axhline(0, color=GREY, linewidth=0.8)
        panel.plot(values, zeta, color=colour(0))
        panel.set_title(shorten(name), fontsize=SMALL + 1)
        panel.set_ylabel("ζ", fontsize=SMALL + 1)
    return figure

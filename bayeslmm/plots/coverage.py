"""How often intervals of every level cover what they should."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import beta

from bayeslmm.plots.canvas import GREY, SMALL, colour, one_axes
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = np.linspace(0.02, 0.98, 49)
BAND = 0.95


def coverage_figure(pit: Array, ax: "Axes | None" = None) -> "Figure":
    """Draw the share of central intervals that cover, against their level, with a 95% band for independent rows.

    Parameters
    ----------
    pit
        Each row's predictive distribution function at what was observed, shape (n,).
    ax
        Axes to draw into; None makes a figure.

    Returns
    -------
    Figure
        A new one, or that of `ax`.
    """
    figure, axis = one_axes(4.6, 4.2, ax)
    needed = np.abs(2.0 * np.asarray(pit, dtype=float) - 1.0)  # the level at which a row's interval begins to cover
    needed = needed[np.isfinite(needed)]
    n = len(needed)
    covered = np.searchsorted(np.sort(needed), LEVELS, side="right") / n
    k = LEVELS * n
    low, high = (beta.ppf(q, k + 0.5, n - k + 0.5) for q in ((1 - BAND) / 2, (1 + BAND) / 2))
    axis.fill_between(LEVELS, low, high, color=GREY, alpha=0.25, linewidth=0, label="95% of calibrated models")
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    axis.plot(LEVELS, covered, color=colour(0), linewidth=1.8, label="found")
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_xlabel("level of the interval", fontsize=SMALL + 1)
    axis.set_ylabel("share of rows within", fontsize=SMALL + 1)
    axis.legend(fontsize=SMALL, frameon=False, loc="upper left")
    return figure

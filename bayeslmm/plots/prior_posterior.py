"""Priors under posteriors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.plots.canvas import GREY, SMALL, colour, density, new_figure, shorten
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
REACH = 3.0  # how many posterior widths of the prior are shown on either side


def prior_posterior_figure(draws: Mapping[str, tuple[Array, Array]]) -> "Figure":
    """Draw the densities of prior and posterior, a panel for each parameter, as far as the posterior reaches and a bit.

    Parameters
    ----------
    draws
        By parameter, draws of its prior (NaN where it is improper) and of its posterior.
    """
    columns = min(COLUMNS, len(draws))
    rows = -(-len(draws) // columns)
    figure, axes = new_figure(2.3 * columns + 0.3, 1.75 * rows + 0.5, rows, columns)
    panels = np.ravel(axes)
    for axis in panels[len(draws) :]:
        axis.set_axis_off()
    for axis, (name, (prior, posterior)) in zip(panels, draws.items(), strict=False):
        low, high = np.quantile(posterior, [0.001, 0.999])
        width = max(high - low, 1e-12 * max(abs(high), 1.0))
        low, high = low - REACH * width, high + REACH * width
        finite = prior[np.isfinite(prior)]
        if len(finite):
            ends = np.quantile(finite, [0.005, 0.995])
            low, high = max(low, min(ends[0], np.min(posterior))), min(high, max(ends[1], np.max(posterior)))
            inside = finite[(finite >= low - width) & (finite <= high + width)]
            grid, height = density(inside)
            axis.fill_between(
                grid, height * len(inside) / len(finite), color=GREY, alpha=0.45, linewidth=0, label="prior"
            )
        axis.plot(*density(posterior), color=colour(0), linewidth=1.5, label="posterior")
        axis.set_xlim(low, high)
        axis.set_ylim(0, None)
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.set_title(shorten(name, 30), fontsize=SMALL, loc="left")
        axis.tick_params(axis="x", labelsize=SMALL - 1)
        axis.locator_params(axis="x", nbins=4)
    handles = {
        label: handle
        for axis in panels[: len(draws)]
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper right", ncols=2, fontsize=SMALL, frameon=False
    )
    return figure

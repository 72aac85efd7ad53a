"""The response beside responses the model makes."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslmm.plots.canvas import SMALL, colour, density, one_axes, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def predictive_figure(
    y: NDArray[np.float64], simulated: NDArray[np.float64], name: str, ax: "Axes | None" = None
) -> "Figure":
    """Draw the density of the response over densities of simulated responses.

    Parameters
    ----------
    y
        The response, shape (n,).
    simulated
        Simulated responses, shape (draws, n).
    name
        Name of the response.
    ax
        Axes to draw into; None makes a figure.
    """
    figure, axis = one_axes(6.5, 3.8, ax)
    for k, values in enumerate(simulated):
        label = f"{len(simulated)} simulated from the posterior" if k == 0 else None
        axis.plot(*density(values), color=colour(0), linewidth=0.6, alpha=0.35, label=label)
    axis.plot(*density(y), color="black", linewidth=1.8, label="observed")
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.set_xlabel(shorten(name, 60), fontsize=SMALL + 1)
    legend = axis.legend(fontsize=SMALL, frameon=False)
    for handle in legend.get_lines():
        handle.set_alpha(1.0)
    return figure

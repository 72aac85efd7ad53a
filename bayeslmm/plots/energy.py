"""Energy of Hamiltonian Monte Carlo: its changes must be as wide as itself."""

from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.plots.canvas import SMALL, colour, density, legend_beside, one_axes
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def energy_figure(energy: Array, ax: "Axes | None" = None) -> "Figure":
    r"""Draw the density of the energy and that of its changes, with E-BFMI per chain (Betancourt 2016).

    Parameters
    ----------
    energy
        Shape (chains, draws). :math:`\text{E-BFMI} = \sum(E_t - E_{t-1})^2 / \sum(E_t - \bar E)^2`; below 0.3 the
        sampler explores the tails slowly.
    ax
        Axes to draw into; None makes a figure.
    """
    figure, axis = one_axes(5.2, 3.2, ax)
    centred = energy - energy.mean(axis=1, keepdims=True)
    steps = np.diff(energy, axis=1)
    for k, (label, values) in enumerate((("energy less its mean", centred), ("change from draw to draw", steps))):
        axis.plot(*density(values.ravel()), color=colour(k), label=label)
    share = np.sum(steps**2, axis=1) / np.sum(centred**2, axis=1)
    axis.set_yticks([])
    axis.set_xlabel(f"E-BFMI by chain: {', '.join(f'{value:.2f}' for value in share)}", fontsize=SMALL)
    legend_beside(figure, axis, ax, "upper center", ncols=2)
    return figure

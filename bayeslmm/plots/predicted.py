"""The response against its predictions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bayeslmm.plots.canvas import GREY, SMALL, colour, new_figure, shorten
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def predicted_figure(y: Array, predictions: Mapping[str, Array], response: str) -> "Figure":
    """Draw one panel per kind of prediction, with the line where both are equal.

    Parameters
    ----------
    y
        Response, shape (n,).
    predictions
        Predictions by title, each (n,).
    response
        Name of the response.
    """
    figure, axes = new_figure(4.0 * len(predictions), 4.0, 1, len(predictions), sharex=True, sharey=True)
    for axis, (title, values) in zip(axes[0], predictions.items(), strict=True):
        axis.scatter(values, y, s=8, color=colour(0), alpha=0.5, edgecolors="none")
        ends = [min(values.min(), y.min()), max(values.max(), y.max())]
        axis.plot(ends, ends, color=GREY, linewidth=0.8)
        axis.set_title(title, loc="left", fontsize=SMALL + 2)
        axis.set_xlabel("predicted", fontsize=SMALL + 1)
    axes[0, 0].set_ylabel(shorten(response), fontsize=SMALL + 1)
    return figure

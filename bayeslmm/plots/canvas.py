"""What all pictures share: a figure without global state, its colours, its quiet axes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bayeslmm.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
GREY = "#888888"
SMALL = 8.0


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple["Figure", Any]:
    """Return a figure of a size in inches and its axes, shape (rows, columns).

    The figure belongs to no window: notebooks show it, see `Picture`; saving it is up to the caller.
    """
    from bayeslmm.plots.picture import new_picture

    figure = new_picture(width, height)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in np.ravel(axes):
        quieten(axis)
    return figure, axes


def one_axes(width: float, height: float, ax: "Axes | None" = None) -> tuple["Figure", "Axes"]:
    """Return the axes given with their figure, or those of a new figure of a size in inches.

    Raises
    ------
    OptionError
        If `ax` is something else.
    """
    if ax is None:
        figure, axes = new_figure(width, height)
        return figure, axes[0, 0]
    if not hasattr(ax, "get_figure") or not hasattr(ax, "plot"):
        raise OptionError(f"ax= takes the axes of a matplotlib figure, not {type(ax).__name__}: give one of its axes.")
    quieten(ax)
    return cast("Figure", ax.get_figure()), ax


def legend_beside(figure: "Figure", axis: "Axes", ax: "Axes | None", place: str, **options: Any) -> None:
    """Draw the legend at a place outside the axes of a figure of our own, inside axes that were given."""
    if ax is None:
        figure.legend(loc=f"outside {place}", fontsize=SMALL, frameon=False, **options)
    else:
        axis.legend(fontsize=SMALL, frameon=False, **{name: options[name] for name in options if name != "ncols"})


def quieten(axis: "Axes") -> None:
    """Take away the frame that carries no information and make the tick labels small."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=SMALL)


def colour(position: int) -> str:
    """Return a colour of the palette, starting again when it is used up."""
    return COLOURS[position % len(COLOURS)]


def shorten(text: str, length: int = 34) -> str:
    """Return a label short enough for an axis, its middle left out, its dollar signs no mathematics."""
    if len(text) > length:
        head = (length - 1) * 2 // 3
        text = f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"
    return text.replace("$", r"\$")


def density(values: np.ndarray, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel density estimate on a grid, by a binned Gaussian smoother with Silverman's bandwidth.

    Parameters
    ----------
    values
        Draws, shape (n,); those that are not finite are left out.
    points
        Size of the grid.

    Returns
    -------
    grid, density
        Each of shape (points,).
    """
    kept = values[np.isfinite(values)]
    if kept.size < 2 or np.ptp(kept) == 0:
        centre = kept[0] if kept.size else 0.0
        return np.array([centre]), np.array([0.0])
    quartiles = np.subtract(*np.percentile(kept, [75, 25])) / 1.349
    spread = min(np.std(kept, ddof=1), quartiles) if quartiles > 0 else np.std(kept, ddof=1)
    width = 0.9 * spread * kept.size**-0.2
    low, high = kept.min() - 3 * width, kept.max() + 3 * width
    counts, edges = np.histogram(kept, bins=points, range=(low, high))
    grid = (edges[:-1] + edges[1:]) / 2
    step = edges[1] - edges[0]
    kernel = np.exp(-0.5 * ((np.arange(-points + 1, points)) * step / width) ** 2)
    smooth = np.convolve(counts, kernel, mode="valid")
    return grid, smooth / (smooth.sum() * step)


def name_rows(axis: "Axes", names: Sequence[str], positions: np.ndarray) -> None:
    """Label the vertical axis with names."""
    axis.set_yticks(positions, [shorten(str(name)) for name in names], fontsize=SMALL)
    axis.tick_params(axis="y", length=0)

"""A figure as a picture of the report."""

import io
import warnings
from typing import TYPE_CHECKING

from bayeslmm.report import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PIXELS_PER_INCH = 100  # as the figures are laid out
SHARPNESS = 1.6  # image pixels per CSS pixel: sharp on paper, still small


def report_picture(caption: str, figure: "Figure") -> Picture:
    """Return a figure as it stands in the page, and take it from what a notebook would show."""
    from bayeslmm.plots.picture import forget

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the tables have every label
        figure.savefig(stream, format="png", dpi=PIXELS_PER_INCH * SHARPNESS)
    forget(figure)
    width, height = (round(PIXELS_PER_INCH * size) for size in figure.get_size_inches())
    return Picture(caption, stream.getvalue(), width, height)

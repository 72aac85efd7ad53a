"""A figure that notebooks show by themselves, whether pyplot has been used or not."""

import sys
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib figure that knows how it looks as a PNG.

    In a notebook with inline pictures pyplot knows it, too, until it has been shown: once as the value of a cell, by
    ``plt.show()`` in a loop, or at the end of the cell. Elsewhere it belongs to no window or global list.
    """

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()

    def _ipython_display_(self) -> None:
        """Show the figure, and take it from pyplot's list, which would show it again at the end of the cell."""
        from IPython.display import Image, display  # type: ignore[import-not-found]

        display(Image(self._repr_png_()))
        forget(self)

    def show(self, *_: Any, **__: Any) -> None:
        """Show the figure in a notebook now, for loops and functions: the value of a cell shows itself.

        Raises
        ------
        AttributeError
            Outside of a notebook: the figure belongs to no window.
        """
        interactive = sys.modules.get("IPython")
        if interactive is None or interactive.get_ipython() is None:
            raise AttributeError(
                "This figure belongs to no window, so there is nothing to show it in: figure.savefig(path) writes it."
            )
        self._ipython_display_()


def forget(figure: Figure) -> None:
    """Take a figure from pyplot's list, so that a notebook does not show it at the end of the cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)


def new_picture(width: float, height: float) -> Picture:
    """Return an empty figure of a size in inches, known to pyplot where a notebook shows pyplot's figures inline."""
    options: dict[str, Any] = {"figsize": (width, height), "layout": "constrained", "dpi": 100}
    if not _shows_inline():
        return Picture(**options)
    import matplotlib.pyplot as plt

    figure = plt.figure(FigureClass=Picture, **options)
    assert isinstance(figure, Picture)
    return figure


def _shows_inline() -> bool:
    interactive = sys.modules.get("IPython")
    if interactive is None or interactive.get_ipython() is None:
        return False
    import matplotlib

    return "inline" in matplotlib.get_backend()

"""A figure that notebooks show by themselves, whether pyplot has been used or not."""

import sys
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib figure that belongs to no window or global list, and knows how it looks as a PNG."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()

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
        from IPython.display import display  # type: ignore[import-not-found]

        display(self)

"""Memory that is written anew for every batch of rows.

Fresh arrays of a megabyte are handed back to the operating system when they are done with, at once where a Dask worker
sets its allocator so, and the pages of the next ones have to be asked for again: a third of the time of a pass.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Scratch:
    """An array of no lasting content. Copies and what is sent elsewhere begin without any.

    Parameters
    ----------
    dtype
        The type of its entries.
    """

    def __init__(self, dtype: Any = np.float64) -> None:
        self._held: NDArray[Any] = np.empty(0, dtype=dtype)

    def array(self, *shape: int) -> NDArray[Any]:
        """Return an array of this shape, its entries arbitrary; it lasts until the next one is asked for."""
        size = prod(shape)
        if len(self._held) < size:
            self._held = np.empty(size, dtype=self._held.dtype)
        return self._held[:size].reshape(shape)

    def __reduce__(self) -> tuple[type["Scratch"], tuple[Any]]:
        """Take nothing along."""
        return Scratch, (self._held.dtype,)

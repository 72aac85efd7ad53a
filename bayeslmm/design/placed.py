"""Codes of whole numbers that are their places in a range: no table is looked up while rows are added."""

from copy import copy
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.design import Codes
from bayeslmm.design.first_come import FirstComeCoder, NumberCoder


class PlacedCoder(NumberCoder):
    """Codes ``value - low`` of the whole numbers of a column, of which those met are marked.

    Codes of numbers that are never met stay unused, so that this is for ranges that are short.

    Parameters
    ----------
    most
        The largest number of places.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._marks: NDArray[np.bool_] = np.empty(0, dtype=bool)

    def order(self) -> Codes:
        """Return the codes of the levels in ascending order, (J,)."""
        return np.flatnonzero(self._marks).astype(np.int32)

    def packed(self) -> "PlacedCoder":
        """Return the codes without room for numbers after those met; they share memory with these."""
        met, found = np.flatnonzero(self._marks), copy(self)
        found.count = int(met[-1]) + 1 if len(met) else 0
        found._marks = self._marks[: found.count]
        return found

    def first_come(self) -> FirstComeCoder:
        """Return a coder with the same codes, that gives numbers beyond the range new ones."""
        table = np.where(self._marks, np.arange(self.count, dtype=np.int32), np.int32(-1))
        return FirstComeCoder.of_table(self._low, table, self.count, self._dtype)

    def _met(self) -> NDArray[np.bool_]:
        return self._marks

    def _fill(self, values: NDArray[Any], codes: Codes) -> None:
        _place(values, self._low, self._marks, codes)

    def _reach(self, values: NDArray[Any]) -> bool:
        """Widen the range upwards, to twice its length or more, as far as it may reach."""
        if len(values) == 0:
            return True
        low, high = int(values.min()), int(values.max())
        start = self._low if self.count else _start(low, high)
        if low < start or high >= start + max(self._most, self.count):
            return False
        if high >= start + self.count:
            marks = np.zeros(min(self._most, max(high + 1 - start, 2 * self.count)), dtype=bool)
            marks[: self.count] = self._marks
            self._low, self._marks, self.count = start, marks, len(marks)
        return True


def _start(low: int, high: int) -> int:
    """Return where a range begins: with room below the first numbers, or from zero on if that is near."""
    room = high + 1 - low
    return max(low - room, 0 if low >= 0 else int(np.iinfo(np.int64).min))


@numba.njit(cache=True, nogil=True)
def _place(values: NDArray[Any], low: int, marks: NDArray[np.bool_], codes: Codes) -> None:
    for i in range(values.shape[0]):
        place = values[i] - low
        marks[place] = True
        codes[i] = place

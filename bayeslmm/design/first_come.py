"""Codes of whole numbers in the order in which rows bring them, before all levels are known."""

from abc import ABC, abstractmethod
from copy import copy
from typing import Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.design import Codes
from bayeslmm.design.levels import LARGEST_TABLE, SPARSEST, whole_numbers
from bayeslmm.scratch import Scratch

ROOM = 2**22  # entries of a table that is worth its memory however few levels are known yet


class Coder(ABC):
    """Gives whole numbers codes while rows bring them.

    Attributes
    ----------
    count
        Number of codes there are; some may not be used.
    """

    count: int

    @abstractmethod
    def codes(self, column: pd.Series, scratch: Scratch | None = None) -> Codes | None:
        """Return the code of each row, (n,); None where this way has none for them."""

    @abstractmethod
    def levels(self) -> NDArray[Any]:
        """Return the levels in ascending order, (J,)."""

    @abstractmethod
    def order(self) -> Codes:
        """Return the codes of the levels in ascending order, (J,)."""

    @abstractmethod
    def packed(self) -> "Coder":
        """Return the codes alone, without room for more."""

    def merge(self, other: "Coder") -> Codes | None:
        """Return the codes here of the levels there, by their codes there, 0 for those not used; None as ``codes``."""
        mine = self.codes(pd.Series(other.levels()))
        if mine is None:
            return None
        places = np.zeros(other.count, dtype=np.int32)
        places[other.order()] = mine
        return places


class NumberCoder(Coder):
    """Gives codes to whole numbers that are not too far apart, by their distance from the lowest."""

    def __init__(self) -> None:
        self.count = 0
        self._low = 0
        self._dtype: Any = None

    def codes(self, column: pd.Series, scratch: Scratch | None = None) -> Codes | None:
        """Return the code of each row, (n,); None where values are no whole numbers, or too far apart.

        If given, they are in scratch memory of 32-bit whole numbers.
        """
        values = whole_numbers(column)
        if values is None or not self._reach(values):
            return None
        self._dtype = values.dtype if self._dtype is None else np.promote_types(self._dtype, values.dtype)
        codes: Codes = (scratch or Scratch(np.int32)).array(len(values))
        self._fill(values, codes)
        return codes

    def levels(self) -> NDArray[Any]:
        """Return the levels in ascending order, (J,)."""
        met = np.flatnonzero(self._met()) + self._low
        return met if self._dtype is None else met.astype(self._dtype)

    @abstractmethod
    def _reach(self, values: NDArray[Any]) -> bool:
        """Make room for new values; return False where they are too far apart."""

    @abstractmethod
    def _fill(self, values: NDArray[Any], codes: Codes) -> None:
        """Write the codes of values within reach."""

    @abstractmethod
    def _met(self) -> NDArray[np.bool_]:
        """Return which of the numbers from the lowest on there are."""


class FirstComeCoder(NumberCoder):
    """Numbers the distinct whole numbers of a column as they come.

    A table over their range holds the code of each, -1 for a number not met yet.
    """

    def __init__(self) -> None:
        super().__init__()
        self._table: Codes = np.empty(0, dtype=np.int32)

    @classmethod
    def of_table(cls, low: int, table: Codes, count: int, dtype: Any) -> "FirstComeCoder":
        """Return a coder of `count` codes, of the numbers from `low` on, -1 for those not met."""
        found = cls()
        found._low, found._table, found.count, found._dtype = low, table, count, dtype
        return found

    def order(self) -> Codes:
        """Return the codes of the levels in ascending order, (J,)."""
        return self._table[self._met()]

    def packed(self) -> "FirstComeCoder":
        """Return the codes without room for numbers before and after those met; they share memory with these."""
        met = np.flatnonzero(self._met())
        found = copy(self)
        if len(met):
            found._low, found._table = self._low + int(met[0]), self._table[met[0] : met[-1] + 1]
        return found

    def _met(self) -> NDArray[np.bool_]:
        return self._table >= 0

    def _fill(self, values: NDArray[Any], codes: Codes) -> None:
        self.count = _number(values, self._low, self._table, self.count, codes)

    def _reach(self, values: NDArray[Any]) -> bool:
        """Widen the table to the range of new values, to twice its length or more, unless they are too far apart."""
        if len(values) == 0:
            return True
        low, high = int(values.min()), int(values.max())
        start, end = self._low, self._low + len(self._table)
        if len(self._table) and start <= low and high < end:
            return True
        span = high + 1 - low
        if len(self._table):
            low, high = min(low, start), max(high, end - 1)
            span = high + 1 - low
            longer = max(0, 2 * len(self._table) - span)  # ahead of numbers that ascend, or descend
            low, high = (low - longer, high) if low < start else (low, high + longer)
        if span > min(LARGEST_TABLE, max(SPARSEST * self.count, ROOM)):
            return False
        table = np.full(high + 1 - low, -1, dtype=np.int32)
        table[start - low : end - low] = self._table
        self._low, self._table = low, table
        return True


def numbered(levels: NDArray[Any]) -> FirstComeCoder:
    """Return a coder that has ascending whole numbers numbered in their order; they must not be too far apart."""
    found = FirstComeCoder()
    found.codes(pd.Series(levels))
    return found


@numba.njit(cache=True, nogil=True)
def _number(values: NDArray[Any], low: int, table: Codes, count: int, codes: Codes) -> int:
    for i in range(values.shape[0]):
        place = values[i] - low
        if table[place] < 0:
            table[place] = count
            count += 1
        codes[i] = table[place]
    return count

"""Sums over the pairs of levels of two terms, where the pairs are met one batch after another."""

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.accumulate import add_by_level
from bayeslmm.types import Array, Codes, Index

LARGEST_TABLE = 2**22  # entries of a table over all pairs; where there are more, pairs are kept as sorted runs


class PairSums:
    """Sums of ``outer(z_k[i], z_m[i])`` by the pair of levels of row i.

    Parameters
    ----------
    levels
        J_k and J_m.
    sizes
        S_k and S_m.
    """

    def __init__(self, levels: tuple[int, int], sizes: tuple[int, int]) -> None:
        self.levels, self.sizes = levels, sizes
        self._table: Array | None = None
        self._met: NDArray[np.bool_] | None = None
        self._runs: list[tuple[Index, Array]] = []
        if levels[0] * levels[1] * sizes[0] * sizes[1] <= LARGEST_TABLE:
            self._table = np.zeros((levels[0] * levels[1], *sizes))
            self._met = np.zeros(levels[0] * levels[1], dtype=bool)

    def add(self, codes: tuple[Codes, Codes], columns: tuple[Array, Array]) -> None:
        """Add rows: their levels and columns (times root weights)."""
        keys = codes[0].astype(np.int64) * self.levels[1] + codes[1]
        if self._table is not None and self._met is not None:
            _mark(keys, self._met)
            add_by_level(keys, columns[0], columns[1], self._table)
            return
        order = np.argsort(keys, kind="stable")
        found, pair = _number(keys[order])
        blocks = np.zeros((len(found), *self.sizes))
        add_by_level(pair, columns[0][order], columns[1][order], blocks)
        self.add_run(found, blocks)

    def add_run(self, keys: Index, blocks: Array) -> None:
        """Add sums of distinct pairs in ascending order, ``key = level_k * J_m + level_m``."""
        if self._table is not None and self._met is not None:
            self._met[keys] = True
            self._table[keys] += blocks
            return
        self._runs.append((keys, blocks))
        while len(self._runs) > 1 and 2 * len(self._runs[-1][0]) >= len(self._runs[-2][0]):
            last = self._runs.pop()
            self._runs[-1] = _merged(self._runs[-1], last)

    def merge(self, other: "PairSums") -> None:
        """Add the sums of other rows with the same levels."""
        self.add_run(*other.pairs())

    def pairs(self) -> tuple[Index, Array]:
        """Return the pairs met, in ascending order, and their sums, shapes (E,) and (E, S_k, S_m)."""
        if self._table is not None and self._met is not None:
            met = np.flatnonzero(self._met)
            return met, self._table[met]
        while len(self._runs) > 1:
            last = self._runs.pop()
            self._runs[-1] = _merged(self._runs[-1], last)
        return self._runs[0] if self._runs else (np.zeros(0, dtype=np.int64), np.zeros((0, *self.sizes)))


def _merged(left: tuple[Index, Array], right: tuple[Index, Array]) -> tuple[Index, Array]:
    keys = np.concatenate([left[0], right[0]])
    order = np.argsort(keys, kind="stable")
    found, pair = _number(keys[order])
    blocks = np.zeros((len(found), *left[1].shape[1:]))
    places = np.empty_like(pair)
    places[order] = pair
    n = len(left[0])
    blocks[places[:n]] = left[1]
    blocks[places[n:]] += right[1]
    return found, blocks


@numba.njit(cache=True, nogil=True)
def _number(keys: Index) -> tuple[Index, Index]:
    """Return the distinct keys of an ascending array, and the number of each entry's."""
    found = np.empty_like(keys)
    number = np.empty_like(keys)
    count = 0
    for i in range(keys.shape[0]):
        if count == 0 or keys[i] != found[count - 1]:
            found[count] = keys[i]
            count += 1
        number[i] = count - 1
    return found[:count].copy(), number


@numba.njit(cache=True, nogil=True)
def _mark(keys: Index, met: NDArray[np.bool_]) -> None:
    for i in range(keys.shape[0]):
        met[keys[i]] = True

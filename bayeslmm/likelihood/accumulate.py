"""One pass over the rows: sums of products by level and by pair of levels, in compiled loops."""

import numba
import numpy as np

from bayeslmm.types import Array, Codes, Index


@numba.njit(cache=True, nogil=True)
def add_by_level(codes: Codes, left: Array, right: Array, out: Array) -> None:
    """``out[codes[i]] += outer(left[i], right[i])``; left (n, S), right (n, w), out (J, S, w)."""
    n, size = left.shape
    width = right.shape[1]
    for i in range(n):
        j = codes[i]
        for s in range(size):
            value = left[i, s]
            if value != 0.0:
                for t in range(width):
                    out[j, s, t] += value * right[i, t]


@numba.njit(cache=True, nogil=True)
def add_effects(codes: Codes, columns: Array, effects: Array, out: Array) -> None:
    """``out[i] += columns[i] @ effects[codes[i]]``, nothing where a code is -1.

    codes (n,), columns (n, S), effects (J, S), out (n,).
    """
    for i in range(codes.shape[0]):
        j = codes[i]
        if j >= 0:
            total = 0.0
            for s in range(columns.shape[1]):
                total += columns[i, s] * effects[j, s]
            out[i] += total


@numba.njit(cache=True, nogil=True)
def count_pairs(order: Index, starts: Index, inner: Codes, pair_of_row: Index, levels: Codes) -> Index:
    """Number the distinct pairs (outer level, inner level) of the rows, in ascending order.

    Parameters
    ----------
    order, starts
        Rows sorted by outer level, then by inner: rows of outer level j are ``order[starts[j]:starts[j + 1]]``.
    inner
        Inner level of each row, shape (n,).
    pair_of_row
        Filled with the pair of each row, shape (n,).
    levels
        Filled with the inner level of each pair, shape (at least the number of pairs,).

    Returns
    -------
    First pair of each outer level, shape (J + 1,).
    """
    n_outer = starts.shape[0] - 1
    first = np.zeros(n_outer + 1, dtype=np.int64)
    count = 0
    for j in range(n_outer):
        first[j] = count
        for r in range(starts[j], starts[j + 1]):
            row = order[r]
            if count == first[j] or levels[count - 1] != inner[row]:
                levels[count] = inner[row]
                count += 1
            pair_of_row[row] = count - 1
    first[n_outer] = count
    return first


@numba.njit(cache=True, nogil=True)
def sort_by_level(codes: Codes, n_levels: int) -> tuple[Index, Index]:
    """Counting sort of the rows by level: order (n,) and starts (J + 1,)."""
    starts = np.zeros(n_levels + 1, dtype=np.int64)
    for i in range(codes.shape[0]):
        starts[codes[i] + 1] += 1
    for j in range(n_levels):
        starts[j + 1] += starts[j]
    fill = starts[:-1].copy()
    order = np.empty(codes.shape[0], dtype=np.int64)
    for i in range(codes.shape[0]):
        order[fill[codes[i]]] = i
        fill[codes[i]] += 1
    return order, starts

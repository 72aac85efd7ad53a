"""One pass over the rows: sums of products by level and by pair of levels, in compiled loops."""

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.types import Array, Codes, Index

Places = NDArray[np.signedinteger]

FEW_PRODUCTS = 6  # passes over the rows, one for each product, that cost no more than BLAS and its copy


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
def add_weighted(codes: Codes, weights: Array, left: Array, right: Array, out: Array) -> None:
    """``out[codes[i]] += weights[i] outer(left[i], right[i])``; weights (n,), else as `add_by_level`.

    A pair of single columns, as of two intercepts, has a loop of its own: a quarter of the time.
    """
    n, size = left.shape
    width = right.shape[1]
    if size == 1 and width == 1:
        for i in range(n):
            out[codes[i], 0, 0] += weights[i] * left[i, 0] * right[i, 0]
        return
    for i in range(n):
        j = codes[i]
        for s in range(size):
            value = weights[i] * left[i, s]
            if value != 0.0:
                for t in range(width):
                    out[j, s, t] += value * right[i, t]


def weighted_products(weights: Array, left: Array, right: Array) -> Array:
    """Return ``left.T @ diag(weights) @ right``, (S, w); weights (n,), left (n, S), right (n, w).

    For few columns in one pass without a copy of the rows, else by BLAS.
    """
    if left.shape[1] * right.shape[1] > FEW_PRODUCTS:
        return np.asarray((weights[:, None] * left).T @ right)
    out = np.zeros((left.shape[1], right.shape[1]))
    add_products(weights, left, right, out)
    return out


@numba.njit(cache=True, nogil=True)
def add_products(weights: Array, left: Array, right: Array, out: Array) -> None:
    """``out += left.T @ diag(weights) @ right``, element by element."""
    for s in range(left.shape[1]):
        for t in range(right.shape[1]):
            total = 0.0
            for i in range(weights.shape[0]):
                total += weights[i] * left[i, s] * right[i, t]
            out[s, t] += total


@numba.njit(cache=True, nogil=True)
def add_nest(codes: Codes, left: Array, related: Array, xy: Array, out: Array, out_xy: Array) -> None:
    """Do `add_by_level` of two right sides in one visit to each level.

    left (n, S), related (n, v), xy (n, w), out (J, S, v), out_xy (J, S, w).
    """
    n, size = left.shape
    width, fixed = related.shape[1], xy.shape[1]
    for i in range(n):
        j = codes[i]
        for s in range(size):
            value = left[i, s]
            if value != 0.0:
                for t in range(width):
                    out[j, s, t] += value * related[i, t]
                for t in range(fixed):
                    out_xy[j, s, t] += value * xy[i, t]


@numba.njit(cache=True, nogil=True)
def move_columns(columns: Array, means: Array, scales: Array, root: Array, out: Array) -> None:
    """``out[i, s] = (columns[i, s] - means[s]) / scales[s] * root[i]`` for the first columns of out.

    columns (n, S), root (n,) or of length zero for ones, out (n, S) or wider.
    """
    n, size = columns.shape
    for i in range(n):
        for s in range(size):
            out[i, s] = (columns[i, s] - means[s]) / scales[s]
    if root.shape[0]:
        for i in range(n):
            for s in range(size):
                out[i, s] *= root[i]


@numba.njit(cache=True, nogil=True)
def sum_squares(columns: Array, means: Array, weights: Array) -> Array:
    """Return the sums of ``weights[i] (columns[i, s] - means[s])²``, (S,); weights of length zero stand for ones."""
    n, size = columns.shape
    out = np.zeros(size)
    weighted = weights.shape[0] > 0
    for i in range(n):
        weight = weights[i] if weighted else 1.0
        for s in range(size):
            moved = columns[i, s] - means[s]
            out[s] += weight * moved * moved
    return out


@numba.njit(cache=True, nogil=True)
def add_effects(codes: Codes, columns: Array, effects: Array, out: Array) -> None:
    """``out[i] += columns[i] @ effects[codes[i]]``, nothing where a code is -1.

    codes (n,), columns (n, S), effects (J, S), out (n,).
    """
    if columns.shape[1] == 1:
        for i in range(codes.shape[0]):
            if codes[i] >= 0:
                out[i] += columns[i, 0] * effects[codes[i], 0]
        return
    for i in range(codes.shape[0]):
        j = codes[i]
        if j >= 0:
            total = 0.0
            for s in range(columns.shape[1]):
                total += columns[i, s] * effects[j, s]
            out[i] += total


@numba.njit(cache=True, nogil=True)
def count_pairs(order: Places, starts: Index, inner: Codes, pair_of_row: Places, levels: Codes) -> Index:
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
        Filled with the inner level of each pair, shape (at least the number of pairs,); may be `order` itself.

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


def places_type(count: int) -> type[np.int32] | type[np.int64]:
    """Return the number type of places among so many: half the memory where that many can be told apart."""
    return np.int32 if count <= np.iinfo(np.int32).max else np.int64


def sort_by_level(codes: Codes, n_levels: int) -> tuple[Places, Index]:
    """Counting sort of the rows by level: order (n,) and starts (J + 1,)."""
    order = np.empty(len(codes), dtype=places_type(len(codes)))
    return order, fill_order(codes, n_levels, order)


@numba.njit(cache=True, nogil=True)
def most_rows(codes: Codes, n_levels: int) -> int:
    """Return the largest number of rows of a level."""
    return np.diff(level_starts(codes, n_levels)).max() if n_levels else 0


@numba.njit(cache=True, nogil=True)
def level_starts(codes: Codes, n_levels: int) -> Index:
    """Return the place of each level's first row where rows are in order of their levels, (J + 1,)."""
    starts = np.zeros(n_levels + 1, dtype=np.int64)
    for i in range(codes.shape[0]):
        starts[codes[i] + 1] += 1
    for j in range(n_levels):
        starts[j + 1] += starts[j]
    return starts


@numba.njit(cache=True, nogil=True)
def sort_within(by_inner: Places, outer: Codes, n_levels: int, order: Places) -> Index:
    """Sort rows that are in order of an inner level by an outer one as well, keeping the first order within it.

    by_inner (n,), outer (n,) by row; order (n,) is filled. Returns the place of each outer level's first, (J + 1,).
    """
    starts = level_starts(outer, n_levels)
    fill = starts[:-1].copy()
    for i in range(by_inner.shape[0]):
        row = by_inner[i]
        j = outer[row]
        order[fill[j]] = row
        fill[j] += 1
    return starts


@numba.njit(cache=True, nogil=True)
def fill_order(codes: Codes, n_levels: int, order: Places) -> Index:
    """Fill the rows in order of their levels, (n,), and return the place of each level's first, (J + 1,)."""
    starts = level_starts(codes, n_levels)
    fill = starts[:-1].copy()
    for i in range(codes.shape[0]):
        order[fill[codes[i]]] = i
        fill[codes[i]] += 1
    return starts


@numba.njit(cache=True, nogil=True)
def place_entries(
    first: Index, levels: Codes, offset: int, size: int, before: Index, places: Places, columns: NDArray[np.uint32]
) -> None:
    """Fill the place of each pair's first entry, (E,), and the trailing columns of its entries.

    Parameters
    ----------
    first, levels
        First pair of each leading level (J_0 + 1,), and the trailing level of each pair (E,).
    offset, size
        First trailing column of the term, and its columns per level.
    before
        Where the entries of each leading level begin, (J_0,); moved on to where they end.
    places, columns
        Filled; shapes (E,) and (entries,).
    """
    for j in range(first.shape[0] - 1):
        place = before[j]
        for e in range(first[j], first[j + 1]):
            places[e] = place
            column = offset + levels[e] * size
            for s in range(size):
                columns[place + s] = column + s
            place += size
        before[j] = place

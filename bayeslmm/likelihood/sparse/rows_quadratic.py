"""Quadratics of the inverse of a sparse trailing matrix with rows of few entries, from the inverse where L is filled.

A row of the data has entries at the trailing effects that its level of the leading term meets, and every two of those
meet there, so that the factor has an entry for each pair. Many rows then cost one inverse and a few look-ups each.
"""

import numba
import numpy as np

from bayeslmm.likelihood.sparse.loops import invert_where_filled
from bayeslmm.likelihood.sparse.ordering import Rows
from bayeslmm.likelihood.sparse.trailing import SparseTrailing
from bayeslmm.types import Array, Codes, Index


def rows_quadratic(
    sparse: SparseTrailing, entry_starts: Index, entries: Array, codes: Codes, solved: Array,
    places: Index, values: Array, fixed: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Return ``t' S^-1 t`` of each row's trailing entries t, (m,), and what these leave of its fixed columns, (m, p).

    Parameters
    ----------
    sparse
        The factor.
    entry_starts, entries
        The leading term's entries at the trailing effects, (J_0 + 1,) and (S_0, E).
    codes, solved
        Level of the leading term of each row, -1 for none, and what is left of the row there, (m,) and (m, S_0).
    places, values
        The row's own trailing effects, -1 for none, and its entries there, (m, k) each.
    fixed
        The row's fixed columns, the leading term eliminated, (m, p).

    Returns
    -------
    The first is NaN for rows with a pair of effects where the factor has no entry; no row of the fit is one.
    """
    order, p = sparse.order, fixed.shape[1]
    inverse = invert_where_filled(order.starts, order.rows, sparse.values)
    by_x = np.ascontiguousarray(sparse.solve_transposed(sparse.at_xy[:, :p])[order.order])
    own = np.where(places >= 0, order.places[np.maximum(places, 0)], -1).astype(np.int64)
    rest = np.array(fixed, order="C")
    found = np.empty(len(fixed))
    add_quadratics(
        order.starts, order.rows, entry_starts, order.entry_places, entries, inverse, by_x, codes, solved, own, values,
        found, rest,
    )  # fmt: skip
    return found, rest


@numba.njit(cache=True, nogil=True)
def entry_of(starts: Index, rows: Rows, values: Array, one: int, other: int) -> float:
    """Return the entry of a symmetric matrix held where L is filled, NaN where it is not."""
    if one == other:
        return float(values[one])
    column, row = min(one, other), max(one, other)
    low, high = starts[column], starts[column + 1]
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    if low < starts[column + 1] and rows[low] == row:
        return float(values[starts.shape[0] - 1 + low])
    return np.nan


@numba.njit(cache=True, nogil=True)
def add_quadratics(
    starts: Index, rows: Rows, entry_starts: Index, entry_places: Rows, entries: Array, inverse: Array, by_x: Array,
    codes: Codes, solved: Array, places: Index, values: Array, found: Array, rest: Array,
) -> None:  # fmt: skip
    """Fill the quadratic of each row, and take its entries' part off its fixed columns."""
    m, n_own, n_fixed = places.shape[0], places.shape[1], rest.shape[1]
    widest = n_own
    for j in range(entry_starts.shape[0] - 1):
        widest = max(widest, entry_starts[j + 1] - entry_starts[j] + n_own)
    index, value = np.empty(widest, dtype=np.int64), np.empty(widest)
    for i in range(m):
        count = 0
        j = codes[i]
        if j >= 0:
            for e in range(entry_starts[j], entry_starts[j + 1]):
                total = 0.0
                for s in range(solved.shape[1]):
                    total -= entries[s, e] * solved[i, s]
                index[count], value[count] = entry_places[e], total
                count += 1
        for c in range(n_own):
            if places[i, c] >= 0:
                index[count], value[count] = places[i, c], values[i, c]
                count += 1
        total = 0.0
        for e in range(count):
            for a in range(n_fixed):
                rest[i, a] -= value[e] * by_x[index[e], a]
            inner = 0.5 * inverse[index[e]] * value[e]
            for f in range(e):
                inner += entry_of(starts, rows, inverse, index[e], index[f]) * value[f]
            total += 2.0 * inner * value[e]
        found[i] = total

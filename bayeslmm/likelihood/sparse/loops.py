"""Compiled loops over the entries of a sparse lower triangle.

Column c has its diagonal entry at ``values[c]`` and those below it, at ``rows[starts[c]:starts[c + 1]]``, at
``values[q + starts[c]:q + starts[c + 1]]``. Vectors (q, m) are in the order of elimination.
"""

import numba
import numpy as np

from bayeslmm.likelihood.sparse.ordering import Rows
from bayeslmm.types import Array, Index


@numba.njit(cache=True, nogil=True)
def factor_columns(
    starts: Index, rows: Rows, entry_starts: Index, entry_places: Rows, meeting_starts: Index, meetings: Index,
    levels: Rows, entries: Array, values: Array
) -> int:  # fmt: skip
    """Subtract the leading term's products from the matrix in `values`, and factor it in place, column by column.

    Returns the number of columns factored: fewer than all where a pivot is not positive.
    """
    q = starts.shape[0] - 1
    size = entries.shape[0]
    x = np.zeros(q)
    head, following = np.full(q, -1, dtype=np.int64), np.full(q, -1, dtype=np.int64)
    at = starts[:-1].copy()
    for c in range(q):
        x[c] = values[c]
        for p in range(starts[c], starts[c + 1]):
            x[rows[p]] = values[q + p]
        for m in range(meeting_starts[c], meeting_starts[c + 1]):
            e = meetings[m]
            level = levels[e]
            for f in range(entry_starts[level], entry_starts[level + 1]):
                r = entry_places[f]
                if r >= c:
                    for s in range(size):
                        x[r] -= entries[s, e] * entries[s, f]
        k = head[c]
        while k != -1:
            later = following[k]
            first = at[k]
            value = values[q + first]
            x[c] -= value * value
            for p in range(first + 1, starts[k + 1]):
                x[rows[p]] -= value * values[q + p]
            at[k] = first + 1
            if first + 1 < starts[k + 1]:
                r = rows[first + 1]
                following[k] = head[r]
                head[r] = k
            k = later
        pivot = x[c]
        x[c] = 0.0
        if not pivot > 0.0:
            return c
        root = np.sqrt(pivot)
        values[c] = root
        for p in range(starts[c], starts[c + 1]):
            values[q + p] = x[rows[p]] / root
            x[rows[p]] = 0.0
        if starts[c + 1] > starts[c]:
            r = rows[starts[c]]
            following[c] = head[r]
            head[r] = c
    return q


@numba.njit(cache=True, nogil=True)
def solve_forward(starts: Index, rows: Rows, values: Array, right: Array) -> None:
    """Solve ``L x = right`` in place, (q, m)."""
    q, m = right.shape
    for c in range(q):
        pivot = values[c]
        for k in range(m):
            right[c, k] /= pivot
        for p in range(starts[c], starts[c + 1]):
            value, r = values[q + p], rows[p]
            for k in range(m):
                right[r, k] -= value * right[c, k]


@numba.njit(cache=True, nogil=True)
def solve_backward(starts: Index, rows: Rows, values: Array, right: Array) -> None:
    """Solve ``L' x = right`` in place, (q, m)."""
    q, m = right.shape
    for c in range(q - 1, -1, -1):
        for p in range(starts[c], starts[c + 1]):
            value, r = values[q + p], rows[p]
            for k in range(m):
                right[c, k] -= value * right[r, k]
        pivot = values[c]
        for k in range(m):
            right[c, k] /= pivot


@numba.njit(cache=True, nogil=True)
def squared_lengths(starts: Index, rows: Rows, values: Array, right: Array) -> Array:
    """Return ``|L^-1 w|²`` for each row w of right (m, q), which is used up; zeros are passed over."""
    m, q = right.shape
    out = np.zeros(m)
    for i in range(m):
        w = right[i]
        total = 0.0
        for c in range(q):
            if w[c] != 0.0:
                value = w[c] / values[c]
                total += value * value
                for p in range(starts[c], starts[c + 1]):
                    w[rows[p]] -= values[q + p] * value
        out[i] = total
    return out


@numba.njit(cache=True, nogil=True)
def invert_where_filled(starts: Index, rows: Rows, values: Array) -> Array:
    r"""Return the inverse of L L' at the entries of L, laid out like them (Takahashi, Fagan and Chen 1973).

    From the last column to the first, with l the entries of column c below the diagonal d, and R their rows,
    :math:`Z_{Rc} = -Z_{RR}l/d` and :math:`Z_{cc} = 1/d^2 - l^\top Z_{Rc}/d`: Z_RR lies where L is filled.
    """
    q = starts.shape[0] - 1
    out = np.empty_like(values)
    weight, total = np.zeros(q), np.zeros(q)
    for c in range(q - 1, -1, -1):
        first, last = starts[c], starts[c + 1]
        pivot = values[c]
        for p in range(first, last):
            weight[rows[p]] = values[q + p]
            total[rows[p]] = 0.0
        for p in range(first, last):
            r = rows[p]
            own = weight[r]
            mine = out[r] * own
            for n in range(starts[r], starts[r + 1]):
                i = rows[n]
                z = out[q + n]
                mine += z * weight[i]  # weights are zero outside R
                total[i] += z * own  # what falls outside R is never read
            total[r] += mine
        inner = 0.0
        for p in range(first, last):
            r = rows[p]
            z = -total[r] / pivot
            out[q + p] = z
            inner += z * values[q + p]
        out[c] = (1.0 / pivot - inner) / pivot
        for p in range(first, last):
            weight[rows[p]] = 0.0
    return out


@numba.njit(cache=True, nogil=True)
def subtract_lead(entry_starts: Index, entry_places: Rows, entries: Array, xy: Array, out: Array) -> None:
    """Subtract the leading term's products with X and y, ``out[place] -= entry * xy[j]``; xy (J, S, m), out (q, m)."""
    for j in range(entry_starts.shape[0] - 1):
        for e in range(entry_starts[j], entry_starts[j + 1]):
            row = out[entry_places[e]]
            for s in range(entries.shape[0]):
                value = entries[s, e]
                for k in range(out.shape[1]):
                    row[k] -= value * xy[j, s, k]


@numba.njit(cache=True, nogil=True)
def lead_quadratic(
    starts: Index, rows: Rows, entry_starts: Index, entry_places: Rows, meeting_starts: Index, meetings: Index,
    levels: Rows, entries: Array, inverse: Array
) -> Array:  # fmt: skip
    """Return ``W_j Z W_j'`` for each leading level, W_j its entries, Z the inverse where L is filled; (J, S, S)."""
    q = starts.shape[0] - 1
    size = entries.shape[0]
    out = np.zeros((entry_starts.shape[0] - 1, size, size))
    z = np.zeros(q)
    for c in range(q):
        z[c] = 0.5 * inverse[c]
        for p in range(starts[c], starts[c + 1]):
            z[rows[p]] = inverse[q + p]
        for m in range(meeting_starts[c], meeting_starts[c + 1]):
            e = meetings[m]
            j = levels[e]
            for s in range(size):
                value = 0.0
                for f in range(entry_starts[j], entry_starts[j + 1]):
                    r = entry_places[f]
                    if r >= c:
                        value += z[r] * entries[s, f]
                for t in range(size):
                    out[j, s, t] += value * entries[t, e]
        z[c] = 0.0
        for p in range(starts[c], starts[c + 1]):
            z[rows[p]] = 0.0
    for j in range(out.shape[0]):
        for s in range(size):
            for t in range(s + 1):
                value = out[j, s, t] + out[j, t, s]
                out[j, s, t] = value
                out[j, t, s] = value
    return out

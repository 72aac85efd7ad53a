"""Blocked Cholesky elimination of the leading levels, in compiled loops.

Each function works on plain arrays, releases the GIL and is cached on disk. Matrices of the trailing block are
C-ordered with the upper triangle filled, which LAPACK reads as a column-major lower triangle. The triple product
``left.T @ block @ right`` stands in three of them: as a function of its own it costs seven times as much.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.types import Array, Codes, Index

Places = NDArray[np.uint32]  # unsigned: an index that cannot be negative is found without a test


@numba.njit(cache=True, nogil=True)
def scale_rows(z: Array, xy: Array, left: Array, right: Array, z_out: Array, xy_out: Array) -> None:
    """Scale a term of the nest's products: ``left.T @ z[j] @ right + [I 0]`` and ``left.T @ xy[j]``.

    z (J, S, w), xy (J, S, p + 1), left lower triangular (S, S), right lower triangular (w, w).
    """
    n_levels, size, width = z.shape
    n_xy = xy.shape[2]
    if width == 1:
        for j in range(n_levels):
            z_out[j, 0, 0] = left[0, 0] * z[j, 0, 0] * right[0, 0] + 1.0
            for t in range(n_xy):
                xy_out[j, 0, t] = left[0, 0] * xy[j, 0, t]
        return
    row = np.empty(width)
    for j in range(n_levels):
        for s in range(size):
            for t in range(width):
                total = 0.0
                for r in range(s, size):
                    total += left[r, s] * z[j, r, t]
                row[t] = total
            for t in range(width):
                total = 0.0
                for r in range(t, width):
                    total += row[r] * right[r, t]
                z_out[j, s, t] = total
            z_out[j, s, s] += 1.0
            for t in range(n_xy):
                total = 0.0
                for r in range(s, size):
                    total += left[r, s] * xy[j, r, t]
                xy_out[j, s, t] = total


@numba.njit(cache=True, nogil=True)
def scale_entries(blocks: Array, starts: Index, left: Array, right: Array, out: Array) -> None:
    """Scale blocks into entries: ``out[:, start:start + S_r] = left.T @ block @ right``; out (S_l, entries)."""
    n_blocks, size, width = blocks.shape
    row = np.empty(width)
    for e in range(n_blocks):
        block, start = blocks[e], np.intp(starts[e])
        for s in range(size):
            for t in range(width):
                row[t] = left[s, s] * block[s, t]
            for r in range(s + 1, size):
                value = left[r, s]
                for t in range(width):
                    row[t] += value * block[r, t]
            target = out[s]
            for t in range(width):
                total = 0.0
                for r in range(t, width):
                    total += row[r] * right[r, t]
                target[start + t] = total


@numba.njit(cache=True, nogil=True)
def place_blocks(blocks: Array, rows: Index, columns: Index, left: Array, right: Array, out: Array) -> None:
    """Write ``left.T @ block @ right`` at (row, column) of the trailing matrix, for each block."""
    n_blocks, size, width = blocks.shape
    row = np.empty(width)
    for e in range(n_blocks):
        for s in range(size):
            for t in range(width):
                total = 0.0
                for r in range(s, size):
                    total += left[r, s] * blocks[e, r, t]
                row[t] = total
            for t in range(width):
                total = 0.0
                for r in range(t, width):
                    total += row[r] * right[r, t]
                out[rows[e] + s, columns[e] + t] = total


@numba.njit(cache=True, nogil=True)
def eliminate_level(z: Array, xy: Array, starts: Index, entries: Array) -> float:
    """Factor each level's block and solve it into the rest of its row, in place.

    Parameters
    ----------
    z
        Shape (J, S, w): on exit the lower Cholesky factor L in the first S columns (upper part untouched), and
        ``L^-1`` times the products with the ancestors in the others.
    xy
        Shape (J, S, p + 1): on exit ``L^-1 xy``.
    starts, entries
        The leading term's entries (S, entries), level j at ``starts[j]:starts[j + 1]``: on exit ``L^-1 entries``.

    Returns
    -------
    The log-determinant of the eliminated blocks; NaN if one is not positive definite.
    """
    n_levels, size, width = z.shape
    n_xy = xy.shape[2]
    has_entries = entries.shape[1] > 0
    log_det = 0.0
    if width == 1 and not has_entries:
        for j in range(n_levels):
            total = z[j, 0, 0]
            if not total > 0.0:
                return np.nan
            z[j, 0, 0] = np.sqrt(total)
            log_det += np.log(total)
            for t in range(n_xy):
                xy[j, 0, t] /= z[j, 0, 0]
        return log_det
    for j in range(n_levels):
        for s in range(size):
            for t in range(s + 1):
                total = z[j, s, t] if s == t else z[j, t, s]
                for r in range(t):
                    total -= z[j, s, r] * z[j, t, r]
                if s == t:
                    if not total > 0.0:
                        return np.nan
                    z[j, s, s] = np.sqrt(total)
                    log_det += np.log(total)
                else:
                    z[j, s, t] = total / z[j, t, t]
        for s in range(size):
            pivot = 1.0 / z[j, s, s]
            for t in range(size, width):
                total = z[j, s, t]
                for r in range(s):
                    total -= z[j, s, r] * z[j, r, t]
                z[j, s, t] = total * pivot
            for r in range(s):
                factor = z[j, s, r]
                for t in range(n_xy):
                    xy[j, s, t] -= factor * xy[j, r, t]
            for t in range(n_xy):
                xy[j, s, t] *= pivot
            if has_entries:
                for r in range(s):
                    factor = z[j, s, r]
                    for e in range(starts[j], starts[j + 1]):
                        entries[s, e] -= factor * entries[r, e]
                for e in range(starts[j], starts[j + 1]):
                    entries[s, e] *= pivot
    return log_det


@numba.njit(cache=True, nogil=True)
def downdate_ancestor(
    z: Array, xy: Array, parent: Codes, first: int, size: int, parent_z: Array, parent_xy: Array
) -> None:
    """Subtract an eliminated term of the nest's products from those of one of its ancestors.

    Columns ``first:first + size`` of z belong to the ancestor; parent (J,) is its level.
    """
    n_levels, own, width = z.shape
    n_xy = xy.shape[2]
    for j in range(n_levels):
        a = parent[j]
        for s in range(own):
            for r in range(size):
                value = z[j, s, first + r]
                if value != 0.0:
                    for t in range(first, width):
                        parent_z[a, r, t - first] -= value * z[j, s, t]
                    for t in range(n_xy):
                        parent_xy[a, r, t] -= value * xy[j, s, t]


@numba.njit(cache=True, nogil=True)
def downdate_trailing(starts: Index, columns: Places, entries: Array, xy: Array, trailing: Array) -> None:
    """Subtract the leading term's sparse products from the trailing matrix (upper triangle, C order).

    The block of X and y with themselves is left to a matrix product.
    """
    n_levels = starts.shape[0] - 1
    size = entries.shape[0]
    n_xy = xy.shape[2]
    first_xy = trailing.shape[0] - n_xy
    for j in range(n_levels):
        first = starts[j]
        count = starts[j + 1] - first
        places = columns[first : first + count]
        for s in range(size):
            values = entries[s, first : first + count]
            last = xy[j, s]
            for e in range(count):
                value = values[e]
                row = trailing[places[e]]
                for f in range(e, count):
                    row[places[f]] -= value * values[f]
                tail = row[first_xy:]
                for t in range(n_xy):
                    tail[t] -= value * last[t]


@numba.njit(cache=True, nogil=True)
def subtract_entries(starts: Index, columns: Places, entries: Array, effects: Array, out: Array) -> None:
    """Subtract the leading term's rows times the trailing effects (q_T, m) from out (J, S, m)."""
    n_levels, size, m = out.shape
    for j in range(n_levels):
        for e in range(starts[j], starts[j + 1]):
            for s in range(size):
                value = entries[s, e]
                for c in range(m):
                    out[j, s, c] -= value * effects[columns[e], c]


@numba.njit(cache=True, nogil=True)
def spread_entries(starts: Index, columns: Places, entries: Array, out: Array) -> None:
    """Write the entries into dense rows, ``out[j, s, column] = entry``; out (J, S, q or more)."""
    for j in range(starts.shape[0] - 1):
        for s in range(entries.shape[0]):
            row, values = out[j, s], entries[s]
            for e in range(starts[j], starts[j + 1]):
                row[columns[e]] = values[e]

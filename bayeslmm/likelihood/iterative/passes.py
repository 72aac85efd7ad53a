"""One pass over the pairs of levels that occur, in compiled loops.

The pairs of a trailing term with the leading one are sorted by leading level: those of level j are
``starts[j]:starts[j + 1]``, each with the trailing level ``levels[e]`` and the block ``blocks[e]`` (S_0, S_k). Vectors
have one row per effect and one column per right-hand side.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.types import Array, Index

Levels = NDArray[np.uint32]  # unsigned: an index that cannot be negative is found without a test
Blocks = NDArray[np.floating]


@numba.njit(cache=True, nogil=True)
def gather_two(first: int, last: int, levels: Levels, blocks: Blocks, vectors: Array, p: Array, q: Array) -> None:
    """Add the sum of ``blocks[e] @ vectors[levels[e]]`` over some pairs of blocks (2, 2) to p and q, (m,) each."""
    for e in range(first, last):
        level = levels[e]
        a, b, c, d = blocks[e, 0, 0], blocks[e, 0, 1], blocks[e, 1, 0], blocks[e, 1, 1]
        u, v = vectors[level, 0], vectors[level, 1]
        for k in range(p.shape[0]):
            p[k] += a * u[k] + b * v[k]
            q[k] += c * u[k] + d * v[k]


@numba.njit(cache=True, nogil=True)
def scatter_two(first: int, last: int, levels: Levels, blocks: Blocks, p: Array, q: Array, out: Array) -> None:
    """Add ``blocks[e].T @ (p, q)`` to ``out[levels[e]]`` for some pairs of blocks (2, 2); p and q (m,)."""
    for e in range(first, last):
        level = levels[e]
        a, b, c, d = blocks[e, 0, 0], blocks[e, 0, 1], blocks[e, 1, 0], blocks[e, 1, 1]
        u, v = out[level, 0], out[level, 1]
        for k in range(p.shape[0]):
            u[k] += a * p[k] + c * q[k]
            v[k] += b * p[k] + d * q[k]


@numba.njit(cache=True, nogil=True)
def gather(starts: Index, levels: Levels, blocks: Blocks, vectors: Array, out: Array) -> None:
    """``out[j] += sum of blocks[e] @ vectors[levels[e]]``; vectors (J_k, S_k, m), out (J_0, S_0, m)."""
    size, width = blocks.shape[1], blocks.shape[2]
    m = vectors.shape[2]
    for j in range(starts.shape[0] - 1):
        if size == 2 and width == 2:
            gather_two(starts[j], starts[j + 1], levels, blocks, vectors, out[j, 0], out[j, 1])
            continue
        for e in range(starts[j], starts[j + 1]):
            level = levels[e]
            for s in range(size):
                for t in range(width):
                    value = blocks[e, s, t]
                    for c in range(m):
                        out[j, s, c] += value * vectors[level, t, c]


@numba.njit(cache=True, nogil=True)
def scatter(starts: Index, levels: Levels, blocks: Blocks, lead: Array, out: Array) -> None:
    """``out[levels[e]] += blocks[e].T @ lead[j]``; lead (J_0, S_0, m), out (J_k, S_k, m)."""
    size, width = blocks.shape[1], blocks.shape[2]
    m = lead.shape[2]
    for j in range(starts.shape[0] - 1):
        if size == 2 and width == 2:
            scatter_two(starts[j], starts[j + 1], levels, blocks, lead[j, 0], lead[j, 1], out)
            continue
        for e in range(starts[j], starts[j + 1]):
            level = levels[e]
            for s in range(size):
                for t in range(width):
                    value = blocks[e, s, t]
                    for c in range(m):
                        out[level, t, c] += value * lead[j, s, c]


@numba.njit(cache=True, nogil=True)
def subtract_eliminated(
    starts: Index, levels: Levels, blocks: Blocks, middle: Array, vectors: Array, out: Array
) -> None:
    """``out -= C.T @ middle @ C @ vectors`` level by level, C the pairs' matrix; middle (J_0, S_0, S_0)."""
    size, m = blocks.shape[1], vectors.shape[2]
    met = np.empty((1, size, m))
    inner = np.empty((1, size, m))
    for j in range(starts.shape[0] - 1):
        met[:] = 0.0
        gather(starts[j : j + 2], levels, blocks, vectors, met)
        for s in range(size):
            for c in range(m):
                inner[0, s, c] = 0.0
            for r in range(size):
                value = -middle[j, s, r]
                for c in range(m):
                    inner[0, s, c] += value * met[0, r, c]
        scatter(starts[j : j + 2], levels, blocks, inner, out)


@numba.njit(cache=True, nogil=True)
def subtract_eliminated_scalar(
    starts: Index, levels: Levels, blocks: Blocks, middle: Array, vectors: Array, out: Array
) -> None:
    """The same where both terms have one effect: blocks (E,), middle (J_0,), vectors and out (J_k, m)."""
    m = vectors.shape[1]
    met = np.empty(m)
    for j in range(starts.shape[0] - 1):
        met[:] = 0.0
        for e in range(starts[j], starts[j + 1]):
            row = vectors[levels[e]]
            value = blocks[e]
            for c in range(m):
                met[c] += value * row[c]
        for c in range(m):
            met[c] *= middle[j]
        for e in range(starts[j], starts[j + 1]):
            row = out[levels[e]]
            value = blocks[e]
            for c in range(m):
                row[c] -= value * met[c]


@numba.njit(cache=True, nogil=True)
def subtract_diagonal(starts: Index, levels: Levels, blocks: Blocks, middle: Array, out: Array) -> None:
    """``out[levels[e]] -= blocks[e].T @ middle[j] @ blocks[e]``; out (J_k, S_k, S_k)."""
    size, width = blocks.shape[1], blocks.shape[2]
    for j in range(starts.shape[0] - 1):
        for e in range(starts[j], starts[j + 1]):
            level = levels[e]
            for r in range(size):
                for t in range(width):
                    value = 0.0
                    for s in range(size):
                        value += blocks[e, s, t] * middle[j, s, r]
                    for w in range(width):
                        out[level, t, w] -= value * blocks[e, r, w]


@numba.njit(cache=True, nogil=True)
def add_lead_diagonal(starts: Index, levels: Levels, blocks: Blocks, middle: Array, out: Array) -> None:
    """``out[j] += blocks[e] @ middle[levels[e]] @ blocks[e].T``; middle (J_k, S_k, S_k), out (J_0, S_0, S_0)."""
    size, width = blocks.shape[1], blocks.shape[2]
    for j in range(starts.shape[0] - 1):
        for e in range(starts[j], starts[j + 1]):
            level = levels[e]
            for s in range(size):
                for w in range(width):
                    value = 0.0
                    for t in range(width):
                        value += blocks[e, s, t] * middle[level, t, w]
                    for r in range(size):
                        out[j, s, r] += value * blocks[e, r, w]


@numba.njit(cache=True, nogil=True)
def add_between(rows: Index, columns: Index, blocks: Array, vectors: Array, out: Array) -> None:
    """Add the pairs of two trailing terms, both ways; vectors and out (q_T, m), rows and columns places in them."""
    size, width = blocks.shape[1], blocks.shape[2]
    m = vectors.shape[1]
    for e in range(rows.shape[0]):
        for s in range(size):
            for t in range(width):
                value = blocks[e, s, t]
                for c in range(m):
                    out[rows[e] + s, c] += value * vectors[columns[e] + t, c]
                    out[columns[e] + t, c] += value * vectors[rows[e] + s, c]


@numba.njit(cache=True, nogil=True)
def root_of(parents: Index, place: int) -> int:
    """Return the root of a place's tree, whose paths are halved on the way."""
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


@numba.njit(cache=True, nogil=True)
def unite(starts: Index, levels: Levels, first: int, first_met: Index, parents: Index) -> None:
    """Unite all trailing levels that meet one leading level.

    Parameters
    ----------
    starts, levels
        The pairs of one trailing term.
    first
        Place of its first level in `parents`.
    first_met
        A place that each leading level met, (J_0,), -1 for none yet; filled.
    parents
        Trees of places, each united with the smaller root; changed.
    """
    for j in range(starts.shape[0] - 1):
        for e in range(starts[j], starts[j + 1]):
            own = root_of(parents, first + levels[e])
            if first_met[j] < 0:
                first_met[j] = own
            other = root_of(parents, first_met[j])
            if own < other:
                parents[other] = own
            else:
                parents[own] = other


@numba.njit(cache=True, nogil=True)
def roots_of(parents: Index) -> Index:
    """Return the root of every place."""
    out = np.empty_like(parents)
    for i in range(parents.shape[0]):
        out[i] = root_of(parents, i)
    return out

r"""The inverse of the scaled cross-products where levels meet, and its products with the rows.

A row i has entries :math:`\tilde z_i = \Lambda^\top z_i` at one level of each term, and :math:`x_i`. Its leverage
:math:`h_i = [\tilde z_i; x_i]^\top C\,[\tilde z_i; x_i]`, C the inverse, needs only the blocks of C for pairs of levels
that meet in some row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from bayeslmm.likelihood.conditional import Places
from bayeslmm.likelihood.factor import Factor, is_dense, lead_rows
from bayeslmm.likelihood.generalized.predictor import Predictor
from bayeslmm.likelihood.selected_inverse import (
    diagonal_blocks,
    nest_rows,
    sandwich,
    solve_transposed,
    trailing_inverse,
)
from bayeslmm.types import Array, Index


@dataclass(frozen=True, slots=True)
class PairBlock:
    """Blocks of a symmetric matrix for the pairs of levels of two terms.

    Attributes
    ----------
    terms
        Formula positions (k, m).
    block_of_row
        The pair of each row of the data, shape (n,).
    blocks
        Shape (E, S_k, S_m).
    """

    terms: tuple[int, int]
    block_of_row: Any
    blocks: Array


@dataclass(frozen=True, slots=True)
class PairInverse:
    """The blocks a row's products need.

    Attributes
    ----------
    pairs
        Blocks of two terms, each pair of terms once.
    fixed
        Blocks of each term's levels with X, (J, S, p) by formula position; empty where beta is known.
    corner
        Block of X with itself, (p, p), or (0, 0).
    """

    pairs: tuple[PairBlock, ...]
    fixed: tuple[Array, ...] = ()
    corner: Array | None = None


@dataclass(frozen=True, slots=True)
class RowProducts:
    """Products of the rows with the inverse C.

    Attributes
    ----------
    terms
        ``C [z~; x]`` at the row's own levels, (n, S) per term.
    leverages
        h, shape (n,).
    """

    terms: tuple[Array, ...]
    leverages: Array


def pair_inverse(factor: Factor, predictor: Predictor) -> PairInverse:
    """Return the inverse of the matrix that was factored, with X if it is among its columns."""
    layout = predictor.pattern.layout
    p = factor.products.n_fixed
    inverse = trailing_inverse(factor, factor.R_X if p else None)
    if layout.trailing:
        pairs, fixed = _crossed_blocks(factor, predictor, inverse)
    else:
        pairs, fixed = _nested_blocks(factor, predictor, inverse)
    if not p:
        return PairInverse(tuple(pairs))
    corner = np.triu(inverse[-p:, -p:])
    return PairInverse(tuple(pairs), tuple(fixed[k] for k in range(len(layout.shapes))), corner + np.triu(corner, 1).T)


def row_products(inverse: PairInverse, predictor: Predictor, scaled: Sequence[Array]) -> RowProducts:
    """Multiply the rows.

    Parameters
    ----------
    inverse
        The blocks.
    predictor
        The columns.
    scaled
        ``Lambda' z_i``, (n, S) per term.
    """
    found = tuple(np.zeros_like(z) for z in scaled)
    for pair in inverse.pairs:
        k, m = pair.terms
        multiply_rows(pair.block_of_row, pair.blocks, scaled[m], found[k])
        if k != m:
            multiply_rows_transposed(pair.block_of_row, pair.blocks, scaled[k], found[m])
    leverages = np.zeros(predictor.n)
    if inverse.corner is not None:
        for k, blocks in enumerate(inverse.fixed):
            at_fixed = np.zeros_like(scaled[k])
            multiply_rows(predictor.pattern.codes[k], blocks, predictor.X, at_fixed)
            found[k][:] += at_fixed
            leverages += np.einsum("is,is->i", scaled[k], at_fixed)
        leverages += np.einsum("ip,ip->i", predictor.X, predictor.X @ inverse.corner)
    for z, products in zip(scaled, found, strict=True):
        leverages += np.einsum("is,is->i", z, products)
    return RowProducts(found, leverages)


def _nested_blocks(factor: Factor, predictor: Predictor, inverse: Array) -> tuple[list[PairBlock], dict[int, Array]]:
    layout, codes = predictor.pattern.layout, predictor.pattern.codes
    pairs: list[PairBlock] = []
    fixed: dict[int, Array] = {}
    sizes = [layout.shapes[k].n_columns for k in layout.nest]
    _, all_rows = nest_rows(factor, inverse, innermost=True)
    for place, (k, rows) in enumerate(zip(layout.nest, all_rows, strict=True)):
        first = 0
        for m, size in zip(layout.nest[place:], sizes[place:], strict=True):
            pairs.append(PairBlock((k, m), codes[k], np.ascontiguousarray(rows[:, :, first : first + size])))
            first += size
        fixed[k] = np.ascontiguousarray(rows[:, :, first:])
    return pairs, fixed


def _crossed_blocks(factor: Factor, predictor: Predictor, inverse: Array) -> tuple[list[PairBlock], dict[int, Array]]:
    products, pattern = factor.products, predictor.pattern
    layout, codes = pattern.layout, pattern.codes
    q = products.n_trailing
    lead = layout.nest[0]
    pairs: list[PairBlock] = []
    fixed: dict[int, Array] = {}
    for pair in pattern.trailing:
        k, m = pair.terms
        shape = (layout.shapes[k].n_columns, layout.shapes[m].n_columns)
        if k == m:
            start = pattern.offsets[k]
            blocks = diagonal_blocks(inverse, start, layout.shapes[k].n_levels, shape[0])
            pairs.append(PairBlock((k, k), codes[k], blocks))
            rows = inverse[start : start + layout.shapes[k].n_effects, q:]
            fixed[k] = np.ascontiguousarray(rows).reshape(layout.shapes[k].n_levels, shape[0], -1)
        else:
            blocks = gather_blocks(inverse, pair.rows, pair.columns, *shape)
            pairs.append(PairBlock((k, m), pair.pair_of_row, blocks))
    own, entries, at_fixed = _lead_rows(factor, inverse)
    pairs.append(PairBlock((lead, lead), codes[lead], own))
    fixed[lead] = at_fixed
    for k, starts, block_of_row in zip(layout.trailing, pattern.lead_starts, pattern.lead_rows, strict=True):
        places = starts[:, None] + np.arange(layout.shapes[k].n_columns)
        pairs.append(PairBlock((lead, k), block_of_row, np.ascontiguousarray(entries[:, places].transpose(1, 0, 2))))
    return pairs, fixed


def _lead_rows(factor: Factor, inverse: Array) -> tuple[Array, Array, Array]:
    """Return the leading term's rows of the inverse: at itself (J, S, S), at its entries (S, E), at X (J, S, p)."""
    products = factor.products
    z = factor.nest_z[0]
    q, p = products.n_trailing, products.n_fixed
    at_fixed = np.ascontiguousarray(factor.nest_xy[0][:, :, :p])
    full = inverse + np.triu(inverse, 1).T - np.tril(inverse, -1)
    rest_fixed = np.zeros_like(at_fixed)
    if is_dense(products):
        both = np.concatenate([lead_rows(products, factor.entries), at_fixed], axis=2)
        rest = (both.reshape(-1, len(full)) @ full).reshape(both.shape)
        inner = np.einsum("jsm,jtm->jst", both, rest)
        rest_fixed[:] = rest[:, :, q:]
        solve_transposed(z, rest, 0)
        entries = np.empty_like(factor.entries)
        collect_entries(products.entry_starts, products.entry_columns, rest, entries)
        entries *= -1.0
    else:
        entries = np.zeros_like(factor.entries)
        inner = sparse_rows(
            products.entry_starts, products.entry_columns, factor.entries, at_fixed, full, entries, rest_fixed
        )
        solve_entries_transposed(z, products.entry_starts, entries)
        entries *= -1.0
    own = sandwich(z, inner)
    rest_fixed = np.ascontiguousarray(rest_fixed)
    solve_transposed(z, rest_fixed, 0)
    return own, entries, -rest_fixed


@numba.njit(cache=True, nogil=True)
def multiply_rows(block_of_row: Any, blocks: Array, right: Array, out: Array) -> None:
    """``out[i] += blocks[block_of_row[i]] @ right[i]``; blocks (E, S, m), right (n, m), out (n, S)."""
    for i in range(len(block_of_row)):
        e = block_of_row[i]
        for s in range(out.shape[1]):
            total = 0.0
            for t in range(right.shape[1]):
                total += blocks[e, s, t] * right[i, t]
            out[i, s] += total


@numba.njit(cache=True, nogil=True)
def multiply_rows_transposed(block_of_row: Any, blocks: Array, right: Array, out: Array) -> None:
    """``out[i] += blocks[block_of_row[i]].T @ right[i]``; blocks (E, m, S), right (n, m), out (n, S)."""
    for i in range(len(block_of_row)):
        e = block_of_row[i]
        for s in range(out.shape[1]):
            total = 0.0
            for t in range(right.shape[1]):
                total += blocks[e, t, s] * right[i, t]
            out[i, s] += total


@numba.njit(cache=True, nogil=True)
def gather_blocks(inverse: Array, rows: Index, columns: Index, height: int, width: int) -> Array:
    """Return blocks (E, height, width) of a symmetric matrix given by its upper triangle."""
    out = np.empty((len(rows), height, width))
    for e in range(len(rows)):
        for s in range(height):
            for t in range(width):
                a, b = rows[e] + s, columns[e] + t
                out[e, s, t] = inverse[min(a, b), max(a, b)]
    return out


@numba.njit(cache=True, nogil=True)
def collect_entries(starts: Index, columns: Places, rows: Array, out: Array) -> None:
    """Read dense rows (J, S, m) at the entries, out (S, E)."""
    for j in range(len(starts) - 1):
        for e in range(starts[j], starts[j + 1]):
            for s in range(out.shape[0]):
                out[s, e] = rows[j, s, columns[e]]


@numba.njit(cache=True, nogil=True)
def sparse_rows(
    starts: Index, columns: Places, entries: Array, at_fixed: Array, inverse: Array, out: Array, out_fixed: Array
) -> Array:
    """Fill out (S, E), out_fixed (J, S, p) with ``W_j inverse`` at a level's own entries and X; return ``W C W'``.

    entries (S, E), at_fixed (J, S, p), inverse whole, (q + p, q + p); result (J, S, S).
    """
    n_levels, size, p = at_fixed.shape
    q = inverse.shape[0] - p
    inner = np.zeros((n_levels, size, size))
    for j in range(n_levels):
        first, last = starts[j], starts[j + 1]
        for s in range(size):
            for e in range(first, last):
                row = inverse[columns[e]]
                value = entries[s, e]
                for f in range(first, last):
                    out[s, f] += value * row[columns[f]]
                for t in range(p):
                    out_fixed[j, s, t] += value * row[q + t]
            for a in range(p):
                row = inverse[q + a]
                value = at_fixed[j, s, a]
                for f in range(first, last):
                    out[s, f] += value * row[columns[f]]
                for t in range(p):
                    out_fixed[j, s, t] += value * row[q + t]
        for s in range(size):
            for r in range(size):
                total = 0.0
                for e in range(first, last):
                    total += out[s, e] * entries[r, e]
                for t in range(p):
                    total += out_fixed[j, s, t] * at_fixed[j, r, t]
                inner[j, s, r] = total
    return inner


@numba.njit(cache=True, nogil=True)
def solve_entries_transposed(z: Array, starts: Index, entries: Array) -> None:
    """Solve ``L.T x = entries`` in place, level by level; L lower in the first columns of z, entries (S, E)."""
    size = entries.shape[0]
    for j in range(len(starts) - 1):
        for s in range(size - 1, -1, -1):
            for r in range(s + 1, size):
                factor = z[j, r, s]
                for e in range(starts[j], starts[j + 1]):
                    entries[s, e] -= factor * entries[r, e]
            pivot = 1.0 / z[j, s, s]
            for e in range(starts[j], starts[j + 1]):
                entries[s, e] *= pivot

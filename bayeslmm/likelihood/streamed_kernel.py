"""The kernel from sums that were made in batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import Structure, TermShape
from bayeslmm.design.centring import Centring
from bayeslmm.design.gram import Gram, Ranges
from bayeslmm.likelihood.columns import ColumnMap
from bayeslmm.likelihood.crossproducts import CrossProducts, LeadPairs, TrailingBlocks, ordered
from bayeslmm.likelihood.layout import Layout, layout_of
from bayeslmm.likelihood.partial_sums import PartialSums
from bayeslmm.likelihood.pattern import lay_out_lead, trailing_offsets
from bayeslmm.types import Array, Codes, Index


@dataclass(frozen=True, slots=True)
class Columns:
    """What was decided about the columns, once all rows were summed.

    Attributes
    ----------
    kept
        Places of the fixed columns kept, shape (p,).
    fixed
        Centring of those.
    terms
        Centring of every term's columns.
    """

    kept: NDArray[np.intp]
    fixed: Centring
    terms: tuple[Centring, ...]


@dataclass(frozen=True, slots=True)
class FinishedSums:
    """The cross-products of the kernel's columns, with the maps to the user's."""

    products: CrossProducts
    fixed: ColumnMap
    maps: tuple[ColumnMap, ...]
    y_mean: float


def fixed_gram(sums: PartialSums) -> Gram:
    """Return the cross-products of all fixed columns of the formula and the constant."""
    shape = sums.shape
    places = np.zeros(shape.n_fixed, dtype=np.intp)
    places[shape.others] = np.arange(1, len(shape.others) + 1)
    wanted = np.concatenate([[0], places])
    ranges = Ranges(sums.low[0][:-2], sums.high[0][:-2], sums.binary[0][:-2])
    moved = shape.moved.copy()
    products = sums.gram[np.ix_(wanted, wanted)]
    return Gram(products, moved, ranges, sums.n)


def response_gram(sums: PartialSums) -> Gram:
    """Return the cross-products of the response less the offset and the constant."""
    ends = np.array([0, sums.shape.width - 1])
    ranges = Ranges(sums.low[0][-1:], sums.high[0][-1:], sums.binary[0][-1:])
    return Gram(sums.gram[np.ix_(ends, ends)], np.array([sums.shape.moved_y]), ranges, sums.n)


def term_gram(sums: PartialSums, k: int) -> Gram:
    """Return the cross-products of a term's columns and the constant, over all rows."""
    own = sums.own(k).sum(axis=0)
    first = sums.with_fixed(k)[:, :, 0].sum(axis=0)
    size = len(first)
    products = np.empty((size + 1, size + 1))
    products[0, 0] = sums.gram[0, 0]
    products[0, 1:] = products[1:, 0] = first
    products[1:, 1:] = own
    ranges = Ranges(sums.low[k + 1], sums.high[k + 1], sums.binary[k + 1])
    return Gram(products, sums.shape.moved_terms[k], ranges, sums.n)


def finish(sums: PartialSums, columns: Columns, covariances: Sequence[Structure]) -> FinishedSums:
    """Turn sums of moved columns into those of the kernel's, centred and scaled."""
    shape = sums.shape
    gram = fixed_gram(sums)
    fixed = gram_map(gram.take(columns.kept), columns.fixed)
    maps = tuple(gram_map(term_gram(sums, k), centring) for k, centring in enumerate(columns.terms))
    y_mean = float(response_gram(sums).means[0]) if columns.fixed.spans_constant else 0.0
    right = _fixed_transform(sums, columns, fixed, y_mean)
    left = [_term_transform(sums, k, column_map) for k, column_map in enumerate(maps)]
    shapes = [TermShape(j, s, c) for j, s, c in zip(shape.levels, shape.sizes, covariances, strict=True)]
    pairs = {key: found.pairs() for key, found in sums.pairs.items()}
    layout = layout_of(shapes, lambda inner, outer: _parents(pairs, shapes, inner, outer))
    products = ordered(_products(sums, layout, pairs, left, right, len(columns.kept)))
    return FinishedSums(products, fixed, maps, y_mean)


def gram_map(gram: Gram, centring: Centring) -> ColumnMap:
    """Return the map of columns, scaled by the root mean square of the centred ones, as ``column_map`` does on rows."""
    squares = np.diag(gram.raw).copy()
    if centring.spans_constant:
        centred = np.where(gram.ranges.constant, 0.0, np.diag(gram.centred))
        squares = np.where(centring.constant != 0, squares, centred)
    scale = np.sqrt(np.maximum(squares, 0.0) / gram.n)
    scale[scale == 0] = 1.0
    return ColumnMap(centring, scale)


def _fixed_transform(sums: PartialSums, columns: Columns, fixed: ColumnMap, y_mean: float) -> Array:
    """Return M with ``[X~ y~] = E M``, shape (w, p + 1)."""
    shape = sums.shape
    user = np.zeros((shape.width, shape.n_fixed))
    if shape.constant >= 0:
        user[0, shape.constant] = 1.0
    for t, j in enumerate(shape.others):
        user[t + 1, j] = 1.0
        user[0, j] = shape.moved[j]
    transform = np.zeros((shape.width, len(columns.kept) + 1))
    transform[:, :-1] = user[:, columns.kept] @ fixed.matrix
    transform[-1, -1] = 1.0
    transform[0, -1] = shape.moved_y - y_mean
    return transform


def _term_transform(sums: PartialSums, k: int, columns: ColumnMap) -> Array:
    """Return N with ``Z~ = (moved Z) N``, shape (S, S)."""
    shape = sums.shape
    user = np.eye(shape.sizes[k])
    if shape.constants[k] >= 0:
        user[shape.constants[k]] += shape.moved_terms[k]
    return np.asarray(user @ columns.matrix)


Pairs = dict[tuple[int, int], tuple[Index, Array]]


def _oriented(pairs: Pairs, shapes: Sequence[TermShape], outer: int, inner: int) -> tuple[Index, Index, Array]:
    """Return levels of two terms that meet, ordered by the outer one's, then by the inner one's, and their blocks."""
    if outer < inner:
        keys, blocks = pairs[outer, inner]
        return *np.divmod(keys, shapes[inner].n_levels), blocks
    keys, blocks = pairs[inner, outer]
    second, first = np.divmod(keys, shapes[outer].n_levels)
    order = np.argsort(first, kind="stable")
    return first[order], second[order], blocks[order].transpose(0, 2, 1)


def _parents(pairs: Pairs, shapes: Sequence[TermShape], inner: int, outer: int) -> Codes | None:
    first, second, _ = _oriented(pairs, shapes, inner, outer)
    n_levels = shapes[inner].n_levels
    if len(first) != n_levels:
        return None
    return second.astype(np.int32) if np.array_equal(first, np.arange(n_levels)) else None


def _products(
    sums: PartialSums, layout: Layout, pairs: Pairs, left: Sequence[Array], right: Array, n_fixed: int
) -> CrossProducts:
    shapes = layout.shapes

    def own(k: int) -> Array:
        return _two_sided(left[k], sums.own(k), left[k])

    def with_fixed(k: int) -> Array:
        return _two_sided(left[k], sums.with_fixed(k), right)

    def block(outer: int, inner: int) -> tuple[Index, Index, Array]:
        first, second, blocks = _oriented(pairs, shapes, outer, inner)
        return first, second, _two_sided(left[outer], blocks, left[inner])

    nest_z = tuple(
        np.concatenate([own(k), *(block(k, m)[2] for m in layout.nest[place + 1 :])], axis=2)
        for place, k in enumerate(layout.nest)
    )
    entry_starts, entry_columns = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint32)
    lead_pairs: tuple[LeadPairs, ...] = ()
    if layout.trailing:
        lead = layout.nest[0]
        met = [block(lead, k) for k in layout.trailing]
        firsts = [np.searchsorted(first, np.arange(shapes[lead].n_levels + 1)) for first, _, _ in met]
        levels = [second.astype(np.int32) for _, second, _ in met]
        entries = lay_out_lead(layout, list(zip(firsts, levels, strict=True)))
        entry_starts, entry_columns = entries.starts, entries.columns
        lead_pairs = tuple(
            LeadPairs(k, starts, np.ascontiguousarray(blocks))
            for k, starts, (_, _, blocks) in zip(layout.trailing, entries.blocks, met, strict=True)
        )
    width = n_fixed + 1
    return CrossProducts(
        layout=layout,
        n=sums.n,
        n_fixed=n_fixed,
        log_weights=sums.log_weights,
        nest_z=nest_z,
        nest_xy=tuple(with_fixed(k) for k in layout.nest),
        entry_starts=entry_starts,
        entry_columns=entry_columns,
        lead_pairs=lead_pairs,
        trailing_blocks=_trailing(layout, own, block),
        trailing_xy=np.concatenate(
            [np.zeros((0, width)), *(with_fixed(k).reshape(-1, width) for k in layout.trailing)]
        ),
        xy=right.T @ sums.gram @ right,
    )


def _trailing(layout: Layout, own: object, block: object) -> tuple[TrailingBlocks, ...]:
    shapes, offsets = layout.shapes, trailing_offsets(layout)
    found: list[TrailingBlocks] = []
    for place, k in enumerate(layout.trailing):
        rows = offsets[k] + np.arange(shapes[k].n_levels, dtype=np.int64) * shapes[k].n_columns
        found.append(TrailingBlocks((k, k), rows, rows, own(k)))  # type: ignore[operator]
        for m in layout.trailing[place + 1 :]:
            first, second, blocks = block(k, m)  # type: ignore[operator]
            columns = offsets[m] + second.astype(np.int64) * shapes[m].n_columns
            found.append(TrailingBlocks((k, m), rows[first], columns, np.ascontiguousarray(blocks)))
    return tuple(found)


def _two_sided(left: Array, blocks: Array, right: Array) -> Array:
    """Return ``left.T @ block @ right`` for every block, shape (J, S, w)."""
    count, size, width = blocks.shape
    turned = (blocks.reshape(-1, width) @ right).reshape(count, size, right.shape[1])
    if size == 1:
        return np.ascontiguousarray(turned * left[0, 0])
    return np.ascontiguousarray(np.einsum("rs,jrt->jst", left, turned, optimize=True))

r"""The cross-products :math:`[Z\;X\;y]^\top W [Z\;X\;y]`: everything the data say.

Z is never formed. Within a term the product is block-diagonal, between two terms it has one block for each pair of
levels that meet in some row, and with X and y it has one block per level. Rows are read once, in chunks; after
that their number plays no part.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.held_columns import HeldColumns
from bayeslmm.likelihood.accumulate import Places, add_by_level, add_nest, most_rows, move_columns
from bayeslmm.likelihood.columns import ColumnMap, TermArrays
from bayeslmm.likelihood.layout import LARGEST_DENSE, Layout
from bayeslmm.likelihood.pattern import Columns, Index, Pattern
from bayeslmm.likelihood.sparse.ordering import TrailingOrder, order_trailing
from bayeslmm.types import Array

Blocks = NDArray[np.floating]

CHUNK_ROWS = 32_768  # rows whose scaled copies are held at once
MANY_PAIRS = 1_000_000  # pairs of levels from which on counts are kept in single precision
LARGEST_COUNT = 2**24  # whole numbers up to it are exact in single precision


@dataclass(frozen=True, slots=True)
class LeadPairs:
    """Blocks where levels of the leading term meet levels of one trailing term.

    Attributes
    ----------
    term
        Position of the trailing term in the formula.
    starts
        Place of each block's first column among the leading term's entries, shape (E,).
    blocks
        Shape (E, S_0, S_l), in single precision where there are many and all are counts.
    """

    term: int
    starts: Places
    blocks: Blocks


@dataclass(frozen=True, slots=True)
class TrailingBlocks:
    """Blocks of one pair of trailing terms (or of a term with itself) in the trailing matrix.

    Attributes
    ----------
    terms
        Formula positions (l, m).
    rows, columns
        Place of each block's first element in the trailing matrix, rows <= columns, shape (E,).
    blocks
        Shape (E, S_l, S_m).
    """

    terms: tuple[int, int]
    rows: Index
    columns: Index
    blocks: Array


@dataclass(frozen=True, slots=True)
class CrossProducts:
    """Cross-products in the order of elimination.

    Attributes
    ----------
    layout
        The elimination order.
    n, n_fixed
        Number of rows with positive weight, and of fixed columns p.
    log_weights
        Sum of the logarithms of the weights.
    nest_z
        For each term k of the nest the products of its levels with themselves and with their ancestors,
        shape (J_k, S_k, sum of S over the nest from k on).
    nest_xy
        The same with X and y, shape (J_k, S_k, p + 1).
    entry_starts, entry_columns
        Trailing columns that meet level j of the leading term: ``entry_columns[entry_starts[j]:entry_starts[j + 1]]``,
        ascending; shapes (J_0 + 1,) and (entries,), the columns unsigned.
    lead_pairs
        The blocks behind those entries, one item per trailing term.
    trailing_blocks
        Blocks among the trailing terms.
    trailing_xy
        Trailing effects with X and y, shape (q_T, p + 1).
    xy
        X and y with themselves, shape (p + 1, p + 1).
    sparse
        How the trailing effects are eliminated one by one, where there are many and few of them meet; None where they
        are factored as a dense matrix.
    """

    layout: Layout
    n: int
    n_fixed: int
    log_weights: float
    nest_z: tuple[Array, ...]
    nest_xy: tuple[Array, ...]
    entry_starts: Index
    entry_columns: Columns
    lead_pairs: tuple[LeadPairs, ...]
    trailing_blocks: tuple[TrailingBlocks, ...]
    trailing_xy: Array
    xy: Array
    sparse: TrailingOrder | None = None

    @property
    def n_trailing(self) -> int:
        """Number of random effects in the trailing matrix."""
        return len(self.trailing_xy)

    @property
    def order(self) -> int:
        """Order of the dense trailing matrix, X and y included."""
        return (self.n_trailing if self.sparse is None else 0) + self.n_fixed + 1

    @property
    def density(self) -> float:
        """Share of the leading term's levels times trailing effects that meet in some row."""
        possible = self.n_trailing * (len(self.entry_starts) - 1)
        return len(self.entry_columns) / possible if possible else 0.0


def ordered(products: CrossProducts) -> CrossProducts:
    """Return cross-products with an order for their trailing effects where these are many and few of them meet."""
    q = products.n_trailing
    if q <= LARGEST_DENSE:
        return products
    found = order_trailing(products.entry_starts, products.entry_columns, q, products.trailing_blocks)
    return products if found is None else replace(products, sparse=found)


class Sums:
    """Running sums over the rows, added to in chunks.

    Parameters
    ----------
    pattern
        Where the products are added up.
    n_fixed
        Number of fixed columns p.
    counted
        Formula positions of the terms of which every row has a one, so that two of them make counts.
    """

    def __init__(self, pattern: Pattern, n_fixed: int, counted: Collection[int] = ()) -> None:
        layout = pattern.layout
        shapes = layout.shapes
        self.layout, self.pattern, self.n_fixed = layout, pattern, n_fixed
        sizes = [shapes[k].n_columns for k in layout.nest]
        self.nest_z = [
            np.zeros((shapes[k].n_levels, sizes[place], sum(sizes[place:]))) for place, k in enumerate(layout.nest)
        ]
        self.nest_xy = [np.zeros((shapes[k].n_levels, shapes[k].n_columns, n_fixed + 1)) for k in layout.nest]
        self.lead = [
            np.zeros(
                (len(starts), shapes[layout.nest[0]].n_columns, shapes[k].n_columns),
                dtype=np.float32 if counts_pairs(pattern, k, len(starts), counted) else np.float64,
            )
            for k, starts in zip(layout.trailing, pattern.lead_starts, strict=True)
        ]
        self.trailing = [
            np.zeros((len(pair.rows), shapes[pair.terms[0]].n_columns, shapes[pair.terms[1]].n_columns))
            for pair in pattern.trailing
        ]
        self.trailing_xy = [np.zeros((shapes[k].n_levels, shapes[k].n_columns, n_fixed + 1)) for k in layout.trailing]
        self.xy = np.zeros((n_fixed + 1, n_fixed + 1))

    def add(self, rows: slice, z: list[Array], xy: Array) -> None:
        """Add one chunk: its row range, the terms' columns, and [X y]."""
        codes = self.pattern.codes
        self.xy += xy.T @ xy
        for place, k in enumerate(self.layout.nest):
            own = codes[k][rows]
            related = [z[m] for m in self.layout.nest[place:]]
            both = related[0] if len(related) == 1 else np.concatenate(related, axis=1)
            add_nest(own, z[k], both, xy, self.nest_z[place], self.nest_xy[place])
        for k, pair_of_row, blocks in zip(self.layout.trailing, self.pattern.lead_rows, self.lead, strict=True):
            add_by_level(pair_of_row[rows], z[self.layout.nest[0]], z[k], blocks)
        for pair, blocks in zip(self.pattern.trailing, self.trailing, strict=True):
            add_by_level(pair.pair_of_row[rows], z[pair.terms[0]], z[pair.terms[1]], blocks)
        for k, sums in zip(self.layout.trailing, self.trailing_xy, strict=True):
            add_by_level(codes[k][rows], z[k], xy, sums)

    def products(self, n: int, log_weights: float) -> CrossProducts:
        """Return the cross-products of n rows, the logarithms of whose weights add up to `log_weights`."""
        pattern, width = self.pattern, self.n_fixed + 1
        return CrossProducts(
            layout=self.layout,
            n=n,
            n_fixed=self.n_fixed,
            log_weights=log_weights,
            nest_z=tuple(self.nest_z),
            nest_xy=tuple(self.nest_xy),
            entry_starts=pattern.entry_starts,
            entry_columns=pattern.entry_columns,
            lead_pairs=tuple(
                LeadPairs(term, starts, blocks)
                for term, starts, blocks in zip(self.layout.trailing, pattern.lead_starts, self.lead, strict=True)
            ),
            trailing_blocks=tuple(
                TrailingBlocks(pair.terms, pair.rows, pair.columns, blocks)
                for pair, blocks in zip(pattern.trailing, self.trailing, strict=True)
            ),
            trailing_xy=np.concatenate([np.zeros((0, width)), *(xy.reshape(-1, width) for xy in self.trailing_xy)]),
            xy=self.xy,
        )


def counts_pairs(pattern: Pattern, term: int, n_pairs: int, counted: Collection[int]) -> bool:
    """Whether the blocks of a trailing term with the leading one are many, and counts that single precision holds."""
    lead = pattern.layout.nest[0]
    if n_pairs < MANY_PAIRS or lead not in counted or term not in counted:
        return False
    return most_rows(pattern.codes[lead], pattern.layout.shapes[lead].n_levels) <= LARGEST_COUNT


def build_crossproducts(
    y: Array,
    X: Array | HeldColumns,
    terms: Sequence[TermArrays],
    weights: Array | None,
    pattern: Pattern,
    fixed: ColumnMap,
    maps: Sequence[ColumnMap],
    y_mean: float,
) -> CrossProducts:
    """Sum the products of the kernel's columns over the rows.

    Parameters
    ----------
    y, X
        Response less offset, shape (n,), and fixed columns, shape (n, p).
    terms
        Random terms.
    weights
        Shape (n,), positive, or None.
    pattern
        Where the products are added up; that of the terms' codes.
    fixed, maps
        How X and each term's columns are centred and scaled.
    y_mean
        What the response is centred by.
    """
    unweighted = weights is None
    counted = [k for k, m in enumerate(maps) if unweighted and all_ones(terms[k].columns) and m.scale[0] == 1.0]
    sums = Sums(pattern, X.shape[1], counted)
    for rows, z, xy in _chunks(y, X, terms, weights, fixed, maps, y_mean):
        sums.add(rows, z, xy)
    return ordered(sums.products(len(y), 0.0 if weights is None else float(np.sum(np.log(weights)))))


def all_ones(columns: Array) -> bool:
    """Whether columns (n, S) are known to be a lone column of ones, which takes no memory."""
    return columns.shape[1] == 1 and columns.strides[0] == 0 and len(columns) > 0 and columns[0, 0] == 1.0


def _chunks(
    y: Array,
    X: Array | HeldColumns,
    terms: Sequence[TermArrays],
    weights: Array | None,
    fixed: ColumnMap,
    maps: Sequence[ColumnMap],
    y_mean: float,
) -> Iterator[tuple[slice, list[Array], Array]]:
    n, p = X.shape
    for first in range(0, n, CHUNK_ROWS):
        rows = slice(first, min(first + CHUNK_ROWS, n))
        count = rows.stop - rows.start
        root = np.zeros(0) if weights is None else np.sqrt(weights[rows])
        xy = np.empty((count, p + 1))
        move_columns(X[rows], fixed.centring.means, fixed.scale, root, xy)
        xy[:, p] = y[rows] - y_mean
        if weights is not None:
            xy[:, p] *= root
        z = [np.empty((count, t.columns.shape[1])) for t in terms]
        for term, columns, out in zip(terms, maps, z, strict=True):
            move_columns(term.columns[rows], columns.centring.means, columns.scale, root, out)
        yield rows, z, xy

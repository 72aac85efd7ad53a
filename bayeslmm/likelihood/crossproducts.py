r"""The cross-products :math:`[Z\;X\;y]^\top W [Z\;X\;y]`: everything the data say.

Z is never formed. Within a term the product is block-diagonal, between two terms it has one block for each pair of
levels that meet in some row, and with X and y it has one block per level. Rows are read once, in chunks; after
that their number plays no part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.accumulate import add_by_level, count_pairs, sort_by_level
from bayeslmm.likelihood.columns import ColumnMap, TermArrays
from bayeslmm.likelihood.structure import Structure
from bayeslmm.types import Array

Index = NDArray[np.int64]
Codes32 = NDArray[np.int32]
Places = NDArray[np.uint32]

CHUNK_ROWS = 32_768  # rows whose scaled copies are held at once


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
        Shape (E, S_0, S_l).
    """

    term: int
    starts: Index
    blocks: Array


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
    structure
        The elimination order.
    n, n_fixed
        Number of rows with positive weight, and of fixed columns p.
    log_weights
        Sum of the logarithms of the weights.
    chain_z
        For each chain term k the products of its levels with themselves and with their ancestors,
        shape (J_k, S_k, sum of S over the chain from k on).
    chain_xy
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
    """

    structure: Structure
    n: int
    n_fixed: int
    log_weights: float
    chain_z: tuple[Array, ...]
    chain_xy: tuple[Array, ...]
    entry_starts: Index
    entry_columns: Places
    lead_pairs: tuple[LeadPairs, ...]
    trailing_blocks: tuple[TrailingBlocks, ...]
    trailing_xy: Array
    xy: Array

    @property
    def n_trailing(self) -> int:
        """Number of random effects in the trailing matrix."""
        return len(self.trailing_xy)

    @property
    def order(self) -> int:
        """Order of the trailing matrix, X and y included."""
        return self.n_trailing + self.n_fixed + 1

    @property
    def density(self) -> float:
        """Share of the leading term's levels times trailing effects that meet in some row."""
        possible = self.n_trailing * (len(self.entry_starts) - 1)
        return len(self.entry_columns) / possible if possible else 0.0


def build_crossproducts(
    y: Array,
    X: Array,
    terms: Sequence[TermArrays],
    weights: Array | None,
    structure: Structure,
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
    structure
        Which terms lead.
    fixed, maps
        How X and each term's columns are centred and scaled.
    y_mean
        What the response is centred by.
    """
    layout = _PairLayout(terms, structure)
    sums = _Sums(X.shape[1], structure, layout)
    for rows, z, xy in _chunks(y, X, terms, weights, fixed, maps, y_mean):
        sums.add(rows, z, xy)
    n_chain = len(structure.chain)
    return CrossProducts(
        structure=structure,
        n=len(y),
        n_fixed=X.shape[1],
        log_weights=0.0 if weights is None else float(np.sum(np.log(weights))),
        chain_z=tuple(sums.chain_z[k] for k in range(n_chain)),
        chain_xy=tuple(sums.chain_xy[k] for k in range(n_chain)),
        entry_starts=layout.entry_starts,
        entry_columns=layout.entry_columns,
        lead_pairs=tuple(
            LeadPairs(term, starts, blocks)
            for term, starts, blocks in zip(structure.trailing, layout.lead_starts, sums.lead, strict=True)
        ),
        trailing_blocks=tuple(
            TrailingBlocks(pair.terms, pair.rows, pair.columns, blocks)
            for pair, blocks in zip(layout.trailing, sums.trailing, strict=True)
        ),
        trailing_xy=np.concatenate([xy.reshape(-1, X.shape[1] + 1) for xy in sums.trailing_xy])
        if sums.trailing_xy
        else np.zeros((0, X.shape[1] + 1)),
        xy=sums.xy,
    )


def _chunks(
    y: Array,
    X: Array,
    terms: Sequence[TermArrays],
    weights: Array | None,
    fixed: ColumnMap,
    maps: Sequence[ColumnMap],
    y_mean: float,
) -> Iterator[tuple[slice, list[Array], Array]]:
    n, p = X.shape
    for first in range(0, n, CHUNK_ROWS):
        rows = slice(first, min(first + CHUNK_ROWS, n))
        xy = np.empty((rows.stop - rows.start, p + 1))
        xy[:, :p] = fixed.apply(X[rows])
        xy[:, p] = y[rows] - y_mean
        z = [np.ascontiguousarray(m.apply(t.columns[rows])) for t, m in zip(terms, maps, strict=True)]
        if weights is not None:
            root = np.sqrt(weights[rows])[:, None]
            xy *= root
            z = [columns * root for columns in z]
        yield rows, z, xy


@dataclass(frozen=True, slots=True)
class _TrailingPair:
    terms: tuple[int, int]
    rows: Index
    columns: Index
    pair_of_row: Index


class _PairLayout:
    """Where the pairs of levels that meet are kept."""

    def __init__(self, terms: Sequence[TermArrays], structure: Structure) -> None:
        self.codes = [np.ascontiguousarray(t.codes, dtype=np.int32) for t in terms]
        self.structure = structure
        shapes = structure.shapes
        self.offsets: dict[int, int] = {}
        total = 0
        for k in structure.trailing:
            self.offsets[k] = total
            total += shapes[k].n_effects
        self.lead_starts: list[Index] = []
        self.lead_rows: list[Index] = []
        self.entry_starts = np.zeros(1, dtype=np.int64)
        self.entry_columns = np.zeros(0, dtype=np.uint32)
        self.trailing: list[_TrailingPair] = []
        if structure.trailing:
            self._lay_out_lead()
            self._lay_out_trailing()

    def _pairs(self, outer: int, inner: int) -> tuple[Index, Codes32, Index]:
        shapes = self.structure.shapes
        by_inner, _ = sort_by_level(self.codes[inner], shapes[inner].n_levels)
        within, starts = sort_by_level(self.codes[outer][by_inner], shapes[outer].n_levels)
        order = by_inner[within]
        pair_of_row = np.empty(len(order), dtype=np.int64)
        levels = np.empty(len(order), dtype=np.int32)
        first = count_pairs(order, starts, self.codes[inner], pair_of_row, levels)
        return first, levels[: first[-1]], pair_of_row

    def _lay_out_lead(self) -> None:
        lead = self.structure.chain[0]
        shapes = self.structure.shapes
        found = [self._pairs(lead, k) for k in self.structure.trailing]
        sizes = [shapes[k].n_columns for k in self.structure.trailing]
        per_level = [np.diff(first) * size for (first, _, _), size in zip(found, sizes, strict=True)]
        self.entry_starts = np.concatenate([[0], np.cumsum(np.sum(per_level, axis=0))]).astype(np.int64)
        self.entry_columns = np.empty(self.entry_starts[-1], dtype=np.uint32)
        before = self.entry_starts[:-1].copy()
        for k, (first, levels, pair_of_row), size, width in zip(
            self.structure.trailing, found, sizes, per_level, strict=True
        ):
            counts = np.diff(first)
            within = np.arange(len(levels)) - np.repeat(first[:-1], counts)
            starts = np.repeat(before, counts) + within * size
            for s in range(size):
                self.entry_columns[starts + s] = self.offsets[k] + levels.astype(np.int64) * size + s
            self.lead_starts.append(starts)
            self.lead_rows.append(pair_of_row)
            before = before + width

    def _lay_out_trailing(self) -> None:
        shapes = self.structure.shapes
        for place, k in enumerate(self.structure.trailing):
            own = self.offsets[k] + np.arange(shapes[k].n_levels, dtype=np.int64) * shapes[k].n_columns
            self.trailing.append(_TrailingPair((k, k), own, own, self.codes[k].astype(np.int64)))
            for m in self.structure.trailing[place + 1 :]:
                first, levels, pair_of_row = self._pairs(k, m)
                rows = np.repeat(own, np.diff(first))
                columns = self.offsets[m] + levels.astype(np.int64) * shapes[m].n_columns
                self.trailing.append(_TrailingPair((k, m), rows, columns, pair_of_row))


class _Sums:
    """Running sums over the rows."""

    def __init__(self, n_fixed: int, structure: Structure, layout: _PairLayout) -> None:
        shapes = structure.shapes
        self.structure = structure
        self.layout = layout
        sizes = [shapes[k].n_columns for k in structure.chain]
        self.chain_z = [
            np.zeros((shapes[k].n_levels, sizes[place], sum(sizes[place:]))) for place, k in enumerate(structure.chain)
        ]
        self.chain_xy = [np.zeros((shapes[k].n_levels, shapes[k].n_columns, n_fixed + 1)) for k in structure.chain]
        self.lead = [
            np.zeros((len(starts), shapes[structure.chain[0]].n_columns, shapes[k].n_columns))
            for k, starts in zip(structure.trailing, layout.lead_starts, strict=True)
        ]
        self.trailing = [
            np.zeros((len(pair.rows), shapes[pair.terms[0]].n_columns, shapes[pair.terms[1]].n_columns))
            for pair in layout.trailing
        ]
        self.trailing_xy = [
            np.zeros((shapes[k].n_levels, shapes[k].n_columns, n_fixed + 1)) for k in structure.trailing
        ]
        self.xy = np.zeros((n_fixed + 1, n_fixed + 1))

    def add(self, rows: slice, z: list[Array], xy: Array) -> None:
        """Add one chunk: its row range, the terms' columns, and [X y]."""
        codes = self.layout.codes
        self.xy += xy.T @ xy
        for place, k in enumerate(self.structure.chain):
            own = codes[k][rows]
            related = np.concatenate([z[m] for m in self.structure.chain[place:]], axis=1)
            add_by_level(own, z[k], related, self.chain_z[place])
            add_by_level(own, z[k], xy, self.chain_xy[place])
        for k, pair_of_row, blocks in zip(self.structure.trailing, self.layout.lead_rows, self.lead, strict=True):
            add_by_level(pair_of_row[rows], z[self.structure.chain[0]], z[k], blocks)
        for pair, blocks in zip(self.layout.trailing, self.trailing, strict=True):
            add_by_level(pair.pair_of_row[rows], z[pair.terms[0]], z[pair.terms[1]], blocks)
        for k, sums in zip(self.structure.trailing, self.trailing_xy, strict=True):
            add_by_level(codes[k][rows], z[k], xy, sums)

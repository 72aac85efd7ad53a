"""The pattern of the cross-products: which levels of the grouping factors meet in some row, and where that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.accumulate import Places, count_pairs, place_entries, places_type, sort_by_level, sort_within
from bayeslmm.likelihood.layout import Layout
from bayeslmm.types import Codes, Index

Columns = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class TrailingPairs:
    """The pairs of levels of two trailing terms, or of a term with itself, that meet in some row.

    Attributes
    ----------
    terms
        Formula positions (l, m).
    rows, columns
        Place of each pair's first element in the trailing matrix, rows <= columns, shape (E,).
    pair_of_row
        The pair of each row of the data, shape (n,).
    """

    terms: tuple[int, int]
    rows: Index
    columns: Index
    pair_of_row: Places


@dataclass(frozen=True, slots=True)
class LeadEntries:
    """Trailing columns that meet each level of the leading term.

    Attributes
    ----------
    starts, columns
        As ``entry_starts`` and ``entry_columns`` of `CrossProducts`.
    blocks
        Per trailing term, the place of each pair's first column among the entries, shape (E,).
    """

    starts: Index
    columns: Columns
    blocks: tuple[Places, ...]


def trailing_offsets(layout: Layout) -> dict[int, int]:
    """Return the first place of each trailing term in the trailing matrix, by formula position."""
    offsets: dict[int, int] = {}
    total = 0
    for k in layout.trailing:
        offsets[k] = total
        total += layout.shapes[k].n_effects
    return offsets


def lay_out_lead(layout: Layout, pairs: Sequence[tuple[Index, Codes]]) -> LeadEntries:
    """Lay out the blocks of the leading term with the trailing ones.

    Parameters
    ----------
    layout
        Which terms lead.
    pairs
        Per trailing term, the first pair of each leading level, shape (J_0 + 1,), and the trailing level of each
        pair, shape (E,).
    """
    offsets = trailing_offsets(layout)
    sizes = [layout.shapes[k].n_columns for k in layout.trailing]
    per_level = [np.diff(first) * size for (first, _), size in zip(pairs, sizes, strict=True)]
    starts = np.concatenate([[0], np.cumsum(np.sum(per_level, axis=0))]).astype(np.int64)
    columns = np.empty(starts[-1], dtype=np.uint32)
    before = starts[:-1].copy()
    blocks: list[Places] = []
    for k, (first, levels), size in zip(layout.trailing, pairs, sizes, strict=True):
        places = np.empty(len(levels), dtype=places_type(len(columns)))
        place_entries(np.asarray(first, dtype=np.int64), levels, offsets[k], size, before, places, columns)
        blocks.append(places)
    return LeadEntries(starts, columns, tuple(blocks))


class Pattern:
    """Where the rows' products are added up: by level, and by pair of levels that meet.

    It depends on the grouping factors alone, so that other weights, another response or further columns use it again.

    Parameters
    ----------
    codes
        Level of each row, one (n,) per term.
    layout
        Which terms lead.

    Attributes
    ----------
    codes, layout
        As given.
    offsets
        First place of each trailing term in the trailing matrix, by formula position.
    lead_starts
        Per trailing term, the place of each pair's first column among the leading term's entries, shape (E,).
    lead_rows
        Per trailing term, the pair (level of the leading term, level of it) of each row, shape (n,).
    entry_starts, entry_columns
        Trailing columns that meet level j of the leading term, as in `CrossProducts`.
    trailing
        The pairs among trailing terms.
    """

    def __init__(self, codes: Sequence[Codes], layout: Layout) -> None:
        self.codes = [np.ascontiguousarray(c, dtype=np.int32) for c in codes]
        self.layout = layout
        self.offsets = trailing_offsets(layout)
        self.lead_starts: list[Places] = []
        self.lead_rows: list[Places] = []
        self.entry_starts = np.zeros(1, dtype=np.int64)
        self.entry_columns = np.zeros(0, dtype=np.uint32)
        self.trailing: list[TrailingPairs] = []
        if layout.trailing:
            self._lay_out_lead()
            self._lay_out_trailing()

    def _pairs(self, outer: int, inner: int) -> tuple[Index, Codes, Places]:
        shapes = self.layout.shapes
        by_inner, _ = sort_by_level(self.codes[inner], shapes[inner].n_levels)
        order = np.empty_like(by_inner)
        starts = sort_within(by_inner, self.codes[outer], shapes[outer].n_levels, order)
        pair_of_row = by_inner  # a place of that size, no longer needed
        # the level of a pair takes the place of a row that was read before
        levels = order if order.dtype == np.int32 else np.empty(len(order), dtype=np.int32)
        first = count_pairs(order, starts, self.codes[inner], pair_of_row, levels)
        return first, levels[: first[-1]], pair_of_row

    def _lay_out_lead(self) -> None:
        lead = self.layout.nest[0]
        found = [self._pairs(lead, k) for k in self.layout.trailing]
        entries = lay_out_lead(self.layout, [(first, levels) for first, levels, _ in found])
        self.entry_starts, self.entry_columns = entries.starts, entries.columns
        self.lead_starts = list(entries.blocks)
        self.lead_rows = [pair_of_row for _, _, pair_of_row in found]

    def _lay_out_trailing(self) -> None:
        shapes = self.layout.shapes
        for place, k in enumerate(self.layout.trailing):
            own = self.offsets[k] + np.arange(shapes[k].n_levels, dtype=np.int64) * shapes[k].n_columns
            self.trailing.append(TrailingPairs((k, k), own, own, self.codes[k]))
            for m in self.layout.trailing[place + 1 :]:
                first, levels, pair_of_row = self._pairs(k, m)
                rows = np.repeat(own, np.diff(first))
                columns = self.offsets[m] + levels.astype(np.int64) * shapes[m].n_columns
                self.trailing.append(TrailingPairs((k, m), rows, columns, pair_of_row))

r"""In which order to eliminate trailing effects of which few meet, and what that fills.

Two trailing effects have an entry in the Schur complement :math:`S` of the leading term where their levels meet the
same leading level, as two firms do where somebody worked for both. Eliminating effect c makes all effects that it meets
meet one another, so that column c of :math:`S = LL^\top` has the entries

.. math:: \mathcal{L}_c = \mathcal{S}_c \cup \bigcup_{k:\,\min\mathcal{L}_k = c} \mathcal{L}_k \setminus \{c\}

(George and Liu 1981). The order is one of minimum degree. Entries are counted before anything is factored: a factor
costs :math:`\sum_c |\mathcal{L}_c|^2`, and where that is much it is not for this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix
from scipy.sparse.linalg import spilu

from bayeslmm.types import Array, Index

MOST_MEETINGS = 50_000_000  # pairs of entries of the same leading level; where there are more, the fill is not small
MOST_ENTRIES = 30_000_000
LARGEST_WORK = 2_000_000_000  # multiplications of one factorisation: some seconds

Rows = NDArray[np.int32]


class Blocks(Protocol):
    """Blocks among trailing effects; `TrailingBlocks` of the cross-products has them."""

    @property
    def rows(self) -> Index: ...  # noqa: D102
    @property
    def columns(self) -> Index: ...  # noqa: D102
    @property
    def blocks(self) -> Array: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class TrailingOrder:
    """An order of elimination and where its factor has entries.

    Attributes
    ----------
    order, places
        The trailing effect at each place, and the place of each effect, (q,).
    starts, rows
        Entries below the diagonal: those of column c are at places ``rows[starts[c]:starts[c + 1]]``, ascending.
    meeting_starts, meetings
        Entries of the leading term in column c: ``meetings[meeting_starts[c]:meeting_starts[c + 1]]``.
    levels, entry_places
        Leading level and place of each of the leading term's entries, (E,).
    targets
        Per item of the trailing blocks, the place of each number among the factor's, the q diagonal ones first, (E, S,
        S).
    work
        Multiplications of one factorisation.
    """

    order: Index
    places: Index
    starts: Index
    rows: Rows
    meeting_starts: Index
    meetings: Index
    levels: Rows
    entry_places: Rows
    targets: tuple[Index, ...]
    work: float

    @property
    def n_entries(self) -> int:
        """Number of entries of the factor."""
        return len(self.order) + len(self.rows)


def order_trailing(
    entry_starts: Index, entry_columns: NDArray[np.uint32], q: int, blocks: Sequence[Blocks]
) -> TrailingOrder | None:
    """Return an order of elimination, or None where the factor fills too much.

    Parameters
    ----------
    entry_starts, entry_columns
        Trailing effects that meet each level of the leading term, as in the cross-products.
    q
        Number of trailing effects.
    blocks
        Blocks among the trailing effects.
    """
    counts = np.diff(entry_starts)
    if float(np.sum(counts.astype(float) ** 2)) > MOST_MEETINGS:
        return None
    order = _minimum_degree(entry_starts, entry_columns, q)
    places = np.empty(q, dtype=np.int64)
    places[order] = np.arange(q)
    entry_places = places[entry_columns].astype(np.int32)
    meetings = np.argsort(entry_places, kind="stable")
    meeting_starts = np.searchsorted(entry_places[meetings], np.arange(q + 1)).astype(np.int64)
    levels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    rows = np.empty(MOST_ENTRIES, dtype=np.int32)  # touched as far as it is filled
    starts, work = fill_columns(entry_starts, entry_places, meeting_starts, meetings, levels, LARGEST_WORK, rows)
    if len(starts) == 0:
        return None
    rows = rows[: starts[-1]].copy()
    targets = tuple(_targets(b, places, starts, rows) for b in blocks)
    return TrailingOrder(
        order, places, starts, rows, meeting_starts, meetings, levels, entry_places, targets, float(work)
    )


def _minimum_degree(entry_starts: Index, entry_columns: NDArray[np.uint32], q: int) -> Index:
    """Return the order of minimum degree, by an incomplete factorisation in it that drops all it may."""
    ones = np.ones(len(entry_columns), dtype=np.float32)
    met = csr_matrix((ones, entry_columns.astype(np.int32), entry_starts), shape=(len(entry_starts) - 1, q))
    graph = csc_matrix(met.T @ met, dtype=np.float64)
    graph.data[:] = -1e-3
    graph.setdiag(np.diff(graph.indptr) + 1.0)  # so dominant that nothing is near singular
    found = spilu(
        graph,
        drop_tol=1.0,
        fill_factor=1.0,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"RowPerm": "NOROWPERM", "SymmetricMode": True, "Equil": False},
    )
    places = np.asarray(found.perm_c, dtype=np.int64)  # of each column
    return np.argsort(places)


def _targets(block: Blocks, places: Index, starts: Index, rows: Rows) -> Index:
    """Return where the numbers of blocks (E, S_l, S_m) stand among the factor's."""
    _, tall, wide = block.blocks.shape
    one = places[block.rows[:, None, None] + np.arange(tall)[:, None]]
    other = places[block.columns[:, None, None] + np.arange(wide)[None, :]]
    shape = np.broadcast_shapes(one.shape, other.shape)
    low, high = np.broadcast_to(np.minimum(one, other), shape), np.broadcast_to(np.maximum(one, other), shape)
    return find_entries(low.ravel(), high.ravel(), starts, rows).reshape(shape)


@numba.njit(cache=True, nogil=True)
def find_entries(columns: Index, wanted: Index, starts: Index, rows: Rows) -> Index:
    """Return the place of each entry (row, column) among q diagonal entries and those below the diagonal."""
    q = starts.shape[0] - 1
    out = np.empty(columns.shape[0], dtype=np.int64)
    for i in range(columns.shape[0]):
        c = columns[i]
        if wanted[i] == c:
            out[i] = c
        else:
            out[i] = q + starts[c] + np.searchsorted(rows[starts[c] : starts[c + 1]], wanted[i])
    return out


@numba.njit(cache=True, nogil=True)
def fill_columns(
    entry_starts: Index,
    entry_places: Rows,
    meeting_starts: Index,
    meetings: Index,
    levels: Rows,
    most: float,
    rows: Rows,
) -> tuple[Index, float]:
    """Fill the rows of each column's entries below the diagonal; return where columns start, and the work.

    Nothing is returned, an array of length zero, where `rows` or `most` do not suffice.
    """
    q = meeting_starts.shape[0] - 1
    starts = np.zeros(q + 1, dtype=np.int64)
    seen = np.full(q, -1, dtype=np.int64)
    head, following = np.full(q, -1, dtype=np.int64), np.full(q, -1, dtype=np.int64)
    work = 0.0
    for c in range(q):
        seen[c] = c
        first = starts[c]
        last = first
        room = rows.shape[0] - first
        if room < q - c:  # at most so many are added
            return np.zeros(0, dtype=np.int64), work
        for m in range(meeting_starts[c], meeting_starts[c + 1]):
            level = levels[meetings[m]]
            for f in range(entry_starts[level], entry_starts[level + 1]):
                r = entry_places[f]
                if r > c and seen[r] != c:
                    seen[r] = c
                    rows[last] = r
                    last += 1
        child = head[c]
        while child != -1:
            for p in range(starts[child] + 1, starts[child + 1]):
                r = rows[p]
                if seen[r] != c:
                    seen[r] = c
                    rows[last] = r
                    last += 1
            child = following[child]
        rows[first:last].sort()
        if last > first:
            parent = rows[first]
            following[c] = head[parent]
            head[parent] = c
        starts[c + 1] = last
        work += float(last - first + 1) ** 2
        if work > most:
            return np.zeros(0, dtype=np.int64), work
    return starts, work

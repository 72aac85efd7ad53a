r"""Cross-products of rows that come in batches: sums that add up, whoever made them.

Columns are moved by fixed numbers m where the constant can undo it, which keeps the digits until the true means are
known: for the fixed part :math:`E = [1\; X - 1m^\top\; y - m_y]`, the literal intercept being the 1, and within a term
with a literal intercept the other columns. All sums are bilinear in the columns, so that :func:`finish` turns them into
those of the kernel's columns exactly.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.accumulate import add_by_level
from bayeslmm.likelihood.pair_sums import PairSums
from bayeslmm.scratch import Scratch
from bayeslmm.types import Array, Codes


@dataclass(frozen=True, slots=True)
class SumsShape:
    """What is summed.

    Attributes
    ----------
    levels, sizes
        J and S of every term.
    n_fixed
        Number of fixed columns P, before collinear ones are dropped.
    constant, constants
        Place of the literal intercept among the fixed columns and among those of each term, -1 without one.
    moved, moved_y, moved_terms
        What the fixed columns (P,), the response and the columns of each term (S,) are moved by.
    """

    levels: tuple[int, ...]
    sizes: tuple[int, ...]
    n_fixed: int
    constant: int
    constants: tuple[int, ...]
    moved: Array
    moved_y: float
    moved_terms: tuple[Array, ...]

    @property
    def others(self) -> NDArray[np.int64]:
        """Places of the fixed columns that are not the literal intercept."""
        return np.array([j for j in range(self.n_fixed) if j != self.constant], dtype=np.int64)

    @property
    def width(self) -> int:
        """Columns of E."""
        return len(self.others) + 2

    @property
    def level_bytes(self) -> tuple[int, ...]:
        """Bytes of the sums of one level of every term."""
        return tuple(8 * size * (len(self.others_of(k)) + self.width) for k, size in enumerate(self.sizes))

    def others_of(self, k: int) -> list[int]:
        """Places of the columns of a term that are not its literal intercept."""
        return [s for s in range(self.sizes[k]) if s != self.constants[k]]


class PartialSums:
    """Sums over some rows.

    Parameters
    ----------
    shape
        What is summed.

    Attributes
    ----------
    n, log_weights
        Number of rows, and the sum of the logarithms of their weights.
    gram
        Products of E with itself, shape (w, w).
    by_level
        For each term the products of its columns with its other columns and E, shape (J, S, S' + w).
    pairs
        For each two terms k < m the sums over the pairs of their levels.
    low, high, binary
        Ranges of [X y net-y] and of every term's columns, as users see them.
    """

    def __init__(self, shape: SumsShape) -> None:
        self.shape = shape
        self._scratch = Scratch()
        self.n, self.log_weights = 0, 0.0
        self.gram = np.zeros((shape.width, shape.width))
        self.by_level = [
            np.zeros((levels, size, len(shape.others_of(k)) + shape.width))
            for k, (levels, size) in enumerate(zip(shape.levels, shape.sizes, strict=True))
        ]
        count = len(shape.levels)
        self.pairs = {
            (k, m): PairSums((shape.levels[k], shape.levels[m]), (shape.sizes[k], shape.sizes[m]))
            for k in range(count)
            for m in range(k + 1, count)
        }
        widths = [shape.n_fixed + 2, *shape.sizes]
        self.low = [np.full(width, np.inf) for width in widths]
        self.high = [np.full(width, -np.inf) for width in widths]
        self.binary = [np.ones(width, dtype=bool) for width in widths]

    def add(
        self,
        y: Array,
        net: Array,
        X: Array,
        codes: Sequence[Codes],
        columns: Sequence[Array],
        weights: Array | None,
    ) -> None:
        """Add rows.

        Parameters
        ----------
        y, net
            Response, and response less offset, shape (m,).
        X
            Fixed columns, shape (m, P).
        codes, columns
            Of the terms, (m,) and (m, S).
        weights
            Positive weights, shape (m,), or None.
        """
        shape = self.shape
        self.n += len(y)
        root = np.ones(0) if weights is None else np.sqrt(weights)
        if weights is not None:
            self.log_weights += float(np.log(weights).sum())
        self._note_ranges(y, net, X, columns)
        E = self._scratch.array(len(y), shape.width)
        _extend(X, shape.others, shape.moved, net, shape.moved_y, root, E)
        self.gram += E.T @ E
        moved = []
        for k, (own_codes, own) in enumerate(zip(codes, columns, strict=True)):
            if shape.sizes[k] == 1 and shape.constants[k] == 0:
                add_rows(own_codes, E, root, self.by_level[k].reshape(shape.levels[k], -1))
                if self.pairs:
                    moved.append(np.ones((len(y), 1)) if weights is None else root[:, None])
                continue
            z = own - shape.moved_terms[k]
            z = np.ascontiguousarray(z if weights is None else z * root[:, None])
            right = np.concatenate([z[:, shape.others_of(k)], E], axis=1)
            add_by_level(own_codes, z, right, self.by_level[k])
            moved.append(z)
        for (k, m), sums in self.pairs.items():
            sums.add((codes[k], codes[m]), (moved[k], moved[m]))

    def _note_ranges(self, y: Array, net: Array, X: Array, columns: Sequence[Array]) -> None:
        note_range(X, self.low[0], self.high[0], self.binary[0])
        tails = ((y, -2), (net, -1)) if net is not y else ((y, -2),)
        for values, place in tails:
            ends = slice(place, None) if place == -1 else slice(place, place + 1)
            note_range(values[:, None], self.low[0][ends], self.high[0][ends], self.binary[0][ends])
        if net is y:
            self.low[0][-1], self.high[0][-1], self.binary[0][-1] = (
                self.low[0][-2],
                self.high[0][-2],
                self.binary[0][-2],
            )
        for k, own in enumerate(columns):
            if self.shape.sizes[k] == 1 and self.shape.constants[k] == 0:
                self.low[k + 1][:] = self.high[k + 1][:] = 1.0
                continue
            note_range(own, self.low[k + 1], self.high[k + 1], self.binary[k + 1])

    def merge(self, other: "PartialSums", places: Codes | None = None) -> None:
        """Add the sums of other rows, made by the same shape.

        Parameters
        ----------
        other
            The sums.
        places
            Where the levels of the only term there are here, (J,); None where all levels are the same ones.
        """
        self.n += other.n
        self.log_weights += other.log_weights
        self.gram += other.gram
        for mine, theirs in zip(self.by_level, other.by_level, strict=True):
            if places is None:
                mine += theirs
            else:
                add_levels(places, theirs.reshape(len(theirs), -1), mine.reshape(len(mine), -1))
        for key, sums in self.pairs.items():
            sums.merge(other.pairs[key])
        self.low = [np.minimum(mine, theirs) for mine, theirs in zip(self.low, other.low, strict=True)]
        self.high = [np.maximum(mine, theirs) for mine, theirs in zip(self.high, other.high, strict=True)]
        for own, their in zip(self.binary, other.binary, strict=True):
            own &= their

    def make_room(self, count: int) -> None:
        """Make room for as many levels of the only term, with sums of zero: for twice those there are, or more."""
        if not self.by_level or count <= self.shape.levels[0]:
            return
        assert not self.pairs
        held = self.by_level[0]
        room = np.zeros((max(count, 2 * len(held)), *held.shape[1:]))
        room[: len(held)] = held
        self.by_level = [room]
        self.shape = replace(self.shape, levels=(len(room),))

    def first_levels(self, count: int) -> "PartialSums":
        """Return the sums of the first levels of the only term; they share memory with these."""
        found = copy(self)
        found.by_level = [held[:count] for held in self.by_level]
        found.shape = replace(self.shape, levels=(count,))
        return found

    def levels_at(self, places: Codes) -> "PartialSums":
        """Return the sums of the levels at some places of the only term, (J,): without a copy where they are a run."""
        found = copy(self)
        found.shape = replace(self.shape, levels=(len(places),))
        run = len(places) > 0 and bool((np.diff(places) == 1).all())
        taken = slice(places[0], places[0] + len(places)) if run else places
        found.by_level = [held[taken] for held in self.by_level]
        return found

    def own(self, k: int) -> Array:
        """Return the products of a term's (moved) columns with each other, shape (J, S, S)."""
        shape = self.shape
        others = shape.others_of(k)
        places = np.array([len(others) if s == shape.constants[k] else others.index(s) for s in range(shape.sizes[k])])
        return self.by_level[k][:, :, places]

    def with_fixed(self, k: int) -> Array:
        """Return the products of a term's (moved) columns with E, shape (J, S, w)."""
        return self.by_level[k][:, :, len(self.shape.others_of(k)) :]


@numba.njit(cache=True, nogil=True)
def add_rows(codes: Codes, right: Array, root: Array, out: Array) -> None:
    """``out[codes[i]] += root[i] * right[i]``, root empty for ones; right (n, w), out (J, w)."""
    n, width = right.shape
    weighted = root.shape[0] > 0
    if 2 <= width <= 3:  # written out, few sums take two thirds of the time
        for i in range(n):
            j = codes[i]
            left = root[i] if weighted else 1.0
            out[j, 0] += left * right[i, 0]
            out[j, 1] += left * right[i, 1]
            if width == 3:
                out[j, 2] += left * right[i, 2]
        return
    for i in range(n):
        j = codes[i]
        left = root[i] if weighted else 1.0
        for t in range(width):
            out[j, t] += left * right[i, t]


@numba.njit(cache=True, nogil=True)
def add_levels(places: Codes, theirs: Array, mine: Array) -> None:
    """``mine[places[j]] += theirs[j]`` for the first levels; places (J,), theirs (J or more, w), mine (·, w)."""
    for j in range(places.shape[0]):
        for t in range(theirs.shape[1]):
            mine[places[j], t] += theirs[j, t]


@numba.njit(cache=True, nogil=True)
def _extend(
    X: Array, places: NDArray[np.int64], moved: Array, net: Array, moved_y: float, root: Array, out: Array
) -> None:
    n, width = out.shape
    weighted = root.shape[0] > 0
    for i in range(n):
        w = root[i] if weighted else 1.0
        out[i, 0] = w
        for t in range(places.shape[0]):
            out[i, t + 1] = w * (X[i, places[t]] - moved[places[t]])
        out[i, width - 1] = w * (net[i] - moved_y)


@numba.njit(cache=True, nogil=True)
def note_range(columns: Array, low: Array, high: Array, binary: NDArray[np.bool_]) -> None:
    """Widen ranges by the entries of columns (n, K)."""
    n, width = columns.shape
    for t in range(width):
        least, most, only = low[t], high[t], binary[t]
        for i in range(n):
            value = columns[i, t]
            least = min(least, value)
            most = max(most, value)
            only = only and (value == 0.0 or value == 1.0)
        low[t], high[t], binary[t] = least, most, only

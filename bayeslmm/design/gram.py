r"""Decisions about columns from their cross-products, where the rows are gone.

With the columns moved by fixed numbers m, :math:`\check A = A - 1 m^\top`, the products
:math:`[1\;\check A]^\top W [1\;\check A]` tell means, the constant among the columns and their rank, to the digits that
cross-products have. Where these do not suffice for the rank, the triangular factor of :math:`[1\;\check A]`, which
batches build up by QR, has the digits of the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.centring import SPAN_TOLERANCE, Centring, no_centring
from bayeslmm.design.rank import independent_factor
from bayeslmm.types import Array

RANK_WITHOUT_ROWS = 1e-10  # squared relative residual below which a column is dropped when no rows are at hand
CLEAR = 1e-4  # the same, above which cross-products decide
SUM_OF_ONE = 1e-10  # of the total weight: how far indicators may be from adding up to one


@dataclass(frozen=True, slots=True)
class Ranges:
    """What the entries of K columns have in common.

    Attributes
    ----------
    low, high
        Smallest and largest entry, shape (K,).
    binary
        Whether all entries are zero or one, shape (K,).
    """

    low: Array
    high: Array
    binary: NDArray[np.bool_]

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Whether a column is the same in all rows."""
        return np.asarray(self.low == self.high)


@dataclass(frozen=True, slots=True)
class Gram:
    r"""Cross-products of K columns and the constant.

    Attributes
    ----------
    products
        :math:`[1\;\check A]^\top W [1\;\check A]`, shape (K + 1, K + 1).
    moved
        m, shape (K,).
    ranges
        Of the columns A themselves.
    n
        Number of rows.
    """

    products: Array
    moved: Array
    ranges: Ranges
    n: int

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self.products[0, 0])

    @property
    def means(self) -> Array:
        """Weighted means of the columns, shape (K,)."""
        return np.asarray(self.moved + self.products[0, 1:] / self.total)

    @property
    def centred(self) -> Array:
        """Weighted products of the columns about their means, shape (K, K)."""
        first = self.products[0, 1:]
        return np.asarray(self.products[1:, 1:] - np.outer(first, first) / self.total)

    @property
    def raw(self) -> Array:
        """Weighted products of the columns with each other, shape (K, K)."""
        return np.asarray(self.centred + self.total * np.outer(self.means, self.means))

    @property
    def sds(self) -> Array:
        """Weighted standard deviations, n - 1 in the denominator, shape (K,)."""
        if self.n < 2:
            return np.full(len(self.moved), np.nan)
        squares = np.maximum(np.diag(self.centred), 0.0) / self.total
        return np.where(self.ranges.constant, 0.0, np.sqrt(squares * self.n / (self.n - 1)))

    def take(self, places: NDArray[np.intp]) -> "Gram":
        """Return the products of some of the columns."""
        wanted = np.concatenate([[0], np.asarray(places, dtype=np.intp) + 1])
        ranges = Ranges(self.ranges.low[places], self.ranges.high[places], self.ranges.binary[places])
        return Gram(self.products[np.ix_(wanted, wanted)], self.moved[places], ranges, self.n)


def gram_centring(gram: Gram) -> Centring:
    """Find the constant among columns and the means to centre the others by, as ``find_centring`` does on rows."""
    size = len(gram.moved)
    constant = _constant_combination(gram) if size else None
    if constant is None:
        return no_centring(size)
    return Centring(constant, np.where(constant != 0, 0.0, gram.means))


def _constant_combination(gram: Gram) -> Array | None:
    flat = gram.ranges.constant & (gram.ranges.low != 0)
    if flat.any():
        first = int(np.argmax(flat))
        return np.where(np.arange(len(flat)) == first, 1.0 / gram.ranges.low[first], 0.0)
    raw, sums = gram.raw, gram.total * gram.means
    indicators = gram.ranges.binary.astype(float)
    if indicators.any() and _distance_from_one(gram, raw, sums, indicators) <= SUM_OF_ONE:
        return indicators
    scale = np.sqrt(np.diag(raw) / gram.total)
    scale[scale == 0] = 1.0
    solution = np.linalg.lstsq(raw / np.outer(scale, scale), sums / scale, rcond=1e-12)[0]
    if _distance_from_one(gram, raw, sums, solution / scale) > max(SPAN_TOLERANCE**2, 1e-14):
        return None
    solution[np.abs(solution) < SPAN_TOLERANCE] = 0.0
    return np.asarray(solution / scale)


def _distance_from_one(gram: Gram, raw: Array, sums: Array, combination: Array) -> float:
    """Return the weighted mean square of ``A c - 1``."""
    square = combination @ raw @ combination - 2 * combination @ sums + gram.total
    return float(abs(square) / gram.total)


def gram_independent(gram: Gram, triangle: Callable[[], Array] | None) -> NDArray[np.bool_]:
    """Return which columns to keep, the earliest that span all of them, shape (K,).

    Parameters
    ----------
    gram
        Their cross-products.
    triangle
        Returns the triangular factor R of ``[1 A - m]``, shape (K + 1, K + 1), called where the products leave doubt;
        None where there are no rows.
    """
    size = len(gram.moved)
    if size == 0:
        return np.ones(0, dtype=bool)
    spans = gram_centring(gram).spans_constant
    products = gram.centred if spans else gram.raw
    flat = gram.ranges.constant if spans else np.zeros(size, dtype=bool)
    scaled = _scaled(products, flat, spans and bool(gram.ranges.low[0] != 0))
    keep, clear = _pivots(scaled)
    if not clear and triangle is not None:
        keep = independent_factor(_of_triangle(triangle(), gram, spans, flat))
    if spans and not keep.all():
        _restore_constant(gram, keep)
    return keep


def gram_dependence(gram: Gram, keep: NDArray[np.bool_]) -> Array:
    """Return A with ``others = kept @ A``, shape (p, left out), for columns that are combinations of those kept."""
    if keep.all():
        return np.zeros((int(keep.sum()), 0))
    raw = gram.raw
    scale = np.sqrt(np.diag(raw))
    scale[scale == 0] = 1.0
    scaled = raw / np.outer(scale, scale)
    solution = np.linalg.lstsq(scaled[np.ix_(keep, keep)], scaled[np.ix_(keep, ~keep)], rcond=1e-14)[0]
    solution = solution / scale[keep][:, None] * scale[~keep]
    rounded = np.round(solution)  # indicators are whole combinations of one another
    return np.where(np.abs(solution - rounded) < SPAN_TOLERANCE, rounded, solution)


def _scaled(products: Array, flat: NDArray[np.bool_], leads: bool) -> Array:
    norms = np.sqrt(np.maximum(np.diag(products), 0.0))
    norms[norms == 0] = 1.0
    scaled = products / np.outer(norms, norms)
    scaled[flat] = 0.0
    scaled[:, flat] = 0.0
    if flat[0] and leads:  # a leading intercept stands for the constant
        scaled[0, 0] = 1.0
    return scaled


def _pivots(scaled: Array) -> tuple[NDArray[np.bool_], bool]:
    """Return which columns have a pivot, and whether all pivots are clear."""
    size = len(scaled)
    keep = np.zeros(size, dtype=bool)
    rest, clear = scaled.copy(), True
    for j in range(size):
        pivot = rest[j, j]
        if scaled[j, j] == 0:
            continue
        clear = clear and pivot >= CLEAR
        if pivot > RANK_WITHOUT_ROWS:
            keep[j] = True
            rest -= np.outer(rest[:, j], rest[j]) / pivot
    return keep, clear


def _of_triangle(R: Array, gram: Gram, spans: bool, flat: NDArray[np.bool_]) -> Array:
    """Return columns of length one with the cross-products of the (centred) columns."""
    beside_constant = R[1:, 1:]
    columns = beside_constant.copy() if spans else R[:, 1:] + R[:, :1] * gram.moved
    norms = np.linalg.norm(columns, axis=0)
    columns /= np.where(norms > 0, norms, 1.0)
    columns[:, flat] = 0.0
    if flat[0] and gram.ranges.low[0] != 0:
        columns = np.vstack([columns, np.zeros(columns.shape[1])])
        columns[-1, 0] = 1.0
    return columns


def _restore_constant(gram: Gram, keep: NDArray[np.bool_]) -> None:
    # Centring took the constant out: the column that completes it looks dependent although it is not.
    if gram_centring(gram.take(np.flatnonzero(keep))).spans_constant:
        return
    for column in np.flatnonzero(~keep):
        keep[column] = True
        if gram_centring(gram.take(np.flatnonzero(keep))).spans_constant:
            return
        keep[column] = False

r"""Moments and ranges of columns, which is all that priors and checks need of the rows.

With weights w, :math:`\bar x = \sum w x / \sum w` and :math:`s^2 = \frac{n}{n-1} \sum w (x - \bar x)^2 / \sum w`,
unchanged when all weights are multiplied by a number.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.held_columns import HeldColumns, one_by_one
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class ColumnSummary:
    """Moments and ranges of K columns.

    Attributes
    ----------
    mean, sd
        Weighted mean and standard deviation, shape (K,), n - 1 in the denominator of the latter.
    low, high
        Smallest and largest entry, shape (K,).
    binary
        Whether all entries are zero or one, shape (K,).
    """

    mean: Array
    sd: Array
    low: Array
    high: Array
    binary: NDArray[np.bool_]

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Whether a column is the same in all rows."""
        return np.asarray(self.low == self.high)


@dataclass(frozen=True, slots=True)
class Summaries:
    """What a design without rows says about them.

    Attributes
    ----------
    n
        Number of rows.
    mean_weight
        Mean of the weights; one without weights.
    response
        Of the response less the offset, one column.
    fixed
        Of the fixed columns.
    terms
        Of the columns of every random term.
    """

    n: int
    mean_weight: float
    response: ColumnSummary
    fixed: ColumnSummary
    terms: tuple[ColumnSummary, ...]


def summarise(matrix: Array | HeldColumns, weights: Array | None) -> ColumnSummary:
    """Return moments and ranges of the columns of a matrix (n, K)."""
    n, columns = len(matrix), one_by_one(matrix)
    mean = np.array([np.average(column, weights=weights) for column in columns])
    if n < 2:
        sd = np.full(len(mean), np.nan)
    else:
        squares = [np.average((x - m) ** 2, weights=weights) for x, m in zip(columns, mean, strict=True)]
        sd = np.sqrt(np.array(squares) * n / (n - 1))
    kind = columns[0].dtype if columns else np.float64
    low, high = (np.array([f(column) for column in columns], dtype=kind) for f in (np.min, np.max))
    within = (low >= 0) & (high <= 1)  # what else may be between costs a pass over the rows
    binary = np.array([bool(w and np.all((x == 0) | (x == 1))) for x, w in zip(columns, within, strict=True)])
    return ColumnSummary(mean, sd, low, high, binary.astype(bool))

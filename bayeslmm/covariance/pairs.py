"""The correlations of a term as one number per pair of its effects.

Pairs are the places below the diagonal of a correlation matrix, column by column: for effects a, b, c they are
(b, a), (c, a), (c, b), labelled "a, b", "a, c", "b, c".
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance.coordinates import below_diagonal
from bayeslmm.covariance.structure import Entries
from bayeslmm.types import Floats

Precision = TypeVar("Precision", bound=np.floating)


def lower_triangle(size: int) -> list[tuple[int, int]]:
    """Return the positions (i, j), i > j, below the diagonal, column by column."""
    return [(i, j) for j in range(size) for i in range(j + 1, size)]


def pair_labels(effects: Sequence[str]) -> list[str]:
    """Return the label of each pair, the effect that comes first in the term first."""
    return [f"{effects[j]}, {effects[i]}" for i, j in lower_triangle(len(effects))]


def pair_places(size: int) -> Entries:
    """Return the rows and the columns of the pairs, to index a matrix with."""
    return below_diagonal(size)


def pair_values(matrices: NDArray[Precision]) -> NDArray[Precision]:
    """Return the correlations (..., S(S - 1)/2) of matrices (..., S, S)."""
    rows, columns = pair_places(matrices.shape[-1])
    return matrices[..., rows, columns]


def correlation_matrices(values: Floats, size: int) -> Floats:
    """Return the matrices (..., S, S) with ones on the diagonal of correlations (..., S(S - 1)/2)."""
    found = np.empty((*values.shape[:-1], size, size), dtype=values.dtype)
    found[...] = np.eye(size)
    rows, columns = pair_places(size)
    found[..., rows, columns] = values
    found[..., columns, rows] = values
    return found

r"""Where a set of columns is centred.

When the constant lies in the span of the columns, :math:`A c = 1`, every column outside the support of c can
be moved by a multiple of the constant without changing the span:

.. math:: \tilde A = A T, \qquad T = I - c\,\bar m^\top, \qquad \bar m_j = 0 \text{ where } c_j \ne 0 .

T has determinant one and inverse :math:`I + c\,\bar m^\top`. Coefficients move the other way: with
:math:`A b = \tilde A \tilde b`, :math:`b = T \tilde b`.
"""

from dataclasses import dataclass

import numpy as np

from bayeslmm.types import Array

NARROW = 16  # up to so many columns numpy is faster column by column
FEW_ROWS = 100  # that tell a column that is not constant
SPAN_TOLERANCE = 1e-8  # largest departure of A c from one that still counts as the constant


@dataclass(frozen=True, slots=True)
class Centring:
    """The constant in the span of S columns, and the means the other columns are moved by.

    Attributes
    ----------
    constant
        c, shape (S,): the combination of columns that gives one in every row; all zero if there is none.
    means
        m, shape (S,): (weighted) column means; zero in the support of c. If c is zero they are zero, too, unless
        something else takes up the level of the columns (`centring_beside_level`).
    """

    constant: Array
    means: Array

    @property
    def spans_constant(self) -> bool:
        """Whether the constant is in the span of the columns."""
        return bool(np.any(self.constant))

    @property
    def matrix(self) -> Array:
        """T, shape (S, S): user's coefficients from centred ones, ``b = T @ b_centred``."""
        return np.eye(len(self.constant)) - np.outer(self.constant, self.means)

    @property
    def inverse(self) -> Array:
        """The inverse of T, shape (S, S)."""
        return np.eye(len(self.constant)) + np.outer(self.constant, self.means)

    def apply(self, columns: Array) -> Array:
        """Return the centred columns, shape (n, S)."""
        return columns - self.means if np.any(self.means) else columns

    def level(self, coefficients: Array) -> Array:
        r"""Return by how much :math:`A b` exceeds :math:`\tilde A\tilde b`, shape (...), for b of shape (..., S).

        It is :math:`\bar m^\top b` where the columns do not span the constant, and zero where they do.
        """
        if self.spans_constant or not np.any(self.means):
            return np.zeros(coefficients.shape[:-1])
        return np.asarray(coefficients @ self.means)


def no_centring(size: int) -> Centring:
    """Return the centring that leaves `size` columns as they are."""
    return Centring(np.zeros(size), np.zeros(size))


def find_centring(columns: Array, weights: Array | None = None) -> Centring:
    """Find the constant among columns and the means to centre the others by.

    Parameters
    ----------
    columns
        A, shape (n, S).
    weights
        Row weights for the means, shape (n,); None means equal weights.
    """
    n, size = columns.shape
    if n == 0 or size == 0:
        return no_centring(size)
    constant = _constant_combination(columns)
    if constant is None:
        return no_centring(size)
    if size > NARROW:
        means = np.average(columns, axis=0, weights=weights)
        means[constant != 0] = 0.0
        return Centring(constant, means)
    averages = [
        0.0 if c != 0 else np.average(column, weights=weights) for c, column in zip(constant, columns.T, strict=True)
    ]
    return Centring(constant, np.array(averages, dtype=float))


def centring_beside_level(columns: Array, weights: Array | None = None) -> Centring:
    """Return the centring of columns, (n, S), whose constant is a parameter beside them, as thresholds are."""
    if not columns.size:
        return no_centring(columns.shape[1])
    return Centring(np.zeros(columns.shape[1]), np.average(columns, axis=0, weights=weights))


def _is_flat(column: Array) -> bool:
    # Most columns change within a few rows, and need not be read to the end.
    first = column[0]
    if column.strides[0] == 0:
        return bool(first != 0)
    return bool(first != 0 and np.all(column[:FEW_ROWS] == first) and np.all(column == first))


def _constant_combination(columns: Array) -> Array | None:
    size = columns.shape[1]
    flat = np.array([_is_flat(column) for column in columns.T])
    if flat.any():
        first = int(np.argmax(flat))
        constant = np.zeros(size)
        constant[first] = 1.0 / columns[0, first]
        return constant
    indicators = ((columns == 0) | (columns == 1)).all(axis=0)
    if (columns[:, indicators].sum(axis=1) == 1).all():
        return indicators.astype(float)
    scale = np.sqrt(np.mean(columns**2, axis=0))
    scale[scale == 0] = 1.0
    scaled = columns / scale
    solution = np.linalg.lstsq(scaled.T @ scaled, scaled.sum(axis=0), rcond=1e-12)[0]
    if np.abs(scaled @ solution - 1).max() > SPAN_TOLERANCE:
        return None
    solution[np.abs(solution) < SPAN_TOLERANCE] = 0.0
    return solution / scale

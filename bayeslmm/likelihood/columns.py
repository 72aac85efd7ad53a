r"""The columns the kernel computes with, and the way back to the user's.

Columns are centred where that changes nothing but the digits (X and y when the constant lies in the span of X, Z in a
term that spans the constant and whose covariance allows it) and scaled by their root mean square everywhere. With
:math:`\tilde A = A T`, :math:`T = (I - c \bar m^\top)\,\mathrm{diag}(1/s)`:

.. math:: \beta = T_X \tilde\beta + c\,\bar y, \qquad
          \lambda\lambda^\top = T_k \tilde\lambda\tilde\lambda^\top T_k^\top, \qquad
          \log|R_X|^2 = \log|\tilde R_X|^2 - 2\log|\det T_X| .
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import Structure, TermShape
from bayeslmm.design.centring import Centring, find_centring, no_centring
from bayeslmm.design.held_columns import HeldColumns
from bayeslmm.likelihood.accumulate import sum_squares
from bayeslmm.types import Array


class TermArrays(Protocol):
    """What the kernel needs of a random term; `bayeslmm.design.RandomTerm` has it."""

    @property
    def codes(self) -> NDArray[np.int32]: ...  # noqa: D102
    @property
    def columns(self) -> Array: ...  # noqa: D102
    @property
    def n_levels(self) -> int: ...  # noqa: D102
    @property
    def covariance(self) -> Structure: ...  # noqa: D102
    @property
    def centring(self) -> Centring: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """From the kernel's columns to the user's: centred by `centring`, divided by `scale` (S,)."""

    centring: Centring
    scale: Array

    @property
    def matrix(self) -> Array:
        """T, shape (S, S): user's coefficients from the kernel's."""
        return self.centring.matrix / self.scale

    @property
    def inverse(self) -> Array:
        """The inverse of T, shape (S, S)."""
        return self.scale[:, None] * self.centring.inverse

    @property
    def log_det(self) -> float:
        """Logarithm of |det T|."""
        return -float(np.sum(np.log(self.scale)))

    def apply(self, columns: Array) -> Array:
        """Return the kernel's columns for the user's, shape (n, S)."""
        return (columns - self.centring.means) / self.scale


class ColumnMaps(Protocol):
    """The maps of all columns of a model; a `Kernel` has them, and a `Predictor` of a generalized model."""

    @property
    def fixed(self) -> ColumnMap: ...  # noqa: D102
    @property
    def maps(self) -> tuple[ColumnMap, ...]: ...  # noqa: D102
    @property
    def p(self) -> int: ...  # noqa: D102


def column_map(columns: Array, centring: Centring, weights: Array | None) -> ColumnMap:
    """Scale by the root mean square of the centred columns times root weights.

    The weights are not divided by their mean: their unit goes into the scale, and the kernel's lambda is free of it.
    """
    ones = np.zeros(0)
    if weights is None and len(columns) and columns.strides[0] == 0:  # one row seen n times
        squares = sum_squares(columns[:1], centring.means, ones) * len(columns)
    else:
        squares = sum_squares(columns, centring.means, ones if weights is None else np.ascontiguousarray(weights))
    scale = np.sqrt(squares / len(columns))
    scale[scale == 0] = 1.0
    return ColumnMap(centring, scale)


def fixed_map(X: Array | HeldColumns, weights: Array | None, centring: Centring | None = None) -> ColumnMap:
    """Return the map of the fixed columns, whose constant and means may be known."""
    if centring is None:
        centring = find_centring(np.asarray(X), weights)
    if not isinstance(X, HeldColumns):
        return column_map(X, centring, weights)
    own = (Centring(c, m) for c, m in zip(centring.constant[:, None], centring.means[:, None], strict=True))
    each = [column_map(x[:, None], c, weights).scale for x, c in zip(X.columns, own, strict=True)]
    return ColumnMap(centring, np.concatenate(each))


def term_map(term: TermArrays, weights: Array | None) -> ColumnMap:
    """Return the map of a random term's columns: centred only where that changes nothing."""
    size = term.columns.shape[1]
    return column_map(term.columns, term.centring if term.covariance.moves_with_origin else no_centring(size), weights)


def factor_to_kernel(factor: Array, columns: ColumnMap, shape: TermShape) -> Array:
    """Return the kernel's lambda for any factor of the user's relative covariance."""
    return shape.structure.factor_of_root(columns.inverse @ factor)


def factor_to_user(factor: Array, columns: ColumnMap, shape: TermShape) -> Array:
    """Return the user's lambda for the kernel's, (..., S, S), with a non-negative diagonal."""
    return shape.structure.factor_of_root(columns.matrix @ factor)

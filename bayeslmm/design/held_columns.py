"""Fixed columns of many rows, held one by one: a column of ones, or one that stands in the data, takes no memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.types import Array

LONG = 1_000_000  # rows beyond which a column is not copied: a shorter one, writeable, spares a compilation


@dataclass(frozen=True, slots=True)
class HeldColumns:
    """A matrix (n, p) whose rows are put together when they are asked for.

    Attributes
    ----------
    columns
        The p columns, shape (n,) each; a constant one is one number seen n times.
    """

    columns: tuple[Array, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, p)."""
        return len(self), len(self.columns)

    def __len__(self) -> int:
        """Return n."""
        return len(self.columns[0])

    def __getitem__(self, rows: slice) -> Array:
        """Return some rows, shape (m, p)."""
        parts = [column[rows] for column in self.columns]
        matrix = np.empty((len(parts[0]), len(parts)))
        for j, part in enumerate(parts):
            matrix[:, j] = part
        return matrix

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all rows, shape (n, p)."""
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)


def hold(X: Array, data: pd.DataFrame) -> Array | HeldColumns:
    """Return columns (n, p) one by one where they are long and some take no memory then.

    Parameters
    ----------
    X
        The columns.
    data
        The rows, some of whose columns may stand in X as they are.
    """
    if len(X) <= LONG:
        return X
    lent = _lent_columns(data)
    found = [_without_copy(column, lent) for column in X.T]
    if all(column is None for column in found):
        return X
    return HeldColumns(tuple(own.copy() if c is None else c for c, own in zip(found, X.T, strict=True)))


def _lent_columns(data: pd.DataFrame) -> list[Array]:
    """Return the columns of the data that can be used as they lie there."""
    columns = (data[name] for name in data.columns)
    numbers = [c.to_numpy() for c in columns if isinstance(c.dtype, np.dtype) and c.dtype == np.float64]
    return [column for column in numbers if is_lent(column)]


def _without_copy(column: Array, lent: Sequence[Array]) -> Array | None:
    """Return the same numbers where they take no memory of their own, or None."""
    if np.all(column[:100] == column[0]) and np.all(column == column[0]):
        return np.broadcast_to(column[0], column.shape)
    return next((c for c in lent if np.array_equal(c[:100], column[:100]) and np.array_equal(c, column)), None)


def is_lent(column: Array) -> bool:
    """Whether a long column of the data, (n,), can be used as it lies there, since pandas lets no one write to it."""
    flags = column.flags
    return column.dtype == np.float64 and flags.c_contiguous and not flags.writeable and len(column) > LONG


def one_by_one(columns: "Array | HeldColumns") -> Sequence[Array]:
    """Return the columns of a matrix (n, p), shape (n,) each."""
    return columns.columns if isinstance(columns, HeldColumns) else list(columns.T)

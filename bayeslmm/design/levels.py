"""Levels of a column that is read in batches: which there are, and the code of each row."""

from typing import Any

import numba
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.columns import as_codes, distinct_labels
from bayeslmm.design.design import Codes
from bayeslmm.errors import DataError

LARGEST_TABLE = 2**27  # entries of a table over a range of whole numbers
SPARSEST = 64  # entries of such a table per level, beyond which a hash is smaller


class LevelSet:
    """The distinct values of one column, whatever the order in which batches bring them.

    Whole numbers within a moderate range are marked in a table; all other values are kept as an index. Categories that
    every batch declares alike keep their order; all other levels are sorted.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._low = 0
        self._marks: NDArray[np.bool_] | None = None
        self._found: list[pd.Index] = []
        self._waiting = 0
        self._declared: pd.Index | None = None
        self._dtype: Any = None
        self.is_new = True

    def add(self, column: pd.Series) -> None:
        """Add the values of a column without missing ones."""
        if len(column) == 0:
            return
        if isinstance(column.dtype, pd.CategoricalDtype):
            self._declare(column.cat.categories)
            self._keep(as_codes(column)[1])
            return
        self._declare(None)
        column = _of_index(column)
        values = whole_numbers(column)
        if values is not None:
            self._dtype = values.dtype if self._dtype is None else np.promote_types(self._dtype, values.dtype)
        if values is None or not self._mark(values):
            self._keep(distinct_labels(column))

    def add_levels(self, levels: pd.Index, order: pd.Index) -> None:
        """Add levels, and the order of all levels, which counts where all batches have the same."""
        self._declare(order)
        self._keep(levels)

    def merge(self, other: "LevelSet") -> None:
        """Add what another set has."""
        if other._marks is not None:
            marked = np.flatnonzero(other._marks) + other._low
            if not self._mark(marked):
                self._keep(pd.Index(marked))
        for levels in other._found:
            self._keep(levels)
        if not other.is_new:
            self._dtype = other._dtype if self._dtype is None else np.promote_types(self._dtype, other._dtype or "i8")
            self._declare(other._declared)

    def _declare(self, categories: pd.Index | None) -> None:
        if self.is_new:
            self._declared, self.is_new = categories, False
        else:
            self._declared = self._common(categories)

    def _common(self, categories: pd.Index | None) -> pd.Index | None:
        if self._declared is None or categories is None or not self._declared.equals(categories):
            return None
        return self._declared

    def levels(self) -> pd.Index:
        """Return the levels.

        Raises
        ------
        DataError
            If they cannot be sorted.
        """
        found = self._all()
        if self._declared is not None:
            return self._declared[self._declared.isin(found)].rename(None)
        try:
            return pd.Index(found.sort_values(), name=None, tupleize_cols=False)
        except TypeError:
            raise DataError(
                f"Column {self.name!r} mixes labels that cannot be sorted: convert it with astype(str)."
            ) from None

    def _all(self) -> pd.Index:
        parts = list(self._found)
        if self._marks is not None:
            marked = np.flatnonzero(self._marks) + self._low
            parts.insert(0, pd.Index(marked if self._dtype is None else marked.astype(self._dtype)))
        if not parts:
            return pd.Index([])
        return parts[0] if len(parts) == 1 else _union(parts)

    def _keep(self, levels: pd.Index) -> None:
        self._found.append(levels)
        self._waiting += len(levels)
        if len(self._found) > 1 and self._waiting > 2 * len(self._found[0]) + 10_000:
            self._found = [_union(self._found)]
            self._waiting = len(self._found[0])

    def _mark(self, values: NDArray[Any]) -> bool:
        if len(values) == 0:
            return True
        low, high = int(values.min()), int(values.max())
        if self._marks is not None:
            low, high = min(low, self._low), max(high, self._low + len(self._marks) - 1)
        if high - low >= LARGEST_TABLE:
            return False
        if self._marks is None or low < self._low or high >= self._low + len(self._marks):
            marks = np.zeros(high - low + 1, dtype=bool)
            if self._marks is not None:
                marks[self._low - low : self._low - low + len(self._marks)] = self._marks
            self._low, self._marks = low, marks
        _mark_values(values, self._low, self._marks)
        return True


class LevelCoder:
    """From the values of a column to the codes of its levels, -1 for a value that is none.

    Parameters
    ----------
    levels
        Distinct labels.
    """

    def __init__(self, levels: pd.Index) -> None:
        self.levels = levels
        self._low = 0
        self._table: NDArray[np.int32] | None = None
        if len(levels) and whole_numbers(levels.to_series()) is not None:
            low, high = int(levels.min()), int(levels.max())
            if high - low < min(LARGEST_TABLE, max(SPARSEST * len(levels), 2**16)):
                self._low = low
                self._table = np.full(high - low + 1, -1, dtype=np.int32)
                self._table[levels.to_numpy().astype(np.int64) - low] = np.arange(len(levels), dtype=np.int32)

    def codes(self, column: pd.Series) -> Codes:
        """Return the code of each row, shape (n,)."""
        if isinstance(column.dtype, pd.CategoricalDtype):
            known = self._look_up(pd.Index(column.cat.categories))
            codes = column.cat.codes.to_numpy()
            return np.where(codes >= 0, known[codes], -1).astype(np.int32) if len(known) else codes.astype(np.int32)
        column = _of_index(column)
        if self._table is not None and (values := whole_numbers(column)) is not None:
            return _table_codes(values, self._low, self._table)
        if pd.api.types.is_numeric_dtype(column.dtype) and column.dtype == self.levels.dtype:
            return self.levels.get_indexer(pd.Index(column.to_numpy())).astype(np.int32)
        codes, found = pd.factorize(column)
        return self._look_up(pd.Index(found))[codes] if len(found) else codes.astype(np.int32)

    def _look_up(self, found: pd.Index) -> Codes:
        if self.levels.dtype == found.dtype:
            return self.levels.get_indexer(found).astype(np.int32)
        return self.levels.astype(object).get_indexer(found.astype(object)).astype(np.int32)


def _of_index(column: pd.Series) -> pd.Series:
    """Return a column with a type that pandas has indexes of, which has none of half precision."""
    return column.astype(np.float32) if column.dtype == np.float16 else column


def _union(parts: list[pd.Index]) -> pd.Index:
    if len({part.dtype for part in parts}) > 1 and not all(part.dtype.kind in "iuf" for part in parts):
        joined = pd.Index(np.concatenate([part.astype(object).to_numpy() for part in parts]), tupleize_cols=False)
        return pd.Index(joined.unique().tolist(), tupleize_cols=False)
    return parts[0].append(parts[1:]).unique()


def whole_numbers(column: pd.Series) -> NDArray[Any] | None:
    """Return a column of whole numbers without missing ones as an array, None for any other."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and (dtype.kind == "i" or (dtype.kind == "u" and dtype.itemsize < 8)):
        return column.to_numpy()
    if isinstance(dtype, pd.api.extensions.ExtensionDtype) and pd.api.types.is_integer_dtype(dtype):
        return column.to_numpy(dtype=np.int64)
    return None


@numba.njit(cache=True, nogil=True)
def _mark_values(values: NDArray[Any], low: int, marks: NDArray[np.bool_]) -> None:
    for i in range(values.shape[0]):
        marks[values[i] - low] = True


@numba.njit(cache=True, nogil=True)
def _table_codes(values: NDArray[Any], low: int, table: NDArray[np.int32]) -> Codes:
    codes = np.empty(values.shape[0], dtype=np.int32)
    for i in range(values.shape[0]):
        place = values[i] - low
        codes[i] = table[place] if 0 <= place < table.shape[0] else -1
    return codes

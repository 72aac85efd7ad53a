"""Dask's data frames: batches are added up where the rows are, and the sums travel."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from bayeslmm.errors import DataError
from bayeslmm.rows.dask_files import parquet_behind
from bayeslmm.rows.dask_shares import ComputedPart, chains, independent_parts, merged, n_shares, shares
from bayeslmm.rows.parquet import ParquetRows
from bayeslmm.rows.source import Fold, Part, Rows

F = TypeVar("F", bound=Fold)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, not yet computed."""

    name: str
    partition: Any

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Compute it and yield it in slices."""
        return ComputedPart(self.name, self.partition[list(columns)].compute()).batches(columns, chunk_rows)


class DaskRows(Rows):
    """A Dask DataFrame."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(map(str, self._frame.columns))

    @cached_property
    def parts(self) -> Sequence[Part]:
        """The files, or the partitions."""
        if self._files is not None:
            return self._files.parts
        return [Partition(name, self._frame.get_partition(k)) for k, name in enumerate(self._names)]

    @cached_property
    def _files(self) -> ParquetRows | None:
        return parquet_behind(self._frame)

    @property
    def _names(self) -> list[str]:
        count = self._frame.npartitions
        return [f"partition {k + 1} of {count}" for k in range(count)]

    def fold(self, start: Callable[[], F], columns: Sequence[str], chunk_rows: int) -> F:
        """Return what all batches add up to, from what `start` returns, in a few tasks whose sums are added up."""
        count = n_shares()
        if self._files is not None:
            totals = shares(start, self._files.pieces(count), columns, chunk_rows, count)
        else:
            partitions = self._frame[list(columns)].to_delayed()
            parts = independent_parts(partitions, self._names)
            if parts is not None:
                totals = shares(start, parts, columns, chunk_rows, count)
            else:
                totals = chains(start, partitions, self._names, columns, chunk_rows, count)
        try:
            total: F = merged(totals).compute()
        except Exception as error:
            if type(error).__name__ != "KilledWorker":
                raise
            raise DataError(
                "Dask gave the reading up after several workers died over it, most likely for want of memory: give "
                "each worker more, or fewer threads."
            ) from error
        return total

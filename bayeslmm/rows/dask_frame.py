"""Dask's data frames: batches are added up where the partitions are, and the sums travel."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import pandas as pd

from bayeslmm.errors import DataError
from bayeslmm.rows.source import Fold, Rows, add_part, numbered

F = TypeVar("F", bound=Fold)
CHAINS_PER_WORKER = 2


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition, not yet computed."""

    name: str
    partition: Any

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Compute it and yield it in slices."""
        return ComputedPart(self.name, self.partition[list(columns)].compute()).batches(columns, chunk_rows)


@dataclass(frozen=True, slots=True)
class ComputedPart:
    """The frame of a partition."""

    name: str
    frame: pd.DataFrame

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Yield slices."""
        if absent := [name for name in columns if name not in self.frame.columns]:
            raise DataError(f"{self.name} has no column {absent[0]!r}, which the Dask frame promises.")
        frame = numbered(self.frame[list(columns)], 0)
        for first in range(0, len(frame), chunk_rows):
            yield frame.iloc[first : first + chunk_rows]


class DaskRows(Rows):
    """A Dask DataFrame."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(map(str, self._frame.columns))

    @cached_property
    def parts(self) -> Sequence[Partition]:
        """The partitions."""
        count = self._frame.npartitions
        return [Partition(f"partition {k + 1} of {count}", self._frame.get_partition(k)) for k in range(count)]

    def fold(self, start: Callable[[], F], columns: Sequence[str], chunk_rows: int) -> F:
        """Return what all batches add up to.

        Partitions are added to one another in a few chains, which run side by side and end in one sum. Every step
        starts from a copy, so that a step a dying worker took along is repeated and nothing counts twice.
        """
        import dask

        partitions = self._frame[list(columns)].to_delayed()
        count = len(partitions)
        add, merge = dask.delayed(_added, pure=False), dask.delayed(_merged, pure=False)
        chains = []
        for first in range(min(_n_chains(), count)):
            total: Any = dask.delayed(start, pure=False)()
            for k in range(first, count, min(_n_chains(), count)):
                total = add(total, partitions[k], f"partition {k + 1} of {count}", tuple(columns), chunk_rows)
            chains.append(total)
        while len(chains) > 1:
            chains = [merge(*chains[k : k + 2]) if k + 1 < len(chains) else chains[k] for k in range(0, len(chains), 2)]
        found: F = dask.compute(chains[0])[0]
        return found


def _added(total: F, frame: pd.DataFrame, name: str, columns: Sequence[str], chunk_rows: int) -> F:
    total = deepcopy(total)
    add_part(total, ComputedPart(name, frame), columns, chunk_rows)
    return total


def _merged(left: F, right: F) -> F:
    total = deepcopy(left)
    total.merge(right)
    return total


def _n_chains() -> int:
    import os

    try:
        from distributed import get_client

        return CHAINS_PER_WORKER * max(1, len(get_client().scheduler_info()["workers"]))
    except (ImportError, ValueError):
        return os.cpu_count() or 1

"""Shares of Dask's rows: what a worker adds up by itself, so that only sums travel."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from bayeslmm.errors import DataError
from bayeslmm.rows.source import Fold, Part, add_part, numbered, runs

F = TypeVar("F", bound=Fold)
SHARES_PER_THREAD = 2  # more would balance better, and add up more sums in the end


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


@dataclass(frozen=True, slots=True)
class TasksPart:
    """The tasks that compute a partition, and none of another: the worker that adds it up runs them."""

    name: str
    key: Any
    graph: Mapping[Any, Any]

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Compute it and yield it in slices."""
        import dask

        return ComputedPart(self.name, dask.get(self.graph, self.key)).batches(columns, chunk_rows)


class Share:
    """Parts that one task adds up, each forgotten before the next.

    A worker that dies takes its share along, which is then begun anew somewhere else, so that nothing counts twice. No
    dataclass: Dask would look into it for tasks of its own.
    """

    def __init__(self, parts: Sequence[Part], columns: Sequence[str], chunk_rows: int) -> None:
        self._parts, self._columns, self._chunk_rows = parts, tuple(columns), chunk_rows

    def __call__(self, start: Callable[[], F]) -> F:
        """Return what the parts add up to, from what `start` returns."""
        total = start()
        for part in self._parts:
            add_part(total, part, self._columns, self._chunk_rows)
        return total.packed()


def shares(
    start: Callable[[], F], parts: Sequence[Part], columns: Sequence[str], chunk_rows: int, count: int
) -> list[Any]:
    """Return the delayed sums of `count` runs of the parts, or of fewer."""
    import dask

    begin = dask.delayed(start, pure=False, traverse=False)
    taken = [Share(parts[run.start : run.stop], columns, chunk_rows) for run in runs(len(parts), count)]
    return [dask.delayed(share, pure=False, traverse=False)(begin) for share in taken]


def chains(
    start: Callable[[], F],
    partitions: Sequence[Any],
    names: Sequence[str],
    columns: Sequence[str],
    chunk_rows: int,
    count: int,
) -> list[Any]:
    """Return at most `count` delayed sums, to which partitions are added one by one as Dask computes them.

    Every step starts from a copy, so that one that a dying worker took along is repeated and nothing counts twice.
    """
    import dask

    add = dask.delayed(_added, pure=False)
    found = []
    for first in range(min(count, len(partitions))):
        total: Any = dask.delayed(start, pure=False)()
        for partition, name in zip(partitions[first::count], names[first::count], strict=True):
            total = add(total, partition, name, tuple(columns), chunk_rows)
        found.append(total)
    return found


def _added(total: F, frame: pd.DataFrame, name: str, columns: Sequence[str], chunk_rows: int) -> F:
    total = deepcopy(total)
    add_part(total, ComputedPart(name, frame), columns, chunk_rows)
    return total


def merged(totals: Sequence[Any]) -> Any:
    """Return the delayed sum of delayed sums, two and two."""
    import dask

    merge, left = dask.delayed(_merged, pure=False), list(totals)
    while len(left) > 1:
        left = [merge(*left[k : k + 2]) if k + 1 < len(left) else left[k] for k in range(0, len(left), 2)]
    return left[0]


def _merged(left: F, right: F) -> F:
    total = deepcopy(left)
    total.merge(right)
    return total.packed()


def independent_parts(partitions: Sequence[Any], names: Sequence[str]) -> Sequence[TasksPart] | None:
    """Return delayed partitions as parts that any worker can compute.

    None where they depend on one another, as after a shuffle, or workers hold them in memory.
    """
    from dask.optimization import cull

    if _held_by_workers(partitions):
        return None
    whole = dict(partitions[0].__dask_graph__())
    graphs = [cull(whole, partition.key)[0] for partition in partitions]
    if sum(map(len, graphs)) > len(set().union(*graphs)):
        return None
    return [
        TasksPart(name, partition.key, graph) for name, partition, graph in zip(names, partitions, graphs, strict=True)
    ]


def n_shares() -> int:
    """Return into how many shares rows are divided."""
    import os

    try:
        from distributed import get_client

        threads = sum(get_client().nthreads().values())
    except (ImportError, ValueError):
        threads = os.cpu_count() or 1
    return SHARES_PER_THREAD * max(1, threads)


def _held_by_workers(partitions: Sequence[Any]) -> bool:
    try:
        from distributed import futures_of
    except ImportError:
        return False
    return bool(futures_of(partitions[0]))

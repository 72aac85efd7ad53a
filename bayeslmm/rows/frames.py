"""Frames already in memory, read in slices, and functions that yield frames."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import Any

import pandas as pd

from bayeslmm.errors import DataError
from bayeslmm.rows.arrow import batch_frame
from bayeslmm.rows.source import Rows, numbered

WIDE = ("Int128", "UInt128")


@dataclass(frozen=True, slots=True)
class FramePart:
    """One frame."""

    name: str
    frame: Any

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Yield slices."""
        for first in range(0, len(self.frame), chunk_rows):
            frame = self.frame[first : first + chunk_rows]
            yield numbered(frame if isinstance(frame, pd.DataFrame) else as_frame(frame, columns), first)


class FrameRows(Rows):
    """A pandas or polars frame."""

    def __init__(self, frame: Any) -> None:
        self._part = FramePart("", frame)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(name for name in self._part.frame.columns if isinstance(name, str))

    @property
    def parts(self) -> Sequence[FramePart]:
        """The frame."""
        return (self._part,)


@dataclass(frozen=True, slots=True)
class FunctionPart:
    """What a function yields."""

    function: Callable[[], Iterable[Any]]
    name: str = ""

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Yield the frames in slices."""
        first = 0
        with _yielded(self.function) as found:
            for number, given in enumerate(found):
                frame = _checked(given, columns, number)
                for start in range(0, len(frame), chunk_rows):
                    yield numbered(frame.iloc[start : start + chunk_rows], first + start)
                first += len(frame)


class FunctionRows(Rows):
    """A function without arguments that yields frames or Arrow tables, called for every pass."""

    may_change = True

    def __init__(self, function: Callable[[], Iterable[Any]]) -> None:
        self._function = function

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, those of the first frame."""
        with _yielded(self._function) as found:
            for given in found:
                return tuple(name for name in _names(given) if isinstance(name, str))
        raise DataError("The function yields no frame.")

    @property
    def parts(self) -> Sequence[FunctionPart]:
        """All that it yields."""
        return (FunctionPart(self._function),)


class OnceRows(Rows):
    """What an iterator yields, frames or Arrow tables: for work that reads its rows once."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._first, self._others = list(islice(iterator, 1)), iterator

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns, those of the first frame."""
        return tuple(name for given in self._first for name in _names(given) if isinstance(name, str))

    @property
    def parts(self) -> Sequence[FunctionPart]:
        """All that it yields."""
        return (FunctionPart(lambda: chain(self._first, self._others)),)


def as_frame(given: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return the columns of a pandas or polars frame, or of an Arrow table or batch, as a pandas frame.

    Raises
    ------
    DataError
        If it is none of them.
    """
    if isinstance(given, pd.DataFrame):
        return given[list(columns)]
    if type(given).__module__.split(".")[0] == "polars":
        given = _narrowed(given.select(list(columns))).to_arrow()
    if type(given).__module__.split(".")[0] == "pyarrow" and hasattr(given, "num_rows"):
        return batch_frame(given, columns, 0)
    raise _no_batch(given)


def _narrowed(frame: Any) -> Any:
    """Return a polars frame with whole numbers of 128 bits, which Arrow has not, in 64."""
    import polars as pl

    wide = [name for name, kind in frame.schema.items() if str(kind) in WIDE]
    return frame.with_columns(pl.col(wide).cast(pl.Int64)) if wide else frame


@contextmanager
def _yielded(function: Callable[[], Iterable[Any]]) -> Iterator[Iterable[Any]]:
    """Give what a function returns, and close it in the end if it is a reader or a generator."""
    given = function()
    if hasattr(given, "columns") or hasattr(given, "num_rows") or not isinstance(given, Iterable):
        raise DataError(
            f"The function returned a {type(given).__name__}: it must yield frames or Arrow tables one after another, "
            "or return a list of them."
        )
    try:
        yield given
    finally:
        if callable(close := getattr(given, "close", None)):
            close()


def _names(given: Any) -> list[Any]:
    if hasattr(given, "collect_schema") and not hasattr(given, "get_column"):
        raise DataError("A batch is a polars LazyFrame: end it with .collect().")
    if not hasattr(given, "columns") and not hasattr(given, "num_rows"):
        raise _no_batch(given)
    return list(given.schema.names if hasattr(given, "num_rows") else given.columns)


def _no_batch(given: Any) -> DataError:
    return DataError(f"A batch is a pandas or polars frame or an Arrow table, not a {type(given).__name__}.")


def _checked(given: Any, columns: Sequence[str], number: int) -> pd.DataFrame:
    names = _names(given)
    if absent := [name for name in columns if name not in names]:
        raise DataError(f"Batch {number + 1} has no column {absent[0]!r}, which the first has: add it.")
    return as_frame(given, columns)

"""Polars' lazy frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from bayeslmm.errors import DataError
from bayeslmm.rows.frames import as_frame
from bayeslmm.rows.source import BAD_QUERY, Rows, numbered, unreadable


@dataclass(frozen=True, slots=True)
class LazyPart:
    """The query of a lazy frame."""

    frame: Any
    name: str = "the LazyFrame"

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Run the query by polars' streaming engine, column selection first."""
        import polars as pl

        first = 0
        try:
            for frame in self.frame.select(list(columns)).collect_batches(chunk_size=chunk_rows, maintain_order=True):
                for start in range(0, frame.height, chunk_rows):
                    batch = as_frame(frame[start : start + chunk_rows], columns)
                    yield numbered(batch, first)
                    first += len(batch)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise unreadable(self.name, error, BAD_QUERY) from error


class LazyRows(Rows):
    """A polars LazyFrame."""

    def __init__(self, frame: Any) -> None:
        if not hasattr(frame, "collect_batches"):
            raise DataError(
                "This polars cannot hand out batches of a LazyFrame: install a newer one, or use .collect()."
            )
        self._part = LazyPart(frame)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        import polars as pl

        try:
            return tuple(self._part.frame.collect_schema().names())
        except pl.exceptions.PolarsError as error:
            raise unreadable(self._part.name, error, BAD_QUERY) from error

    @property
    def parts(self) -> Sequence[LazyPart]:
        """The query."""
        return (self._part,)

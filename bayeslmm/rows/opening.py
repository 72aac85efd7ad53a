"""Which source a value is."""

from collections.abc import Callable, Generator, Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.errors import DataError, OptionError
from bayeslmm.rows.source import Rows


def is_stream(data: Any) -> bool:
    """Whether a value is read in batches rather than held as a frame: a path, a query, a data set, a function."""
    return isinstance(data, str | Path | Rows | Iterator) or _are_paths(data) or _opener(data) is not None


def open_rows(data: Any) -> Rows:
    """Return a source of rows.

    Parameters
    ----------
    data
        A Parquet file, folder or glob, or a list of them; a pyarrow Dataset, Table or RecordBatch; a polars LazyFrame;
        a DuckDB relation; a Dask DataFrame; a pandas or polars DataFrame; or a function without arguments that yields
        frames or Arrow tables.

    Raises
    ------
    DataError
        If it is none of them, or can be read only once.
    """
    if isinstance(data, Rows):
        return data
    if isinstance(data, str | Path) or _are_paths(data):
        from bayeslmm.rows.parquet_paths import parquet_rows

        return parquet_rows(data)
    if isinstance(data, Iterator | Generator):
        raise DataError(
            "An iterator can be read only once, and a model reads its rows several times: pass a function that returns "
            "it, such as lambda: pandas.read_csv(path, chunksize=100_000)."
        )
    opener = _opener(data)
    framed = isinstance(data, pd.DataFrame) or hasattr(data, "get_column")  # the latter of polars
    if opener is None and framed:
        from bayeslmm.rows.frames import FrameRows

        return FrameRows(data)
    if opener is None and isinstance(data, Mapping):
        from bayeslmm.rows.frames import FrameRows

        return FrameRows(pd.DataFrame(data))
    if opener is None:
        raise DataError(
            f"Rows of type {type(data).__name__} cannot be streamed: pass a Parquet path, a pyarrow, polars, DuckDB or "
            "Dask table, a frame, or a function that yields frames."
        )
    return opener(data)


def open_once(data: Any) -> Rows:
    """Return a source of rows that are read once, as ``open_rows`` does; an iterator is one as well."""
    if isinstance(data, Iterator) and not isinstance(data, Rows):
        from bayeslmm.rows.frames import OnceRows

        return OnceRows(data)
    return open_rows(data)


def check_chunk_rows(chunk_rows: Any) -> int:
    """Return a number of rows per batch.

    Raises
    ------
    OptionError
        If it is no whole number of at least one.
    """
    if isinstance(chunk_rows, bool) or not isinstance(chunk_rows, Integral) or chunk_rows < 1:
        raise OptionError(f"chunk_rows={chunk_rows!r} is not a whole number of rows of at least one.")
    return int(chunk_rows)


def _are_paths(data: Any) -> bool:
    return isinstance(data, list | tuple) and bool(data) and all(isinstance(one, str | Path) for one in data)


def _opener(data: Any) -> Callable[[Any], Rows] | None:
    library, name = type(data).__module__.split(".")[0], type(data).__name__
    if library == "pyarrow" and name in ("Table", "RecordBatch"):
        from bayeslmm.rows.parquet import dataset_of

        return dataset_of
    if library == "pyarrow" and name.endswith("Dataset"):
        from bayeslmm.rows.parquet import DatasetRows

        return DatasetRows
    if library == "polars" and name == "LazyFrame":
        from bayeslmm.rows.lazy_frame import LazyRows

        return LazyRows
    if library in ("duckdb", "_duckdb") and name == "DuckDBPyRelation":
        from bayeslmm.rows.duckdb_relation import RelationRows

        return RelationRows
    if library in ("dask", "dask_expr") and name == "DataFrame":
        from bayeslmm.rows.dask_frame import DaskRows

        return DaskRows
    if callable(data) and not isinstance(data, type) and library not in ("pandas", "polars"):
        from bayeslmm.rows.frames import FunctionRows

        return FunctionRows
    return None

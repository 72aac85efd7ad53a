"""Parquet files and pyarrow's data sets, read piece by piece."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from bayeslmm.errors import BayeslmmError, DataError
from bayeslmm.rows.arrow import batch_frames
from bayeslmm.rows.source import Part, Rows, runs, unreadable

READ_AHEAD = 2  # batches decoded in advance; pyarrow's 16 of each of 4 files would take gigabytes
BUFFER_BYTES = 2**20  # of a column that are in memory undecoded, however large the file's row groups are
MAGIC = (b"PAR1", b"PARE")  # how Parquet files begin


@dataclass(frozen=True, slots=True)
class Fragment:
    """One file of a data set."""

    name: str
    fragment: Any
    schema: Any
    keys: frozenset[str]

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Yield the columns in batches."""
        import pyarrow as pa

        schema = self.checked_schema(columns)
        first = self.first_row
        try:
            yield from batch_frames(self._read(schema, chunk_rows), columns, first)
        except (pa.ArrowException, OSError) as error:
            raise unreadable_file(self.name, error) from error

    @property
    def first_row(self) -> int:
        """The place of the first row in the file."""
        return 0

    def _read(self, schema: Any, chunk_rows: int) -> Iterator[Any]:
        return self.fragment.to_batches(  # type: ignore[no-any-return]
            schema=schema,
            columns=schema.names,
            batch_size=chunk_rows,
            batch_readahead=READ_AHEAD,
            fragment_readahead=1,
        )

    def checked_schema(self, columns: Sequence[str]) -> Any:
        """Return the file's own types of the columns, and refuse a file whose columns are not those of the first.

        Raises
        ------
        DataError
            If a column is absent, or of another type.
        """
        import pyarrow as pa

        try:
            own = self.fragment.physical_schema
        except (pa.ArrowException, OSError) as error:
            raise unreadable_file(self.name, error) from error
        fields = []
        for name in columns:
            if name in self.keys:
                fields.append(self.schema.field(name))
                continue
            check_once(self.name, name, own.names)
            if own.get_field_index(name) < 0:
                raise DataError(f"{self.name} has no column {name!r}, which other files have: add it, or leave it out.")
            found, expected = _kind(own.field(name).type), _kind(self.schema.field(name).type)
            if found != expected and self.fragment.count_rows():
                raise DataError(
                    f"{self.name}: column {name!r} holds {found} and holds {expected} in the first file: write all "
                    "files with the same types."
                )
            fields.append(own.field(name))
        return pa.schema(fields)


@dataclass(frozen=True, slots=True)
class ParquetFile(Fragment):
    """A Parquet file, decoded in the thread that adds it up: the scanner's threads cost half as much again.

    Attributes
    ----------
    groups
        The row groups that are read, None for all.
    """

    groups: range | None = None

    def pieces(self, count: int) -> Sequence["ParquetFile"]:
        """Return the file in at most `count` runs of its row groups."""
        import pyarrow as pa

        if count < 2:
            return [self]
        try:
            n_groups = self.fragment.num_row_groups
        except (pa.ArrowException, OSError) as error:
            raise unreadable_file(self.name, error) from error
        if n_groups < 2:
            return [self]
        return [replace(self, groups=groups) for groups in runs(n_groups, count)]

    @property
    def first_row(self) -> int:
        """The place of the first row in the file."""
        if not self.groups:
            return 0
        return sum(group.num_rows for group in self.fragment.row_groups[: self.groups.start])

    def _read(self, schema: Any, chunk_rows: int) -> Iterator[Any]:
        from pyarrow import parquet as pq

        if not self.keys.isdisjoint(schema.names):  # a column that only the folder's name holds
            chosen = self.fragment if self.groups is None else self.fragment.subset(row_group_ids=list(self.groups))
            yield from Fragment._read(replace(self, fragment=chosen), schema, chunk_rows)
            return
        # Buffered in advance, the whole file stays in memory until it has been read.
        with pq.ParquetFile(
            self.name, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        ) as file:
            groups = range(file.num_row_groups) if self.groups is None else self.groups
            yield from file.iter_batches(chunk_rows, row_groups=groups, columns=schema.names, use_threads=False)


@dataclass(frozen=True, slots=True)
class ChosenPart:
    """A data set of which rows or columns were chosen."""

    dataset: Any
    name: str = "the data set"

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Yield the columns in batches."""
        import pyarrow as pa

        try:
            read = self.dataset.to_batches(
                columns=list(columns), batch_size=chunk_rows, batch_readahead=READ_AHEAD, fragment_readahead=1
            )
            yield from batch_frames(read, columns)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self.name, error) from error


F = TypeVar("F", bound=Fragment)


class DatasetRows(Rows):
    """A pyarrow data set, file after file.

    Parameters
    ----------
    dataset
        The data set.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self._dataset.schema.names)

    @cached_property
    def parts(self) -> Sequence[Part]:
        """The files, by name."""
        try:
            return self._fragments(Fragment)
        except ValueError:  # no pieces are to be had where rows or columns were chosen
            return (ChosenPart(self._dataset),)

    def _fragments(self, kind: type[F]) -> Sequence[F]:
        import pyarrow.dataset as ds

        found = []
        fragments = list(self._dataset.get_fragments())
        schema = _typed(self._dataset.schema, fragments)
        for number, fragment in enumerate(fragments):
            keys = frozenset(ds.get_partition_keys(fragment.partition_expression))
            name = getattr(fragment, "path", None) or f"table {number + 1}"
            found.append(kind(str(name), fragment, schema, keys))
        return found


class ParquetRows(DatasetRows):
    """Parquet files, one after another."""

    @cached_property
    def parts(self) -> Sequence[ParquetFile]:
        """The files, by name."""
        return self._fragments(ParquetFile)

    def pieces(self, count: int) -> Sequence[ParquetFile]:
        """Return the files, or runs of their row groups where there are fewer files than `count`."""
        per_file = -(-count // len(self.parts))
        return [piece for file in self.parts for piece in file.pieces(per_file)]


def dataset_of(table: Any) -> DatasetRows:
    """Return the rows of a pyarrow Table or RecordBatch."""
    import pyarrow.dataset as ds

    return DatasetRows(ds.dataset(table))


def _typed(schema: Any, fragments: Sequence[Any]) -> Any:
    """Return the schema, which is that of the first file, with types for columns that have none since it is empty."""
    import pyarrow as pa

    untyped = [field.name for field in schema if pa.types.is_null(field.type)]
    if not untyped:
        return schema
    own = next((fragment.physical_schema for fragment in fragments if fragment.count_rows()), schema)
    for name in untyped:
        if (place := own.get_field_index(name)) >= 0:
            schema = schema.set(schema.get_field_index(name), own.field(place))
    return schema


def _kind(kind: Any) -> str:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "numbers"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_null(kind):
        return "nothing but missing values"
    if pa.types.is_boolean(kind):
        return "truth values"
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return "times with a time zone"
    if pa.types.is_date(kind):
        return "days"
    return "dates" if pa.types.is_temporal(kind) else str(kind)


def check_once(file: str, name: str, names: Sequence[str]) -> None:
    """Refuse a column of which a file has two.

    Raises
    ------
    DataError
        If there are two, with the file and the column.
    """
    if (count := list(names).count(name)) > 1:
        raise DataError(f"{file} has {count} columns of the name {name!r}: rename or drop all but one.")


def unreadable_file(file: str, error: Exception) -> BayeslmmError:
    """Return the error for a file that cannot be read, which may be no Parquet at all."""
    path = Path(file)
    if path.is_file():
        with path.open("rb") as stream:
            head = stream.read(len(MAGIC[0]))
        if head and head not in MAGIC:
            return DataError(
                f"{file} is no Parquet file, whatever its name says: write it as Parquet, or pass a function that "
                "yields frames, such as lambda: pandas.read_csv(path, chunksize=100_000)."
            )
    return unreadable(file, error)

"""Arrow's batches as pandas frames, without a copy where the types allow it."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from bayeslmm.rows.source import row_numbers


def batch_frame(batch: Any, columns: Sequence[str], first: int) -> pd.DataFrame:
    """Return the columns of a RecordBatch or Table, row labels counting from `first`."""
    places = [batch.schema.get_field_index(name) for name in columns]
    found = {number: _values(batch.column(place)) for number, place in enumerate(places)}
    frame = pd.DataFrame(found, index=row_numbers(first, batch.num_rows), copy=False)
    frame.columns = _names(tuple(columns))
    return frame


def batch_frames(batches: Iterable[Any], columns: Sequence[str], first: int = 0) -> Iterator[pd.DataFrame]:
    """Yield RecordBatches one after another as frames, empty ones left out, rows counting from `first`."""
    for batch in batches:
        if batch.num_rows:
            yield batch_frame(batch, columns, first)
            first += batch.num_rows


@lru_cache(maxsize=16)
def _names(columns: tuple[str, ...]) -> pd.Index:
    """Return names as an index, which takes longer to make than a batch takes to wrap."""
    return pd.Index(columns)


def _values(values: Any) -> Any:
    """Return a column as an array of numpy or pandas."""
    import pyarrow as pa

    kind = values.type
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if values.null_count == 0 and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return values.to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind):  # as floats, labels would change from batch to batch
        return values.to_pandas(types_mapper=lambda _: pd.Int64Dtype()).array
    if pa.types.is_boolean(kind) and values.null_count:
        return values.to_pandas(types_mapper=lambda _: pd.BooleanDtype()).array
    if pa.types.is_decimal(kind):
        return values.cast(pa.float64()).to_pandas().array
    return values.to_pandas().array  # as a Series it would be matched to the index by labels

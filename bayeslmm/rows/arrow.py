"""Arrow's batches as pandas frames, without a copy where the types allow it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from bayeslmm.rows.source import row_numbers


def batch_frame(batch: Any, columns: Sequence[str], first: int) -> pd.DataFrame:
    """Return the columns of a RecordBatch or Table, row labels counting from `first`."""
    index = row_numbers(first, batch.num_rows)
    found = {name: _column(batch.column(batch.schema.get_field_index(name)), index) for name in columns}
    return pd.DataFrame(found, index=index, copy=False)


def batch_frames(batches: Iterable[Any], columns: Sequence[str], first: int = 0) -> Iterator[pd.DataFrame]:
    """Yield RecordBatches one after another as frames, empty ones left out, rows counting from `first`."""
    for batch in batches:
        if batch.num_rows:
            yield batch_frame(batch, columns, first)
            first += batch.num_rows


def _column(values: Any, index: pd.Index) -> pd.Series:
    import pyarrow as pa

    kind = values.type
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if values.null_count == 0 and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return pd.Series(values.to_numpy(zero_copy_only=False), index=index, copy=False)
    if pa.types.is_integer(kind):  # as floats, labels would change from batch to batch
        return pd.Series(values.to_pandas(types_mapper=lambda _: pd.Int64Dtype()).array, index=index)
    if pa.types.is_boolean(kind) and values.null_count:
        return pd.Series(values.to_pandas(types_mapper=lambda _: pd.BooleanDtype()).array, index=index)
    if pa.types.is_decimal(kind):
        return pd.Series(values.cast(pa.float64()).to_pandas().array, index=index)
    return pd.Series(values.to_pandas().array, index=index)  # as a Series it would be matched to the index by labels

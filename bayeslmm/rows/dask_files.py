"""The Parquet files behind a Dask frame that is made of them and of nothing else.

Read in batches by the worker that adds them up, they take little more than half the time of Dask's whole partitions,
and little memory.
"""

from typing import Any

from bayeslmm.rows.parquet import ParquetRows
from bayeslmm.rows.parquet_paths import files_rows

READERS = ("ReadParquetFSSpec", "ReadParquetPyarrowFS")
WITHOUT_EFFECT = (  # on which rows there are and what they hold
    "path", "columns", "calculate_divisions", "ignore_metadata_file", "metadata_task_size", "split_row_groups",
    "blocksize", "aggregate_files", "parquet_file_extension", "filesystem", "_dataset_info_cache", "_pq_length_stats",
)  # fmt: skip


def parquet_behind(frame: Any) -> ParquetRows | None:
    """Return the rows of the files, None where the frame is anything else, or they are on no file system of this kind.

    This looks into Dask; a version that looks otherwise is read by partitions.
    """
    try:
        expression = frame.optimize(fuse=False).expr
        if type(expression).__name__ not in READERS or not _reads_all(expression):
            return None
        files = _local_files(expression)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return files_rows(files, "the Dask frame") if files else None


def _reads_all(expression: Any) -> bool:
    """Whether every row of the files is read, as it is."""
    defaults = expression._defaults
    return all(
        name in WITHOUT_EFFECT or _same(expression.operand(name), defaults[name]) for name in expression._parameters
    )


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, dict) and not any(value.values()):  # options that say nothing
        return True
    return type(value) is type(default) and value == default


def _local_files(expression: Any) -> list[str]:
    if type(expression).__name__ == "ReadParquetPyarrowFS":
        local = expression.fs.type_name == "local"
        files = [str(fragment.path) for fragment in expression.fragments]
    else:
        protocol = expression._dataset_info["fs"].protocol
        local = "file" in ([protocol] if isinstance(protocol, str) else protocol)
        files = [str(file) for file in expression._dataset_info["ds"].files]
    return sorted(files) if local else []

"""Where rows come from: one file per source, all read as batches of pandas frames."""

from bayeslmm.rows.opening import check_chunk_rows, is_stream, open_once, open_rows
from bayeslmm.rows.source import CHUNK_ROWS, Fold, Part, Rows, part_named

__all__ = [
    "CHUNK_ROWS",
    "Fold",
    "Part",
    "Rows",
    "check_chunk_rows",
    "is_stream",
    "open_once",
    "open_rows",
    "part_named",
]

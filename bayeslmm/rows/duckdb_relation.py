"""DuckDB's relations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bayeslmm.rows.arrow import batch_frames
from bayeslmm.rows.source import BAD_QUERY, Rows, unreadable


@dataclass(frozen=True, slots=True)
class RelationPart:
    """The query of a relation."""

    relation: Any
    name: str = "the DuckDB relation"

    def batches(self, columns: Sequence[str], chunk_rows: int) -> Iterator[pd.DataFrame]:
        """Run the query, column selection first."""
        import duckdb

        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
        try:
            chosen = self.relation.project(quoted)
            reader = (chosen.to_arrow_reader if hasattr(chosen, "to_arrow_reader") else chosen.fetch_record_batch)(
                chunk_rows
            )
            yield from batch_frames(reader, columns)
        except duckdb.Error as error:
            raise unreadable(self.name, error, BAD_QUERY) from error


class RelationRows(Rows):
    """A DuckDB relation."""

    def __init__(self, relation: Any) -> None:
        self._part = RelationPart(relation)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        import duckdb

        try:
            return tuple(self._part.relation.columns)
        except duckdb.Error as error:
            raise unreadable(self._part.name, error, "Keep its connection open until the model is built.") from error

    @property
    def parts(self) -> Sequence[RelationPart]:
        """The query."""
        return (self._part,)

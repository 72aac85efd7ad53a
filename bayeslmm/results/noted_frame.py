"""A table with sentences under it."""

import pandas as pd


class NotedFrame(pd.DataFrame):
    """A DataFrame that prints what a reader should know, ``attrs["notes"]``, beneath its rows."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *(f"Note: {note}" for note in self.attrs.get("notes", ()))])

    def _repr_html_(self) -> str | None:
        from html import escape

        notes = "".join(f"<p>{escape(note)}</p>" for note in self.attrs.get("notes", ()))
        return (pd.DataFrame(self)._repr_html_() or "") + notes


def noted(frame: pd.DataFrame, *notes: str) -> NotedFrame:
    """Return a frame with its notes."""
    table = NotedFrame(frame)
    table.attrs["notes"] = tuple(notes)
    return table

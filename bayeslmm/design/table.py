"""Frames of any make as one pandas frame of the columns a formula uses."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np
import pandas as pd

from bayeslmm.design.alignment import common_index
from bayeslmm.errors import DataError, suggest
from bayeslmm.rows.source import ROW_NUMBER

_NAMES_SHOWN = 12
_TRUTHS = {"TRUE": "True", "FALSE": "False"}  # of R


def used_columns(data: Any, names: Sequence[str]) -> pd.DataFrame:
    """Return the named columns of a pandas or polars frame, or of a mapping of columns, as a pandas frame.

    Parameters
    ----------
    data
        The user's data; never changed.
    names
        Columns the formula uses; all others are left alone, whatever their names or types.

    Raises
    ------
    DataError
        If a column is absent or ambiguous, or `data` is no table.
    """
    if isinstance(data, pd.DataFrame):
        present = list(data.columns)
        if present == list(names) and all(isinstance(name, str) for name in present):
            return _without_dictionaries(data.copy(deep=False))  # as batches of a stream are, where lookups add up
        _check_names(present, names, list(data.index.names))
        return _without_dictionaries(data.take([present.index(name) for name in names], axis=1))
    if type(data).__module__.split(".")[0] == "polars":
        return _from_polars(data, names)
    if isinstance(data, Mapping):
        _check_names(list(data), names)
        return _from_mapping(data, names)
    raise DataError(
        f"data is of type {type(data).__name__}: pass a pandas or polars DataFrame or a dictionary of columns"
        + (" (read a file with pandas.read_csv, a shipped data set with load_dataset)" if isinstance(data, str) else "")
        + "."
    )


def dotted_names(data: Any) -> tuple[str, ...]:
    """Return the columns whose names hold dots, which a formula may write without backquotes; () if `data` is no table.

    See :func:`bayeslmm.formula.parse`.
    """
    framed = isinstance(data, pd.DataFrame) or hasattr(data, "get_column")  # the latter of polars
    names = data if isinstance(data, Mapping) else list(data.columns) if framed else ()
    return tuple(name for name in names if isinstance(name, str) and "." in name)


def row_name(index: pd.Index, position: int) -> str:
    """Return how messages call a row: its position from 0, and its label where that is something else."""
    label = index[position]
    label = label.item() if isinstance(label, np.generic) else label
    if index.name == ROW_NUMBER:
        return f"row {label}"
    plain = isinstance(index, pd.RangeIndex) and label == position
    return f"row {position}" if plain else f"row {position} (index {label!r})"


def _check_names(present: list[Any], names: Sequence[str], index: Sequence[Any] = ()) -> None:
    for name in names:
        count = sum(1 for other in present if isinstance(other, str) and other == name)
        if count > 1:
            raise DataError(
                f"Column {name!r} occurs {count} times in the data, so the formula is ambiguous: "
                "rename or drop all but one."
            )
        if count == 0:
            raise DataError(_absent(present, name, index))


def _absent(present: list[Any], name: str, index: Sequence[Any]) -> str:
    if name in index:
        return f"The data have no column {name!r}, but an index of this name: pass data.reset_index()."
    if any(isinstance(other, tuple) for other in present):
        return (
            f"The data have no column {name!r}; their columns have several levels: make them texts with "
            "data.columns = ['_'.join(map(str, names)) for names in data.columns]."
        )
    if any(not isinstance(other, str) and str(other) == name for other in present):
        return (
            f"Column {name!r} of the formula is not named by text in the data: "
            "rename it with data.columns = data.columns.map(str)."
        )
    texts = [other for other in present if isinstance(other, str)]
    if any(normalize("NFC", text) == normalize("NFC", name) for text in texts):
        return (
            f"The data have a column that looks like {name!r}, but spell it with different Unicode signs than the "
            "formula: normalise both, data.columns = data.columns.str.normalize('NFC')."
        )
    if name in _TRUTHS:
        return f"The data have no column {name!r}: write {_TRUTHS[name]} for {name}."
    if close := suggest(name, texts, most=3) or [text for text in texts if name in re.split(r"\W+", text)][:3]:
        odd = next((f" Its name goes into backquotes, `{text}`." for text in close if not text.isidentifier()), "")
        return f"The data have no column {name!r}: did you mean {' or '.join(map(repr, close))}?{odd}"
    shown = ", ".join(map(repr, texts[:_NAMES_SHOWN])) + (", ..." if len(texts) > _NAMES_SHOWN else "")
    said = f"The data have no column {name!r}; their columns are {shown or '(none)'}."
    if len(texts) == 1 and any(separator in texts[0] for separator in ";\t|"):
        said += " They look unsplit: read the file with the separator it has, such as pandas.read_csv(path, sep=';')."
    return said


def _without_dictionaries(frame: pd.DataFrame) -> pd.DataFrame:
    # Arrow keeps categories as dictionaries, which pandas knows as categories only after conversion.
    for place, dtype in enumerate(frame.dtypes.array):
        if isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("dictionary"):
            name = frame.columns[place]
            categories = frame[name].array.__arrow_array__().unify_dictionaries().to_pandas()
            frame = frame.assign(**{name: pd.Categorical(categories)})
    return frame


def _from_mapping(data: Mapping[str, Any], names: Sequence[str]) -> pd.DataFrame:
    columns = {}
    for name in names:
        values = data[name]
        if np.ndim(values) != 1:
            raise DataError(f"Column {name!r} has {np.ndim(values)} dimensions; a column has one.")
        columns[name] = values if hasattr(values, "dtype") else pd.Series(list(values)).array
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"The columns differ in length: {lengths}.")
    n = len(next(iter(columns.values() if columns else data.values()), ()))
    return pd.DataFrame(
        {name: pd.Series(getattr(values, "array", values)) for name, values in columns.items()},
        columns=list(names),
        index=pd.RangeIndex(n),
    ).set_axis(common_index(columns, n))


def _from_polars(data: Any, names: Sequence[str]) -> pd.DataFrame:
    if not hasattr(data, "get_column"):
        raise DataError(f"data is a polars {type(data).__name__}; pass a DataFrame, with .collect() if it is lazy.")
    _check_names(list(data.columns), names)
    return pd.DataFrame(
        {name: _polars_column(data.get_column(name)) for name in names},
        columns=list(names),
        index=pd.RangeIndex(data.height),
    )


def _polars_column(column: Any) -> pd.Series:
    import polars as pl

    kind, has_nulls = column.dtype, column.null_count() > 0
    if isinstance(kind, pl.Enum):
        return pd.Series(pd.Categorical(column.cast(pl.String).to_list(), categories=kind.categories.to_list()))
    if isinstance(kind, (pl.Categorical, pl.String)):
        return pd.Series(column.cast(pl.String).to_list(), dtype=object)
    if kind == pl.Boolean:
        return pd.Series(column.to_list(), dtype="boolean") if has_nulls else pd.Series(column.to_numpy())
    if str(kind) in ("Int128", "UInt128"):  # numpy has none of this length
        narrow = column.cast(pl.Int64, strict=False)
        column = narrow if narrow.null_count() == column.null_count() else column.cast(pl.Float64)
        kind = column.dtype
    if kind.is_integer() and has_nulls:
        return pd.Series(column.to_list(), dtype="Int64")
    if kind.is_numeric():
        return pd.Series(column.cast(pl.Float64).to_numpy() if has_nulls or kind.is_decimal() else column.to_numpy())
    return pd.Series(column.to_list(), dtype=None if column.len() else object)

"""A data frame as a Parquet file that gives back every dtype, category, order and label.

Parquet keeps numbers, texts, booleans and times by itself. Categories with their order, and columns of mixed
objects, intervals or periods are stored as integer codes, their labels written down apart as JSON.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.errors import StorageError
from bayeslmm.results.store.schema import SCALAR, Either, Flag, ListOf, Maybe, Named, Schema, Table, Text, Whole

SCALARS = {"int": int, "float": float, "str": str, "bool": bool}
# Names of dtypes that labels may have: nothing that sizes are made of, such as texts of a fixed length.
DTYPES = re.compile(
    r"u?int(8|16|32|64)|U?Int(8|16|32|64)|float(16|32|64)|Float(32|64)|bool|boolean|str|string|object|interval|period"
    r"|(datetime64|timedelta64)\[(s|ms|us|ns)(, [^\[\]]{1,60})?\]|[a-z0-9_]+(\[[a-zA-Z0-9_, =:/+-]{1,60}\])?\[pyarrow\]"
)

SIDES: dict[str, Schema] = {
    "dtype": Text(),
    "values": ListOf(Either((SCALAR, ListOf(SCALAR, 2)))),
    "freq": Text(),
}
LABELS: dict[str, Schema] = {**SIDES, "closed": Text(), "left": Table({}, SIDES), "right": Table({}, SIDES)}
INT64 = Whole(-(2**63), 2**63 - 1)
NAMES = ListOf(Maybe(Text()))
FRAME = Table(
    {
        "columns": ListOf(Text()),
        "coded": Named(Table({"dtype": Text()}, {**LABELS, "category": Flag(), "ordered": Maybe(Flag())})),
        "index": Either(
            (
                Table({"range": ListOf(INT64, 3), "names": NAMES}),
                Table({"levels": ListOf(Table({"codes": ListOf(INT64)}, LABELS)), "names": NAMES}),
            )
        ),
    }
)


def write_frame(frame: pd.DataFrame, path: Path) -> dict[str, Any]:
    """Write a frame and return what else is needed to read it, fit for JSON.

    Raises
    ------
    StorageError
        If a column or the index holds labels that cannot be written.
    """
    stored = {}
    coded: dict[str, Any] = {}
    for name in frame.columns:
        column = frame[name]
        if _parquet_keeps(column):
            stored[name] = column.reset_index(drop=True)
        else:
            stored[name], coded[name] = _encode(column, str(name))
    index = _encode_index(frame.index)
    pd.DataFrame(stored, index=pd.RangeIndex(len(frame))).to_parquet(path, engine="pyarrow", index=False)
    return {"columns": [str(name) for name in frame.columns], "coded": coded, "index": index}


def read_frame(path: Path, description: Mapping[str, Any], record: str, key: str) -> pd.DataFrame:
    """Read a frame that :func:`write_frame` wrote.

    Parameters
    ----------
    path
        The file.
    description
        What :func:`write_frame` returned, checked against `FRAME`.
    record, key
        The file that the description comes from, and its key there, for messages.

    Raises
    ------
    StorageError
        If the file cannot be read or does not match its description.
    """
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except Exception as error:
        raise StorageError(f"{path.name} cannot be read as Parquet: the file is incomplete or damaged.") from error
    names = description["columns"]
    if list(frame.columns) != names:
        raise StorageError(f"{path.name} holds the columns {list(frame.columns)}; {record} says {names}.")
    for name, code in description["coded"].items():
        if name not in frame.columns:
            raise StorageError(f"{record}: '{key}.coded' names {name!r}, which is not a column of {path.name}.")
        frame[name] = _decode(frame[name].to_numpy(), code, f"{record}: '{key}.coded.{name}'", path.name)
    frame.index = _decode_index(description["index"], len(frame), f"{record}: '{key}.index'", path.name)
    return frame


def _parquet_keeps(column: pd.Series) -> bool:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype | pd.IntervalDtype | pd.PeriodDtype | pd.SparseDtype):
        return False
    return not pd.api.types.is_object_dtype(dtype)


def _encode(column: pd.Series, name: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return codes and the labels they stand for."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        labels = describe_labels(column.cat.categories, name)
        return column.cat.codes.to_numpy().astype("int32"), {
            "category": True,
            "ordered": column.cat.ordered,
            **labels,
        }
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    if pd.api.types.is_object_dtype(column.dtype):
        codes, unique = _factorize_objects(column)
        return codes, {"category": False, **describe_labels(unique, name)}
    codes, unique = pd.factorize(column)
    return codes.astype("int32"), {"category": False, **describe_labels(pd.Index(unique), name)}


def _factorize_objects(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Tell 1, 1.0 and True apart, which compare equal."""
    keys: dict[tuple[type, Any], int] = {}
    codes = np.full(len(column), -1, dtype="int32")
    for row, value in enumerate(column):
        if not pd.isna(value):
            codes[row] = keys.setdefault((type(value), value), len(keys))
    return codes, pd.Index([value for _, value in keys], dtype=object)


def _decode(codes: np.ndarray, description: Mapping[str, Any], where: str, file: str) -> Any:
    labels = read_labels(description, where)
    if codes.dtype.kind != "i" or (codes.size and not -1 <= codes.min() <= codes.max() < len(labels)):
        raise StorageError(f"{file}: the codes of {where} do not match its labels.")
    if description.get("category"):
        if not labels.is_unique or labels.hasnans:
            raise StorageError(f"{where} has two categories alike or a missing one.")
        return pd.Categorical.from_codes(codes, categories=labels, ordered=bool(description.get("ordered")))
    if not pd.api.types.is_object_dtype(labels.dtype):
        return labels.take(codes, allow_fill=True, fill_value=None).array
    values = np.full(len(codes), None, dtype=object)
    values[codes >= 0] = labels.to_numpy()[codes[codes >= 0]]
    return pd.Series(values, dtype=object)


def describe_labels(labels: pd.Index, name: str) -> dict[str, Any]:
    """Return labels as values fit for JSON, with their dtype.

    Raises
    ------
    StorageError
        If labels are neither numbers, texts, booleans, times, periods nor intervals.
    """
    dtype = labels.dtype
    if isinstance(dtype, pd.IntervalDtype):
        sides = {side: describe_labels(getattr(labels, side), name) for side in ("left", "right")}
        return {"dtype": "interval", "closed": dtype.closed, **sides}
    if isinstance(dtype, pd.PeriodDtype):
        return {"dtype": "period", "freq": labels.freqstr, "values": [int(i) for i in labels.asi8]}
    if isinstance(dtype, pd.DatetimeTZDtype) or dtype.kind in "mM":
        return {"dtype": str(dtype), "values": [int(i) for i in labels.asi8]}
    if pd.api.types.is_object_dtype(dtype):
        return {"dtype": "object", "values": [_tagged(value, name) for value in labels]}
    values = [None if pd.isna(value) else _plain(value) for value in labels]
    return {"dtype": _dtype_name(dtype), "values": values}


def _dtype_name(dtype: Any) -> str:
    """Return a name pandas reads back as the same dtype; the several kinds of text go as one."""
    return "str" if isinstance(dtype, pd.StringDtype) else str(dtype)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _tagged(value: Any, name: str) -> list[Any]:
    value = _plain(value)
    kind = type(value).__name__
    if kind not in SCALARS:
        raise StorageError(
            f"The column {name!r} holds {value!r} of type {kind}, which cannot be stored; convert the column "
            "to texts, numbers or a category of those before fitting."
        )
    return [kind, value]


def read_labels(description: Mapping[str, Any], where: str) -> pd.Index:
    """Return the labels :func:`describe_labels` described.

    Raises
    ------
    StorageError
        If the description is not one.
    """
    try:
        return _read_labels(description)
    except Exception as error:  # whatever pandas raises on values that do not suit a dtype
        raise StorageError(f"{where} does not describe labels: its values do not suit their type.") from error


def _read_labels(description: Mapping[str, Any]) -> pd.Index:
    kind = description["dtype"]
    if not DTYPES.fullmatch(kind):
        raise ValueError(f"{kind!r} is no dtype of labels")
    if kind == "interval":
        sides = [_read_labels(description[side]) for side in ("left", "right")]
        return pd.IntervalIndex.from_arrays(*sides, closed=description["closed"])
    values = description["values"]
    if kind == "period":
        return pd.PeriodIndex.from_ordinals(values, freq=description["freq"])
    if kind == "object":
        return pd.Index([SCALARS[tag](value) for tag, value in values], dtype=object)
    dtype = pd.api.types.pandas_dtype(kind)
    if isinstance(dtype, pd.DatetimeTZDtype):
        times = pd.DatetimeIndex(np.array(values, dtype="int64").view(f"M8[{dtype.unit}]"))
        return times.tz_localize("UTC").tz_convert(dtype.tz)
    if dtype.kind in "mM":
        return pd.Index(np.array(values, dtype="int64").view(dtype))
    return pd.Index(values, dtype=dtype)


def _encode_index(index: pd.Index) -> dict[str, Any]:
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "names": _names(index)}
    levels = []
    for position in range(index.nlevels):
        values = index.get_level_values(position)
        column = pd.Series(values.astype(object) if isinstance(values.dtype, pd.CategoricalDtype) else values)
        if pd.api.types.is_object_dtype(column.dtype):
            codes, labels = _factorize_objects(column)
        else:
            codes, labels = pd.factorize(values)
        described = describe_labels(pd.Index(labels), f"index {position}")
        levels.append({"codes": [int(code) for code in codes], **described})
    return {"levels": levels, "names": _names(index)}


def _names(index: pd.Index) -> list[str | None]:
    return [None if name is None else str(name) for name in index.names]


def _decode_index(description: Mapping[str, Any], length: int, where: str, file: str) -> pd.Index:
    names = description["names"]
    if "range" in description:
        start, stop, step = description["range"]
        if step == 0 or len(names) != 1 or max(0, -((start - stop) // step)) != length:
            raise StorageError(f"{where} is no range of {length} labels with one name.")
        return pd.RangeIndex(start, stop, step, name=names[0])
    levels = description["levels"]
    if not levels or len(names) != len(levels) or any(len(level["codes"]) != length for level in levels):
        raise StorageError(f"{where} does not have levels with one name and {length} labels each.")
    parts = [pd.Index(_decode(np.array(level["codes"], dtype="int64"), level, where, file)) for level in levels]
    return parts[0].rename(names[0]) if len(parts) == 1 else pd.MultiIndex.from_arrays(parts, names=names)

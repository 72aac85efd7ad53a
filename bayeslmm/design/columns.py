"""What a single column can mean: numbers, true or false, or the labels of a category."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.design import Array, Codes
from bayeslmm.design.texts import is_text, unhashable
from bayeslmm.errors import DataError

Kind = Literal["number", "boolean", "category"]

LONGEST_TABLE = 4  # entries per row up to which a table of whole numbers beats hashing them
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal", "empty"}


def kind_of(column: pd.Series) -> Kind:
    """Return how a column enters a fixed part.

    Raises
    ------
    DataError
        If it holds dates, complex numbers or a mixture of types.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "category"
    if isinstance(dtype, np.dtype) and dtype.kind in "fiu":
        return "number"
    if pd.api.types.is_bool_dtype(dtype):
        return "boolean"
    if pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype):
        return "number"
    if isinstance(dtype, pd.StringDtype):
        return "category"
    found = pd.api.types.infer_dtype(column, skipna=True)
    if found in ("string", "categorical"):
        return "category"
    if found == "boolean":
        return "boolean"
    if found in _NUMBERS:
        return "number"
    raise DataError(
        f"Column {column.name!r} holds {found} values ({dtype}); a formula needs numbers, true or false, or "
        "labels. Convert it first: dates to a number such as days since the start, mixtures to text."
    )


def unmasked(values: Any) -> Any:
    """Return an array with what is masked as missing, where numpy would take what lies under the mask."""
    if not isinstance(values, np.ma.MaskedArray):
        return values
    return pd.Series(values).to_numpy() if values.ndim == 1 else np.ma.filled(values.astype(np.float64), np.nan)


def holds_text(values: Any) -> bool:
    """Whether an array-like holds texts, which numpy would convert to numbers without a word."""
    kind = np.asarray(values).dtype.kind
    return kind in "US" or (kind == "O" and any(isinstance(value, str | bytes) for value in np.asarray(values).flat))


def as_numbers(column: pd.Series) -> Array:
    """Return a numeric or boolean column as float64, missing values as NaN."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "fiub":
        return column.to_numpy().astype(np.float64, copy=False)
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return pd.to_numeric(column.astype(object)).to_numpy(dtype=np.float64, na_value=np.nan)


def as_codes(column: pd.Series) -> tuple[Codes, pd.Index]:
    """Return the level of each row and the levels that occur, for a column without missing values.

    Levels keep the user's labels and dtype, in category order for a categorical column, else sorted.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        all_codes, categories = column.array.codes, column.array.categories
        used = np.bincount(all_codes, minlength=len(categories)) > 0
        if used.all():
            return all_codes.astype(np.int32), categories.rename(None)
        renumbered = (np.cumsum(used) - 1).astype(np.int32)
        return renumbered[all_codes], categories[used].rename(None)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        found = _codes_of_whole_numbers(column.to_numpy())
        if found is not None:
            return found
    _check_labels(column)
    try:
        codes, levels = pd.factorize(column, sort=True)
    except TypeError:
        raise DataError(
            f"Column {column.name!r} mixes labels that cannot be sorted: convert it with astype(str)."
        ) from None
    if not pd.api.types.is_numeric_dtype(levels):
        check_texts(str(column.name), levels)
    return codes.astype(np.int32), pd.Index(levels, name=None, tupleize_cols=False)


def _codes_of_whole_numbers(values: NDArray[np.integer]) -> tuple[Codes, pd.Index] | None:
    """Return levels and codes by a table of all numbers between the least and the largest; None if that is too long."""
    if not len(values):
        return None
    low, high = int(values.min()), int(values.max())
    width = high - low + 1
    if width > LONGEST_TABLE * len(values) or high > np.iinfo(np.int64).max:
        return None
    shift = values.dtype.type(low) if low else None
    places = values if shift is None else values - shift  # no overflow: differences are below `width`
    if width - 1 > np.iinfo(values.dtype).max:
        return None
    occurs = np.zeros(width, dtype=bool)
    occurs[places] = True
    table = np.cumsum(occurs, dtype=np.int32)
    table -= 1
    levels = (np.flatnonzero(occurs) + low).astype(values.dtype)
    return table[places], pd.Index(levels)


def distinct_labels(column: pd.Series) -> pd.Index:
    """Return the labels that occur, for a column without missing values.

    Raises
    ------
    DataError
        If a cell is a list or the like, which is no label, or bytes were read as text.
    """
    try:
        return pd.Index(column.unique(), tupleize_cols=False)
    except TypeError:
        _check_labels(column)
        raise
    except UnicodeError:
        check_texts(str(column.name), column.unique())
        raise


def _check_labels(column: pd.Series) -> None:
    if (bad := unhashable(column)).any():
        place = first_true(bad)
        kind = type(column.iloc[place]).__name__
        raise DataError(
            f"Column {column.name!r} holds a {kind} in row {column.index[place]!r}, which is no label: convert the "
            "column to texts or numbers."
        )


def check_texts(name: str, levels: Any) -> None:
    """Refuse a level that is no text.

    Raises
    ------
    DataError
        If bytes were read as text.
    """
    for level in levels:
        if isinstance(level, str) and not is_text(level):
            raise DataError(
                f"Column {name!r} has the level {level!r}, which is no text but bytes read as one: read the file with "
                "the encoding it has."
            )


def as_category(column: pd.Series) -> pd.Categorical:
    """Return a column as a category without unused levels, in category order or sorted."""
    codes, levels = as_codes(column)
    return pd.Categorical.from_codes(codes, categories=pd.Index(levels.to_numpy()))


def all_finite(values: Array) -> bool:
    """Whether all numbers are finite; the least and the largest say so without a mask."""
    if values.size == 0:
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(values.min()) and np.isfinite(values.max()))


def first_true(mask: NDArray[np.bool_]) -> int:
    """Return the position of the first true entry."""
    return int(np.argmax(mask))

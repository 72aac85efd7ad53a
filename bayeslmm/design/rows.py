"""Which rows of the data take part: missing values, infinite values, weights."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.alignment import index_difference
from bayeslmm.design.columns import all_finite, as_numbers, first_true, kind_of, unmasked
from bayeslmm.design.design import Array
from bayeslmm.design.table import row_name
from bayeslmm.design.texts import conversion
from bayeslmm.errors import DataError, OptionError, counted
from bayeslmm.types import Missing

LARGEST_WEIGHT, SMALLEST_WEIGHT = 1e100, 1e-100  # their products with squares of columns are checked apart
Mask = NDArray[np.bool_]


def check_missing_option(missing: str) -> None:
    """Raise if `missing` is no valid option."""
    if not isinstance(missing, str) or missing not in get_args(Missing):
        raise OptionError(f"missing={missing!r} is not valid; use one of {', '.join(map(repr, get_args(Missing)))}.")


def complete_rows(frame: pd.DataFrame, missing: Missing) -> Mask:
    """Return which rows have no missing value in any column, shape (n,).

    Raises
    ------
    DataError
        If a column holds an infinite value, or a missing one and `missing` is ``"error"``.
    """
    complete = np.ones(len(frame), dtype=bool)
    for name in frame.columns:
        column = frame[name]
        dtype = column.dtype
        if isinstance(dtype, np.dtype) and dtype.kind in "iub":  # cannot be missing
            continue
        if isinstance(dtype, pd.CategoricalDtype):
            absent = column.array.codes < 0
            if not absent.any():
                continue
        elif pd.api.types.is_float_dtype(dtype):
            values = as_numbers(column)
            if all_finite(values):
                continue
            absent = np.isnan(values)
            _check_finite(name, np.isinf(values), frame.index)
        else:
            absent = column.isna().to_numpy(dtype=bool)
        if missing == "error" and absent.any():
            raise DataError(
                f"Column {name!r} has {int(absent.sum())} missing values, first in "
                f"{row_name(frame.index, first_true(absent))}: fill them, or use missing='drop'."
            )
        complete &= ~absent
    return complete


def check_weights(name: str, values: pd.Series) -> Array:
    """Return weights as numbers, shape (n,).

    Raises
    ------
    DataError
        If one is missing, negative or not a number.
    """
    if kind_of(values) == "category":
        raise DataError(f"The weights {name!r} are not numeric ({values.dtype}): {conversion(values, name)}.")
    if kind_of(values) == "boolean":
        raise DataError(
            f"The weights {name!r} are true or false: to leave rows out, pass data[data[{name!r}]]; to weigh them, "
            "pass numbers."
        )
    weights = as_numbers(values)
    for bad, what in (
        (np.isnan(weights), "missing"),
        (np.isinf(weights), "infinite"),
        (weights < 0, "negative"),
        ((weights > 0) & ~((weights >= SMALLEST_WEIGHT) & (weights <= LARGEST_WEIGHT)), "out of proportion"),
    ):
        if bad.any():
            raise DataError(
                f"The weights {name!r} are {what} in {counted(int(bad.sum()), 'row')}, first in "
                f"{row_name(values.index, first_true(bad))}: weights are between {SMALLEST_WEIGHT:g} and "
                f"{LARGEST_WEIGHT:g}, or 0 to leave a row out."
            )
    return weights


def argument_column(name: str, values: Any, frame: pd.DataFrame) -> pd.Series:
    """Return an argument given as an array as a column of the frame.

    Raises
    ------
    DataError
        If it does not have one value per row, or is a Series with other row labels.
    """
    if isinstance(values, pd.Series) and (difference := index_difference(values.index, frame.index)) is not None:
        raise DataError(
            f"The index of {name} differs from the data's {difference}: pass a column name, or {name}.to_numpy()."
        )
    values = unmasked(values)
    array = getattr(values, "array", None) if isinstance(values, pd.Series) else np.asarray(values)
    if array is None or array.ndim != 1 or len(array) != len(frame):
        raise DataError(f"{name} has shape {np.shape(values)}; it needs one value for each of {len(frame)} rows.")
    return pd.Series(array, index=frame.index, name=f"({name})")


def keep_rows(frame: pd.DataFrame, mask: Mask) -> pd.DataFrame:
    """Return the rows of the frame where the mask is true."""
    return frame if mask.all() else frame[mask]


def unique_names(groups: Sequence[Sequence[str]]) -> list[str]:
    """Return all names in order, each once."""
    return list(dict.fromkeys(name for group in groups for name in group))


def _check_finite(name: str, infinite: Mask, index: pd.Index) -> None:
    if infinite.any():
        raise DataError(
            f"Column {name!r} is infinite in {row_name(index, first_true(infinite))} "
            f"({int(infinite.sum())} such rows): replace the values, or set them to missing."
        )

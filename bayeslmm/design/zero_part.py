"""Columns of the share of zeros: a formula of its own, applied to the rows of a design."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.build import build_design
from bayeslmm.design.design import Design
from bayeslmm.design.names import safe_name
from bayeslmm.design.new_data import new_rows
from bayeslmm.errors import DataError, FormulaError, ModelError
from bayeslmm.families import Family
from bayeslmm.formula import parse
from bayeslmm.types import Array


def with_zero_part(
    design: Design,
    text: str,
    data: Any,
    family: Family,
    functions: Mapping[str, Callable[..., Any]] | None = None,
) -> Design:
    """Return a design with the columns of the share of zeros, and with what they are made of among its data.

    Parameters
    ----------
    design
        The design of the counts.
    text
        The right side of a formula, ``"~ x"``.
    data
        The data of the design.
    family
        The response distribution.
    functions
        The user's own functions in the formula, by name.

    Raises
    ------
    FormulaError
        If the text has a left side or cannot be read.
    ModelError
        If it has random terms or an offset.
    DataError
        If a value is missing in a row that the counts use.
    """
    left, tilde, right = text.partition("~")
    if not tilde or left.strip():
        raise FormulaError(f"zero={text!r} is no right side of a formula: write '~ 1' or '~ x'.")
    parsed = parse(f"{design.formula.response} ~ {right}", tuple(functions or ()))
    if parsed.bars or parsed.offsets or parsed.learner:
        raise ModelError(f"zero={text!r}: the share of zeros takes fixed terms only; leave out the others.")
    frame = build_design(parsed, data, functions=functions, family=family).data
    try:
        zero = build_design(parsed, frame.iloc[design.rows], functions=functions, missing="error", family=family)
    except DataError as error:
        raise DataError(f"zero={text!r}: {error}") from error
    joined = design.data.copy()
    for name in frame.columns:
        if name not in joined:
            joined[name] = frame[name].array
    return replace(design, data=joined, zero=zero)


def zero_names(design: Design) -> tuple[str, ...]:
    """Return the names of the columns of the share of zeros, as variables of files can have them."""
    return tuple(safe_name(name) for name in design.zero.fixed_names)


def zero_columns_at(design: Design, data: Any, places: NDArray[np.intp]) -> Array:
    """Return the columns of the share of zeros at some rows of new data, (m, r).

    Raises
    ------
    DataError
        If a value is missing there, or a column is.
    """
    found = new_rows(design.zero, data, missing="drop")
    where = np.searchsorted(found.places, places)
    known = where < len(found.places)
    known[known] = found.places[where[known]] == places[known]
    if not known.all():
        raise DataError(
            f"Row {found.labels[places[np.flatnonzero(~known)[0]]]!s} has no value of a column that the share of zeros "
            "needs: fill it in or drop the row."
        )
    return np.asarray(found.X[where])


def family_at_rows(family: Family, design: Design, data: Any, places: NDArray[np.intp]) -> Family:
    """Return the family with the columns of the share of zeros at some rows of new data, if it has such columns.

    Raises
    ------
    DataError
        If a value is missing there, or a column is.
    """
    if family.zero_columns is None:
        return family
    return cast(Any, family).with_zero_columns(zero_columns_at(design, data, places))  # type: ignore[no-any-return]

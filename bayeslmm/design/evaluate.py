"""Values of checked expressions: a small interpreter of their syntax trees, so that no text is ever run."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.columns import Kind, all_finite, as_numbers, first_true, kind_of
from bayeslmm.design.design import Array
from bayeslmm.design.functions import join_columns, remembered
from bayeslmm.design.interpreter import LEVELS_SHOWN, Interpreter
from bayeslmm.design.table import row_name
from bayeslmm.design.texts import (
    cells_not_numbers,
    conversion,
    hashable_cells,
    looks_numeric,
    show_cell,
    warn_of_numbers,
    warn_of_spellings,
)
from bayeslmm.errors import BayeslmmError, DataError, counted
from bayeslmm.formula import Expression

LARGEST_NUMBER = 1e140  # cross-products of 1e28 rows of these still fit into a double
NARROW = 16  # up to so many columns numpy is faster column by column
SMALLEST_NUMBER = 1e-140  # squares of these are normal numbers


@dataclass(frozen=True, slots=True)
class Memory:
    """What expressions learned from the data of the fit, for new data.

    Attributes
    ----------
    states
        States of transforms such as ``poly`` and ``scale``, by expression and place in it.
    levels
        Levels of categorical expressions, by expression.
    """

    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    levels: dict[str, pd.Index] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates expressions on the rows of one frame.

    Attributes
    ----------
    frame
        The rows, without missing values in the columns used.
    functions
        The user's own functions.
    memory
        Filled while fitting, read on new data.
    fitting
        Whether the memory is being filled.
    index, positions
        Index of the data before rows were left out, and the positions in it of the rows; for messages.
    whole
        The data before rows were left out, where they are at hand; for messages.
    taken
        Columns of the frame that were asked for.
    """

    frame: pd.DataFrame
    functions: Mapping[str, Callable[..., Any]]
    memory: Memory
    fitting: bool
    index: pd.Index
    positions: Sequence[int] | NDArray[np.intp]
    whole: pd.DataFrame | None = None
    taken: dict[str, pd.Series] = field(default_factory=dict)

    def column(self, name: str) -> pd.Series:
        """Return a column; pandas makes a new object of it each time, which small data notice."""
        if name not in self.taken:
            self.taken[name] = self.frame[name]
        return self.taken[name]

    def numbers(self, expression: Expression, smallest: float = 0.0) -> Array:
        """Return an expression that must be one number per row (a response, an offset), shape (n,).

        Its largest number, if not zero, must not be below `smallest`.
        """
        value = self.evaluate(expression)
        if isinstance(value, pd.Categorical) and value.categories.dtype == bool:
            value = np.asarray(value, dtype=np.float64)
        if not isinstance(value, np.ndarray) or value.ndim != 1:
            raise DataError(self.not_numeric(expression, value))
        check_magnitude(value[:, None], (expression.text,), smallest=smallest)
        return value

    def not_numeric(self, expression: Expression, value: Any) -> str:
        """Say that a response or an offset is not one number per row, with the first value that is no number."""
        said = f"{expression.text} is not numeric: a response or an offset is one number per row"
        if not isinstance(value, pd.Categorical):
            return f"{said}."
        texts = pd.Series(np.asarray(value, dtype=object)).astype(str)
        wrong = cells_not_numbers(texts)
        if wrong is not None and not wrong.any():
            if expression.is_column and (slip := self.slip_left_out(expression.columns[0])):
                return f"{said}, but {slip}: correct it, or mark it as missing."
            remedy = conversion(texts, expression.text)
            return f"{said}, and here the numbers are stored as labels or texts: {remedy}."
        if wrong is None:
            return (
                f"{said}, and this holds labels such as {show_cell(value.categories[0])}. Labels are the response of a "
                "family such as 'bernoulli' or 'cumulative'."
            )
        return f"{said}, but {self.first_cell(texts, wrong)}: correct it, or mark it as missing."

    def first_cell(self, values: Any, mask: NDArray[np.bool_]) -> str:
        """Return ``"row 17 holds '.' (and 2 others)"`` for the cells of a mask that has a true entry."""
        place, others = first_true(mask), int(mask.sum()) - 1
        more = f" (and {others} other{'s' if others > 1 else ''})" if others else ""
        held = np.asarray(values, dtype=object)[place]
        return f"{row_name(self.index, int(self.positions[place]))} holds {show_cell(held)}{more}"

    def slips(self, values: Any) -> str:
        """Return which cells of texts that mostly read as numbers do not; empty if these are no slips, or none are."""
        cells = cells_not_numbers(values)
        if cells is None:
            return ""
        if cells.any():
            return self.first_cell(values, cells)
        return self.slip_left_out(values.name) if isinstance(values, pd.Series) else ""

    def slip_left_out(self, name: Any) -> str:
        """Return which cell of a column made it text though its row was left out, as units and totals are, or ""."""
        if self.whole is None or name not in self.whole or len(self.whole) == len(self.frame):
            return ""
        column = self.whole[name]
        cells = cells_not_numbers(column)
        if cells is None or not cells.any():
            return ""
        place = first_true(cells)
        return f"{row_name(self.index, place)}, left out for a missing value, holds {show_cell(column.iloc[place])}"

    def kind(self, column: pd.Series) -> Kind:
        """Return how a column enters a fixed part; where it is refused for a few cells, name them."""
        try:
            return kind_of(column)
        except DataError:
            if not (slips := self.slips(column)):
                raise
            raise DataError(
                f"Column {column.name!r} is not numeric: {slips}; correct such cells, or mark them as missing with "
                f"pandas.to_numeric(data[{column.name!r}], errors='coerce')."
            ) from None

    def check_labels(self, column: pd.Series) -> None:
        """Warn of labels in the data of a fit that were probably meant as numbers, or as each other."""
        levels = pd.Index(hashable_cells(column).dropna().unique())
        warn_of_spellings(str(column.name), levels)
        if looks_numeric(column):
            warn_of_numbers(str(column.name), column, len(levels), self.slips(column))

    def state(self, key: str) -> dict[str, Any]:
        """Return what a remembered function keeps: filled while fitting, a copy of it on new data."""
        if self.fitting:
            return self.memory.states.setdefault(key, {})
        return deepcopy(self.memory.states[key])

    def transform(self, name: str, key: str, first: Any, others: Sequence[Any], words: Mapping[str, Any]) -> Any:
        """Return the value of a remembered function such as ``poly`` of its first argument."""
        return remembered(name)(first, *others, _state=self.state(key), **words)

    def column_numbers(self, name: str) -> Array:
        """Return a numeric column by its name, shape (n,)."""
        column = self.column(name)
        if self.kind(column) == "category":
            slips = self.slips(column)
            remedy = f"{slips}: correct it" if slips else conversion(column, name)
            raise DataError(f"Column {name!r} is not numeric ({column.dtype}): {remedy}.")
        numbers = as_numbers(column)
        check_magnitude(numbers[:, None], (name,))
        return numbers

    def evaluate(self, expression: Expression) -> Any:
        """Return a float array, a ``Categorical``, or formulaic's factor values with several columns.

        Raises
        ------
        DataError
            If the expression cannot be computed, is not finite somewhere, or holds a category that
            was not in the data of the fit.
        """
        interpreter = Interpreter(self, expression)
        try:
            with np.errstate(all="ignore"):
                value = interpreter.value(expression.tree, outermost=True)
            if type(value) is np.ndarray and value.ndim == 2 and interpreter.names:
                value = join_columns(value, tuple(interpreter.names))
        except BayeslmmError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}".rstrip(".")
            raise DataError(
                f"{expression.text} cannot be computed ({said}): check the arguments of its functions."
            ) from error
        if isinstance(value, np.ndarray) and value.dtype == bool:
            value = self.fixed_levels(expression, pd.Categorical(value))
        return self.check(expression, value)

    def fixed_levels(self, expression: Expression, value: pd.Categorical) -> pd.Categorical:
        """Give a category the levels of the fit."""
        if self.fitting:
            self.memory.levels[expression.text] = value.categories
            return value
        levels = self.memory.levels[expression.text]
        unknown = ~value.categories.astype(object).isin(levels.astype(object))
        if unknown.any():
            shown = ", ".join(repr(level) for level in levels[:LEVELS_SHOWN].tolist())
            more = ", ..." if len(levels) > LEVELS_SHOWN else ""
            first = value.categories.tolist()[first_true(unknown)]
            raise DataError(
                f"Column {expression.text!r} has the value {first!r}, "
                f"which was not in the data of the fit; the levels known are {shown}{more}."
            )
        return value.set_categories(levels, ordered=False)

    def check(self, expression: Expression, value: Any) -> Any:
        """Check length and finiteness."""
        if isinstance(value, pd.Categorical) or _is_category(value):
            return value
        if type(value) is np.ndarray:  # not formulaic's wrapper of one, which carries column names
            value = value.astype(np.float64, copy=False)
        wrapped = getattr(value, "__wrapped__", value)
        parts = wrapped.items() if isinstance(wrapped, dict) else [(None, wrapped)]
        for name, part in parts:
            if not isinstance(name, str) or not name.startswith("__"):
                self.check_part(expression, np.asarray(part, dtype=np.float64))
        return value

    def check_part(self, expression: Expression, part: Array) -> None:
        """Check length and finiteness of one or several columns."""
        n = len(self.frame)
        if part.ndim not in (1, 2) or len(part) != n:
            raise DataError(f"{expression.text} has shape {part.shape}; it must give a value for each of {n} rows.")
        if not all_finite(part):
            bad = np.asarray(~np.isfinite(part).reshape(n, part.size // max(n, 1)).all(axis=1), dtype=bool)
            place = row_name(self.index, int(self.positions[first_true(bad)]))
            raise DataError(
                f"{expression.text} is not finite in {counted(int(bad.sum()), 'row')}, first in {place}: "
                "change the expression or leave these rows out."
            )


def check_magnitude(columns: Array, names: Sequence[str], factor: float = 1.0, smallest: float = 0.0) -> None:
    """Refuse numbers whose squares overflow, or columns of nothing but numbers whose squares vanish.

    Parameters
    ----------
    columns
        Shape (n, p).
    names
        Names of the p columns.
    factor
        What they are multiplied by, the root of the largest weight.
    smallest
        The largest number of a column, if not zero, must not be below this.
    """
    largest = factor * _largest(columns)
    if (beyond := ~(largest <= LARGEST_NUMBER)).any():
        weighted = " times the root of their weights" if factor != 1.0 else ""
        raise DataError(
            f"{names[first_true(beyond)]} holds numbers beyond {LARGEST_NUMBER:g}{weighted}, whose squares overflow: "
            "change its unit."
        )
    if (below := (largest > 0) & (largest < smallest)).any():
        raise DataError(
            f"{names[first_true(below)]} holds no number beyond {smallest:g}, and the squares of smaller ones vanish: "
            "change its unit."
        )


def _largest(columns: Array) -> Array:
    if columns.shape[1] > NARROW:
        return np.maximum(columns.max(axis=0, initial=0.0), -columns.min(axis=0, initial=0.0))
    return np.array([max(column.max(initial=0.0), -column.min(initial=0.0)) for column in columns.T])


def _is_category(value: Any) -> bool:
    metadata = getattr(value, "__formulaic_metadata__", None)
    return metadata is not None and metadata.kind.value == "categorical"

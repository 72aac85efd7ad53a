"""Values of checked expressions: a small interpreter of their syntax trees, so that no text is ever run."""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.alignment import index_difference
from bayeslmm.design.columns import Kind, as_category, as_numbers, first_true, kind_of
from bayeslmm.design.design import Array
from bayeslmm.design.functions import (
    ELEMENTWISE,
    check_size,
    check_switches,
    coding,
    join_columns,
    remembered,
    split_columns,
)
from bayeslmm.design.table import row_name
from bayeslmm.design.texts import (
    cells_not_numbers,
    conversion,
    hashable_cells,
    looks_numeric,
    show_cell,
    warn_of_spellings,
)
from bayeslmm.errors import BayeslmmError, DataError, warn_user
from bayeslmm.formula import Expression, quoted
from bayeslmm.formula.expression import names_coding
from bayeslmm.formula.vocabulary import REMEMBERED, SEVERAL

_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISON: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_LEVELS_SHOWN = 10
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
    """

    frame: pd.DataFrame
    functions: Mapping[str, Callable[..., Any]]
    memory: Memory
    fitting: bool
    index: pd.Index
    positions: NDArray[np.intp]
    whole: pd.DataFrame | None = None

    def numbers(self, expression: Expression) -> Array:
        """Return an expression that must be one number per row (a response, an offset), shape (n,)."""
        value = self.evaluate(expression)
        if isinstance(value, pd.Categorical) and value.categories.dtype == bool:
            value = np.asarray(value, dtype=np.float64)
        if not isinstance(value, np.ndarray) or value.ndim != 1:
            raise DataError(self.not_numeric(expression, value))
        check_magnitude(value[:, None], (expression.text,))
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
            wrong = pd.to_numeric(texts, errors="coerce").isna().to_numpy(dtype=bool)
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
            slips = self.slips(column)
            warn_user(
                f"Column {column.name!r} is text with {len(levels)} different values, each a level, although they read "
                f"as numbers{f', except that {slips}' if slips else ''}: {conversion(column, str(column.name))}, or "
                f"write C({column.name}) if these are labels."
            )

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
        column = self.frame[name]
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
        interpreter = _Interpreter(self, expression)
        try:
            with np.errstate(all="ignore"):
                value = interpreter.value(expression.tree, outermost=True)
            if type(value) is np.ndarray and value.ndim == 2 and interpreter.names:
                value = join_columns(value, tuple(interpreter.names))
        except BayeslmmError:
            raise
        except Exception as error:
            raise DataError(f"{expression.text} cannot be computed: {type(error).__name__}: {error}") from error
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
            shown = ", ".join(repr(level) for level in levels[:_LEVELS_SHOWN].tolist())
            more = ", ..." if len(levels) > _LEVELS_SHOWN else ""
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
        bad = np.asarray(~np.isfinite(part).reshape(n, part.size // max(n, 1)).all(axis=1), dtype=bool)
        if bad.any():
            place = row_name(self.index, int(self.positions[first_true(bad)]))
            raise DataError(
                f"{expression.text} is not finite in {int(bad.sum())} rows, first in {place}: "
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


def _calls(node: ast.expr) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


@dataclass(frozen=True, slots=True)
class _Interpreter:
    """Computes one expression; every kind of node was allowed by the formula room."""

    rows: Evaluator
    expression: Expression
    names: list[str] = field(default_factory=list)  # of several columns inside a larger expression

    def value(self, node: ast.expr, outermost: bool = False) -> Any:
        """Return the value of a node: numbers, a category, or what a call returns."""
        match node:
            case ast.Name():
                return self.column(node, outermost)
            case ast.Constant(value):
                return value
            case ast.BinOp(left, symbol, right):
                return self.arithmetic(symbol, self.number(left), self.number(right))
            case ast.UnaryOp(symbol, operand):
                inner = self.number(operand)
                return -inner if isinstance(symbol, ast.USub) else +inner
            case ast.Compare(left, symbols, comparators):
                return self.compare(symbols[0], self.value(left), self.value(comparators[0]))
            case ast.List(elements) | ast.Tuple(elements):
                return [self.value(element) for element in elements]
            case ast.Call():
                return self.call(node)
        raise DataError(f"{self.expression.text} cannot be computed.")  # the formula room let nothing else pass

    def named(self, node: ast.Name) -> str:
        """Return the column a name stands for."""
        return self.expression.aliases.get(node.id, node.id)

    def column(self, node: ast.Name, outermost: bool) -> Any:
        """Return a column as numbers or as a category, the outermost as it was in the fit."""
        column = self.rows.frame[self.named(node)]
        kind = self.rows.kind(column)
        if outermost and not self.rows.fitting:
            kind = self.kind_in_fit(column, kind)
        if kind == "number":
            return as_numbers(column)
        if outermost:
            return self.rows.fixed_levels(self.expression, as_category(column))
        return as_category(column) if kind == "category" else as_numbers(column).astype(bool)

    def kind_in_fit(self, column: pd.Series, kind: Kind) -> Kind:
        """Return what a column of new data was in the fit; refuse a category in place of a number."""
        if self.expression.text in self.rows.memory.levels:
            return "category"
        if kind == "category":
            slips = self.rows.slips(column)
            raise DataError(
                f"Column {column.name!r} is a category here and was numeric in the data of the fit: "
                f"{slips or conversion(column, str(column.name))}."
            )
        return "number"

    def number(self, node: ast.expr) -> Any:
        """Return the value of a node that must be a number."""
        value = self.value(node)
        if _calls(node) in SEVERAL - set(self.rows.functions):
            value, self.names[:] = split_columns(value)
        if isinstance(value, pd.Categorical):
            column = self.rows.frame[self.named(node)] if isinstance(node, ast.Name) else value
            slips = self.rows.slips(column)
            remedy = (
                f"{slips}: correct it" if slips else "if its labels are numbers, convert the column with astype(float)"
            )
            raise DataError(f"{self.expression.text}: {self.spelled(node)} is a category, not a number; {remedy}.")
        # Whole numbers as floats: 10**10**10 overflows at once where an integer would grow without end.
        return np.asarray(value, dtype=np.float64) if isinstance(value, np.ndarray) else float(value)

    def spelled(self, node: ast.expr) -> str:
        """Return a part of the expression as the user wrote it."""
        text = ast.unparse(node)
        for alias, name in self.expression.aliases.items():
            text = re.sub(rf"\b{alias}\b", lambda _, name=name: quoted(name), text)  # type: ignore[misc]
        return text

    def arithmetic(self, symbol: ast.operator, left: Any, right: Any) -> Any:
        """Apply an arithmetic operator elementwise, to each of several columns."""
        left, right = np.asarray(left), np.asarray(right)
        if left.ndim == 1 and right.ndim == 2:
            left = left[:, None]
        if left.ndim == 2 and right.ndim == 1:
            right = right[:, None]
        return _BINARY[type(symbol)](left, right)[()]

    def compare(self, symbol: ast.cmpop, left: Any, right: Any) -> Any:
        """Apply a comparison elementwise; categories are compared by their labels."""
        sides = []
        for side in (left, right):
            sides.append(np.asarray(side, dtype=object) if isinstance(side, pd.Categorical) else side)
        return np.asarray(_COMPARISON[type(symbol)](*sides))

    def call(self, node: ast.Call) -> Any:
        """Return the value of a call, of the user's functions first."""
        name = node.func.id  # type: ignore[attr-defined]
        if name in self.rows.functions:
            return self.user_function(name, node)
        if name == "C":
            return self.categorical(node)
        words = {str(word.arg): self.value(word.value) for word in node.keywords}
        if name == "I":
            return self.value(node.args[0])
        if name in ELEMENTWISE:
            return ELEMENTWISE[name](*(self.number(argument) for argument in node.args), **words)
        first, *others = [self.number(node.args[0]), *(self.value(argument) for argument in node.args[1:])]
        if name not in REMEMBERED:
            raise DataError(f"{name} has no meaning in {self.expression.text}.")
        check_size(name, others, words)
        check_switches(name, others, words)
        return self.rows.transform(name, self.state_key(node), first, others, words)

    def state_key(self, node: ast.Call) -> str:
        """Return what the state of a remembered function goes by: the expression, and its place there."""
        return f"{self.expression.text} at {node.col_offset}"

    def user_function(self, name: str, node: ast.Call) -> Any:
        """Return the value of one of the user's functions."""
        arguments = [self.value(argument) for argument in node.args]
        words = {str(word.arg): self.value(word.value) for word in node.keywords}
        function = self.rows.functions[name]
        if getattr(function, "__is_stateful_transform__", False):
            words["_state"] = self.rows.state(self.state_key(node))
        result = function(*arguments, **words)
        if isinstance(result, pd.Series | pd.DataFrame):
            self.check_order(name, result.index)
        if isinstance(result, pd.Series) and not hasattr(result, "__formulaic_metadata__"):
            return as_category(result) if kind_of(result) == "category" else as_numbers(result)
        return result

    def check_order(self, name: str, index: pd.Index) -> None:
        """Refuse labels of a user function's result that are neither positions nor those of the rows, in order."""
        positions = pd.RangeIndex(len(self.rows.frame))
        differences = [index_difference(index, expected) for expected in (self.rows.frame.index, positions)]
        if len(index) == len(positions) and None not in differences:
            raise DataError(
                f"{self.expression.text}: the index of what {name} returns differs from the rows' {differences[1]}, so "
                "rows would be matched wrongly: return an array in the order of the arguments."
            )

    def categorical(self, node: ast.Call) -> Any:
        """Return the value of ``C(...)``: a category, or formulaic's factor where a coding is given."""
        words = {str(word.arg): self.coding_or_value(word.value) for word in node.keywords}
        if len(node.args) != 1 + ("contrasts" not in words and len(node.args) == 2):
            raise DataError(f"{self.expression.text}: C takes a column and a coding, as in C(x, Treatment('a')).")
        if unknown := set(words) - {"contrasts", "levels"}:
            raise DataError(f"{self.expression.text}: C has no argument {unknown.pop()!r}; use contrasts or levels.")
        contrasts = self.coding_or_value(node.args[1]) if len(node.args) == 2 else words.get("contrasts")
        if not (contrasts is None or hasattr(contrasts, "get_coding_column_names")):
            raise DataError(
                f"{self.expression.text}: the second argument of C is a coding, as in C(x, Treatment('a'))."
            )
        value = self.category(node.args[0])
        if words.get("levels") is not None:
            value = self.named_levels(value, list(words["levels"]))
        value = self.rows.fixed_levels(self.expression, value)
        if contrasts is None:
            return value
        levels = value.categories.tolist()
        try:
            contrasts.get_coding_column_names(levels)
        except ValueError:
            raise DataError(f"{self.expression.text}: {contrasts.base!r} is not among the levels {levels}.") from None
        return remembered("C")(pd.Series(value), contrasts, levels=levels)

    def category(self, node: ast.expr) -> pd.Categorical:
        """Return the value of a node as a category."""
        if isinstance(node, ast.Name):
            return as_category(self.rows.frame[self.named(node)])
        value = self.value(node)
        return value if isinstance(value, pd.Categorical) else pd.Categorical(np.asarray(value))

    def named_levels(self, value: pd.Categorical, levels: list[Any]) -> pd.Categorical:
        """Return a category with the levels the formula names."""
        named = value.set_categories(levels, ordered=False)
        if np.any(named.codes < 0):
            other = np.asarray(value, dtype=object)[first_true(named.codes < 0)]
            raise DataError(f"{self.expression.text}: the value {other!r} is not among the levels {levels}.")
        return named

    def coding_or_value(self, node: ast.expr) -> Any:
        """Return a contrast coding, or the value of a node that names none."""
        if not names_coding(node):
            return self.value(node)
        if not isinstance(node, ast.Call):
            return coding(ast.unparse(node))()
        words = {str(word.arg): self.value(word.value) for word in node.keywords}
        return coding(ast.unparse(node.func))(*(self.value(argument) for argument in node.args), **words)

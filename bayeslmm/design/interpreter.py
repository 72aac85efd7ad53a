"""Values of syntax trees whose every kind of node the formula room has let pass; no text is ever run."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayeslmm.design.alignment import index_difference
from bayeslmm.design.columns import Kind, as_category, as_numbers, first_true, kind_of
from bayeslmm.design.functions import ELEMENTWISE, check_size, check_switches, coding, remembered, split_columns
from bayeslmm.design.texts import conversion
from bayeslmm.errors import DataError
from bayeslmm.formula import Expression, quoted
from bayeslmm.formula.expression import names_coding
from bayeslmm.formula.vocabulary import REMEMBERED, SEVERAL

if TYPE_CHECKING:
    from bayeslmm.design.evaluate import Evaluator

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
LEVELS_SHOWN = 10


def _calls(node: ast.expr) -> str | None:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Computes one expression; every kind of node was allowed by the formula room."""

    rows: "Evaluator"
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
                sides = (self.value(left), self.value(comparators[0]))
                if isinstance(symbols[0], ast.Eq | ast.NotEq):
                    self.check_comparison(*sides)
                return self.compare(symbols[0], *sides)
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
        column = self.rows.column(self.named(node))
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

    def check_comparison(self, *sides: Any) -> None:
        """Refuse labels beside numbers or beside a label that does not occur: they are unequal in every row."""
        for side, other in (sides, sides[::-1]):
            if isinstance(side, np.ndarray) and isinstance(other, str):
                raise DataError(
                    f"{self.expression.text} compares numbers with the text {other!r}: leave out the quotes."
                )
            if not isinstance(side, pd.Categorical) or isinstance(other, pd.Categorical):
                continue
            if isinstance(other, np.ndarray):
                raise DataError(f"{self.expression.text} compares labels with numbers: make both of one kind.")
            if self.rows.fitting and other not in side.categories:
                levels = ", ".join(map(repr, side.categories[:LEVELS_SHOWN].tolist()))
                raise DataError(f"{self.expression.text}: {other!r} does not occur; the levels are {levels}.")

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
        if isinstance(result, list | tuple) or (isinstance(result, np.ndarray) and result.dtype.kind in "OSU"):
            result = pd.Series(result, index=self.rows.frame.index) if len(result) == len(self.rows.frame) else result
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

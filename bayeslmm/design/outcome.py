"""The left side of a formula as a family reads it: numbers, categories, or counts of trials."""

import ast
from typing import Any

import numpy as np

from bayeslmm.design.evaluate import Evaluator
from bayeslmm.errors import DataError
from bayeslmm.families import Family, Request, Response
from bayeslmm.formula import Expression
from bayeslmm.formula.vocabulary import RESPONSE_PAIRS
from bayeslmm.types import Array


def pair_of(expression: Expression) -> tuple[str, Expression, Expression] | None:
    """Return the function and the two parts of ``cbind(k, n - k)`` or ``p(k, n)``; None for anything else.

    Raises
    ------
    DataError
        If the function does not have two parts.
    """
    tree = expression.tree
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name) or tree.func.id not in RESPONSE_PAIRS:
        return None
    name = tree.func.id
    if len(tree.args) != 2 or tree.keywords:
        raise DataError(f"{expression.text}: {name} takes two columns, {RESPONSE_PAIRS[name]}.")
    first, second = (Expression(ast.unparse(part), part, expression.aliases, expression.columns) for part in tree.args)
    return name, first, second


def read_outcome(expression: Expression, evaluator: Evaluator, family: Family, weights: Array | None) -> Response:
    """Return the response of a family.

    Parameters
    ----------
    expression
        The formula's left side.
    evaluator
        Of the rows used.
    family
        Reads the values.
    weights
        Prior weights of the rows, (n,): trials where the values are proportions, multiplicities elsewhere.

    Raises
    ------
    DataError
        If a value lies outside the family's support.
    """
    pair = None if _is_own_function(expression, evaluator) else pair_of(expression)
    rows = evaluator.frame.index
    if pair is None:
        return family.read(_values(expression, evaluator), Request(expression.label, rows, weights=weights))
    name, first, second = pair
    successes, other = evaluator.numbers(first), evaluator.numbers(second)
    if name == "p":
        return family.read(successes, Request(expression.label, rows, trials=other, weights=weights))
    return family.read(np.column_stack([successes, other]), Request(expression.label, rows, weights=weights))


def _is_own_function(expression: Expression, evaluator: Evaluator) -> bool:
    """Whether the user has given a function of that name."""
    tree = expression.tree
    return isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in evaluator.functions


def _values(expression: Expression, evaluator: Evaluator) -> Any:
    """Return a column as it is, whatever it holds, or what an expression of columns gives."""
    if expression.is_column:
        column = evaluator.frame[expression.columns[0]]
        return column.array if hasattr(column.dtype, "categories") else column.to_numpy()
    return evaluator.evaluate(expression)

"""From a formula and a data frame to a :class:`Design`."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayeslmm.covariance import find_structure
from bayeslmm.design.centring import FEW_ROWS, Centring, centring_beside_level, find_centring, no_centring
from bayeslmm.design.coding import ColumnRecipe, build_columns, check_unique, few_rows_sentence
from bayeslmm.design.design import Array, Design, RandomTerm
from bayeslmm.design.evaluate import SMALLEST_NUMBER, Evaluator, Memory, check_magnitude
from bayeslmm.design.grouping import Grouping, group_rows
from bayeslmm.design.held_columns import HeldColumns, hold, is_lent
from bayeslmm.design.names import check_factor, check_response, check_terms
from bayeslmm.design.rank import dependence_on, independent_columns
from bayeslmm.design.rows import (
    Missing,
    argument_column,
    check_missing_option,
    check_weights,
    complete_rows,
    keep_rows,
    unique_names,
)
from bayeslmm.design.table import used_columns
from bayeslmm.errors import DataError, ModelError, OptionError
from bayeslmm.formula import Expression, Formula, check_expression, split_terms
from bayeslmm.formula.vocabulary import CODINGS, OUTERMOST, RESPONSE_PAIRS

if TYPE_CHECKING:
    from bayeslmm.families import Family, Response

REMEMBERED = 128  # formulas whose expressions need not be checked again
Terms = tuple[tuple[Expression, ...], ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """The checked expressions of a formula."""

    response: Expression
    fixed: Terms
    effects: tuple[Terms, ...]
    offsets: tuple[Expression, ...]

    def predictor_columns(self, formula: Formula, random: bool = True, groups: bool = True) -> list[str]:
        """Return the columns that prediction needs, those of the random terms and of their groups if wanted."""
        terms = [self.fixed, *(self.effects if random else ())]
        expressions = [factor for group in terms for term in group for factor in term] + list(self.offsets)
        factors = [bar.factors for bar in formula.bars] if random and groups else []
        return unique_names([*(expression.columns for expression in expressions), *factors])


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build the columns of a design from new data.

    Attributes
    ----------
    parts, memory
        The formula's expressions, and what their functions learned.
    fixed, effects, groupings
        How the fixed columns, those of the random terms, and the levels of these are built.
    kept, others
        Places, among all fixed columns, of the p that take part and of the q left out as combinations of them. Beside
        the thresholds of grades the intercept is in neither.
    dependence
        Of those left out on those kept, shape (p, q).
    constants
        Beside thresholds, what those left out exceed these combinations by, shape (q,); None elsewhere.
    """

    parts: Parts
    memory: Memory
    fixed: ColumnRecipe
    kept: np.ndarray
    others: np.ndarray
    dependence: Array
    effects: tuple[ColumnRecipe, ...]
    groupings: tuple[Grouping, ...]
    constants: Array | None = None

    def left_out(self, columns: Array) -> Array:
        """Return of all columns those left out, (m, q), less their constants: combinations of those kept in the fit."""
        found = columns[:, self.others]
        return found if self.constants is None else found - self.constants


@dataclass(frozen=True, slots=True)
class FixedColumns:
    """The fixed columns of a design.

    Attributes
    ----------
    X, names
        Independent columns, shape (n, p), and their names.
    dropped
        Names of the columns left out.
    recipe
        How all columns are built.
    kept, others
        Places of the independent columns and of those left out among all.
    dependence
        Of the columns left out on those kept, shape (p, left out).
    left_out
        The columns left out; None where there are none.
    centring
        The constant among the independent columns and their means.
    constants
        Beside thresholds, what the columns left out exceed combinations of those kept by; None elsewhere.
    """

    X: Array
    names: tuple[str, ...]
    dropped: tuple[str, ...]
    recipe: ColumnRecipe
    kept: np.ndarray
    others: np.ndarray
    dependence: Array
    left_out: Array | None
    centring: Centring
    constants: Array | None = None


def build_design(
    formula: Formula,
    data: Any,
    *,
    weights: Any = None,
    offset: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    missing: Missing = "drop",
    family: "Family | None" = None,
) -> Design:
    r"""Apply a formula to a data frame.

    Parameters
    ----------
    formula
        A parsed formula.
    data
        A pandas or polars DataFrame or a mapping of columns; never changed.
    weights
        Column name or n values w > 0: the residual variance of row i is :math:`\sigma^2 / w_i`. A row with
        weight zero is left out.
    offset
        Column name or n values added to the mean, besides the formula's ``offset(...)`` terms.
    functions
        The user's own functions in the formula, by name.
    missing
        ``"drop"`` leaves rows with a missing value in a used column out and counts them; ``"error"`` raises.
    family
        The response distribution of a generalized model, which reads the response; None for a normal one.

    Raises
    ------
    DataError
        If a column is absent, ambiguous, infinite or of an unusable type; names the column and the first row.
    ModelError
        If the response is constant, or there are not more rows than independent fixed columns.
    """
    check_missing_option(missing)
    functions = check_functions(functions)
    parts = check_parts(formula, functions)
    check_response(parts.response.label)
    for bar in formula.bars:
        check_factor(bar.factor)
    frame, weights_column, offset_column = _frame(formula, parts, data, weights, offset)
    keep, w, n_dropped = _select_rows(frame, weights_column, missing)
    places = None if keep.all() else np.flatnonzero(keep)
    positions = range(len(frame)) if places is None else places
    evaluator = Evaluator(keep_rows(frame, keep), functions, Memory(), True, frame.index, positions, frame)
    outcome = None if family is None else _outcome(parts.response, evaluator, family, w)
    y = _response(parts.response, evaluator) if outcome is None else outcome.y
    fixed = _fixed(parts.fixed, evaluator, w)
    level_beside = family is not None and not family.takes_constant
    if level_beside:
        fixed = _without_constant(fixed, formula, w)
    names = fixed.names
    X: Array | HeldColumns = fixed.X if family is not None else hold(fixed.X, evaluator.frame)
    fixed = replace(fixed, X=np.empty((0, len(names))))  # what is held need not be kept twice
    if X.shape[1] == 0 and not formula.bars and not formula.learner:
        raise ModelError(f"The formula {formula.text!r} has nothing to estimate besides sigma: add a term.")
    if outcome is None and _is_constant(y):
        raise ModelError(f"The response {parts.response.label} is constant ({y[0]:g}), so there is nothing to model.")
    terms, effect_recipes, groupings = _random(formula, parts, evaluator, w)
    check_terms(terms)
    if w is not None:
        _check_weighted(w, [(np.asarray(X), names), (y[:, None], [parts.response.label])], terms)
    total = total_offset(parts.offsets, offset_column, evaluator)
    if outcome is None:
        _check_net_response(y, total, parts.response.label)
    return Design(
        formula=formula,
        response=parts.response.label,
        y=y,
        fixed_columns=X,
        fixed_names=names,
        terms=terms,
        weights=w,
        offset=total,
        index=evaluator.frame.index,
        n_dropped=n_dropped,
        dropped_columns=fixed.dropped,
        centring=fixed.centring,
        data=frame,
        places=places,
        weights_column=weights_column,
        offset_column=offset_column,
        functions=functions,
        outcome=outcome,
        recipe=Recipe(
            parts,
            evaluator.memory,
            fixed.recipe,
            fixed.kept,
            fixed.others,
            fixed.dependence,
            effect_recipes,
            groupings,
            fixed.constants,
        ),
        left_out=fixed.left_out,
    )


def check_functions(functions: Mapping[str, Callable[..., Any]] | None) -> dict[str, Callable[..., Any]]:
    """Check that the user's functions are functions with names of their own."""
    if functions is not None and not isinstance(functions, Mapping):
        raise OptionError(f"functions={functions!r} is no dictionary of functions, such as {{'cube': lambda x: x**3}}.")
    for name, function in (functions or {}).items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_") or not callable(function):
            raise OptionError(f"functions={{{name!r}: ...}}: give a function under a plain name.")
        if name in OUTERMOST | CODINGS | {"I", "offset", "bart"}:
            raise OptionError(f"functions={{{name!r}: ...}}: {name} has a meaning of its own in formulas: rename it.")
    return dict(functions or {})


def check_parts(formula: Formula, functions: Mapping[str, Any]) -> Parts:
    """Check every expression of a formula again; a formula need not come from the parser."""
    return _checked_parts(formula, tuple(functions))


@lru_cache(maxsize=REMEMBERED)
def _checked_parts(formula: Formula, functions: tuple[str, ...]) -> Parts:
    def terms_of(effects: str) -> Terms:
        """Split a sum of effects into terms of checked expressions."""
        return tuple(
            tuple(check_expression(factor, functions) for factor in term) for term in split_terms(effects, functions)
        )

    return Parts(
        response=check_expression(formula.response, [*functions, *RESPONSE_PAIRS]),
        fixed=terms_of(formula.fixed),
        effects=tuple(terms_of(bar.effects) for bar in formula.bars),
        offsets=tuple(check_expression(offset, functions) for offset in formula.offsets),
    )


def total_offset(offsets: tuple[Expression, ...], column: str | None, evaluator: Evaluator) -> Array | None:
    """Return the sum of the offset argument and the formula's offsets, shape (n,), or None without any."""
    parts = [evaluator.numbers(expression) for expression in offsets]
    if column is not None:
        parts.append(evaluator.column_numbers(column))
    return np.sum(parts, axis=0) if parts else None


def _check_weighted(w: Array, parts: Sequence[tuple[Array, Sequence[str]]], terms: Sequence[RandomTerm]) -> None:
    largest = float(np.sqrt(w.max()))
    for columns, names in [*parts, *((term.columns, term.effects) for term in terms)]:
        check_magnitude(columns, names, factor=largest)


def _check_net_response(y: Array, offset: Array | None, name: str) -> None:
    if offset is None or not np.all(y - offset == y[0] - offset[0]):
        return
    if np.abs(offset).max() * np.finfo(float).eps > np.abs(y).max():
        reason = f"the offset reaches {np.abs(offset).max():g}, beside which {name} has no digits left: check its unit"
    else:
        reason = "there is nothing to model"
    raise ModelError(f"The response {name} minus the offset is constant: {reason}.")


def _frame(
    formula: Formula, parts: Parts, data: Any, weights: Any, offset: Any
) -> tuple[pd.DataFrame, str | None, str | None]:
    named = [name for name in (weights, offset) if isinstance(name, str)]
    predictors = parts.predictor_columns(formula)
    frame = used_columns(data, unique_names([parts.response.columns, predictors, formula.learner, named]))
    if len(frame) == 0:
        raise DataError("The data have no rows.")
    columns: dict[str, str | None] = {}
    for name, value in (("weights", weights), ("offset", offset)):
        columns[name] = value if isinstance(value, str) else None
        if value is not None and not isinstance(value, str):
            column = argument_column(name, value, frame)
            columns[name] = str(column.name)
            frame = frame.assign(**{str(column.name): column})
    return frame, columns["weights"], columns["offset"]


def _select_rows(
    frame: pd.DataFrame, weights_column: str | None, missing: Missing
) -> tuple[np.ndarray, Array | None, dict[str, int]]:
    w = None if weights_column is None else check_weights(weights_column, frame[weights_column])
    keep = complete_rows(frame, missing)
    n_dropped = {"missing": int((~keep).sum())}
    if w is not None:
        n_dropped["zero weight"] = int((keep & (w == 0)).sum())
        keep = keep & (w > 0)
        w = w[keep]
    if not keep.any():
        counts = ", ".join(f"{count} for {reason}" for reason, count in n_dropped.items())
        raise DataError(f"No rows are left of {len(frame)}: dropped {counts}{_missing_values(frame)}.")
    return keep, w, {reason: count for reason, count in n_dropped.items() if count}


def _missing_values(frame: pd.DataFrame) -> str:
    absent = frame.isna().sum()
    empty = [repr(name) for name in frame.columns[absent == len(frame)]]
    if empty:
        return f"; {', '.join(empty)} {'have' if len(empty) > 1 else 'has'} no value at all"
    counted = ", ".join(f"{name!r} in {count}" for name, count in absent[absent > 0].items())
    return f"; missing are {counted} rows" if counted else ""


def _is_constant(y: Array) -> bool:
    """Whether all numbers are one; most often the first few tell."""
    return bool(np.all(y[:FEW_ROWS] == y[0]) and np.all(y == y[0]))


def _outcome(expression: Expression, evaluator: Evaluator, family: "Family", w: Array | None) -> "Response":
    from bayeslmm.design.outcome import read_outcome

    return read_outcome(expression, evaluator, family, w)


def _without_constant(fixed: FixedColumns, formula: Formula, w: Array | None) -> FixedColumns:
    """Leave the intercept out, for which thresholds stand."""
    if "Intercept" in fixed.names:
        where = [j for j, name in enumerate(fixed.names) if name != "Intercept"]
        X = np.ascontiguousarray(fixed.X[:, where])
        fixed = replace(
            fixed,
            X=X,
            names=tuple(fixed.names[j] for j in where),
            kept=fixed.kept[where],
            dependence=fixed.dependence[where],
            constants=fixed.dependence[fixed.names.index("Intercept")],
        )
    elif np.any(find_centring(fixed.X, None).constant):
        raise ModelError(
            f"The fixed columns of {formula.text!r} add up to a constant, which cannot be distinguished from the "
            "thresholds of an ordinal response: leave out the 0 +, so that the first level is the base."
        )
    else:
        fixed = replace(fixed, constants=np.zeros(len(fixed.others)))
    return replace(fixed, centring=centring_beside_level(fixed.X, w))


def _response(expression: Expression, evaluator: Evaluator) -> Array:
    tree = expression.tree
    name = tree.func.id if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) else ""
    if name in RESPONSE_PAIRS and name not in evaluator.functions:
        raise ModelError(
            f"The response {expression.label} is a pair of columns; for counts of trials say family='binomial', for "
            "anything else the response is a single column."
        )
    y = evaluator.numbers(expression, SMALLEST_NUMBER)
    return y if is_lent(y) else np.array(y, dtype=np.float64)


def _fixed(terms: Terms, evaluator: Evaluator, w: Array | None) -> FixedColumns:
    columns, recipe = build_columns(terms, evaluator)
    X = np.ascontiguousarray(columns)
    check_unique(recipe.names)
    centring = find_centring(X, w)
    keep = independent_columns(X, centring)
    n, p = len(X), int(keep.sum())
    if n <= p:
        raise ModelError(few_rows_sentence(n, recipe, evaluator))
    names = tuple(name for name, kept in zip(recipe.names, keep, strict=True) if kept)
    dropped = tuple(name for name, kept in zip(recipe.names, keep, strict=True) if not kept)
    places, others_at = np.flatnonzero(keep), np.flatnonzero(~keep)
    if keep.all():
        return FixedColumns(X, names, dropped, recipe, places, others_at, np.zeros((p, 0)), None, centring)
    kept, others = np.ascontiguousarray(X[:, keep]), np.ascontiguousarray(X[:, ~keep])
    dependence = dependence_on(kept, others)
    return FixedColumns(kept, names, dropped, recipe, places, others_at, dependence, others, find_centring(kept, w))


def _random(
    formula: Formula, parts: Parts, evaluator: Evaluator, w: Array | None
) -> tuple[tuple[RandomTerm, ...], tuple[ColumnRecipe, ...], tuple[Grouping, ...]]:
    terms: list[RandomTerm] = []
    recipes: list[ColumnRecipe] = []
    groupings: list[Grouping] = []
    coded: dict[tuple[str, ...], tuple[Any, Grouping]] = {}
    names = {bar.factor for bar in formula.bars}
    for bar, effects in zip(formula.bars, parts.effects, strict=True):
        columns, recipe = build_columns(effects, evaluator)
        check_unique(recipe.names)
        if bar.factors not in coded:
            coded[bar.factors] = group_rows(evaluator.frame, bar.factors)
        codes, grouping = coded[bar.factors]
        covariance = find_structure(bar.covariance)
        terms.append(
            RandomTerm(
                name=term_name(bar.factor, names, [term.name for term in terms]),
                factor=bar.factor,
                effects=recipe.names,
                codes=codes,
                columns=columns,
                levels=grouping.levels,
                covariance=covariance,
                centring=find_centring(columns, w) if covariance.moves_with_origin else no_centring(columns.shape[1]),
            )
        )
        recipes.append(recipe)
        groupings.append(grouping)
    return tuple(terms), tuple(recipes), tuple(groupings)


def term_name(factor: str, factors: set[str], taken: list[str]) -> str:
    """Return the name of a term: its factor, numbered where an earlier term has the name."""
    if factor not in taken:
        return factor
    number = 1
    while f"{factor}.{number}" in taken or f"{factor}.{number}" in factors:
        number += 1
    return f"{factor}.{number}"

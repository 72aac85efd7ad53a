"""What the user hands to a forest, turned into a design of the groups and a table for the learner."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design import Design, NewRows, build_design, dotted_names, new_rows
from bayeslmm.design.alignment import index_difference
from bayeslmm.design.columns import holds_text, unmasked
from bayeslmm.design.names import RESERVED_RESPONSES
from bayeslmm.errors import BayeslmmError, DataError, FormulaError, OptionError, counted
from bayeslmm.formula import Formula, check_expression, parse, quoted
from bayeslmm.formula.formula import COVARIANCE_BARS
from bayeslmm.types import Array, Missing

Linear = str | Sequence[str]

FORMULAS_KEPT = 64  # a forest is fitted with one formula over and over, in cross-validation and searches


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns do what.

    Attributes
    ----------
    formula
        The linear and the random part, with the response's name on the left.
    features
        Columns the learner sees, in order; None where X has no column names and the learner sees all of it.
    """

    formula: Formula
    features: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Training:
    """The data of a fit.

    Attributes
    ----------
    roles
        Which columns do what.
    design
        Response, linear columns and random terms of the n rows with positive weight.
    features
        What the learner sees, n rows.
    """

    roles: Roles
    design: Design
    features: Any


def read_training(
    X: Any,
    y: Any,
    groups: Any,
    weights: Any,
    random: str,
    linear: Linear | None,
    features: Sequence[str] | None,
) -> Training:
    """Check and align the data of a fit.

    Raises
    ------
    DataError
        If X, y and groups do not belong together, a column is absent, or a value needed is missing.
    FormulaError
        If `random` or `linear` cannot be read.
    """
    _check_argument_order(y, groups, weights)
    table = as_table(X)
    response = read_response(y, table)
    if not isinstance(table, pd.DataFrame):
        _check_labels_of_both(y, groups)
    frame = grouping_frame(table, groups, random)
    name = _free_name(getattr(y, "name", None), frame)
    roles = assign_roles(table, random, linear, features, name, dotted_names(frame))
    data = frame.assign(**{name: response})
    try:
        design = build_design(roles.formula, data, weights=_weights(weights, frame), missing="error")
    except DataError as error:
        raise DataError(_explain(error, groups, frame)) from error
    return Training(roles, design, take_rows(learner_table(table, roles.features), design.rows))


def read_rows(roles: Roles, X: Any, y: Any, groups: Any, weights: Any) -> tuple[Any, pd.DataFrame, Array | None]:
    """Return further rows with a response: the table, the frame a design is built from, and the weights."""
    table = as_table(X)
    frame = grouping_frame(table, groups, random_text(roles.formula))
    response = check_expression(roles.formula.response).columns[0]
    return table, frame.assign(**{response: read_response(y, table)}), _weights(weights, frame)


def read_new(
    roles: Roles, design: Design, X: Any, groups: Any, *, random: bool = True, missing: Missing = "error"
) -> tuple[NewRows, Any]:
    """Return the design's columns and the learner's table at new rows, those with missing values left out or refused.

    Raises
    ------
    DataError
        If a column is absent, a value is missing, or groups have another index than X.
    """
    table = as_table(X)
    frame = grouping_frame(table, groups, random_text(roles.formula)) if random else _frame_of(table)
    try:
        rows = new_rows(design, frame, missing=missing, random=random)
    except DataError as error:
        raise DataError(_explain(error, groups, frame)) from error
    features = learner_table(table, roles.features)
    return rows, features if len(rows.places) == len(rows.labels) else take_rows(features, rows.places)


def assign_roles(
    table: Any,
    random: str,
    linear: Linear | None,
    features: Sequence[str] | None,
    response: str,
    dotted: tuple[str, ...] = (),
) -> Roles:
    """Return the formula behind `random` and `linear`, and the columns left for the learner.

    `dotted` are the columns with dots in their names; see :func:`bayeslmm.formula.parse`.
    """
    fixed = _linear_text(linear)
    formula = parse_parts(f"{quoted(response)} ~ {fixed} + {random}", random, dotted)
    if features is not None:
        names = tuple(features)
        _check_features(table, names)
        _check_apart(formula, names)
        return Roles(formula, names)
    if not isinstance(table, pd.DataFrame):
        return Roles(formula, None)
    taken = {name for bar in formula.bars for name in bar.factors} | linear_columns(formula)
    names = tuple(name for name in table.columns if name not in taken)
    if not names:
        raise DataError("No column of X is left for the learner besides the grouping and linear columns.")
    return Roles(formula, names)


@lru_cache(maxsize=FORMULAS_KEPT)
def linear_columns(formula: Formula) -> frozenset[str]:
    """Return the columns of the linear part."""
    from bayeslmm.design.build import check_parts

    parts = check_parts(formula, {})
    return frozenset(column for term in parts.fixed for factor in term for column in factor.columns)


def _check_apart(formula: Formula, features: Sequence[str]) -> None:
    linear = linear_columns(formula)
    both = [name for name in features if name in linear]
    if both:
        raise OptionError(
            f"{', '.join(map(repr, both))} would go to the learner and to the linear part, which could not be told "
            "apart: leave them out of one."
        )


def parse_parts(text: str, random: str, dotted: tuple[str, ...] = ()) -> Formula:
    """Parse the formula of a forest, which needs a random term."""
    if not isinstance(random, str):
        raise OptionError(f"random must be text such as '(1 | litter)' or None, not {type(random).__name__}.")
    return _parse_parts(text, random, dotted)


@lru_cache(maxsize=FORMULAS_KEPT)
def _parse_parts(text: str, random: str, dotted: tuple[str, ...]) -> Formula:
    if not random.strip():
        raise FormulaError("random='' holds no random term: write one, as in '(1 | g)', or None for the learner alone.")
    formula, alone = parse(text, columns=dotted), parse(f"y ~ 0 + {random}", columns=dotted)
    if not formula.bars or alone.fixed != "0" or formula.learner or formula.offsets:
        raise FormulaError(
            f"random={random!r} must hold random terms only, such as '(1 + x | g) + (1 | h)'; other columns "
            "of X go to the learner, or to linear=."
        )
    if not dotted:
        return formula
    # Stored as text, the formula is read again without the data's columns: names with dots need their backquotes.
    return replace(formula, text=f"{formula.response} ~ {formula.fixed} + {random_text(formula)}")


def as_table(X: Any) -> Any:
    """Return X as a pandas frame if it has named columns, else as an array of two dimensions."""
    if isinstance(X, pd.DataFrame):
        return X
    if type(X).__module__.split(".")[0] == "polars" or isinstance(X, dict):
        from bayeslmm.design.table import used_columns

        return used_columns(X, list(getattr(X, "columns", X)))
    if hasattr(X, "toarray"):
        raise DataError("X is a sparse matrix, which random effects do not take: pass X.toarray().")
    values = np.asarray(unmasked(X))
    if values.ndim != 2:
        raise DataError(f"X has {values.ndim} dimensions; it must be a frame or an array of rows and columns.")
    return values


def learner_table(table: Any, features: Sequence[str] | None) -> Any:
    """Return the columns the learner sees.

    Raises
    ------
    DataError
        If a column of the fit is absent.
    """
    if features is None:
        return table
    _check_features(table, features)
    places = {name: place for place, name in enumerate(table.columns)}
    return table.take([places[name] for name in features], axis=1)


def take_rows(table: Any, rows: NDArray[np.intp]) -> Any:
    """Return some rows of a frame or an array; the table itself where they are all of it, in order."""
    if len(rows) == len(table) and np.array_equal(rows, np.arange(len(table))):
        return table
    return table.iloc[rows] if isinstance(table, pd.DataFrame) else table[rows]


def grouping_frame(table: Any, groups: Any, random: str) -> pd.DataFrame:
    """Return the frame in which grouping, slope and linear columns are found: `groups` beside X.

    Raises
    ------
    DataError
        If `groups` has another length or index than X.
    """
    frame = _frame_of(table)
    if groups is None:
        return frame
    given = _groups_frame(groups, frame, isinstance(table, pd.DataFrame), random)
    return frame.drop(columns=[c for c in given.columns if c in frame.columns]).assign(**dict(given.items()))


def _frame_of(table: Any) -> pd.DataFrame:
    return table if isinstance(table, pd.DataFrame) else pd.DataFrame(index=pd.RangeIndex(len(table)))


def _groups_frame(groups: Any, frame: pd.DataFrame, labelled: bool, random: str) -> pd.DataFrame:
    if type(groups).__module__.split(".")[0] == "polars":
        groups = groups.to_frame() if not hasattr(groups, "columns") else groups
        return as_table(groups).set_axis(frame.index)
    if isinstance(groups, pd.Series):
        groups = groups.to_frame(groups.name if groups.name is not None else _only_factor(random))
    if isinstance(groups, dict):
        labelled = labelled and _holds_series(groups)
        groups = as_table(groups)
    if not isinstance(groups, pd.DataFrame):
        values = np.asarray(unmasked(groups))
        if values.ndim != 1:
            raise DataError("groups must be a frame with the grouping columns, a Series, or a one-dimensional array.")
        _check_length("groups", len(values), len(frame))
        return pd.DataFrame({_only_factor(random): values}, index=frame.index)
    _check_length("groups", len(groups), len(frame))
    if not labelled:
        return groups.set_axis(frame.index)
    _check_index("groups", groups.index, frame.index)
    return groups


def _holds_series(groups: Any) -> bool:
    return isinstance(groups, dict) and any(isinstance(values, pd.Series) for values in groups.values())


def _only_factor(random: str) -> str:
    factors = {name for bar in parse(f"y ~ 0 + {random}").bars for name in bar.factors}
    if len(factors) != 1:
        raise DataError(f"groups has no column names and the random terms have {len(factors)} factors; pass a frame.")
    return factors.pop()


def _check_length(name: str, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(f"{name} has {found} rows and X has {expected}.")


def _check_index(name: str, index: pd.Index, expected: pd.Index) -> None:
    if (difference := index_difference(index, expected)) is None:
        return
    raise DataError(
        f"{name} has another index than X {difference}, so "
        f"rows would be matched wrongly; use {name}.loc[X.index], or {name}.set_axis(X.index) if the rows "
        "are in order."
    )


def _check_labels_of_both(y: Any, groups: Any) -> None:
    """Refuse y and groups of different index beside an X that has none."""
    groups = as_table(groups) if _holds_series(groups) else groups
    labelled = isinstance(y, pd.Series | pd.DataFrame) and isinstance(groups, pd.Series | pd.DataFrame)
    if labelled and len(y) == len(groups) and not y.index.equals(groups.index):
        raise DataError(
            "y and groups have different indices, and X is an array that has none, so rows would be matched wrongly; "
            "use groups.loc[y.index], or groups.set_axis(y.index) if the rows are in order."
        )


def read_response(y: Any, table: Any) -> Array:
    """Return a response as numbers, one for each row of a table.

    Raises
    ------
    DataError
        If it is something else.
    """
    if isinstance(y, pd.DataFrame):
        if y.shape[1] != 1:
            raise DataError(f"y is a DataFrame with {y.shape[1]} columns; pass one column, as in y['weight'].")
        y = y.iloc[:, 0]
    if isinstance(y, pd.Series) and isinstance(table, pd.DataFrame) and len(y) == len(table):
        _check_index("y", y.index, table.index)
    if holds_text(y):
        raise DataError("y holds texts, and must hold numbers: convert it with pandas.to_numeric.")
    if np.iscomplexobj(y):
        raise DataError("y holds complex numbers: pass their real parts, their absolute values, or what you model.")
    try:
        values = np.asarray(unmasked(y), dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError("y must hold numbers, one for each row: convert it with pandas.to_numeric.") from error
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(f"y has shape {values.shape}; it must be one number per row.")
    _check_length("y", len(values), len(table))
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            f"y is missing or infinite in {counted(int(bad.sum()), 'row')}, first in row {int(np.argmax(bad))}."
        )
    return values


def _weights(weights: Any, frame: pd.DataFrame) -> Any:
    if weights is None:
        return None
    if isinstance(weights, pd.Series):
        _check_length("sample_weight", len(weights), len(frame))
        _check_index("sample_weight", weights.index, frame.index)
    if holds_text(weights):
        raise DataError("sample_weight holds texts, and must hold numbers: convert it with pandas.to_numeric.")
    try:
        values = np.asarray(unmasked(weights), dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"sample_weight={weights!r} must hold a number for each row.") from None
    if values.shape != (len(frame),):
        raise DataError(f"sample_weight has shape {values.shape}; it needs one value for each of {len(frame)} rows.")
    return values


def _check_argument_order(y: Any, groups: Any, weights: Any) -> None:
    """Refuse what merf's ``fit(X, Z, clusters, y)`` hands over: a matrix of effects in place of the response."""
    if groups is None or weights is None or np.ndim(y) != 2:
        return
    columns = np.asarray(y)
    if columns.shape[1] > 1 or len(np.unique(columns)) == 1:
        found = f"{columns.shape[1]} columns" if columns.shape[1] > 1 else "a single value"
        raise DataError(
            f"y has {found}, beside groups and sample_weight. merf's order is fit(X, Z, clusters, y); here it is "
            "fit(X, y, groups), and the columns of Z are named in random='(1 + x | g)'."
        )


def _linear_text(linear: Linear | None) -> str:
    if linear is None:
        return "0"
    if isinstance(linear, str):
        return linear
    return " + ".join(["1", *(quoted(name) for name in linear)]) if len(linear) else "0"


def random_text(formula: Formula) -> str:
    """Return the random terms of a formula as text."""
    bars = (f"({b.effects} {COVARIANCE_BARS[b.covariance]} {':'.join(map(quoted, b.factors))})" for b in formula.bars)
    return " + ".join(bars)


def _free_name(name: Any, frame: pd.DataFrame) -> str:
    name = name if isinstance(name, str) and name else "y"
    while name in frame.columns or name in RESERVED_RESPONSES:
        name += "_"
    return name


def _check_features(table: Any, features: Sequence[str]) -> None:
    if not isinstance(table, pd.DataFrame):
        raise DataError("X has no column names, but the learner's columns are given by name; pass a DataFrame.")
    absent = [name for name in features if name not in table.columns]
    if absent:
        raise DataError(f"X lacks the columns {', '.join(map(repr, absent))} that the learner needs.")
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()]
        named = [name for name in features if name in twice]
        if named:
            raise DataError(f"X has several columns called {named[0]!r}: rename or drop all but one.")


def _explain(error: BayeslmmError, groups: Any, frame: pd.DataFrame) -> str:
    text = str(error).replace("or use missing='drop'", "or leave these rows out of X, y and groups")
    if "no column" in text and groups is None and not len(frame.columns):
        return f"{text} X is an array without column names: pass groups= as a frame, or X as a DataFrame."
    if "no column" in text and groups is None:
        return f"{text} Grouping and slope columns are looked up in X, or in groups=."
    return text

"""The columns of a fitted design at new rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.build import Recipe, total_offset
from bayeslmm.design.coding import rebuild_columns
from bayeslmm.design.design import Design, NewRows
from bayeslmm.design.evaluate import Evaluator
from bayeslmm.design.grouping import MatchedColumn, match_rows
from bayeslmm.design.rank import estimable_rows
from bayeslmm.design.row_labels import RowLabels
from bayeslmm.design.rows import argument_column, check_missing_option, complete_rows, keep_rows
from bayeslmm.design.table import used_columns
from bayeslmm.errors import DataError
from bayeslmm.types import Array, Codes, Missing


def new_rows(
    design: Design,
    data: Any,
    *,
    missing: Missing = "error",
    random: bool = True,
    groups: bool = True,
    offset: Any = None,
) -> NewRows:
    """Evaluate the columns of a design at new data, with what transforms and codings learned from the fit.

    Parameters
    ----------
    design
        The design of the fit.
    data
        New data; the response is not needed.
    missing
        ``"error"`` raises at a missing value; ``"drop"`` leaves such rows out.
    random
        False leaves the random terms out; then their columns are not needed.
    groups
        False takes every row's groups as unknown; then the grouping columns are not needed.
    offset
        m values for the offset argument, where the fit had it as an array.

    Raises
    ------
    DataError
        If a column is absent or unusable, or a categorical column holds a value the fit did not see.
        Unknown grouping levels are no error: their codes are -1.
    """
    check_missing_option(missing)
    recipe: Recipe = design.recipe
    names = recipe.parts.predictor_columns(design.formula, random, groups)
    offset_column = design.offset_column
    from_data = offset_column is not None and offset is None
    if from_data and offset_column not in names:
        _check_offset(data, offset_column)
        names = [*names, str(offset_column)]
    frame = used_columns(data, names)
    if offset_column is not None and not from_data:
        frame = frame.assign(**{offset_column: argument_column("offset", offset, frame).to_numpy()})
    keep = complete_rows(frame, missing)
    whole, index, frame = frame, frame.index, keep_rows(frame, keep)
    evaluator = Evaluator(frame, design.functions, recipe.memory, False, index, np.flatnonzero(keep), whole)
    terms, labels = [], []
    matched: dict[str, MatchedColumn] = {}
    for term, effects, grouping in zip(design.terms, recipe.effects, recipe.groupings, strict=True):
        if not random:
            break
        codes, rows = match_rows(frame, grouping, matched) if groups else _unknown_groups(len(frame))
        terms.append(term.at_rows(codes, rebuild_columns(effects, evaluator)))
        labels.append(rows)
    columns = rebuild_columns(recipe.fixed, evaluator)
    X = _kept_columns(columns, recipe.kept)
    total = total_offset(recipe.parts.offsets, offset_column, evaluator)
    return NewRows(
        X=X,
        terms=tuple(terms),
        new_labels=tuple(labels),
        offset=np.zeros(len(frame)) if total is None else total,
        index=frame.index,
        places=np.flatnonzero(keep),
        labels=index,
        estimable=estimable_rows(X, recipe.left_out(columns), recipe.dependence),
    )


def new_response(design: Design, frame: pd.DataFrame) -> pd.Series:
    """Return the response of new rows, NaN where a column of it is missing."""
    recipe: Recipe = design.recipe
    keep = complete_rows(frame, "drop")
    rows = keep_rows(frame, keep)
    evaluator = Evaluator(rows, design.functions, recipe.memory, False, frame.index, np.flatnonzero(keep))
    values = np.full(len(frame), np.nan)
    if len(rows):
        values[keep] = evaluator.numbers(recipe.parts.response)
    return pd.Series(values, index=frame.index, name=design.response)


def _kept_columns(columns: Array, kept: NDArray[np.intp]) -> Array:
    """Return the columns that take part, without a copy where all do."""
    if np.array_equal(kept, np.arange(columns.shape[1])):
        return np.ascontiguousarray(columns)
    return np.ascontiguousarray(columns[:, kept])


def _unknown_groups(m: int) -> tuple[Codes, RowLabels]:
    return np.full(m, -1, dtype=np.int32), RowLabels.of_numbers(m)


def _check_offset(data: Any, column: str | None) -> None:
    present = data if isinstance(data, Mapping) else getattr(data, "columns", ())
    if column == "(offset)" and column not in list(present):
        raise DataError("The fit had an offset passed as an array: pass offset= with one value per new row.")

"""The way from a source of rows to a design: learn levels and constants, sum, decide."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from bayeslmm.design.batches import BatchReader, Recipes, make_recipes
from bayeslmm.design.build import check_functions, check_parts
from bayeslmm.design.learning import Counts, Learned, Plan, learn, read_batch
from bayeslmm.design.names import check_factor, check_response
from bayeslmm.design.rows import check_missing_option, unique_names
from bayeslmm.design.streamed import StreamedDesign
from bayeslmm.design.table import used_columns
from bayeslmm.design.texts import warn_of_levels
from bayeslmm.errors import DataError, OptionError
from bayeslmm.formula import Formula
from bayeslmm.rows import Rows, part_named
from bayeslmm.streams.deciding import Streamed, decide
from bayeslmm.streams.one_reading import sum_in_one_reading
from bayeslmm.streams.own_functions import check_own_functions
from bayeslmm.streams.summing import Start, Summing, Triangle, sums_shape
from bayeslmm.types import Array, Missing


def build_streamed_design(
    formula: Formula,
    rows: Rows,
    *,
    chunk_rows: int,
    weights: Any = None,
    offset: Any = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    missing: Missing = "drop",
) -> StreamedDesign:
    """Apply a formula to rows that are read in batches, once where nothing but levels is learned, else twice or more.

    Parameters
    ----------
    formula
        A parsed formula.
    rows
        The source.
    chunk_rows
        Rows of a batch, at most.
    weights, offset
        Names of columns, or None.
    functions, missing
        As for ``build_design``.

    Raises
    ------
    DataError
        If a column is absent or unusable, or the rows change between the passes; names the file and the column.
    ModelError
        If the response is constant, or there are not more rows than independent fixed columns.
    """
    plan = make_plan(formula, rows.columns, weights, offset, functions, missing)
    found = sum_in_one_reading(plan, rows, chunk_rows) or _sum_in_two_passes(plan, rows, chunk_rows)
    start = Start(Triangle, found.learned, found.recipes, found.sums.shape)
    return decide(found, partial(_triangle, rows, start, plan, chunk_rows))


def _sum_in_two_passes(plan: Plan, rows: Rows, chunk_rows: int) -> Streamed:
    learned = learn(plan, lambda start: rows.fold(start, plan.columns, chunk_rows))
    _warn_of_levels(learned)
    recipes, start = _first_batch(learned, rows, chunk_rows)
    total = rows.fold(start, plan.columns, chunk_rows)
    assert isinstance(total, Summing)
    _check_counts(learned.counts, total.counts)
    return Streamed(learned, recipes, total.sums)


def make_plan(
    formula: Formula,
    present: tuple[str, ...],
    weights: Any,
    offset: Any,
    functions: Mapping[str, Callable[..., Any]] | None,
    missing: Missing,
) -> Plan:
    """Return what is read of every batch, after a look at the names of the columns."""
    check_missing_option(missing)
    for name, value in (("weights", weights), ("offset", offset)):
        if value is not None and not isinstance(value, str):
            raise OptionError(f"{name}= of rows that stream is the name of a column: write the values into one.")
    checked = check_functions(functions)
    parts = check_parts(formula, checked)
    check_response(parts.response.label)
    for bar in formula.bars:
        check_factor(bar.factor)
    named = [name for name in (weights, offset) if name is not None]
    columns = unique_names([parts.response.columns, parts.predictor_columns(formula), named])
    used_columns(pd.DataFrame(columns=list(present)), columns)
    return Plan(formula, parts, tuple(columns), weights, offset, checked, missing)


def _first_batch(learned: Learned, rows: Rows, chunk_rows: int) -> tuple[Recipes, Start]:
    for part, frame in rows.batches(learned.plan.columns, chunk_rows):
        with part_named(part):
            if len(read_batch(learned.plan, frame, "", Counts())[0]) == 0:
                continue
            recipes = make_recipes(learned, frame)
            first = BatchReader(learned, recipes).read(frame, "", Counts())
            assert first is not None
            check_own_functions(BatchReader(learned, recipes), frame, first)
            return recipes, Start(Summing, learned, recipes, sums_shape(learned, recipes, first))
    raise DataError(
        "The source gave rows when it was read first and none the second time: it is read several times, and a "
        "function must start anew whenever it is called."
    )


def _check_counts(first: Counts, second: Counts) -> None:
    for part in (*first.parts, *second.parts):
        before, after = first.parts.get(part, 0), second.parts.get(part, 0)
        if before != after:
            raise DataError(
                f"{part or 'The source'} gave {before:,} rows in the first pass and {after:,} in the second: the rows "
                "changed while they were read, or the source can be read only once."
            )
    if first.kept != second.kept:
        raise DataError(f"{first.kept:,} rows were complete in the first pass and {second.kept:,} in the second.")


def _triangle(rows: Rows, start: Start, plan: Plan, chunk_rows: int) -> Array:
    found = rows.fold(start, plan.columns, chunk_rows)
    assert isinstance(found, Triangle)
    return found.R


def _warn_of_levels(learned: Learned) -> None:
    parts = learned.plan.parts
    effects = [parts.fixed, *parts.effects]
    columns = {f.text: f for terms in effects for term in terms for f in term if f.is_column}
    for text, expression in columns.items():
        if text in learned.memory.levels:
            warn_of_levels(expression.columns[0], learned.memory.levels[text], learned.counts.kept)

"""Predictions and residuals of rows that come in batches: one result per batch, none kept."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import pandas as pd

from bayeslmm.design.build import Recipe
from bayeslmm.design.design import Design
from bayeslmm.design.table import used_columns
from bayeslmm.rows import CHUNK_ROWS, is_stream, open_once, part_named

P = ParamSpec("P")
T = TypeVar("T")


def batch_by_batch(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method of a fit that takes rows first take a stream, too: then it yields what it returns for each batch."""

    @functools.wraps(method)
    def wrapped(*args: P.args, **options: P.kwargs) -> T:
        given = dict(options)
        fit: Any = args[0]
        data = given.pop("data") if "data" in given else args[1] if len(args) > 1 else None
        if data is None or not is_stream(data):
            return method(*args, **options)
        whole = cast(Callable[..., Any], method)
        return cast(T, _each(lambda frame: whole(fit, frame, *args[2:], **given), fit.design, data))

    return wrapped


def _each(function: Callable[[pd.DataFrame], Any], design: Design, data: Any) -> Iterator[Any]:
    rows = open_once(data)
    batches = rows.batches(_columns(design, rows.columns), CHUNK_ROWS)
    return _applied(function, batches)


def _applied(function: Callable[[pd.DataFrame], Any], batches: Iterator[tuple[str, pd.DataFrame]]) -> Iterator[Any]:
    for part, frame in batches:
        with part_named(part):
            found = function(frame)
        yield found


def _columns(design: Design, present: Sequence[str]) -> list[str]:
    """Return the columns of the formula that the rows have; what is absent and needed is said with the first batch."""
    recipe: Recipe = design.recipe
    wanted = [*recipe.parts.response.columns, *recipe.parts.predictor_columns(design.formula)]
    if design.offset_column is not None:
        wanted.append(design.offset_column)
    return [name for name in dict.fromkeys(wanted) if name in present]


def response_of(design: Design, data: Any) -> pd.Series:
    """Return the response of new rows by row label, NaN where it is missing."""
    from bayeslmm.design.new_data import new_response

    recipe: Recipe = design.recipe
    return new_response(design, used_columns(data, recipe.parts.response.columns))

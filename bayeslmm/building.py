"""From a formula and data to a design: in memory, in batches, with a formula for the share of zeros."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from bayeslmm.design import build_design, dotted_names
from bayeslmm.errors import ModelError, OptionError
from bayeslmm.formula import parse
from bayeslmm.rows import CHUNK_ROWS, check_chunk_rows, is_stream, open_rows
from bayeslmm.types import Missing

if TYPE_CHECKING:
    from bayeslmm.design.design import Design
    from bayeslmm.families import Family

Functions = Mapping[str, Callable[..., Any]]


def build(
    formula: str,
    data: Any,
    *,
    family: "Family | None",
    weights: Any,
    offset: Any,
    functions: Functions | None,
    missing: Missing,
    chunk_rows: int | None,
) -> "Design":
    """Return the design of a formula and data, both as given to `bayeslmm.Model`."""
    rows = open_rows(data) if chunk_rows is not None or is_stream(data) else None
    names = data if rows is None else dict.fromkeys(rows.columns)
    parsed = parse(formula, tuple(functions or ()), dotted_names(names))
    if parsed.learner:
        raise ModelError(
            f"bart({' + '.join(parsed.learner)}) is for the learner of a forest; a linear model has none: use "
            "mixed_forest, or write the columns without bart(...)."
        )
    if rows is None:
        from bayeslmm.likelihood.threads import blas_threads

        with blas_threads(0):
            return build_design(
                parsed, data, weights=weights, offset=offset, functions=functions, missing=missing, family=family
            )
    if family is not None:
        raise OptionError(
            f"The likelihood of the family {family.name!r} needs every row at every step, which a stream "
            "does not keep: pass a data frame."
        )
    from bayeslmm.streams import build_streamed_design

    count = CHUNK_ROWS if chunk_rows is None else check_chunk_rows(chunk_rows)
    return build_streamed_design(
        parsed, rows, chunk_rows=count, weights=weights, offset=offset, functions=functions, missing=missing
    )


def add_zero_part(
    design: "Design", zero: str, data: Any, family: "Family", functions: Functions | None
) -> "tuple[Design, Family]":
    """Return the design and the family with the columns of the share of zeros."""
    from bayeslmm.design.zero_part import with_zero_part, zero_names

    design = with_zero_part(design, zero, data, family, functions)
    return design, cast(Any, family).with_zero_columns(design.zero.X, zero_names(design))

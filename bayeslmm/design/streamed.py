"""A design whose rows were read in batches and are not kept."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

from bayeslmm.covariance import Structure
from bayeslmm.design.centring import Centring
from bayeslmm.design.design import Array, Codes, Design, RandomTerm
from bayeslmm.design.summaries import ColumnSummary, Summaries
from bayeslmm.errors import RowsError
from bayeslmm.formula.formula import Formula

if TYPE_CHECKING:
    from bayeslmm.design.collinearity import Collinearity

ROWS = ("y", "X", "fixed_columns", "weights", "offset", "index", "data", "rows", "places")
ROWS_OF_TERM = ("codes", "columns")


def refuse_rows(what: str) -> NoReturn:
    """Say that rows are needed and what to do."""
    raise RowsError(
        f"This needs the rows of the data ({what}), and the model was made from a stream or from sums, which keep "
        "none: for predictions and residuals pass rows, as in fit.predict(rows) and fit.residuals(rows); for all else "
        "build the model from a data frame, of a sample of the rows if need be."
    )


class StreamedTerm(RandomTerm):
    """A random term without codes and columns of rows."""

    __slots__ = ()

    def __init__(
        self,
        name: str,
        factor: str,
        effects: tuple[str, ...],
        levels: pd.Index,
        covariance: Structure,
        centring: Centring,
    ) -> None:
        for key, value in (
            ("name", name),
            ("factor", factor),
            ("effects", effects),
            ("levels", levels),
            ("covariance", covariance),
            ("centring", centring),
        ):
            object.__setattr__(self, key, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a copy is made: the slots of rows have nothing to copy."""
        values = (self.name, self.factor, self.effects, self.levels, self.covariance, self.centring)
        return StreamedTerm, values

    @property
    def codes(self) -> Codes:  # type: ignore[override]
        """Not there."""
        refuse_rows(f"the groups of {self.factor!r}")

    @property
    def columns(self) -> Array:  # type: ignore[override]
        """Not there."""
        refuse_rows(f"the columns of {self.name!r}")


class StreamedDesign(Design):
    """A formula applied to rows that were read in batches: everything but the rows.

    Attributes
    ----------
    n
        Number of rows used.
    summaries
        Moments and ranges of the response and of all columns.
    sums
        The cross-products of the rows, which the likelihood is made of.
    left_out
        Moments and ranges of the columns of `dropped_columns`.
    """

    __slots__ = ("_n", "summaries", "sums")
    _n: int
    sums: Any
    summaries: Summaries

    def __init__(
        self,
        *,
        formula: Formula,
        response: str,
        fixed_names: tuple[str, ...],
        terms: tuple[RandomTerm, ...],
        n: int,
        n_dropped: Mapping[str, int],
        dropped_columns: tuple[str, ...],
        centring: Centring,
        weights_column: str | None,
        offset_column: str | None,
        functions: Mapping[str, Callable[..., Any]],
        recipe: Any,
        summaries: Summaries,
        sums: Any,
        left_out: ColumnSummary,
        collinearity: "Collinearity | None" = None,
        independent: Design | None = None,
    ) -> None:
        for key, value in (
            ("formula", formula),
            ("response", response),
            ("fixed_names", fixed_names),
            ("terms", terms),
            ("n_dropped", n_dropped),
            ("dropped_columns", dropped_columns),
            ("centring", centring),
            ("weights_column", weights_column),
            ("offset_column", offset_column),
            ("functions", functions),
            ("outcome", None),
            ("recipe", recipe),
            ("_n", n),
            ("summaries", summaries),
            ("sums", sums),
            ("left_out", left_out),
            ("collinearity", collinearity),
            ("independent", independent),
        ):
            object.__setattr__(self, key, value)

    def changed(self, **changes: Any) -> "StreamedDesign":
        """Return the design with other attributes."""
        return StreamedDesign(**self._attributes() | changes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a copy is made: the slots of rows have nothing to copy."""
        return _made, (self._attributes(),)

    def _attributes(self) -> dict[str, Any]:
        names = inspect.signature(StreamedDesign.__init__).parameters
        return {name: getattr(self, name) for name in names if name != "self"}

    @property
    def n(self) -> int:
        """Number of rows used."""
        return self._n

    @property
    def has_offset(self) -> bool:
        """Whether an offset was taken off the response."""
        return self.offset_column is not None or bool(self.recipe.parts.offsets)

    @property
    def p(self) -> int:
        """Number of fixed columns."""
        return len(self.fixed_names)


def _made(attributes: dict[str, Any]) -> StreamedDesign:
    return StreamedDesign(**attributes)


def _refused(name: str, what: str) -> property:
    def fetch(self: StreamedDesign) -> NoReturn:
        refuse_rows(what)

    fetch.__doc__ = f"Not there: {what}."
    return property(fetch)


_WHAT = {
    "y": "the response",
    "X": "the fixed columns",
    "fixed_columns": "the fixed columns",
    "weights": "the weights",
    "offset": "the offset",
    "index": "the row labels",
    "data": "the data",
    "rows": "the rows used",
    "places": "the rows used",
}
for _name in ROWS:
    setattr(StreamedDesign, _name, _refused(_name, _WHAT[_name]))


def is_streamed(design: Design) -> bool:
    """Whether a design has no rows."""
    return isinstance(design, StreamedDesign)

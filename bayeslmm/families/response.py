"""The response as the families hold it, and how the values of a column become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import DataError, counted
from bayeslmm.types import Array

SHOWN_ROWS = 5
WHOLE = 1e-6  # how far a proportion times its trials may be from a whole number


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of the response beside its values.

    Attributes
    ----------
    name
        How messages call it.
    rows
        Labels of the rows for messages, (n,); None counts from zero.
    trials
        Number of trials of each row, (n,).
    weights
        Prior weights, (n,): trials where the values are proportions, multiplicities of a row elsewhere.
    categories
        The categories in order, where the values are some.
    """

    name: str = "the response"
    rows: Sequence[Any] | None = None
    trials: Array | None = None
    weights: Array | None = None
    categories: Sequence[Any] | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response on plain arrays.

    Attributes
    ----------
    y
        Values, counts, successes, or the place of the category counted from zero, (n,).
    size
        Trials, (n,); ones where there are none.
    base
        The part of the log density that depends on y alone, (n,).
    weights
        What each row's log density is multiplied by, (n,), or None.
    categories
        The categories in order; empty where the values are numbers.
    """

    y: Array
    size: Array
    base: Array
    weights: Array | None = None
    categories: tuple[Any, ...] = ()

    @property
    def modelled(self) -> Any:
        """The category whose probability is modelled, of two; None elsewhere."""
        return self.categories[1] if len(self.categories) == 2 else None

    def with_y(self, y: Array, base: Array) -> "Response":
        """Return the response with other values, as simulation gives them."""
        return Response(np.asarray(y, dtype=float), self.size, base, self.weights, self.categories)

    def at_rows(self, rows: Any) -> "Response":
        """Return the response of some rows, any of them more than once."""
        weights = None if self.weights is None else self.weights[rows]
        return Response(self.y[rows], self.size[rows], self.base[rows], weights, self.categories)


def numbers(values: Any, request: Request) -> Array:
    """Return the values as finite numbers, (n,).

    Raises
    ------
    DataError
        If they are not numbers, or some are missing or infinite.
    """
    raw = np.asarray(values)
    if raw.dtype.kind in "mM":
        raise DataError(f"{request.name} holds dates or times; this family needs numbers: convert them to some unit.")
    text = None if raw.dtype.kind in "biuf" else next((value for value in raw.flat if isinstance(value, str)), None)
    if text is not None:  # numpy would read the digits of texts without a word
        raise DataError(
            f"{request.name} holds texts such as {str(text)!r}; this family needs numbers: convert them with "
            "pandas.to_numeric."
        )
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        kind = type(raw.ravel()[0]).__name__
        raise DataError(f"{request.name} holds values of type {kind}; this family needs numbers.") from None
    refuse(~np.isfinite(found), found, request, "is not a finite number", "Drop these rows or fill them in.")
    return found


def refuse(wrong: NDArray[np.bool_], values: Array, request: Request, what: str, remedy: str) -> None:
    """Raise an error that names the rows where `wrong` is true.

    Raises
    ------
    DataError
        If there is any.
    """
    places = np.flatnonzero(wrong if wrong.ndim == 1 else wrong.any(axis=1))
    if not len(places):
        return
    labels = places if request.rows is None else [request.rows[i] for i in places[:SHOWN_ROWS]]
    shown = ", ".join(f"{label!s} ({_short(values[i])})" for label, i in zip(labels, places[:SHOWN_ROWS], strict=False))
    more = f" and {len(places) - SHOWN_ROWS} more" if len(places) > SHOWN_ROWS else ""
    raise DataError(f"{request.name} {what} in {counted(len(places), 'row')}: {shown}{more}. {remedy}")


def _short(value: Any) -> str:
    """Return a value as text, a number with six digits."""
    return str(float(f"{value:.6g}")) if isinstance(value, float) else str(value)


def single_column(values: Any, request: Request) -> Array:
    """Return numbers in one column.

    Raises
    ------
    DataError
        If there are two columns.
    """
    found = numbers(values, request)
    if found.ndim != 1:
        raise DataError(f"{request.name} has {found.shape[-1]} columns; this family needs one.")
    return found


def multiplicities(request: Request, n: int) -> Array | None:
    """Return the prior weights that multiply each row's log density, positive, or None.

    Raises
    ------
    DataError
        If some are not positive.
    """
    if request.weights is None:
        return None
    weights = np.asarray(request.weights, dtype=float)
    named = Request(f"A weight of {request.name}", request.rows)
    refuse(~(weights > 0), weights, named, "is not positive", "Drop rows of weight zero.")
    if len(weights) != n:
        raise DataError(f"{request.name} has {n} rows and {len(weights)} weights.")
    return None if np.all(weights == 1) else weights


def plain(y: Array, base: Array, request: Request) -> Response:
    """Return a response without trials or categories."""
    return Response(y, np.ones(len(y)), base, multiplicities(request, len(y)))


def counts(values: Any, request: Request, remedy: str) -> Array:
    """Return whole numbers of at least zero.

    Raises
    ------
    DataError
        If there are others.
    """
    found = single_column(values, request)
    refuse(found < 0, found, request, "is negative", remedy)
    refuse(found != np.round(found), found, request, "is not a whole number", remedy)
    return found


def positive(values: Any, request: Request, remedy: str) -> Array:
    """Return numbers above zero.

    Raises
    ------
    DataError
        If there are others.
    """
    found = single_column(values, request)
    refuse(found <= 0, found, request, "is not positive", remedy)
    return found


def ordered_codes(values: Any, request: Request) -> tuple[Array, tuple[Any, ...]]:
    """Return the place of each value among the categories, (n,), and the categories.

    The categories are those given, or those of a categorical column, or the values found in ascending order.

    Raises
    ------
    DataError
        If a value is missing or is none of the categories given.
    """
    known = request.categories
    if known is None:
        known = getattr(getattr(values, "dtype", None), "categories", None)
    found = np.asarray(values, dtype=object)
    missing = np.array([value is None or value != value for value in found])
    refuse(missing, found, request, "is missing", "Drop these rows.")
    known = _in_order(found, request) if known is None else list(known)
    place = {category: k for k, category in enumerate(known)}
    strange = np.array([value not in place for value in found])
    listed = ", ".join(map(repr, known))
    refuse(strange, found, request, "is none of the categories", f"The categories are {listed}.")
    return np.array([place[value] for value in found], dtype=float), tuple(known)


def _in_order(found: Any, request: Request) -> list[Any]:
    """Return the distinct values in ascending order.

    Raises
    ------
    DataError
        If they have none: texts among numbers, complex numbers.
    """
    try:
        return sorted(set(found.tolist()))
    except TypeError:
        kinds = ", ".join(sorted({type(value).__name__ for value in found.tolist()}))
        raise DataError(
            f"The values of {request.name} ({kinds}) have no order: make them texts, or a pandas.Categorical that "
            "states the order."
        ) from None


def below_zero(y: Array, probabilities: Array) -> Array:
    """Return P(Y < y) of counts from values of P(Y <= y - 1), which do not exist at y = 0."""
    return np.where(y > 0, probabilities, 0.0)

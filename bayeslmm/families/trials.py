"""How yes/no responses and proportions are read: successes among trials."""

from typing import Any

import numpy as np
from scipy.special import gammaln

from bayeslmm.errors import DataError
from bayeslmm.families.response import (
    WHOLE,
    Request,
    Response,
    multiplicities,
    numbers,
    ordered_codes,
    refuse,
    single_column,
)
from bayeslmm.types import Array


def read_binary(values: Any, request: Request) -> Response:
    """Return a response of zeros and ones from true/false, 0/1, or two categories.

    Raises
    ------
    DataError
        If there are other values, or more than two categories.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(
            f"{request.name} has two columns, successes and failures: that is a binomial response; use the family "
            "'binomial'."
        )
    if request.categories is None and array.dtype.kind in "biuf":
        y = single_column(values, request)
        refuse((y != 0) & (y != 1), y, request, "is neither 0 nor 1", "For successes among trials use 'binomial'.")
        categories: tuple[Any, ...] = (False, True) if array.dtype.kind == "b" else ()
    else:
        y, categories = ordered_codes(values, request)
        if len(categories) != 2:
            listed = ", ".join(map(repr, categories))
            if len(categories) == 1:
                raise DataError(f"{request.name} is {listed} in all rows; this family needs two categories.")
            raise DataError(
                f"{request.name} has {len(categories)} categories, {listed}; this family needs two. For more, in an "
                "order, use the family 'cumulative'."
            )
    return Response(y, np.ones(len(y)), np.zeros(len(y)), multiplicities(request, len(y)), categories)


def read_trials(values: Any, request: Request) -> Response:
    """Return successes among trials.

    From two columns (successes, failures), successes with ``trials``, proportions with trials as ``weights``, or
    anything `read_binary` knows.

    Raises
    ------
    DataError
        If successes are negative, more than the trials or not whole, or proportions have no trials.
    """
    array = np.asarray(values)
    if array.ndim == 2:
        both = numbers(values, request)
        if both.shape[1] != 2:
            raise DataError(f"{request.name} has {both.shape[1]} columns; give successes and failures.")
        refuse(both < 0, both, request, "is negative", "Successes and failures are counts.")
        return _binomial(both[:, 0], both.sum(axis=1), request, multiplicities(request, len(both)))
    if request.trials is not None:
        size = numbers(request.trials, Request(f"The number of trials of {request.name}", request.rows))
        y = single_column(values, request)
        return _binomial(y, size, request, multiplicities(request, len(y)))
    if array.dtype.kind in "OUSb" or request.categories is not None or not _has_fractions(array, request):
        return read_binary(values, request)
    y = single_column(values, request)
    refuse((y < 0) | (y > 1), y, request, "is no proportion", "Give successes and trials: p(k, n) or cbind(k, n - k).")
    if request.weights is None:
        raise DataError(
            f"{request.name} holds proportions and nothing says of how many trials. Give the trials as weights, or "
            "write successes and failures: cbind(k, n - k). Proportions without trials are for the family 'beta'."
        )
    size = np.asarray(request.weights, dtype=float)
    successes = y * size
    off = np.abs(successes - np.round(successes)) > WHOLE * np.maximum(size, 1.0)
    refuse(off, successes, request, "is not a whole number of successes", "Check that the weights are the trials.")
    return _binomial(np.round(successes), size, request, None)


def _has_fractions(array: Any, request: Request) -> bool:
    """Whether values are proportions: not all 0 or 1, or with weights that count trials."""
    values = np.asarray(array, dtype=float)
    whole = np.all((values == 0) | (values == 1))
    return not whole or (request.weights is not None and bool(np.any(np.asarray(request.weights) > 1)))


def _binomial(y: Array, size: Array, request: Request, weights: Array | None) -> Response:
    refuse(y < 0, y, request, "is negative", "Successes are counts.")
    refuse(y > size, y, request, "is more than the number of trials", "Check the number of trials.")
    refuse(y != np.round(y), y, request, "is not a whole number", "Successes are counts.")
    refuse(size != np.round(size), size, request, "has a number of trials that is not whole", "Trials are counts.")
    refuse(size == 0, size, request, "has no trial", "Drop these rows: they say nothing.")
    base = gammaln(size + 1) - gammaln(y + 1) - gammaln(size - y + 1)
    return Response(y, size, base, weights)

"""One generalized model fitted to many responses."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.errors import DataError, FittingError
from bayeslmm.families import Family, Response
from bayeslmm.inference.workers import in_workers
from bayeslmm.results.family_response import at_rows_of, read_family_response
from bayeslmm.results.generalized import coefficient_covariance
from bayeslmm.results.generalized_refits import maximum_for, parameters
from bayeslmm.results.profiles import parameter_names
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit

PIECE = 10  # responses that a worker takes at once


def fit_many_generalized(fit: "GeneralizedPointFit", Y: Any, cores: int) -> pd.DataFrame:
    """Fit the model of a generalized fit to the columns of Y; see :meth:`Model.fit_many`."""
    responses, names = read_family_responses(fit.design, fit.family, Y)
    pieces = [responses[start : start + PIECE] for start in range(0, len(responses), PIECE)]
    rows = [row for piece in in_workers(partial(_fit_piece, fit), pieces, cores) for row in piece]
    errors = [f"std_error[{name}]" for name in fit.design.fixed_names]
    columns = [*parameter_names(fit), *errors, "objective"]
    frame = pd.DataFrame(np.array([numbers for numbers, _ in rows]), index=names, columns=columns)
    return frame.assign(status=[code for _, code in rows])


def _fit_piece(fit: "GeneralizedPointFit", responses: Sequence[Response]) -> list[tuple[Array, str]]:
    return [_fit_one(fit, response) for response in responses]


def _fit_one(fit: "GeneralizedPointFit", response: Response) -> tuple[Array, str]:
    """Return the numbers of a response's row, and how its fit ended."""
    try:
        found = maximum_for(fit.maximum, fit.design, response)
    except FittingError:
        found = None
    if found is None or found.status == "failed":
        return np.full(len(parameter_names(fit)) + fit.design.p + 1, np.nan), "failed"
    estimates, errors = parameters(fit, found), np.sqrt(np.diag(coefficient_covariance(found)))
    for place in found.diverging:
        estimates[place], errors[place] = np.copysign(np.inf, found.beta[place]), np.nan
    return np.concatenate([estimates, errors, [-2.0 * found.loglik]]), found.status


def read_family_responses(design: Design, family: Family, Y: Any) -> tuple[list[Response], pd.Index]:
    """Return other responses of the rows used, as the family reads them, and their names.

    Raises
    ------
    DataError
        If Y has another shape, other labels, or values outside the family's support.
    """
    Y = at_rows_of(Y, design, "Y")
    if np.ndim(Y) != 2:
        raise DataError("Y needs a column for each response: a DataFrame, or an array of two dimensions.")
    frame = Y if isinstance(Y, pd.DataFrame) else pd.DataFrame(np.asarray(Y))
    read = [
        read_family_response(frame.iloc[:, k], design, family, f"Column {name!r} of Y")
        for k, name in enumerate(frame.columns)
    ]
    return read, pd.Index(frame.columns, name="response")

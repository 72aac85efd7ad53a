"""One model fitted to many responses: voxels, genes, simulated data."""

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.errors import DataError, OptionError
from bayeslmm.inference.options import MOST_CORES, check_count
from bayeslmm.inference.workers import in_workers
from bayeslmm.results.family_response import in_order_of_rows
from bayeslmm.results.profiles import parameter_names
from bayeslmm.results.refits import fit_columns, fitted_model
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit
    from bayeslmm.results.point import PointFit

PIECE = 250  # responses that a worker takes at once


def fit_many(fit: "PointFit", Y: Any, cores: int | None) -> pd.DataFrame:
    """Fit the model of a fit to the columns of Y; see :meth:`Model.fit_many`."""
    if fit.method == "map":
        raise OptionError("The priors of a posterior mode follow the scale of the response: use method='reml' or 'ml'.")
    cores = 1 if cores is None else check_count("cores", cores, 1, MOST_CORES)
    if fit.design.outcome is not None:
        from bayeslmm.results.many_family_responses import fit_many_generalized

        return fit_many_generalized(cast("GeneralizedPointFit", fit), Y, cores)
    values, names = read_responses(fit.design, Y)
    pieces = [values[:, start : start + PIECE] for start in range(0, values.shape[1], PIECE)]
    model, offset = fitted_model(fit), fit.design.offset
    if offset is not None:
        pieces = [piece - offset[:, None] for piece in pieces]
    found = list(in_workers(partial(fit_columns, fit, model), pieces, cores))
    numbers = np.concatenate([block for block, _ in found])
    errors = [f"std_error[{name}]" for name in fit.design.fixed_names]
    frame = pd.DataFrame(numbers, index=names, columns=[*parameter_names(fit), *errors, "objective"])
    return frame.assign(status=[code for _, codes in found for code in codes])


def read_responses(design: Design, Y: Any) -> tuple[Array, pd.Index]:
    """Return responses of the rows used, shape (n, m), and their names.

    Raises
    ------
    DataError
        If Y has another shape, other labels, or values that are not finite.
    """
    n, names = design.n, pd.Index(Y.columns) if isinstance(Y, pd.DataFrame) else None
    Y = in_order_of_rows(Y, design, "Y")
    values = _numbers(Y)
    if values.ndim != 2 or values.shape[0] != n:
        raise DataError(
            f"Y has shape {values.shape}; it needs a row for each of the {n} rows used, a column a response."
        )
    if values.shape[1] == 0:
        raise DataError("Y has no columns: give it a column for each response.")
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        place = int(np.argmax(bad))
        raise DataError(
            f"Column {place if names is None else names[place]!r} of Y has missing or infinite values: leave it out, "
            "or fit it with a Model of its own."
        )
    return values, pd.RangeIndex(values.shape[1], name="response") if names is None else names.rename("response")


def _numbers(Y: Any) -> Array:
    """Return Y as numbers, missing ones NaN.

    Raises
    ------
    DataError
        If it holds something else; the message names the first such column of a frame.
    """
    plain = isinstance(Y, pd.DataFrame) and all(isinstance(t, np.dtype) and t.kind in "biuf" for t in set(Y.dtypes))
    if isinstance(Y, pd.DataFrame) and not plain and Y.shape[1]:
        columns = [_column(Y.iloc[:, k], name) for k, name in enumerate(Y.columns)]
        return np.column_stack(columns)
    array = np.asarray(Y)
    if array.dtype.kind not in "biufO":
        raise DataError(f"Y must hold numbers, not {array.dtype}.")
    try:
        return np.asarray(array, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError("Y must hold numbers: convert its columns with pandas.to_numeric.") from error


def _column(column: pd.Series, name: Any) -> Array:
    message = (
        f"Column {name!r} of Y holds {column.dtype} values, not numbers: convert it with pandas.to_numeric, "
        "or leave it out."
    )
    if column.dtype.kind not in "biufO" or isinstance(column.dtype, pd.CategoricalDtype):
        raise DataError(message)
    try:
        return column.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(message) from error

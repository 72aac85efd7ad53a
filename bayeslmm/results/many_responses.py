"""One model fitted to many responses: voxels, genes, simulated data."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.covariance.pairs import lower_triangle
from bayeslmm.errors import DataError, FittingError, OptionError
from bayeslmm.inference.options import MOST_CORES, check_count
from bayeslmm.intervals.refits import Estimate
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.results.bootstrap import fitted_model, parameters
from bayeslmm.results.profiles import parameter_names
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.intervals.bootstrap import FittedModel
    from bayeslmm.intervals.compiled_refits import Estimates
    from bayeslmm.results.point import PointFit

PIECE = 250  # responses that a worker takes at once


def fit_many(fit: "PointFit", Y: Any, cores: int | None) -> pd.DataFrame:
    """Fit the model of a fit to the columns of Y; see :meth:`Model.fit_many`."""
    if fit.method == "map":
        raise OptionError("The priors of a posterior mode follow the scale of the response: use method='reml' or 'ml'.")
    cores = 1 if cores is None else check_count("cores", cores, 1, MOST_CORES)
    values, names = _read(fit, Y)
    pieces = [values[:, start : start + PIECE] for start in range(0, values.shape[1], PIECE)]
    model = fitted_model(fit)
    if cores == 1:
        found = [_piece(fit, model, piece) for piece in pieces]
    else:
        from joblib import Parallel, delayed

        found = Parallel(n_jobs=cores)(delayed(_piece)(fit, model, piece) for piece in pieces)
    numbers = np.concatenate([block for block, _ in found])
    errors = [f"std_error[{name}]" for name in fit.design.fixed_names]
    frame = pd.DataFrame(numbers, index=names, columns=[*parameter_names(fit), *errors, "objective"])
    return frame.assign(status=[code for _, codes in found for code in codes])


def _read(fit: "PointFit", Y: Any) -> tuple[Array, pd.Index]:
    n, index = fit.design.n, fit.design.index
    names = pd.Index(Y.columns) if isinstance(Y, pd.DataFrame) else None
    if isinstance(Y, pd.DataFrame) and not Y.index.equals(index):
        if not Y.index.is_unique or len(index.difference(Y.index)):
            raise DataError(
                "The row labels of Y are not those of the rows used: give it model.design.index as its index, or pass "
                "an array in the order of those rows."
            )
        Y = Y.loc[index]
    try:
        values = np.asarray(Y, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError("Y must hold numbers: convert its columns with pandas.to_numeric.") from error
    if values.ndim != 2 or values.shape[0] != n:
        raise DataError(
            f"Y has shape {values.shape}; it needs a row for each of the {n} rows used, a column a response."
        )
    bad = ~np.isfinite(values).all(axis=0)
    if bad.any():
        raise DataError(
            f"Response {int(np.argmax(bad))} of Y, counted from zero, has missing or infinite values: leave it out, or "
            "fit it with a Model of its own."
        )
    return values, pd.RangeIndex(values.shape[1], name="response") if names is None else names.rename("response")


def _piece(fit: "PointFit", model: "FittedModel", Y: Array) -> tuple[Array, list[str]]:
    """Return a row of numbers and a code for each response: compiled searches, and the full one where these end."""
    width = len(parameter_names(fit)) + fit.design.p + 1
    values = Y if fit.design.offset is None else Y - fit.design.offset[:, None]
    rows, codes = np.full((Y.shape[1], width), np.nan), ["failed"] * Y.shape[1]
    varying = np.ptp(Y, axis=0) > 0
    settled = np.zeros(Y.shape[1], dtype=bool)
    block = model.refitter.fit_block(model.structure, values)
    if block is not None:
        settled = block.settled & varying
        rows[settled] = _block_rows(fit, model, block, values)[settled]
    for place in range(Y.shape[1]):
        if settled[place]:
            codes[place] = "converged"
            continue
        try:
            if not varying[place]:
                raise FittingError("The response is constant.")
            kernel = model.structure.at(values[:, place])
            found = model.refitter.fit(kernel)
        except FittingError:
            continue
        rows[place] = np.concatenate([parameters(fit, found), _std_errors(kernel, found), [found.objective]])
        codes[place] = found.code
    return rows, codes


def _block_rows(fit: "PointFit", model: "FittedModel", block: "Estimates", Y: Array) -> Array:
    """Return the numbers of responses whose searches were compiled, (m, width); of others they mean nothing."""
    kernel, term = model.structure.kernel, fit.design.terms[0]
    means = model.structure.means(Y)
    beta = block.beta @ kernel.fixed.matrix.T + np.outer(means, kernel.fixed.centring.constant)
    factors = kernel.maps[0].matrix @ block.lambdas
    with np.errstate(divide="ignore", invalid="ignore"):
        sds, correlations = sds_and_correlations(factors)
    parts = [beta, sds * block.sigma[:, None]]
    if term.has_correlations:
        parts.append(np.column_stack([correlations[:, i, j] for i, j in lower_triangle(term.n_columns)]))
    if fit.spec.sigma is None:
        parts.append(block.sigma[:, None])
    roots = block.R_X.copy()
    roots[~block.settled] = np.eye(kernel.p)
    spread = kernel.fixed.matrix @ np.linalg.inv(roots).transpose(0, 2, 1) if kernel.p else np.zeros((len(beta), 0, 0))
    parts.append(block.sigma[:, None] * np.sqrt(np.sum(spread**2, axis=2)))
    shift = kernel.shift(fit.method) - kernel.products.log_weights  # type: ignore[arg-type]
    return np.column_stack([*parts, block.value + shift])


def _std_errors(kernel: Kernel, found: Estimate) -> Array:
    root = kernel.fixed.matrix @ solve_triangular(found.R_X, np.eye(kernel.p), lower=True, trans=1)
    return found.sigma * np.sqrt(np.sum(root**2, axis=1))

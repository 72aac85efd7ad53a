"""Fits of a fit's model to other responses: where they start, and the numbers of each by parameter."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.covariance.pairs import lower_triangle, pair_values
from bayeslmm.errors import FittingError
from bayeslmm.intervals.bootstrap import FittedModel
from bayeslmm.intervals.compiled_refits import Estimates
from bayeslmm.intervals.refits import Estimate, Refitter
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.point import PointFit


def fitted_model(fit: "PointFit") -> FittedModel:
    """Return what refits start from."""
    refitter = Refitter(fit.kernel, fit.kernel.lambdas(fit.theta), fit.method, fit.spec.sigma)  # type: ignore[arg-type]
    structure = KernelStructure.of(fit.kernel, fit.design.X, fit.design.terms, fit.design.weights)
    factors = tuple(fit.sigma * factor for factor in fit._factors)
    return FittedModel(fit.design, refitter, structure, np.asarray(fit.modes.beta), factors, fit.sigma)


def fit_estimate(fit: "PointFit") -> Estimate:
    """Return a fit as a replicate."""
    beta = np.asarray(fit.modes.beta)
    lambdas = tuple(fit.kernel.lambdas(fit.theta))
    R_X = factorise(fit.kernel.products, lambdas).R_X
    return Estimate(lambdas, beta, fit.sigma, fit.objective, fit.status.code, R_X)


def parameters(fit: "PointFit", estimate: Estimate) -> Array:
    """Return coefficients, sds, correlations and sigma in the order of their names."""
    values = [estimate.beta]
    for term, factor in zip(fit.design.terms, fit.kernel.user_factors(estimate.lambdas), strict=True):
        sds, correlations = sds_and_correlations(factor, estimate.sigma)
        values.append(sds)
        if term.has_correlations:
            values.append(pair_values(correlations))
    return np.concatenate([*values, [] if fit.spec.sigma is not None else [estimate.sigma]])


def n_parameters(fit: "PointFit") -> int:
    """Return how many numbers `parameters` gives."""
    sizes = [len(lower_triangle(t.n_columns)) if t.has_correlations else 0 for t in fit.design.terms]
    return fit.design.p + sum(t.n_columns for t in fit.design.terms) + sum(sizes) + (fit.spec.sigma is None)


def fit_columns(fit: "PointFit", model: FittedModel, Y: Array) -> tuple[Array, list[str]]:
    """Fit the model of a fit to the columns of Y (n, m), less the offset.

    Returns
    -------
    numbers
        A row per response: the parameters in the order of their names, the standard errors of the coefficients, and
        the objective; NaN where the model could not be fitted.
    codes
        "converged", "boundary" or "failed", for each.
    """
    width = n_parameters(fit) + fit.design.p + 1
    rows, codes = np.full((Y.shape[1], width), np.nan), ["failed"] * Y.shape[1]
    varying = np.ptp(Y, axis=0) > 0
    settled, singular = np.zeros(Y.shape[1], dtype=bool), np.zeros(Y.shape[1], dtype=bool)
    block = model.refitter.fit_block(model.structure, Y)
    if block is not None:
        settled, singular = block.settled & varying, block.singular
        rows[settled] = _block_rows(fit, model, block, Y)[settled]
    for place in range(Y.shape[1]):
        if settled[place]:
            codes[place] = "boundary" if singular[place] else "converged"
            continue
        try:
            if not varying[place]:
                raise FittingError("The response is constant.")
            kernel = model.structure.at(Y[:, place])
            found = model.refitter.fit(kernel)
        except FittingError:
            continue
        if found.code == "failed":
            continue
        rows[place] = np.concatenate([parameters(fit, found), _std_errors(kernel, found), [found.objective]])
        codes[place] = found.code
    return rows, codes


def _block_rows(fit: "PointFit", model: FittedModel, block: Estimates, Y: Array) -> Array:
    """Return the numbers of responses whose searches were compiled, (m, width); of others they mean nothing."""
    kernel = model.structure.kernel
    means = model.structure.means(Y)
    beta = block.beta @ kernel.fixed.matrix.T + np.outer(means, kernel.fixed.centring.constant)
    parts, first = [beta], 0
    for term, columns in zip(fit.design.terms, kernel.maps, strict=True):
        own = slice(first, first + term.n_columns)
        with np.errstate(divide="ignore", invalid="ignore"):
            sds, correlations = sds_and_correlations(columns.matrix @ block.lambdas[:, own, own])
        parts.append(sds * block.sigma[:, None])
        if term.has_correlations:
            parts.append(pair_values(correlations))
        first += term.n_columns
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

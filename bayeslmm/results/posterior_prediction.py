"""Predictions from posterior draws, batch by batch, from arrays."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.design import NewRows
from bayeslmm.inference.draws import Draws
from bayeslmm.results.prediction import Request
from bayeslmm.types import Array

BATCH = 4_000_000  # values held at once while draws are turned into predictions


def predictor_draws(draws: Draws, rows: NewRows, weights: Array) -> Iterator[tuple[slice, Array, Array]]:
    """Yield linear predictors and residual standard deviations for consecutive batches of draws.

    Parameters
    ----------
    draws
        Posterior draws.
    rows
        m rows, all levels known.
    weights
        Weights of the rows, shape (m,).

    Yields
    ------
    where, predictor, scale
        A slice into the flattened (chain, draw) axis, and two arrays of shape (batch, m).
    """
    flat = flatten(draws)
    m = len(rows.index)
    step = max(1, BATCH // max(m, 1))
    for start in range(0, len(flat.sigma), step):
        where = slice(start, start + step)
        predictor = flat.beta[where] @ rows.X.T + rows.offset
        for term, b in zip(rows.terms, flat.effects, strict=True):
            for s in range(term.n_columns):
                predictor += b[where, :, s][:, term.codes] * term.columns[:, s]
        yield where, predictor, flat.sigma[where, None] / np.sqrt(weights)


@dataclass(frozen=True, slots=True)
class FlatDraws:
    """Draws of all chains in one axis D: beta (D, p), sigma (D,), factors (D, S, S), effects (D, J, S)."""

    beta: Array
    sigma: Array
    factors: tuple[Array, ...]
    effects: tuple[Array, ...]


def flatten(draws: Draws) -> FlatDraws:
    """Return draws with the chains laid end to end, and covariance factors L with LLᵀ = Σ."""
    size = draws.n_chains * draws.n_draws

    def merge(array: NDArray[np.floating]) -> Array:
        return np.asarray(array).reshape(size, *array.shape[2:])

    factors = []
    for sd, cor in zip(draws.sd, draws.cor, strict=True):
        scale = merge(sd).astype(float)
        if cor is None:
            factors.append(scale[:, :, None] * np.eye(scale.shape[1]))
        else:
            factors.append(scale[:, :, None] * cholesky(merge(cor).astype(float)))
    effects = tuple(merge(b) for b in draws.effects)
    return FlatDraws(merge(draws.beta), merge(draws.sigma).astype(float), tuple(factors), effects)


def cholesky(correlations: Array) -> Array:
    """Return Cholesky factors of correlation matrices, shape (D, S, S), a singular one included."""
    factors = np.zeros_like(correlations)
    for j in range(correlations.shape[1]):
        rest = correlations[:, j:, j] - np.einsum("dik,dk->di", factors[:, j:, :j], factors[:, j, :j])
        pivot = np.sqrt(np.maximum(rest[:, 0], 0.0))
        safe = np.where(pivot > 0, pivot, 1.0)
        factors[:, j:, j] = np.where(pivot[:, None] > 0, rest / safe[:, None], 0.0)
    return factors


def posterior_interval(
    request: Request,
    draws: Draws,
    rng: np.random.Generator,
    function: Callable[[slice], Array] | None = None,
) -> tuple[Array, Array]:
    """Return equal-tailed limits of the mean, or of the posterior predictive distribution, of each row.

    Every draw gives each row one mean or one new observation; a level unknown to the fit gets, per draw, one set of
    effects from N(0, Σ) shared by its rows with ``new_levels="sample"``, and zero with ``"population"``; new
    observations of the marginal kind have new effects for every row. Some rows are taken at a time, so that `BATCH`
    values are held at once and not draws times rows.

    Parameters
    ----------
    request
        The rows.
    draws
        The draws, D in all chains.
    rng
        Makes the new observations.
    function
        A further part of the mean that differs between draws: values (D, batch) for a slice of the rows.
    """
    assert request.interval is not None
    flat = flatten(draws)
    rows = request.rows
    unknown = [_unknown_groups(request, k, rng) for k in range(len(rows.terms))]
    probabilities = [0.5 - request.interval / 2, 0.5 + request.interval / 2]
    m, size = len(rows.index), len(flat.sigma)
    limits = np.empty((2, m))
    step = max(1, BATCH // size)
    for start in range(0, m, step):
        where = slice(start, start + step)
        values = flat.beta @ rows.X[where].T + rows.offset[where]
        if function is not None:
            values += function(where)
        for k in range(len(rows.terms)):
            if request.included is None or request.included[k]:
                _add_random_part(values, request, k, where, flat, unknown[k], rng)
        if request.target == "response":
            values += rng.standard_normal(values.shape) * (flat.sigma[:, None] / np.sqrt(request.weights[where]))
        limits[:, where] = np.quantile(values, probabilities, axis=0)
    return limits[0], limits[1]


@dataclass(frozen=True, slots=True)
class UnknownGroups:
    """Groups of a term that the fit does not know.

    Attributes
    ----------
    codes
        Number of each row's group, shape (m,); -1 where the fit knows it.
    seed
        With a group's number, what its effects are drawn from, so that they need not be kept for the other rows.
    """

    codes: NDArray[np.intp]
    seed: int

    def effects(self, group: int, factors: Array) -> Array:
        """Return a group's effects at every draw, shape (D, S), of covariance factors (D, S, S)."""
        noise = np.random.default_rng([self.seed, group]).standard_normal(factors.shape[:2])
        return np.einsum("dst,dt->ds", factors, noise)


def _unknown_groups(request: Request, k: int, rng: np.random.Generator) -> UnknownGroups | None:
    term = request.rows.terms[k]
    new = term.codes < 0
    if request.kind == "marginal" or request.new_levels != "sample" or not new.any():
        return None
    codes = np.full(len(term.codes), -1, dtype=np.intp)
    codes[new], _ = pd.factorize(request.rows.new_labels[k][new])
    return UnknownGroups(codes, int(rng.integers(2**62)))


def _add_random_part(
    values: Array, request: Request, k: int, where: slice, flat: FlatDraws, unknown: UnknownGroups | None,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Add the contribution of term k to a batch of rows, values (D, batch)."""
    term = request.rows.terms[k]
    columns = term.columns[where]
    factors, effects = flat.factors[k], flat.effects[k]
    if request.kind == "marginal":
        if request.target == "response":
            noise = rng.standard_normal((len(factors), len(columns), factors.shape[1]))
            values += np.einsum("ms,dst,dmt->dm", columns, factors, noise, optimize=True)
        return
    codes = term.codes[where]
    known = codes >= 0
    values[:, known] += np.einsum("dms,ms->dm", effects[:, codes[known]], columns[known])
    if unknown is not None:
        groups = unknown.codes[where]
        for group in np.unique(groups[groups >= 0]):
            here = groups == group
            values[:, here] += unknown.effects(int(group), factors) @ columns[here].T

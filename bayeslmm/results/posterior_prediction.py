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


def simulate_rows(draws: Draws, rows: NewRows, weights: Array | None, n_draws: int, rng: np.random.Generator) -> Array:
    """Return new responses of some rows at draws picked at random, shape (n_draws, m)."""
    size = draws.n_chains * draws.n_draws
    picked = np.sort(rng.choice(size, min(n_draws, size), replace=False))
    few = Draws(
        beta=_pick(draws.beta, picked),
        sigma=_pick(draws.sigma, picked),
        sd=tuple(_pick(sd, picked) for sd in draws.sd),
        cor=tuple(None if cor is None else _pick(cor, picked) for cor in draws.cor),
        effects=tuple(_pick(b, picked) for b in draws.effects),
        stats={},
        method=draws.method,
    )
    ones = np.ones(len(rows.index)) if weights is None else weights
    batches = [mean + sd * rng.standard_normal(mean.shape) for _, mean, sd in predictor_draws(few, rows, ones)]
    return np.concatenate(batches)


def _pick(array: NDArray[np.floating], picked: NDArray[np.intp]) -> NDArray[np.floating]:
    """Return some draws of all chains as one chain."""
    return array.reshape(-1, *array.shape[2:])[picked][None]


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
    """Return equal-tailed limits of the posterior predictive distribution of each row.

    Every draw gives each row one new observation; a level unknown to the fit gets, per draw, one set of
    effects from N(0, Σ) shared by its rows with ``new_levels="sample"``, and zero with ``"population"``; the
    marginal kind draws new effects for every row.

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
    unknown = [_sampled_effects(request, k, flat, rng) for k in range(len(rows.terms))]
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
            values += _random_part(request, k, where, flat.effects[k], unknown[k], rng)
        values += rng.standard_normal(values.shape) * (flat.sigma[:, None] / np.sqrt(request.weights[where]))
        limits[:, where] = np.quantile(values, probabilities, axis=0)
    return limits[0], limits[1]


def _sampled_effects(
    request: Request, k: int, flat: FlatDraws, rng: np.random.Generator
) -> tuple[NDArray[np.intp], Array] | Array | None:
    """Return what the effects of unknown groups of term k are drawn from.

    The marginal kind needs only the factors, shape (D, S, S); new levels need codes, shape (m,), and effects,
    shape (levels, D, S).
    """
    if request.kind == "marginal":
        return flat.factors[k]
    term = request.rows.terms[k]
    new = term.codes < 0
    if request.new_levels != "sample" or not new.any():
        return None
    codes = np.full(len(term.codes), -1, dtype=np.intp)
    codes[new], labels = pd.factorize(request.rows.new_labels[k][new])
    noise = rng.standard_normal((len(labels), *flat.factors[k].shape[:2]))
    return codes, np.einsum("dst,ldt->lds", flat.factors[k], noise)


def _random_part(
    request: Request, k: int, where: slice, effects: Array, unknown: object, rng: np.random.Generator
) -> Array:
    """Return the contribution of term k to a batch of rows, shape (D, batch)."""
    term = request.rows.terms[k]
    columns = term.columns[where]
    if request.kind == "marginal":
        factors = np.asarray(unknown)
        noise = rng.standard_normal((len(factors), len(columns), factors.shape[1]))
        return np.einsum("ms,dst,dmt->dm", columns, factors, noise, optimize=True)
    codes = term.codes[where]
    part = np.zeros((len(effects), len(columns)))
    known = codes >= 0
    part[:, known] = np.einsum("dms,ms->dm", effects[:, codes[known]], columns[known])
    if isinstance(unknown, tuple):
        fresh = unknown[0][where] >= 0
        drawn = unknown[1][unknown[0][where][fresh]]
        part[:, fresh] = np.einsum("mds,ms->dm", drawn, columns[fresh])
    return part

r"""Predictions and their intervals, from arrays.

The linear predictor of a row is :math:`\eta = x^\top\beta + \sum_k z_k^\top b_{k, g_k} + \text{offset}`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from bayeslmm.design.design import Design, NewRows
from bayeslmm.errors import DataError, OptionError
from bayeslmm.inference.draws import Draws
from bayeslmm.types import Array

Kind = Literal["conditional", "marginal"]
NewLevels = Literal["population", "sample", "error"]

BATCH = 4_000_000  # values held at once while draws are turned into predictions
SOLVES = 256  # right-hand sides solved at once


@dataclass(frozen=True, slots=True)
class Request:
    """What to predict, checked.

    Attributes
    ----------
    rows
        The rows to predict.
    weights
        Their weights, shape (m,): the residual variance of a row is sigma² / weight.
    kind
        "conditional" on the groups' own effects, or "marginal", over the population of groups.
    new_levels
        What the effects of a level unknown to the fit are.
    interval
        Probability covered, or None.
    """

    rows: NewRows
    weights: Array
    kind: Kind
    new_levels: NewLevels
    interval: float | None


def check_request(rows: NewRows, weights: Array | None, kind: str, new_levels: str, interval: float | None) -> Request:
    """Check the options of a prediction.

    Raises
    ------
    OptionError
        If an option is not among the valid ones.
    DataError
        If a level is unknown to the fit and ``new_levels="error"``.
    """
    if kind not in get_args(Kind):
        raise OptionError(f"kind={kind!r} is unknown; use one of {', '.join(map(repr, get_args(Kind)))}.")
    if new_levels not in get_args(NewLevels):
        raise OptionError(
            f"new_levels={new_levels!r} is unknown; use one of {', '.join(map(repr, get_args(NewLevels)))}."
        )
    if interval is not None and not 0 < interval < 1:
        raise OptionError(f"interval={interval!r} is not a probability between 0 and 1, such as 0.9.")
    if kind == "conditional" and new_levels == "error":
        _refuse_new_levels(rows)
    ones = np.ones(len(rows.index)) if weights is None else weights
    return Request(rows, ones, kind, new_levels, interval)  # type: ignore[arg-type]


def _refuse_new_levels(rows: NewRows) -> None:
    for term, labels in zip(rows.terms, rows.new_labels, strict=True):
        unknown = np.flatnonzero(term.codes < 0)
        if unknown.size:
            first = unknown[0]
            row, label = plain(rows.index[first]), plain(labels[first])
            raise DataError(
                f"Row {row!r} has the level {label!r} of {term.factor!r}, which is "
                f"not in the data of the fit ({unknown.size} such rows); "
                'use new_levels="population" or new_levels="sample".'
            )


def plain(label: object) -> object:
    """Return a label as Python prints it: 999, not np.int64(999)."""
    return label.item() if isinstance(label, np.generic) else label


def training_rows(design: Design) -> NewRows:
    """Return the rows a design was built from as rows to predict."""
    offset = np.zeros(design.n) if design.offset is None else design.offset
    labels = tuple(term.levels[term.codes] for term in design.terms)
    return NewRows(design.X, design.terms, labels, offset, design.index)


def linear_predictor(request: Request, beta: Array, effects: Sequence[Array]) -> Array:
    """Return the linear predictor of every row at one value of the coefficients.

    Parameters
    ----------
    request
        The rows.
    beta
        Shape (p,).
    effects
        b, one array per term, shape (J, S).
    """
    rows = request.rows
    mean = rows.X @ beta + rows.offset
    if request.kind == "marginal":
        return mean
    for term, b in zip(rows.terms, effects, strict=True):
        mean += np.where(term.codes >= 0, np.einsum("ms,ms->m", term.columns, b[term.codes]), 0.0)
    return mean


def point_interval(
    request: Request, design: Design, factors: Sequence[Array], sigma: float, mean: Array
) -> tuple[Array, Array]:
    r"""Return the limits between which a new observation of each row falls with probability `interval`.

    Normal limits around the prediction with variance

    .. math:: \operatorname{var}(\hat\eta - \eta) + z^\top\Sigma z\,[\text{group not in the fit}] + \sigma^2
    / w,

    the first from Henderson's mixed-model equations at the estimated covariance parameters, so that the
    error of the coefficients and of the random effects, and their covariance, are both in.

    Parameters
    ----------
    request
        The rows.
    design
        The design of the fit.
    factors
        Relative covariance factors λ, shape (S, S) each.
    sigma
        Residual standard deviation.
    mean
        The predictions, shape (m,).
    """
    assert request.interval is not None
    variance = _estimation_variance(request, design, factors) + 1.0 / request.weights
    variance += _new_group_variance(request, [factor @ factor.T for factor in factors])
    half = ndtri(0.5 + request.interval / 2) * sigma * np.sqrt(variance)
    return mean - half, mean + half


def _new_group_variance(request: Request, covariances: Sequence[Array]) -> Array:
    """Return zᵀΣz of the terms whose groups are not in the fit, shape (m,)."""
    total = np.zeros(len(request.rows.index))
    for term, covariance in zip(request.rows.terms, covariances, strict=True):
        if request.kind == "marginal":
            new = np.ones(len(total), dtype=bool)
        elif request.new_levels == "sample":
            new = term.codes < 0
        else:
            continue
        total += new * np.einsum("ms,st,mt->m", term.columns, covariance, term.columns)
    return total


def _estimation_variance(request: Request, design: Design, factors: Sequence[Array]) -> Array:
    """Return the variance of the predictor's error over sigma², shape (m,), by sparse solves."""
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    conditional = request.kind == "conditional"
    train = _sparse_columns(training_rows(design), design, factors, conditional=True)
    weighted = train if design.weights is None else diags(design.weights) @ train
    ridge = np.ones(train.shape[1])
    ridge[train.shape[1] - design.p :] = 0.0
    system = (train.T @ weighted + diags(ridge)).tocsc()
    scale = 1.0 / np.sqrt(system.diagonal())
    system = (diags(scale) @ system @ diags(scale)).tocsc()
    factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    wanted = (_sparse_columns(request.rows, design, factors, conditional) @ diags(scale)).tocsr()
    variance = np.empty(wanted.shape[0])
    for start in range(0, wanted.shape[0], SOLVES):
        block = wanted[start : start + SOLVES].toarray()
        variance[start : start + SOLVES] = np.einsum("mq,qm->m", block, factor.solve(block.T.copy()))
    return variance


def _sparse_columns(rows: NewRows, design: Design, factors: Sequence[Array], conditional: bool) -> Any:
    """Return [ZΛ X] of some rows as a sparse matrix, shape (m, q + p), X centred."""
    from scipy.sparse import csr_matrix, hstack

    m = len(rows.index)
    parts = []
    for term, fitted, factor in zip(rows.terms, design.terms, factors, strict=True):
        size = fitted.n_columns
        known = (term.codes >= 0) & conditional
        values = (term.columns @ factor) * known[:, None]
        columns = np.where(known, term.codes, 0)[:, None] * size + np.arange(size)
        pointer = np.arange(0, m * size + 1, size)
        shape = (m, fitted.n_levels * size)
        parts.append(csr_matrix((values.ravel(), columns.ravel(), pointer), shape=shape))
    parts.append(csr_matrix(design.centring.apply(rows.X)))
    return hstack(parts, format="csr")


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


def labelled(request: Request, name: str, mean: Array, limits: tuple[Array, Array] | None) -> pd.Series | pd.DataFrame:
    """Return predictions by row label: a Series, or a frame with prediction, lower and upper."""
    if limits is None:
        return pd.Series(mean, index=request.rows.index, name=name)
    columns = {"prediction": mean, "lower": limits[0], "upper": limits[1]}
    return pd.DataFrame(columns, index=request.rows.index)

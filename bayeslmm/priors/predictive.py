"""Data simulated from the priors."""

import numpy as np

from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.errors import PriorError
from bayeslmm.priors.model_priors import ModelPriors, TermPriors
from bayeslmm.types import Array


def prior_predictive(
    design: Design,
    priors: ModelPriors,
    *,
    draws: int = 500,
    seed: int | np.random.Generator | None = None,
    sigma: float | None = None,
) -> dict[str, Array]:
    r"""Simulate parameters and responses at the rows of a design.

    .. math:: y = o + X\beta + \sum_k Z_k b_k + e, \quad e \sim N(0, \sigma^2 W^{-1})

    Parameters
    ----------
    design
        Rows and columns to simulate for.
    priors
        Proper priors of every parameter.
    draws
        Number of simulated data sets.
    seed
        Seed or generator.
    sigma
        The residual standard deviation, where it is fixed.

    Returns
    -------
    dict
        ``beta`` (draws, p), ``sigma`` (draws,), and per term g ``sd_g`` (draws, S), ``cor_g`` (draws, S, S)
        where there are correlations, ``r_g`` (draws, J, S); ``y`` (draws, n). All on the user's columns.

    Raises
    ------
    PriorError
        When a prior is improper.
    """
    if priors.improper:
        raise PriorError(
            f"Cannot simulate from improper priors: {', '.join(priors.improper)} have Flat(); give them proper priors."
        )
    rng = np.random.default_rng(seed)
    centred = np.column_stack([np.empty((draws, 0)), *(prior.sample(rng, draws) for prior in priors.fixed)])
    beta = centred @ priors.fixed_centring.matrix.T
    if priors.sigma is not None:
        sigmas = priors.sigma.sample(rng, draws)
    elif sigma is not None:
        sigmas = np.full(draws, float(sigma))
    else:
        raise PriorError("sigma has no prior and no fixed value.")
    simulated = {"beta": beta, "sigma": sigmas}
    mean = beta @ design.X.T
    if design.offset is not None:
        mean += design.offset
    for term, term_priors in zip(design.terms, priors.terms, strict=True):
        effects = _simulate_term(term, term_priors, sigmas, rng, simulated)
        for draw in range(draws):
            mean[draw] += np.einsum("ns,ns->n", term.columns, effects[draw, term.codes])
    spread = 1.0 if design.weights is None else 1 / np.sqrt(design.weights)
    simulated["y"] = mean + sigmas[:, None] * spread * rng.standard_normal(mean.shape)
    return simulated


def prior_parameters(
    priors: ModelPriors, draws: int, rng: np.random.Generator, known_sigma: float | None = None
) -> tuple[Array, list[Array], list[Array | None], Array | None]:
    """Draw parameters from the priors alone, on the user's columns; those under an improper prior are NaN.

    Returns
    -------
    beta (draws, p); per term sds (draws, S), and correlations (draws, S, S) or None; sigma (draws,), or None where it
    is known.
    """
    stated = [prior.sample(rng, draws) if prior.proper else np.full(draws, np.nan) for prior in priors.fixed]
    centred = np.column_stack([np.empty((draws, 0)), *stated])
    beta = np.zeros_like(centred)
    for weights, column in zip(priors.fixed_centring.matrix.T, centred.T, strict=True):
        touched = weights != 0
        beta[:, touched] += column[:, None] * weights[touched]
    sigma = None
    if priors.sigma is not None:
        sigma = priors.sigma.sample(rng, draws) if priors.sigma.proper else np.full(draws, np.nan)
    sigmas = np.full(draws, np.nan if known_sigma is None else known_sigma) if sigma is None else sigma
    sds, correlations = [], []
    for term in priors.terms:
        if all(prior.proper for prior in term.sd):
            sd, correlation, _ = _covariances(term, sigmas, rng)
        else:
            size = len(term.sd)
            sd, correlation = np.full((draws, size), np.nan), np.full((draws, size, size), np.nan)
        sds.append(sd)
        correlations.append(None if term.correlation is None else correlation)
    return beta, sds, correlations, sigma


def _covariances(priors: TermPriors, sigmas: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Draw a term's sds (draws, S), correlations (draws, S, S) and a factor of its covariance, given sigma (draws,)."""
    size, draws = len(priors.sd), len(sigmas)
    sd = priors.sample_sds(rng, draws, sigmas)
    if priors.correlation is None:
        correlation = np.broadcast_to(np.eye(size), (draws, size, size))
    else:
        correlation = priors.correlation.sample(rng, size, draws)
    factor = sd[:, :, None] * np.linalg.cholesky(correlation)
    if priors.moved:
        factor = priors.centring.matrix @ factor
        sd = np.sqrt(np.square(factor).sum(axis=-1))
        correlation = factor @ factor.swapaxes(-1, -2) / (sd[:, :, None] * sd[:, None, :])
    return sd, correlation, factor


def _simulate_term(
    term: RandomTerm, priors: TermPriors, sigmas: Array, rng: np.random.Generator, simulated: dict[str, Array]
) -> Array:
    """Draw a term's covariance and effects into `simulated`; return the effects, shape (draws, J, S)."""
    sd, correlation, factor = _covariances(priors, sigmas, rng)
    spherical = rng.standard_normal((len(sigmas), term.n_levels, term.n_columns))
    effects = spherical @ factor.swapaxes(-1, -2)
    simulated[f"sd_{term.name}"] = sd
    if priors.correlation is not None:
        simulated[f"cor_{term.name}"] = correlation
    simulated[f"r_{term.name}"] = effects
    return effects

"""Data simulated from the priors."""

import numpy as np

from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.errors import PriorError
from bayeslmm.families import Family
from bayeslmm.priors.dispersion_draws import sample_dispersions
from bayeslmm.priors.model_priors import ModelPriors, TermPriors
from bayeslmm.types import Array

LARGEST_PREDICTOR = 30.0  # where counts are too large to be drawn: their mean stays below 1e13


def prior_predictive(
    design: Design,
    priors: ModelPriors,
    *,
    draws: int = 500,
    seed: int | np.random.Generator | None = None,
    sigma: float | None = None,
    family: Family | None = None,
) -> dict[str, Array]:
    r"""Simulate parameters and responses at the rows of a design.

    .. math:: \eta = o + X\beta + \sum_k Z_k b_k, \quad y \sim N(\eta, \sigma^2 W^{-1})
              \;\text{ or }\; y \sim f(\cdot \mid \eta, \phi)

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
    family
        The distribution of the response, which gives rows their numbers of trials; None for the normal one.

    Returns
    -------
    dict
        ``beta`` (draws, p), ``sigma`` (draws,), and per term g ``sd_g`` (draws, S), ``cor_g`` (draws, S, S)
        where there are correlations, ``r_g`` (draws, J, S); ``y`` (draws, n). All on the user's columns. Of a family
        its dispersion parameters by name, (draws,) or (draws, size), in place of ``sigma``; its ``y`` are successes
        where there are trials, places of ordered categories counted from zero, and NaN where the predictor lies outside
        what the link allows.

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
    simulated = {"beta": beta}
    if family is not None:
        sigmas = np.ones(draws)
    elif priors.sigma is not None:
        sigmas = simulated["sigma"] = priors.sigma.sample(rng, draws)
    elif sigma is not None:
        sigmas = simulated["sigma"] = np.full(draws, float(sigma))
    else:
        raise PriorError("sigma has no prior and no fixed value.")
    mean = beta @ design.X.T
    if design.offset is not None:
        mean += design.offset
    for term, term_priors in zip(design.terms, priors.terms, strict=True):
        effects = _simulate_term(term, term_priors, sigmas, rng, simulated)
        for draw in range(draws):
            mean[draw] += term.times(effects[draw])
    if family is not None:
        dispersions = sample_dispersions(priors, family, priors.fixed_centring.level(beta), rng)
        simulated |= family.by_name(dispersions)
        simulated["y"] = np.array(
            [_respond(design, family, eta, row, rng) for eta, row in zip(mean, dispersions, strict=True)]
        )
        return simulated
    spread = 1.0 if design.weights is None else 1 / np.sqrt(design.weights)
    simulated["y"] = mean + sigmas[:, None] * spread * rng.standard_normal(mean.shape)
    return simulated


def _respond(design: Design, family: Family, eta: Array, dispersion: Array, rng: np.random.Generator) -> Array:
    """Draw a family's responses at linear predictors (n,), whatever they are, and natural dispersions (m,)."""
    possible = eta > 0 if family.link.name == "inverse" else np.ones(len(eta), dtype=bool)
    at, working = np.where(possible, eta, 1.0), family.working(dispersion)
    with np.errstate(over="ignore", under="ignore"):
        try:
            y = family.simulate(design.outcome, at, working, rng)
        except ValueError:  # numpy draws no counts beyond 1e19
            y = family.simulate(design.outcome, np.minimum(at, LARGEST_PREDICTOR), working, rng)
    return np.where(possible, y, np.nan)


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

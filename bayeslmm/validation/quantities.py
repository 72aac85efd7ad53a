"""Parameters and functions of them whose ranks and moments are compared, as columns of numbers."""

from dataclasses import dataclass

import numpy as np

from bayeslmm.design.design import Design
from bayeslmm.design.names import correlation_name, sd_name
from bayeslmm.inference.draws import Draws
from bayeslmm.types import Floats


@dataclass(frozen=True, slots=True)
class Quantities:
    """Columns of numbers with names.

    Attributes
    ----------
    names
        One per column.
    values
        Shape (chains, draws, K).
    """

    names: tuple[str, ...]
    values: Floats


def covariance_quantities(design: Design, draws: Draws) -> Quantities:
    """Return every standard deviation, correlation, sigma and fixed coefficient."""
    names: list[str] = []
    columns: list[Floats] = []
    for term, sd, cor in zip(design.terms, draws.sd, draws.cor, strict=True):
        names += [sd_name(term.name, effect) for effect in term.effects]
        columns += [sd[..., s] for s in range(term.n_columns)]
        if cor is not None:
            for j in range(term.n_columns):
                for i in range(j + 1, term.n_columns):
                    names.append(correlation_name(term.name, term.effects[j], term.effects[i]))
                    columns.append(cor[..., i, j])
    names += ["sigma", *(f"beta[{name}]" for name in design.fixed_names)]
    columns += [draws.sigma, *(draws.beta[..., j] for j in range(design.p))]
    return Quantities(tuple(names), np.stack(columns, axis=-1).astype(float))


def all_parameters(design: Design, draws: Draws) -> Quantities:
    """Return every parameter: those of `covariance_quantities`, then every random effect, levels before effects."""
    first = covariance_quantities(design, draws)
    names, blocks = list(first.names), [first.values]
    for term, effects in zip(design.terms, draws.effects, strict=True):
        names += [f"r_{term.name}[{level}, {effect}]" for level in term.levels for effect in term.effects]
        blocks.append(effects.reshape(*effects.shape[:2], -1))
    return Quantities(tuple(names), np.concatenate(blocks, axis=-1).astype(float))


def ranked_quantities(design: Design, draws: Draws, rng: np.random.Generator) -> Quantities:
    """Return what simulation-based calibration ranks.

    Every standard deviation, correlation, sigma and fixed coefficient; the random effects of each term's
    largest and smallest level; the log-likelihood of the data given all parameters; and the mean of a new level
    of every term at the average row.

    Parameters
    ----------
    design
        With the response the draws are conditional on.
    draws
        Draws of the posterior, or the truth as a single draw.
    rng
        Source of the new levels' random effects.
    """
    first, effects = covariance_quantities(design, draws), effect_quantities(design, draws)
    columns = [first.values, effects.values]
    columns += [log_likelihood(design, draws)[..., None], new_level_mean(design, draws, rng)[..., None]]
    names = (*first.names, *effects.names, "log-likelihood", "mean of a new level")
    return Quantities(names, np.concatenate(columns, axis=-1))


def effect_quantities(design: Design, draws: Draws) -> Quantities:
    """Return the random effects of each term's largest and smallest level."""
    names: list[str] = []
    columns: list[Floats] = []
    for term, effects in zip(design.terms, draws.effects, strict=True):
        sizes = np.bincount(term.codes, minlength=term.n_levels)
        for word, level in (("largest", int(np.argmax(sizes))), ("smallest", int(np.argmin(sizes)))):
            names += [f"r_{term.name}[{word}, {effect}]" for effect in term.effects]
            columns.append(effects[..., level, :])
    return Quantities(tuple(names), np.concatenate(columns, axis=-1).astype(float))


def log_likelihood(design: Design, draws: Draws) -> Floats:
    r"""Return :math:`\log p(y \mid \beta, b, \sigma)`, shape (chains, draws)."""
    mean = draws.beta @ design.X.T
    if design.offset is not None:
        mean = mean + design.offset
    for term, effects in zip(design.terms, draws.effects, strict=True):
        mean = mean + np.einsum("ns,cdns->cdn", term.columns, effects[:, :, term.codes])
    weights = np.ones(design.n) if design.weights is None else design.weights
    squares = np.sum(weights * (design.y - mean) ** 2, axis=-1)
    constant = np.sum(np.log(weights)) - design.n * np.log(2.0 * np.pi)
    return np.asarray(0.5 * constant - design.n * np.log(draws.sigma) - 0.5 * squares / draws.sigma**2)


def new_level_mean(design: Design, draws: Draws, rng: np.random.Generator) -> Floats:
    """Return draws of the mean of an average row in new levels of every term, shape (chains, draws)."""
    mean = draws.beta @ design.X.mean(axis=0)
    for term, sd, cor in zip(design.terms, draws.sd, draws.cor, strict=True):
        row = term.columns.mean(axis=0)
        scaled = sd * row
        correlation = np.eye(term.n_columns) if cor is None else cor
        variance = np.einsum("...s,...st,...t->...", scaled, correlation, scaled)
        mean = mean + np.sqrt(np.maximum(variance, 0.0)) * rng.standard_normal(mean.shape)
    return np.asarray(mean)

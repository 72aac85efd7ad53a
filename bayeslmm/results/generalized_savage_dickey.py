"""The Savage-Dickey ratio of a point hypothesis about the coefficients of a generalized model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.predictor import Predictor
from bayeslmm.posterior.coefficient_priors import normal_prior
from bayeslmm.posterior.scale_mixtures import as_mixture
from bayeslmm.priors.combination import log_density_of_sum
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Flat, Normal
from bayeslmm.results.posterior_prediction import FlatDraws, flatten
from bayeslmm.testing.conditional_lines import Direction, Line, widest_direction
from bayeslmm.testing.savage_dickey import density_ratio
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.generalized_posterior import GeneralizedPosteriorFit

MOST_DRAWS, FEWEST_DRAWS = 500, 25  # that densities are averaged over
WORK = 1_000_000  # draws times rows


def generalized_ratio(fit: "GeneralizedPosteriorFit", function: Array, value: float) -> float:
    """Return the posterior density of a linear function of the coefficients over its prior density.

    Parameters
    ----------
    fit
        A posterior.
    function
        l in the user's columns, (p,).
    value
        Where.

    Returns
    -------
    float
        NaN where the prior density is not known, or where draws of the random effects were not kept.
    """
    priors = cast(ModelPriors, fit.priors)
    before = log_density_of_sum(priors.fixed, priors.fixed_centring.matrix.T @ function, value)
    if not np.isfinite(before) or not all(fit.draws.kept):
        return np.nan
    flat = flatten(fit.draws)
    total = len(flat.beta)
    draws = min(max(WORK // fit.design.n, FEWEST_DRAWS), MOST_DRAWS, total)
    chosen = np.unique(np.linspace(0, total - 1, draws).astype(int))
    direction = _direction(fit, priors, flat, function)
    after = []
    for d in chosen:
        distance = value - float(np.asarray(flat.beta[d], dtype=float) @ function)
        after.append(_line(fit, priors, flat, direction, int(d)).log_density_at(distance))
    return density_ratio(np.array(after), before)


def _direction(fit: "GeneralizedPosteriorFit", priors: ModelPriors, flat: FlatDraws, function: Array) -> Direction:
    """Return the direction that suits the posterior mean, under normal priors of the widths of those stated."""
    design, family = fit.design, fit.family
    names = [term.name for term in design.terms]
    predictor = Predictor.build(design.X, design.terms, design.offset, names, design.centring)
    normal = replace(priors, fixed=tuple(map(_normal, priors.fixed)), collinearity=None)
    prior = normal_prior(predictor.fixed, normal)
    problem = Problem(family, fit.outcome, predictor, inner=True, prior=prior)
    working = fit._working.mean(axis=0)
    eta = _predictor(fit, flat.beta.mean(axis=0, dtype=float), [b.mean(axis=0, dtype=float) for b in flat.effects])
    weights = -family.derivatives(fit.outcome, eta, working)[2]
    if np.any(weights < 0.0):
        weights = family.expected_weights(fit.outcome, eta, working)
    factors = [
        np.linalg.cholesky(np.mean(own @ own.transpose(0, 2, 1), axis=0) + 1e-300 * np.eye(own.shape[1]))
        for own in flat.factors
    ]
    return widest_direction(problem, factors, weights, function)


def _normal(prior: Prior) -> Normal | Flat:
    """Return a normal prior of about the width of another; a flat one for a flat one."""
    if not prior.proper:
        return Flat()
    mixture = as_mixture(0, prior)
    return mixture.normal if mixture is not None else Normal(prior.mean, prior.sd)


def _predictor(fit: "GeneralizedPosteriorFit", beta: Array, effects: Sequence[Array]) -> Array:
    """Return the linear predictor of every row, (n,)."""
    eta = fit.design.X @ beta + (0.0 if fit.design.offset is None else fit.design.offset)
    return eta + _of_effects(fit, effects)


def _of_effects(fit: "GeneralizedPosteriorFit", effects: Sequence[Array]) -> Array:
    return sum((term.times(b) for term, b in zip(fit.design.terms, effects, strict=True)), np.zeros(fit.design.n))


def _line(fit: "GeneralizedPosteriorFit", priors: ModelPriors, flat: FlatDraws, direction: Direction, d: int) -> Line:
    """Return the line through draw d.

    Thresholds stay where they are at the column means, where their priors are stated.
    """
    family, X = fit.family, fit.design.X
    beta = np.asarray(flat.beta[d], dtype=float)
    effects = [np.asarray(b[d], dtype=float) for b in flat.effects]
    factors = [own[d] for own in flat.factors]
    spherical = [np.linalg.lstsq(own, b.T, rcond=None)[0].T for own, b in zip(factors, effects, strict=True)]
    moved = [z @ own.T for z, own in zip(direction.effects, factors, strict=True)]
    steps = X @ direction.beta + _of_effects(fit, moved)
    if not family.takes_constant:
        steps -= priors.fixed_centring.level(direction.beta)
    inverse = priors.fixed_centring.inverse
    return Line(
        family=family,
        response=fit.outcome,
        working=fit._working[d],
        eta=_predictor(fit, beta, effects),
        steps=steps,
        priors=priors.fixed,
        gamma=inverse @ beta,
        rises=inverse @ direction.beta,
        pull=sum(float(np.sum(u * z)) for u, z in zip(spherical, direction.effects, strict=True)),
        spread=sum(float(np.sum(z * z)) for z in direction.effects),
    )

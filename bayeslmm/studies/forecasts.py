"""Predictive distributions of rows that a fit has not seen, scored at their responses."""

from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.comparison.scores import Scored, score_draws, score_normal
from bayeslmm.design.design import NewRows
from bayeslmm.families import Family, Response
from bayeslmm.results.fit import Fit
from bayeslmm.results.generalized import GeneralizedPointFit
from bayeslmm.results.generalized_posterior import GeneralizedPosteriorFit
from bayeslmm.results.point import PointFit
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.posterior_prediction import flatten
from bayeslmm.results.prediction import linear_predictor, make_request, point_interval
from bayeslmm.types import Array

DRAWS = 1000  # of a predictive distribution
SOME = 0.5  # probability of the interval that tells a normal distribution's sd
HALF_WIDTH = 0.6744897501960817  # of that interval, in sds


def score_rows(
    fit: Fit,
    rows: NewRows,
    y: Array,
    weights: Array | None,
    outcome: Response | None,
    family: Family | None,
    level: float,
    rng: np.random.Generator,
) -> Scored:
    """Score the predictions of some rows: of known groups by their effects, of new ones by their distribution.

    Parameters
    ----------
    fit
        A fit to other rows.
    rows
        The rows.
    y, weights
        Their responses (m,) and weights (m,), None for ones.
    outcome
        Their responses as a family reads them; None for normal ones.
    family
        That of the fit, with the rows' share of zeros; None for normal responses.
    level
        Probability of the intervals.
    rng
        Source of randomness.
    """
    ones = np.ones(len(y)) if weights is None else weights
    if isinstance(fit, GeneralizedPointFit | GeneralizedPosteriorFit):
        assert outcome is not None and family is not None
        return _score_generalized(fit, rows, outcome, family, level, rng)
    if isinstance(fit, PointFit):
        request = make_request(rows, ones, "conditional", "sample", SOME)
        mean = linear_predictor(request, fit.modes.beta, fit.modes.b)
        lower, upper = point_interval(request, fit.kernel, fit._factors, fit.sigma, mean, fit._fixed_precision())
        return score_normal(y, mean, (upper - lower) / (2.0 * HALF_WIDTH), level)
    assert isinstance(fit, PosteriorFit)
    flat = flatten(fit.draws)
    chosen = _some(len(flat.sigma))
    eta = _predictors(
        rows, flat.beta[chosen], [b[chosen] for b in flat.effects], [f[chosen] for f in flat.factors], rng
    )
    scale = flat.sigma[chosen, None] / np.sqrt(ones)
    logs = -0.5 * ((y - eta) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2.0 * np.pi)
    return score_draws(y, logs, eta, eta + scale * rng.standard_normal(eta.shape), level)


def _some(total: int) -> Any:
    return np.arange(total) if total <= DRAWS else np.linspace(0, total - 1, DRAWS).astype(int)


def _predictors(
    rows: NewRows, beta: Array, effects: list[Array], factors: list[Array], rng: np.random.Generator
) -> Array:
    """Return linear predictors at draws (D, m); at each draw a new level gets effects, the same in all its rows."""
    eta = beta @ rows.X.T + rows.offset
    for term, labels, b, factor in zip(rows.terms, rows.new_labels, effects, factors, strict=True):
        codes, J = term.codes.astype(np.int64), b.shape[1]
        new = codes < 0
        if new.any():
            codes = codes.copy()
            found, known = pd.factorize(labels[new])
            codes[new] = J + found
            noise = rng.standard_normal((len(known), *factor.shape[:2]))
            drawn = np.einsum("dst,ldt->dls", factor, noise)
            b = np.concatenate([b, drawn], axis=1)
        for s in range(term.n_columns):
            eta += b[:, codes, s] * term.columns[:, s]
    return eta


def _score_generalized(
    fit: GeneralizedPointFit | GeneralizedPosteriorFit,
    rows: NewRows,
    outcome: Response,
    family: Family,
    level: float,
    rng: np.random.Generator,
) -> Scored:
    if isinstance(fit, GeneralizedPosteriorFit):
        flat = flatten(fit.draws)
        chosen = _some(len(flat.sigma))
        beta, effects = flat.beta[chosen], [b[chosen] for b in flat.effects]
        factors, working = [f[chosen] for f in flat.factors], fit._working[chosen]
    else:
        count = DRAWS if any((term.codes < 0).any() for term in rows.terms) else 2 * DRAWS // 4
        beta = np.broadcast_to(fit.modes.beta, (count, len(fit.modes.beta)))
        effects = [np.broadcast_to(b, (count, *b.shape)) for b in fit.modes.b]
        factors = [np.broadcast_to(f, (count, *f.shape)) for f in fit._factors]
        working = np.broadcast_to(fit.maximum.dispersion, (count, len(fit.maximum.dispersion)))
    eta = _predictors(rows, beta, effects, factors, rng)
    logs, means, responses = (np.empty_like(eta) for _ in range(3))
    for d in range(len(eta)):
        logs[d] = family.log_density(outcome, eta[d], working[d])
        means[d] = family.trials(outcome) * family.mean(eta[d], working[d])
        responses[d] = family.simulate(outcome, eta[d], working[d], rng)
    return score_draws(outcome.y, logs, means, responses, level)

r"""Residuals of several kinds.

With :math:`\hat y` the mean of a row, conditional on the random effects or of the typical group,

- raw: :math:`y - \hat y`;
- pearson: raw over the standard deviation of the response about that mean, :math:`\sigma/\sqrt w`, or
  :math:`\sqrt{z^\top\Sigma z + \sigma^2/w}` without the random effects;
- standardized: raw over the standard deviation of the residual itself, :math:`\sigma\sqrt{(1 - h)/w}` with h the
  leverage of the row in coefficients and random effects, or :math:`\sqrt{V_{ii} - x^\top\mathrm{Cov}(\hat\beta)x}`
  without them; of a posterior the variance of the mean over the draws takes the place of :math:`\sigma^2 h/w` and of
  :math:`x^\top\mathrm{Cov}(\hat\beta)x`, with which it agrees under flat priors and known covariance parameters;
- deviance: the root of the row's part of the scaled deviance, with the sign of raw; for normal responses it is pearson;
- quantile: the standard normal quantile of the response's distribution function, which for normal responses is pearson.

Source: Pinheiro and Bates (2000), *Mixed-Effects Models in S and S-PLUS*, chapter 4; Dunn and Smyth (1996).
"""

from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from scipy.special import ndtri

from bayeslmm.errors import OptionError, is_word
from bayeslmm.inference.options import generator
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.families import Family, Response
    from bayeslmm.results.fit import Fit
    from bayeslmm.results.point import PointFit

ResidualKind = Literal["raw", "pearson", "deviance", "standardized", "quantile"]
FamilyResidualKind = Literal["raw", "response", "pearson", "deviance", "standardized", "quantile"]
ResidualEffects = Literal["all", "none"]


def check_residuals(kind: str, random: str) -> tuple[ResidualKind, ResidualEffects]:
    """Return the options, if there are such; "response" is another word for "raw".

    Raises
    ------
    OptionError
        With the valid ones.
    """
    chosen = "raw" if is_word(kind, ("response",)) else kind
    if not is_word(chosen, get_args(ResidualKind)):
        raise OptionError(f"kind={kind!r} is unknown; use one of {', '.join(map(repr, get_args(ResidualKind)))}.")
    if not is_word(random, get_args(ResidualEffects)):
        raise OptionError(f"random={random!r} is unknown; use 'all' or 'none'.")
    return cast(tuple[ResidualKind, ResidualEffects], (chosen, random))


def normal_residuals(fit: "Fit", kind: str, random: str) -> Array:
    """Return the residuals of the rows of a fit of a normal response, shape (n,).

    Raises
    ------
    OptionError
        If an option is unknown, or draws of random effects were not kept and are needed.
    """
    chosen, effects = check_residuals(kind, random)
    design = fit.design
    conditional = effects == "all"
    raw = np.asarray(design.y - fit.predict(kind="conditional" if conditional else "population").to_numpy())
    if chosen == "raw":
        return raw
    sigma, covariances = _scales(fit)
    variance = np.full(design.n, sigma**2) if design.weights is None else sigma**2 / design.weights
    if not conditional:
        for term, covariance in zip(design.terms, covariances, strict=True):
            variance = variance + np.einsum("ns,st,nt->n", term.columns, covariance, term.columns)
    if chosen == "standardized":
        if getattr(fit, "draws", None) is not None:
            variance = np.maximum(variance - _variance_of_means(fit, conditional), 0.0)
            return _ratio(raw, variance)
        point = cast("PointFit", fit)
        if conditional:
            variance = variance * np.maximum(1.0 - point.leverage().to_numpy(), 0.0)
        else:
            explained = np.einsum("np,pq,nq->n", design.X, np.asarray(point.vcov(), dtype=float), design.X)
            variance = np.maximum(variance - explained, 0.0)
    return _ratio(raw, variance)


def _ratio(raw: Array, variance: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(variance > 0, raw / np.sqrt(variance), np.nan))


def _variance_of_means(fit: "Fit", conditional: bool) -> Array:
    """Return the variance over the draws of each row's mean, with the random effects or without, shape (n,)."""
    from bayeslmm.results.posterior_prediction import predictor_draws
    from bayeslmm.results.prediction import training_rows

    draws, design = cast(Any, fit).draws, fit.design
    if not conditional:
        beta = np.asarray(draws.beta, dtype=float).reshape(-1, design.p)
        covariance = np.atleast_2d(np.cov(beta.T)) if design.p else np.zeros((0, 0))
        return np.einsum("np,pq,nq->n", design.X, covariance, design.X)
    middle = np.asarray(fit.predict(kind="conditional"), dtype=float)
    squares, count = np.zeros(design.n), 0
    for _, predictor, _ in predictor_draws(draws, training_rows(design), np.ones(design.n)):
        squares += np.sum((predictor - middle) ** 2, axis=0)
        count += len(predictor)
    return squares / max(count - 1, 1)


def family_residuals(
    family: "Family", outcome: "Response", eta: Array, working: Any, kind: ResidualKind, seed: Any
) -> Array:
    """Return the residuals of a family's responses at linear predictors eta (n,), shape (n,).

    Raises
    ------
    OptionError
        If "standardized" is asked for.
    """
    if kind == "standardized":
        raise OptionError("Standardized residuals are for normal responses; use kind='quantile'.")
    if kind == "quantile":
        low, high = family.cdf(outcome, eta, working)
        u = generator(seed).uniform(size=len(low))
        return np.asarray(ndtri(np.clip(low + u * (high - low), 1e-300, 1 - 1e-16)))
    values = outcome.y - family.trials(outcome) * family.mean(eta, working)
    if kind == "deviance":
        from bayeslmm.families.saturated import scaled_deviance

        return np.asarray(np.copysign(np.sqrt(scaled_deviance(family, outcome, eta, working)), values))
    if kind == "pearson":
        values = values / np.sqrt(family.variance(outcome, eta, working))
    return np.asarray(values)


def _scales(fit: "Fit") -> tuple[float, list[Array]]:
    """Return sigma and the covariance matrices of the terms; root mean squares and means over the draws."""
    draws = getattr(fit, "draws", None)
    if draws is None:
        point = cast("PointFit", fit)
        return point.sigma, [point.sigma**2 * np.asarray(f @ f.T, dtype=float) for f in map(np.asarray, point._factors)]
    from bayeslmm.results.posterior_prediction import flatten

    flat = flatten(draws)
    covariances = [np.mean(f @ f.transpose(0, 2, 1), axis=0) for f in flat.factors]
    return float(np.sqrt(np.mean(np.square(flat.sigma)))), covariances

"""Statements about a fit's parameters, tested."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from scipy.special import ndtr

from bayeslmm.covariance.pairs import lower_triangle
from bayeslmm.design.design import Design
from bayeslmm.design.names import SIGMA, coefficient_key, correlation_name, sd_name
from bayeslmm.errors import OptionError, check_level
from bayeslmm.formula.statement import Statement, parse_statement
from bayeslmm.results.effects import parameter_label, spellings
from bayeslmm.testing.contrasts import linear_functions
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.priors.model_priors import ModelPriors
    from bayeslmm.results.generalized_posterior import GeneralizedPosteriorFit
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.posterior import PosteriorFit

FARTHEST = 0.9999  # probability of the interval that a profile is followed for: beyond, p is below 1e-4
MOST_DRAWS = 500  # that a Savage-Dickey ratio is averaged over


@dataclass(frozen=True)
class Linear:
    """A linear function of the parameters, which arithmetic keeps linear or refuses."""

    constant: float
    weights: Mapping[str, float]

    def __add__(self, other: "Linear | float") -> "Linear":
        other = _linear(other)
        names = {**self.weights, **other.weights}
        weights = {name: self.weights.get(name, 0.0) + other.weights.get(name, 0.0) for name in names}
        return Linear(self.constant + other.constant, weights)

    __radd__ = __add__

    def __neg__(self) -> "Linear":
        return self * -1.0

    def __sub__(self, other: "Linear | float") -> "Linear":
        return self + -_linear(other)

    def __rsub__(self, other: float) -> "Linear":
        return -self + other

    def __mul__(self, other: "Linear | float") -> "Linear":
        other = _linear(other)
        if self.weights and other.weights:
            raise OptionError(
                "On a point fit a statement must be linear in the parameters: products of them are for a posterior."
            )
        one, by = (self, other.constant) if self.weights else (other, self.constant)
        return Linear(one.constant * by, {name: weight * by for name, weight in one.weights.items()})

    __rmul__ = __mul__

    def __truediv__(self, other: "Linear | float") -> "Linear":
        other = _linear(other)
        if other.weights or other.constant == 0:
            raise OptionError(
                "On a point fit a statement must be linear in the parameters: multiply by the denominator, or fit a "
                "posterior."
            )
        return self * (1.0 / other.constant)

    def __rtruediv__(self, other: float) -> "Linear":
        return _linear(other) / self


def _linear(value: "Linear | float") -> Linear:
    return value if isinstance(value, Linear) else Linear(float(value), {})


def coefficient_names(design: Design, sigma_known: bool) -> dict[str, str | None]:
    """Return what coefficients may be called, ``f[T.a]``, ``f[a]`` or ``beta[f[T.a]]``; None for a reference level.

    What is the name of a standard deviation or correlation, too, means that.
    """
    known: dict[str, str | None] = {name: name for name in design.fixed_names}
    recipe = design.recipe
    for term in recipe.fixed.terms:
        if len(term) != 1 or term[0].text not in recipe.memory.levels:
            continue
        label = term[0].label
        levels = [str(level) for level in recipe.memory.levels[term[0].text]]
        columns = [level for level in levels if f"{label}[T.{level}]" in known]
        if not columns:
            continue
        known |= {f"{label}[{level}]": f"{label}[T.{level}]" for level in columns}
        absent = [level for level in levels if level not in columns]
        if len(absent) == 1 and not any(f"{label}[T.{absent[0]}]" == name for name in design.dropped_columns):
            known |= {f"{label}[{absent[0]}]": None, f"{label}[T.{absent[0]}]": None}
    keys = {coefficient_key(name): name for name in design.fixed_names}
    taken = covariance_spellings(design, sigma_known)
    return {**keys, **{name: of for name, of in known.items() if name not in taken}}


def covariance_names(design: Design, sigma_known: bool) -> list[str]:
    """Return the names of sds, correlations and sigma that statements use, in the order of varcorr."""
    names = []
    for term in design.terms:
        names += [sd_name(term.name, effect) for effect in term.effects]
        if term.has_correlations:
            pairs = lower_triangle(term.n_columns)
            names += [correlation_name(term.name, term.effects[j], term.effects[i]) for i, j in pairs]
    return names if sigma_known else [*names, SIGMA]


def covariance_spellings(design: Design, sigma_known: bool) -> dict[str, str]:
    """Return the name of every covariance parameter by each way to write it."""
    found: dict[str, str] = {}
    for name in covariance_names(design, sigma_known):
        found[name] = name
    for term in design.terms:
        pairs: list[tuple[str, str | None]] = [(effect, None) for effect in term.effects]
        if term.has_correlations:
            pairs += [(term.effects[j], term.effects[i]) for i, j in lower_triangle(term.n_columns)]
        for effect, other in pairs:
            label = parameter_label(term.name, effect, other)
            found |= dict.fromkeys(spellings(label), label)
    if not sigma_known:
        found |= dict.fromkeys(spellings(SIGMA), SIGMA)
    return found


def _without_sigma(fit: "PointFit | PosteriorFit") -> bool:
    """Return whether sigma is no parameter of a fit: known, or that of no normal response."""
    return fit.spec.sigma is not None or fit.design.outcome is not None


def read(design: Design, sigma_known: bool, texts: tuple[str, ...], more: Iterable[str] = ()) -> list[Statement]:
    """Read the statements about a model's parameters, which may have more than coefficients and covariances."""
    if not texts:
        raise OptionError("hypothesis needs a statement, such as fit.hypothesis('Days > 0').")
    names = [*coefficient_names(design, sigma_known), *covariance_spellings(design, sigma_known)]
    names += [name for name in more if name not in names]
    return [parse_statement(text, names) for text in texts]


def point_hypotheses(fit: "PointFit", texts: tuple[str, ...], level: float, ddf: str | None) -> pd.DataFrame:
    """Test statements on a point fit; see :meth:`PointFit.hypothesis`."""
    check_level(level)
    statements = read(fit.design, _without_sigma(fit), texts)
    rows = [_point_row(fit, statement, level, ddf) for statement in statements]
    return pd.DataFrame(rows, index=pd.Index(list(texts), name="statement"))


def _point_row(fit: "PointFit", statement: Statement, level: float, ddf: str | None) -> dict[str, float]:
    coefficients = coefficient_names(fit.design, _without_sigma(fit))
    covariances = covariance_names(fit.design, _without_sigma(fit))
    values = {name: Linear(0.0, {} if of is None else {coefficient_key(of): 1.0}) for name, of in coefficients.items()}
    spelled = covariance_spellings(fit.design, _without_sigma(fit))
    values |= {other: Linear(0.0, {name: 1.0}) for other, name in spelled.items()}
    quantity = _linear(statement.quantity(values))
    used = {name: weight for name, weight in quantity.weights.items() if weight != 0}
    if not used:
        raise OptionError(f"The statement {statement.text!r} speaks of no coefficient: its parameters cancel.")
    if not set(used) & set(covariances):
        L = np.array([used.get(coefficient_key(name), 0.0) for name in fit.design.fixed_names])
        found = linear_functions(L, fit._errors.find(ddf)[0], -quantity.constant)
        estimate = float(found.estimate[0] + quantity.constant)
        lower, upper = (float(end[0] + quantity.constant) for end in found.limits(level))
        p = _one_sided(float(found.p[0]), float(found.t[0]), statement.relation)
        return {"estimate": estimate, "std_error": float(found.std_error[0]), "df": float(found.df[0]),
                "t": float(found.t[0]), "p": p, "lower": lower, "upper": upper}  # fmt: skip
    if len(used) > 1:
        raise OptionError(
            f"The statement {statement.text!r} joins a standard deviation or correlation with other parameters: on a "
            "point fit it can stand alone only; fit a posterior for more."
        )
    return _profile_row(fit, statement, covariances, quantity, level)


def _profile_row(
    fit: "PointFit", statement: Statement, covariances: list[str], quantity: Linear, level: float
) -> dict[str, float]:
    """Test one covariance parameter by the signed root of the likelihood ratio."""
    from bayeslmm.results.profiles import parameter_names

    name, weight = next((name, weight) for name, weight in quantity.weights.items() if weight != 0)
    label = parameter_names(fit)[fit.design.p + covariances.index(name)]
    curve = fit.profile(label, level=max(level, FARTHEST)).curves[label]
    value = float(np.clip(-quantity.constant / weight, curve.values[0], curve.values[-1]))
    z = -float(curve.interpolate(np.array(value))) * float(np.sign(weight))
    table = fit.varcorr()
    estimate = float(table["sd"].fillna(table["correlation"]).iloc[covariances.index(name)])
    ends = sorted(weight * end + quantity.constant for end in curve.limits(level))
    p = _one_sided(2.0 * float(ndtr(-abs(z))), z, statement.relation)
    return {"estimate": weight * estimate + quantity.constant, "std_error": np.nan, "df": np.inf, "t": z, "p": p,
            "lower": ends[0], "upper": ends[1]}  # fmt: skip


def _one_sided(p: float, t: float, relation: str) -> float:
    """Return the p value of the statement's opposite: two-sided for ``=``."""
    if relation == "=":
        return p
    return p / 2.0 if (t > 0) == (relation == ">") else 1.0 - p / 2.0


def posterior_hypotheses(fit: "PosteriorFit", texts: tuple[str, ...], level: float) -> pd.DataFrame:
    """Return what the posterior says of statements; see :meth:`PosteriorFit.hypothesis`."""
    check_level(level)
    draws = _draws_by_name(fit)
    statements = read(fit.design, _without_sigma(fit), texts, draws)
    tails = [0.5 - level / 2, 0.5 + level / 2]
    rows = []
    for statement in statements:
        quantity = np.asarray(statement.quantity(draws), dtype=float)
        lower, upper = np.quantile(quantity, tails)
        share = {"=": np.nan, ">": np.mean(quantity > 0), "<": np.mean(quantity < 0)}[statement.relation]
        ratio = _ratio(fit, statement) if statement.relation == "=" else np.nan
        rows.append(
            {
                "mean": quantity.mean(),
                "sd": quantity.std(ddof=1),
                "lower": lower,
                "upper": upper,
                "probability": share,
                "bayes_factor": ratio,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(list(texts), name="statement"), dtype=float)


def _draws_by_name(fit: "PosteriorFit") -> dict[str, Any]:
    beta = np.asarray(fit.draws.beta, dtype=float).reshape(-1, fit.design.p)
    places = {name: place for place, name in enumerate(fit.design.fixed_names)}
    named: dict[str, Any] = {
        name: np.zeros(len(beta)) if of is None else beta[:, places[of]]
        for name, of in coefficient_names(fit.design, _without_sigma(fit)).items()
    }
    covariance = fit.covariance_draws.reshape(len(beta), -1)
    for place, name in enumerate(covariance_names(fit.design, _without_sigma(fit))):
        named[name] = np.asarray(covariance[:, place], dtype=float)
    spelled = covariance_spellings(fit.design, _without_sigma(fit))
    named |= {other: named[name] for other, name in spelled.items()}
    return {**_dispersion_draws(fit), **named}


def _dispersion_draws(fit: "PosteriorFit") -> dict[str, Any]:
    """Return the draws of single dispersion parameters of a generalized model."""
    if fit.design.outcome is None:
        return {}
    found = cast("GeneralizedPosteriorFit", fit).dispersion_by_name
    return {name: np.asarray(draws, dtype=float).ravel() for name, draws in found.items() if draws.ndim == 2}


def _ratio(fit: "PosteriorFit", statement: Statement) -> float:
    """Return the Savage-Dickey ratio for the statement, NaN where it is no function of coefficients, or improper."""
    from bayeslmm.posterior.coefficient_priors import cannot_integrate
    from bayeslmm.posterior.collinear_prior import collinear_prior
    from bayeslmm.posterior.density import CovarianceDensity
    from bayeslmm.results.generalized_savage_dickey import generalized_ratio
    from bayeslmm.results.posterior_prediction import flatten
    from bayeslmm.testing.savage_dickey import savage_dickey

    coefficients = coefficient_names(fit.design, _without_sigma(fit))
    if not set(statement.parameters) <= set(coefficients) or fit.priors is None:
        return np.nan
    priors = cast("ModelPriors", fit.priors)
    generalized = fit.design.outcome is not None
    if not generalized and cannot_integrate(priors):
        return np.nan
    try:
        values = {name: Linear(0.0, {} if of is None else {of: 1.0}) for name, of in coefficients.items()}
        quantity = _linear(statement.quantity(values))
    except OptionError:
        return np.nan  # not linear
    L: Array = np.array([quantity.weights.get(name, 0.0) for name in fit.design.fixed_names])
    if not L.any():
        return np.nan
    value, noise = -quantity.constant, 0.0
    if generalized:
        return generalized_ratio(cast("GeneralizedPosteriorFit", fit), L, value)
    if priors.collinearity is not None:
        L, constant, noise = collinear_prior(priors).given_independent(L)
        value -= constant
    prior = CovarianceDensity(fit.kernel, priors, fit.spec.sigma).fixed_prior
    flat = flatten(fit.draws)
    sigma = np.asarray(fit.draws.sigma, dtype=float).reshape(-1)
    chosen = np.unique(np.linspace(0, len(sigma) - 1, min(MOST_DRAWS, len(sigma))).astype(int))
    factors = [[np.asarray(f[d], dtype=float) / sigma[d] for f in flat.factors] for d in chosen]
    return savage_dickey(fit.kernel, prior, L, value, factors, sigma[chosen], noise)

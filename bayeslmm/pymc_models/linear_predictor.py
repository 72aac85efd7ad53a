r"""The linear predictor :math:`o + X\beta + \sum_k Z_k b_k` with its priors, every random effect a variable.

Free variables are called ``raw[...]`` and are in units of the response or its link (sd(y), say, per root mean square of
a column), so that a sampler starts from a sensible scale whatever the user's units. All others are functions of them on
the user's own columns, named as in the results.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayeslmm.covariance.pairs import pair_places
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.names import safe_name
from bayeslmm.priors.model_priors import ModelPriors, TermPriors
from bayeslmm.pymc_models.covariance import correlation_factor, covariance_factor, joint_deviations
from bayeslmm.pymc_models.distributions import random_vector, shiftable
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Units:
    """Origin and unit of the linear predictor.

    Attributes
    ----------
    location
        What it is about, the offset taken off.
    scale
        How far it varies.
    """

    location: float
    scale: float

    def of_columns(self, columns: Array) -> Array:
        """Return the unit of each column's coefficient, shape (S,): the scale over the root mean square of x."""
        size = np.sqrt(np.mean(columns**2, axis=0))
        return np.asarray(self.scale / np.where(size > 0, size, 1.0))


def linear_predictor(
    design: Design, priors: ModelPriors, units: Units, residual: Any = 1.0, *, centered: bool = False
) -> Any:
    """Add coefficients, covariances and effects to the model on the context stack; return the predictor, shape (n,).

    `residual` is the standard deviation that joint priors of the effects' standard deviations are in units of.
    """
    eta = _fixed_part(design, priors, units)
    for term, term_priors in zip(design.terms, priors.terms, strict=True):
        eta = eta + _random_part(term, term_priors, units, residual, centered=centered)
    return eta


def _fixed_part(design: Design, priors: ModelPriors, units: Units) -> Any:
    """Add the coefficients; return the offset plus X beta, shape (n,)."""
    known = np.zeros(design.n) if design.offset is None else design.offset
    if design.p == 0:
        return pm.Data("data[offset]", known)
    centring = priors.fixed_centring
    columns = centring.apply(design.X)
    unit = units.of_columns(columns)
    # the level goes to the columns that make up the constant, so that the free variables stay near zero
    origin = units.location * centring.constant * [shiftable(prior) for prior in priors.fixed]
    scaled = [
        prior.affine(-start / size, 1 / size) for prior, start, size in zip(priors.fixed, origin, unit, strict=True)
    ]
    raw = random_vector("raw[beta]", scaled, positive=False)
    pm.Deterministic("beta", pt.dot(centring.matrix, origin + unit * raw), dims="fixed")
    return pm.Data("data[offset]", known + columns @ origin) + pt.dot(pm.Data("data[X]", columns * unit), raw)


def _random_part(term: RandomTerm, priors: TermPriors, units: Units, residual: Any, *, centered: bool) -> Any:
    """Add one term's covariance and effects; return its part of the mean, shape (n,)."""
    name = safe_name(term.name)
    level, effect, pair = safe_name(term.factor), f"{name}_effect", f"{name}_pair"
    columns = priors.centring.apply(term.columns)
    unit = units.of_columns(columns)
    to_user = priors.centring.matrix
    scaled = [prior.affine(0.0, 1 / size) for prior, size in zip(priors.sd, unit, strict=True)]
    shape = (term.n_levels, term.n_columns)
    own = None if priors.joint is None else joint_deviations(name, priors, residual) / unit
    if priors.correlation is None:
        sd = random_vector(f"raw[sd_{name}]", scaled, positive=True) if own is None else own
        raw = _independent_effects(name, sd, shape, centered=centered)
        pm.Deterministic(f"sd_{name}", unit * sd, dims=effect)
    else:
        factor = (
            covariance_factor(name, scaled, priors.correlation)
            if own is None
            else own[:, None] * correlation_factor(name, term.n_columns, priors.correlation)
        )
        raw = _correlated_effects(name, factor, shape, centered=centered)
        user_factor = pt.dot(to_user, unit[:, None] * factor)
        covariance = pt.dot(user_factor, user_factor.T)
        user_sd = pt.sqrt(pt.diagonal(covariance))
        pm.Deterministic(f"sd_{name}", user_sd, dims=effect)
        correlation = covariance / (user_sd[:, None] * user_sd)
        pm.Deterministic(f"cor_{name}", correlation[pair_places(term.n_columns)], dims=pair)
    pm.Deterministic(f"r_{name}", pt.dot(raw, (to_user * unit).T), dims=(level, effect))
    codes = pm.Data(f"data[codes_{name}]", term.codes)
    return pt.sum(pm.Data(f"data[columns_{name}]", columns * unit) * raw[codes], axis=1)


def _independent_effects(name: str, sd: Any, shape: tuple[int, int], *, centered: bool) -> Any:
    if centered:
        return pm.Normal(f"raw[r_{name}]", 0.0, sd, shape=shape)
    return sd * pm.Normal(f"raw[r_{name}]", 0.0, 1.0, shape=shape)


def _correlated_effects(name: str, factor: Any, shape: tuple[int, int], *, centered: bool) -> Any:
    if centered:
        return pm.MvNormal(f"raw[r_{name}]", np.zeros(shape[1]), chol=factor, shape=shape)
    return pt.dot(pm.Normal(f"raw[r_{name}]", 0.0, 1.0, shape=shape), factor.T)

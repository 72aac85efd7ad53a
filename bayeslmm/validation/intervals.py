"""Intervals by every method, as functions with one signature: a problem in, limits for every parameter out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from bayeslmm.inference.draws import Draws
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.inference.optimum.mode import maximise_posterior, posterior_conditional
from bayeslmm.inference.options import Options
from bayeslmm.likelihood.kernel import Conditional
from bayeslmm.types import Array
from bayeslmm.validation.methods import Sample, importance
from bayeslmm.validation.quantities import all_parameters
from bayeslmm.validation.simulate import Problem


@dataclass(frozen=True, slots=True)
class Intervals:
    """Central intervals at L levels for K parameters, in the order of `quantities.all_parameters`.

    Attributes
    ----------
    lower, upper
        Shape (L, K); NaN where the method gives no interval.
    """

    lower: Array
    upper: Array


MakeIntervals = Callable[[Problem, Array, int], Intervals]  # (problem, levels (L,), seed)


def wald_intervals(method: Literal["ml", "reml"]) -> MakeIntervals:
    """Return z intervals of beta (estimate ± z standard errors) and of random effects (mode ± z conditional sds)."""

    def make(problem: Problem, levels: Array, seed: int) -> Intervals:
        maximum = maximise(problem.kernel, method)
        return _normal(problem, problem.kernel.conditional(maximum.theta, method), levels)

    return make


def map_intervals(problem: Problem, levels: Array, seed: int) -> Intervals:
    """Return the same z intervals at the posterior mode of the covariance parameters."""
    maximum = maximise_posterior(problem.density)
    return _normal(problem, posterior_conditional(problem.density, maximum.theta, maximum.sigma), levels)


def quantile_intervals(sample: Sample, n_draws: int = 1000) -> MakeIntervals:
    """Return equal-tailed intervals of draws."""

    def make(problem: Problem, levels: Array, seed: int) -> Intervals:
        return draws_intervals(problem, sample(problem, n_draws, seed), levels)

    return make


def advi_intervals(problem: Problem, levels: Array, seed: int) -> Intervals:
    """Return equal-tailed intervals of the draws of ADVI as it comes: mean field, on the integrated density."""
    from bayeslmm.inference.advi.sampling import sample_advi

    draws = sample_advi(problem.design, problem.priors, Options(draws=1000, chains=1, seed=seed), kernel=problem.kernel)
    return draws_intervals(problem, draws, levels)


def draws_intervals(problem: Problem, draws: Draws, levels: Array) -> Intervals:
    """Return equal-tailed intervals of draws already made."""
    values = all_parameters(problem.design, draws).values
    flat = values.reshape(-1, values.shape[-1])
    tails = 0.5 * (1.0 - levels)
    limits = np.quantile(flat, np.concatenate([tails, 1.0 - tails]), axis=0)
    return Intervals(limits[: len(levels)], limits[len(levels) :])


def _normal(problem: Problem, modes: Conditional, levels: Array) -> Intervals:
    """Return estimate ± z standard errors for beta and b; there are none for the covariance parameters."""
    n_covariance = sum(t.shape.n_coordinates for t in problem.design.terms)
    none = np.full(n_covariance + 1, np.nan)
    spreads = [np.sqrt(np.maximum(np.einsum("jss->js", cov), 0.0)).ravel() for cov in modes.b_cov]
    centre = np.concatenate([none, modes.beta, *(b.ravel() for b in modes.b)])
    spread = np.concatenate([none, np.sqrt(np.diag(modes.beta_cov)), *spreads])
    z = ndtri(0.5 * (1.0 + levels))[:, None]
    return Intervals(centre - z * spread, centre + z * spread)


def default_methods() -> Mapping[str, MakeIntervals]:
    """Return the methods whose coverage is measured."""
    return {
        "ml": wald_intervals("ml"),
        "reml": wald_intervals("reml"),
        "map": map_intervals,
        "importance": quantile_intervals(importance),
    }

"""Small models with explicit priors, once for the package and once as distributions of scipy for the quadrature."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from bayeslmm.datasets import load_dataset
from bayeslmm.design import build_design
from bayeslmm.formula import parse
from bayeslmm.priors import resolve_priors
from bayeslmm.validation.exact import ExactModel, ExactTerm
from bayeslmm.validation.simulate import Problem


def half_t(scale, nu=3):
    return lambda x: np.log(2) + stats.t(nu, 0, scale).logpdf(x)


@dataclass
class Small:
    """A model for the package and for the quadrature."""

    problem: Problem
    exact: ExactModel

    @property
    def design(self):
        return self.problem.design


def small(formula, data, priors, *, beta, sd_priors, sigma_prior, correlation_prior=None):
    """`beta`: means and sds of the intercept at the column means and of the slopes."""
    design = build_design(parse(formula), data)
    turn = np.eye(design.p)
    turn[0, 1:] = -design.X.mean(axis=0)[1:]  # intercept at x = 0 from the one at the means
    means, sds = np.array(beta).T
    exact = ExactModel(
        y=design.y,
        X=design.X,
        terms=[ExactTerm(t.codes, t.columns, t.n_levels, t.has_correlations) for t in design.terms],
        beta_mean=turn @ means,
        beta_cov=turn @ np.diag(sds**2) @ turn.T,
        sd_priors=sd_priors,
        sigma_prior=sigma_prior,
        correlation_prior=correlation_prior,
    )
    return Small(Problem(design, resolve_priors(design, priors)), exact)


def dyestuff():
    priors = {"Intercept": "Normal(1500, 150)", "sd_Batch": "HalfStudentT(3, 60)", "sigma": "HalfNormal(80)"}
    return small(
        "Yield ~ 1 + (1 | Batch)",
        load_dataset("dyestuff"),
        priors,
        beta=[(1500, 150)],
        sd_priors=[half_t(60)],
        sigma_prior=stats.halfnorm(scale=80).logpdf,
    )


def simulated(n):
    """n rows in two crossed factors a and b, and in six groups g; x far from centred."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame(
        {
            "x": 2 + rng.normal(size=n),
            "a": np.r_[np.arange(5), rng.integers(0, 5, n - 5)],
            "b": rng.permutation(np.arange(n) % 4),
            "g": np.arange(n) % 6,
        }
    )
    effects_a, effects_b = rng.normal(size=5), 0.7 * rng.normal(size=4)
    data["y"] = 1 + 0.5 * data.x + effects_a[data.a] + effects_b[data.b] + 0.8 * rng.normal(size=n)
    return data


TWO_SDS = {
    "beta": [(0, 3), (0, 1)],
    "sd_priors": [half_t(1), stats.halfnorm(scale=0.8).logpdf],
    "sigma_prior": half_t(1),
}
FIXED = {"Intercept": "Normal(0, 3)", "x": "Normal(0, 1)", "sigma": "HalfStudentT(3, 1)"}


def crossed(n=36):
    priors = {**FIXED, "sd_a": "HalfStudentT(3, 1)", "sd_b": "HalfNormal(0.8)"}
    return small("y ~ 1 + x + (1 | a) + (1 | b)", simulated(n), priors, **TWO_SDS)


def uncorrelated_slope(n=36):
    priors = {**FIXED, "sd_g[Intercept]": "HalfStudentT(3, 1)", "sd_g[x]": "HalfNormal(0.8)"}
    return small("y ~ 1 + x + (1 + x || g)", simulated(n), priors, **TWO_SDS)


def nested(n=36):
    data = simulated(n)
    data["sub"] = data["g"] * 2 + np.arange(n) // 6 % 2
    priors = {**FIXED, "sd_g": "HalfStudentT(3, 1)", "sd_sub": "HalfNormal(0.8)"}
    return small("y ~ 1 + x + (1 | g) + (1 | sub)", data, priors, **TWO_SDS)


def correlated_slope(n=24):
    priors = {
        **FIXED,
        "sd_g[Intercept]": "HalfStudentT(3, 1)",
        "sd_g[x]": "HalfNormal(0.8)",
        "cor_g": "LKJ(2)",
    }
    # LKJ(2) of two effects: (r + 1) / 2 is Beta(2, 2)
    lkj = stats.beta(2, 2, loc=-1, scale=2).logpdf
    return small("y ~ 1 + x + (1 + x | g)", simulated(n), priors, **TWO_SDS, correlation_prior=lkj)

"""Gibbs steps given f: exact against the posterior of a plain mixed model, and what the chains report."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression

from bayeslmm import MixedEffectsForest, Model, OptionError
from bayeslmm.forest.gibbs.covariance_steps import slice_step
from bayeslmm.results.diagnostics import diagnose

ZERO = DummyRegressor(strategy="constant", constant=0.0)
STANDARD_ERRORS = 4.5  # of a Monte Carlo mean: about one failure in 100,000 comparisons
DRAWS = 700


def make(seed=2, n_groups=12, size=6):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), size)
    z = rng.standard_normal(len(g))
    b = rng.standard_normal((n_groups, 2)) * [1.5, 0.7]
    y = 2.0 + 1.5 * z + b[g, 0] + b[g, 1] * z + 0.6 * rng.standard_normal(len(g))
    return pd.DataFrame({"z": z, "g": g, "u": rng.random(len(g))}), pd.Series(y, name="y")


def test_slice_steps_leave_a_correlated_normal_where_it_is():
    rng = np.random.default_rng(0)
    precision = np.linalg.inv([[1.0, 0.8], [0.8, 2.0]])
    x, kept = np.zeros(2), []
    for _ in range(6000):
        x = slice_step(lambda v: -0.5 * v @ precision @ v, x, rng)
        kept.append(x)
    draws = np.array(kept)[None]
    for moment, expected in ((draws, [0, 0]), (draws**2, [1, 2]), (draws[..., :1] * draws[..., 1:], [0.8])):
        error = moment.std((0, 1)) / np.sqrt(diagnose(moment).ess_bulk)
        assert (np.abs(moment.mean((0, 1)) - expected) < STANDARD_ERRORS * error).all()


def test_with_f_zero_the_draws_are_those_of_the_mixed_model():
    """Against importance sampling of the same posterior: an implementation that shares the density only."""
    X, y = make()
    forest = MixedEffectsForest(
        "(1 + z | g)",
        ZERO,
        method="gibbs",
        linear=["z"],
        features=["u"],
        chains=2,
        draws=DRAWS,
        max_iterations=2,
        seed=1,
    ).fit(X, y)
    fit = Model("y ~ z + (1 + z | g)", X.assign(y=y)).fit(method="importance", draws=2000, seed=2)
    ours, theirs = forest.idata.posterior, fit.idata.posterior
    for name in ("beta", "sigma", "sd_g", "cor_g", "r_g"):
        a, b = ours[name].to_numpy(), theirs[name].to_numpy()
        for power in (1, 2):
            x, w = a**power, b**power
            flat, reference = (
                x.reshape(*x.shape[:2], -1),
                w.reshape(-1, *w.shape[2:]).reshape(w.shape[0] * w.shape[1], -1),
            )
            error = np.sqrt(flat.var((0, 1)) / diagnose(flat).ess_bulk + reference.var(0) / 1000)
            difference = np.abs(flat.mean((0, 1)) - reference.mean(0))
            assert np.all((difference <= STANDARD_ERRORS * error) | (flat.std((0, 1)) == 0)), name
    diagnostics = forest.diagnostics()
    assert diagnostics.loc[["sd_g[Intercept]", "sigma", "z"], "rhat"].max() < 1.02
    assert {"Intercept", "mean of g[Intercept]", "cor_g[Intercept, z]", "f at point 1"} <= set(diagnostics.index)


def test_chains_are_reproducible_and_depend_on_seed_and_number_only():
    X, y = make()
    options = {"method": "gibbs", "draws": 20, "max_iterations": 4, "features": ["u"]}
    one = MixedEffectsForest("(1 | g)", LinearRegression(), chains=1, seed=5, **options).fit(X, y)
    two = MixedEffectsForest("(1 | g)", LinearRegression(), chains=2, seed=5, **options).fit(X, y)
    np.testing.assert_array_equal(one.idata.posterior["sigma"][0], two.idata.posterior["sigma"][0])
    assert not np.array_equal(two.idata.posterior["sigma"][0], two.idata.posterior["sigma"][1])
    other = MixedEffectsForest("(1 | g)", LinearRegression(), chains=1, seed=6, **options).fit(X, y)
    assert not np.array_equal(one.idata.posterior["sigma"], other.idata.posterior["sigma"])


def test_crossed_terms_and_predictions_from_draws():
    X, y = make(n_groups=20)
    X = X.assign(h=np.arange(len(X)) % 6)
    forest = MixedEffectsForest(
        "(1 | g) + (1 | h)", LinearRegression(), method="gibbs", chains=2, draws=99, max_iterations=6, seed=0
    ).fit(X, y)
    assert {"r_g", "r_h", "sd_g", "sd_h", "sigma"} <= set(forest.idata.posterior)
    draws = forest.fitted_.draws
    b = [draws.effects[0].mean((0, 1))[:, 0], draws.effects[1].mean((0, 1))[:, 0]]
    f = np.mean([np.mean([m.predict(X[["z", "u"]]) for m in version], axis=0)
                 for version in forest.fitted_.functions.versions], axis=0)  # fmt: skip
    by_hand = f + b[0][X["g"]] + b[1][X["h"]]
    np.testing.assert_allclose(forest.predict(X), by_hand, atol=1e-10)
    rows = forest.predict(X, interval=0.9, seed=0)
    assert 0.8 < np.mean((y >= rows["lower"]) & (y <= rows["upper"])) < 1.0
    new = X.assign(g=100)
    wide, narrow = (
        forest.predict(new, interval=0.9, seed=0),
        rows,
    )  # of groups that are not in the fit, and of those that are
    assert np.mean(wide["upper"] - wide["lower"]) > 1.3 * np.mean(narrow["upper"] - narrow["lower"])
    sampled = forest.predict(new, interval=0.9, new_levels="sample", seed=0)
    pd.testing.assert_frame_equal(wide, sampled)


def test_bootstrap_of_groups_adds_uncertainty_of_f():
    X, y = make(n_groups=15)
    spread = {}
    for outer in (None, "bootstrap"):
        forest = MixedEffectsForest(
            "(1 | g)", LinearRegression(), method="gibbs", outer=outer, chains=2, draws=40, max_iterations=20, seed=3
        ).fit(X, y)
        spread[outer] = forest.fitted_.functions.predict(X[["z", "u"]]).std(axis=0).mean()
    assert spread["bootstrap"] > 1.4 * spread[None]
    with pytest.raises(OptionError, match="crossfit"):
        MixedEffectsForest("(1 | g)", LinearRegression(), method="gibbs", outer="bootstrap", residuals="inbag").fit(
            X, y
        )


def test_priors_reach_the_draws():
    X, y = make()
    tight = {"sd_g": "HalfNormal(0.01)"}
    forest = MixedEffectsForest(
        "(1 | g)", LinearRegression(), method="gibbs", priors=tight, chains=1, draws=50, max_iterations=2, seed=0
    ).fit(X, y)
    assert forest.varcorr()["sd"][0] < 0.05

"""BART inside the sweep: bookkeeping of residuals, seeds, categories, predictions."""

import pickle

import numpy as np
import pandas as pd
import pytest
from forest_data import FRIEDMAN_COLUMNS, friedman
from sklearn.linear_model import Ridge

from bayeslmm import DataError, MixedEffectsForest, OptionError
from bayeslmm.forest import prediction, reading
from bayeslmm.forest.bart.fitting import BartSampler, join_chains, plan_bart
from bayeslmm.forest.bart.group_trees import intercept_given_rest
from bayeslmm.forest.bart.sampler import FeatureCoding
from bayeslmm.forest.data.inputs import read_training
from bayeslmm.results import posterior_prediction as results_prediction


@pytest.fixture(scope="module")
def sample():
    train, test, _ = friedman(0, n_groups=40)
    return train, test


@pytest.fixture(scope="module")
def fitted(sample):
    train, _ = sample
    forest = MixedEffectsForest("(1 + z | g)", "bart", linear=["x4"], chains=2, draws=60, n_trees=50, seed=0)
    return forest.fit(train[FRIEDMAN_COLUMNS], train["y"])


def make_sampler(train, weights=None, n_trees=20):
    training = read_training(train[FRIEDMAN_COLUMNS], train["y"], None, weights, "(1 + z | g)", "1 + x4", None)
    rng = np.random.default_rng(0)
    return BartSampler(plan_bart(training, None, n_trees, scale=5.0), rng), rng


def residual_of(sampler):
    return sampler.trees.scale * np.asarray(sampler.trees.residual.get_residual()).ravel()


@pytest.mark.parametrize("constant", [(), (3, 4)])
def test_trees_always_see_what_the_rest_leaves(constant):
    train, _, _ = friedman(0, n_groups=40, constant=constant)
    sampler, rng = make_sampler(train, weights=np.linspace(1, 2, len(train)))
    assert len(sampler.groups) == bool(constant)
    for sweep in range(8):
        sampler.sweep(rng, keep=sweep == 7)
        b = sampler.plan.rows.random(sampler.block.effects)
        left = sampler.y - sampler.f - sampler.plan.rows.linear(sampler.block.beta) - b
        np.testing.assert_allclose(residual_of(sampler), left, atol=1e-10)
    kept = join_chains(sampler.plan, [sampler.forests()], 1)
    np.testing.assert_allclose(kept.predict(train)[0], sampler.f, atol=1e-10)
    sampler.observe(sampler.y + 1.0)
    np.testing.assert_allclose(residual_of(sampler), left + 1.0, atol=1e-10)


def test_predictions_are_means_over_the_draws(fitted, sample):
    _, test = sample
    features = test[[c for c in FRIEDMAN_COLUMNS if c not in ("g", "x4")]]
    assert list(fitted.fitted_.features.columns) == list(features.columns)
    draws = fitted.fitted_.draws
    f = fitted.fitted_.functions.predict(features)
    assert f.shape == (120, len(test))
    beta, b = draws.beta.reshape(120, 2), draws.effects[0].reshape(120, 40, 2)
    g, z, x4 = test["g"].to_numpy(), test["z"].to_numpy(), test["x4"].to_numpy()
    each = f + beta[:, :1] + beta[:, 1:] * x4 + b[:, g, 0] + b[:, g, 1] * z
    np.testing.assert_allclose(fitted.predict(test), each.mean(axis=0), atol=1e-9)
    rng = np.random.default_rng(0)
    new = each + draws.sigma.reshape(-1, 1) * rng.standard_normal(each.shape)
    interval = fitted.predict(test, interval=0.9, seed=1)
    by_hand = np.quantile(new, [0.05, 0.95], axis=0)
    assert np.mean(np.abs(interval["lower"] - by_hand[0])) < 0.4  # Monte Carlo: 120 draws of a 5% quantile
    assert np.mean(np.abs(interval["upper"] - by_hand[1])) < 0.4


def test_recovers_what_was_simulated(fitted, sample):
    _, test = sample
    assert fitted.sigma_ == pytest.approx(1.5, abs=0.35)
    assert fitted.fixef()["x4"] == pytest.approx(10, abs=1.0)
    linear = MixedEffectsForest("(1 + z | g)", Ridge(), max_iterations=3)
    linear.fit(sample[0][FRIEDMAN_COLUMNS], sample[0]["y"])
    errors = [np.sqrt(np.mean((test["y"] - m.predict(test)) ** 2)) for m in (fitted, linear)]
    assert errors[0] < 0.9 * errors[1]
    assert set(fitted.feature_importances_.nlargest(4).index) == {"x1", "x2", "x3", "x5"}
    assert fitted.feature_importances_.sum() == pytest.approx(1)


def test_what_is_watched_and_reported(fitted):
    diagnostics = fitted.diagnostics()
    expected = {"Intercept", "x4", "sd_g[Intercept]", "cor_g[Intercept, z]", "mean of g[z]", "sigma", "f at point 20"}
    assert expected <= set(diagnostics.index)
    assert diagnostics.loc["mean of g[Intercept]", "ess_bulk"] > 30  # of 120; without joint draws a few
    assert {"r_g", "sd_g", "cor_g", "beta", "sigma"} <= set(fitted.idata.posterior)
    shares = fitted.variance_shares()
    assert list(shares.index) == ["f(X)", "linear", "g", "Residual"]
    assert len(fitted.plot("convergence").axes) == 4
    curve = fitted.partial_dependence("x5", grid=[0.1, 0.9])
    assert np.diff(curve["mean"])[0] == pytest.approx(4, abs=1.5)


def test_same_seed_same_draws(sample):
    train, _ = sample
    options = {"draws": 5, "n_trees": 10, "warmup": 0.0}
    one = MixedEffectsForest("(1 | g)", "bart", chains=1, seed=3, **options).fit(train[FRIEDMAN_COLUMNS], train["y"])
    two = MixedEffectsForest("(1 | g)", "bart", chains=2, seed=3, **options).fit(train[FRIEDMAN_COLUMNS], train["y"])
    np.testing.assert_array_equal(one.fitted_.draws.sigma[0], two.fitted_.draws.sigma[0])
    np.testing.assert_array_equal(
        one.fitted_.functions.predict(train.head()), two.fitted_.functions.predict(train.head())[:5]
    )


def test_pickled_forests_predict_the_same(fitted, sample):
    """As they travel between processes, or come back from cross-validation in several."""
    _, test = sample
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict(test), fitted.predict(test))
    assert copy.feature_importances_.equals(fitted.feature_importances_)


def test_predictions_block_by_block(fitted, sample, monkeypatch):
    _, test = sample
    whole, limits = fitted.predict(test), fitted.predict(test, interval=0.9, seed=1)
    monkeypatch.setattr(prediction, "BLOCK", 120 * 7)
    np.testing.assert_allclose(fitted.predict(test), whole, rtol=1e-12)
    again = fitted.predict(test, interval=0.9, seed=1)
    np.testing.assert_allclose(again["prediction"], whole, rtol=1e-12)
    np.testing.assert_allclose(again, limits, rtol=1e-12)
    monkeypatch.setattr(results_prediction, "BATCH", 120 * 5)  # blocks of 7 rows asked for in batches of 5
    small = fitted.predict(test, interval=0.9, seed=1)
    np.testing.assert_allclose(small["prediction"], whole, rtol=1e-12)


def test_curves_and_importances_use_some_of_the_draws(fitted, monkeypatch):
    every = fitted.partial_dependence("x5", grid=[0.2, 0.8])["mean"]
    features = fitted.fitted_.features
    by_hand = [fitted.fitted_.functions.predict(features.assign(x5=v)).mean() for v in (0.2, 0.8)]
    np.testing.assert_allclose(every, by_hand)
    monkeypatch.setattr(reading, "MOST_DRAWS", 3)
    picked = fitted.fitted_.functions.predict(features.assign(x5=0.2))[[0, 60, 119]]  # 59.5 is rounded to even
    assert fitted.partial_dependence("x5", grid=[0.2])["mean"][0] == pytest.approx(picked.mean())


def test_intercepts_given_slopes():
    covariance = np.array([[2.0, 0.6], [0.6, 0.5]])
    sds = np.sqrt(np.diag(covariance))
    b = np.array([[0.0, 1.0], [3.0, -2.0]])
    mean, spread = intercept_given_rest(sds, covariance / np.outer(sds, sds), b, 0)
    np.testing.assert_allclose(mean, 0.6 / 0.5 * b[:, 1])
    assert spread == pytest.approx(np.sqrt(2.0 - 0.6**2 / 0.5))
    assert intercept_given_rest(sds[:1], np.eye(1), b[:, :1], 0)[1] == sds[0]


def test_columns_constant_within_groups_have_trees_of_their_own():
    train, test, _ = friedman(1, n_groups=40, constant=(3, 4))
    forest = MixedEffectsForest("(1 + z | g)", "bart", chains=1, draws=30, n_trees=50, seed=0)
    forest.fit(train[FRIEDMAN_COLUMNS], train["y"])
    parts = forest.fitted_.functions.parts
    assert [part.plan.coding.names for part in parts[1:]] == [("x4", "x5")]
    assert np.hypot(*(part.plan.scale for part in parts)) == pytest.approx(train["y"].std())
    weights = plan_bart(read_training(train[FRIEDMAN_COLUMNS], train["y"], None, None, "(1 | g)", "1", None), None, 5)
    np.testing.assert_allclose(weights.trees.split_weights * 9.2, [1, 1, 1, 0.1, 0.1, 1, 1, 1, 1, 1, 1])
    f = forest.fitted_.functions.predict(test)
    np.testing.assert_allclose(f, parts[0].predict(test) + parts[1].predict(test))
    assert forest.feature_importances_.sum() == pytest.approx(1)
    values = forest.fitted_.features.to_numpy()
    positions = MixedEffectsForest("(1 + z | g)", "bart", chains=1, draws=30, n_trees=50, seed=0)
    positions.fit(values, train["y"].to_numpy(), groups=train[["g", "z"]])
    assert positions.fitted_.functions.parts[1].plan.coding.names == (3, 4)
    np.testing.assert_allclose(positions.fitted_.draws.sigma, forest.fitted_.draws.sigma)


def test_same_draws_on_two_cores(sample):
    train, test = sample
    options = {"chains": 2, "draws": 4, "n_trees": 10, "seed": 3}
    fits = [
        MixedEffectsForest("(1 | g)", "bart", cores=cores, **options).fit(train[FRIEDMAN_COLUMNS], train["y"])
        for cores in (1, 2)
    ]
    np.testing.assert_array_equal(*(fit.fitted_.draws.sigma for fit in fits))
    np.testing.assert_array_equal(*(fit.predict(test) for fit in fits))


def test_categories_become_indicators_and_unknown_ones_none():
    frame = pd.DataFrame({"x": [1, 2, 3], "c": ["b", "a", "b"], "flag": [True, False, True]})
    coding = FeatureCoding.learn(frame)
    np.testing.assert_array_equal(coding.encode(frame), [[1, 0, 1, 1], [2, 1, 0, 0], [3, 0, 1, 1]])
    np.testing.assert_array_equal(coding.encode(frame.assign(c="z"))[:, 1:3], 0)
    assert list(coding.types) == [0, 1, 1, 0]
    with pytest.raises(DataError, match="'c' has missing"):
        coding.encode(frame.assign(c=["a", None, "b"]))


def test_what_bart_refuses(sample):
    train, _ = sample
    hole = train[FRIEDMAN_COLUMNS].assign(x1=train["x1"].where(train.index > 0))
    with pytest.raises(DataError, match="'x1' has missing"):
        MixedEffectsForest("(1 | g)", "bart").fit(hole, train["y"])
    with pytest.raises(OptionError, match="outer=None"):
        MixedEffectsForest("(1 | g)", "bart", outer="bootstrap").fit(train[FRIEDMAN_COLUMNS], train["y"])
    with pytest.raises(OptionError, match="needs random terms"):
        MixedEffectsForest(learner="bart").fit(train[FRIEDMAN_COLUMNS], train["y"])

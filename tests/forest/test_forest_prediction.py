"""Intervals, refreshed random effects, tables and pictures."""

import numpy as np
import pandas as pd
import pytest
from forest_data import FRIEDMAN_COLUMNS, friedman
from lightgbm import LGBMRegressor
from matplotlib.figure import Figure
from scipy.stats import norm
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

from bayeslmm import DataError, MixedEffectsForest, OptionError, load_dataset

ZERO = DummyRegressor(strategy="constant", constant=0.0)  # f = 0 leaves a plain mixed model


@pytest.fixture(scope="module")
def sample():
    train, test, _ = friedman(0, n_groups=60)
    return train, test


@pytest.fixture(scope="module")
def fitted(sample):
    train, _ = sample
    learner = LGBMRegressor(verbose=-1, n_jobs=1, n_estimators=50)
    return MixedEffectsForest("(1 + z | g)", learner, max_iterations=3).fit(train[FRIEDMAN_COLUMNS], train["y"])


def test_interval_of_a_seen_group_is_its_conditional_variance(fitted, sample):
    _, test = sample
    found = fitted.predict(test, interval=0.9)
    D, s2 = fitted.fitted_.components.covariances[0], fitted.sigma_**2
    design = fitted.fitted_.design
    own = design.terms[0].codes == 3
    Z = design.terms[0].columns[own]
    C = np.linalg.inv(Z.T @ Z / s2 + np.linalg.inv(D))
    z = np.column_stack([np.ones(20), test["z"][test["g"] == 3]])
    half = norm.ppf(0.95) * np.sqrt(s2 + np.einsum("ns,st,nt->n", z, C, z))
    rows = found[(test["g"] == 3).to_numpy()]
    np.testing.assert_allclose(rows["upper"] - rows["prediction"], half, rtol=1e-6)
    np.testing.assert_allclose(found["prediction"], fitted.predict(test))


def test_interval_of_a_new_group_has_its_variance(fitted, sample):
    _, test = sample
    new = test.head(5).assign(g=1000)
    D, s2 = fitted.fitted_.components.covariances[0], fitted.sigma_**2
    z = np.column_stack([np.ones(5), new["z"]])
    variance = s2 + np.einsum("ns,st,nt->n", z, D, z)
    for option in ("population", "sample"):
        rows = fitted.predict(new, interval=0.9, new_levels=option)
        np.testing.assert_allclose(rows["upper"] - rows["prediction"], norm.ppf(0.95) * np.sqrt(variance) * np.ones(5))


def test_new_rows_refresh_the_effects_as_if_they_had_been_there(sample):
    """With f = 0 and the same variances b given all rows is one formula; here against the kernel on all rows."""
    train, test = sample
    new = test[test["g"] < 5].assign(g=lambda d: d["g"].where(d["g"] > 1, 500))
    forest = MixedEffectsForest("(1 + z | g)", ZERO, max_iterations=1).fit(train[FRIEDMAN_COLUMNS], train["y"])
    D, s2 = forest.fitted_.components.covariances[0], forest.sigma_**2
    forest.update_random_effects(new[FRIEDMAN_COLUMNS], new["y"])
    both = pd.concat([train, new])
    b = forest.ranef()["g"]
    for level in (3, 500, 40):
        rows = both[both["g"] == level]
        Z = np.column_stack([np.ones(len(rows)), rows["z"]])
        expected = np.linalg.solve(Z.T @ Z + s2 * np.linalg.inv(D), Z.T @ rows["y"])
        np.testing.assert_allclose(b.loc[level], expected, rtol=1e-7)
    assert forest.sigma_**2 == s2
    assert forest.predict(new.tail(1), interval=0.5).shape == (1, 3)


def test_refresh_keeps_weights_and_refuses_what_depends_on_rows(sample):
    train, test = sample
    weights = np.linspace(1, 3, len(train))
    forest = MixedEffectsForest("(1 | g)", ZERO, max_iterations=1)
    forest.fit(train[FRIEDMAN_COLUMNS], train["y"], sample_weight=weights)
    D, s2 = forest.fitted_.components.covariances[0][0, 0], forest.sigma_**2
    forest.update_random_effects(test[FRIEDMAN_COLUMNS], test["y"])
    w = np.concatenate([weights[(train["g"] == 7).to_numpy()], np.ones(20)])
    r = np.concatenate([train["y"][train["g"] == 7], test["y"][test["g"] == 7]])
    assert forest.ranef()["g"].loc[7, "Intercept"] == pytest.approx(np.sum(w * r) / (np.sum(w) + s2 / D), rel=1e-7)
    centred = MixedEffectsForest("(1 + center(z) | g)", ZERO, max_iterations=1)
    centred.fit(train[FRIEDMAN_COLUMNS], train["y"])
    with pytest.raises(OptionError, match="center"):
        centred.update_random_effects(test[FRIEDMAN_COLUMNS], test["y"])


def test_refresh_keeps_the_order_of_categories():
    data = load_dataset("ratpup").assign(litter=lambda d: pd.Categorical(d["litter"]))
    forest = MixedEffectsForest("(sex | litter)", ZERO, linear="1 + sex", features=["litsize"], max_iterations=1)
    with pytest.warns(UserWarning, match="constant within"):
        forest.fit(data, data["weight"])
    before = forest.ranef()["litter"]
    new = data.head(4).assign(litter="new")
    after = forest.update_random_effects(new, new["weight"]).ranef()["litter"]
    assert list(after.columns) == list(before.columns) == ["Intercept", "sex[T.Female]"]
    assert list(after.index) == [*range(1, 28), "new"]
    np.testing.assert_allclose(after.iloc[:27], before, rtol=1e-9)


def test_tables(fitted):
    assert list(fitted.varcorr().columns) == ["group", "effect", "other_effect", "variance", "sd", "correlation"]
    assert fitted.ranef()["g"].shape == fitted.ranef_sd()["g"].shape == (60, 2)
    shares = fitted.variance_shares()
    assert list(shares.index) == ["f(X)", "g", "Residual"]
    assert shares["share"].sum() == pytest.approx(1)
    assert fitted.explained_by_group_means()["r2_adjusted"].abs().max() < 0.5
    assert fitted.fixef().empty


def test_importances(fitted, sample):
    _, test = sample
    own = fitted.feature_importances_
    permuted = fitted.permutation_importance(test, test["y"], n_repeats=3, seed=0)
    assert list(own.index) == list(permuted.index) == FRIEDMAN_COLUMNS[:-1]
    assert set(permuted["mean"].nlargest(5).index) == {"x1", "x2", "x3", "x4", "x5"}
    repeated = fitted.permutation_importance(test, test["y"], n_repeats=3, seed=0)
    pd.testing.assert_frame_equal(permuted, repeated)


def test_partial_dependence_of_a_linear_learner_is_its_coefficient(sample):
    train, _ = sample
    forest = MixedEffectsForest("(1 | g)", LinearRegression(), max_iterations=1)
    forest.fit(train[FRIEDMAN_COLUMNS], train["y"])
    curve = forest.partial_dependence("x4", grid=[0.0, 0.5, 1.0])
    slope = np.mean([learner.coef_[3] for learner in forest.learners_])
    np.testing.assert_allclose(np.diff(curve["mean"]), slope / 2)
    assert len(forest.partial_dependence("x4", n_points=7)) == 7
    with pytest.raises(DataError, match="does not see a column 'g'"):
        forest.partial_dependence("g")


@pytest.mark.parametrize("kind", ["convergence", "ranef", "predicted"])
def test_pictures_belong_to_no_window(fitted, kind):
    import matplotlib.pyplot as plt

    figure = fitted.plot(kind)
    assert isinstance(figure, Figure)
    assert all(ax.has_data() for ax in figure.axes)
    assert plt.get_fignums() == []


def test_sweeps_are_whole_numbers_and_predictions_say_what_is_in_them(fitted, sample):
    ticks = fitted.plot("convergence").axes[0].get_xticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))
    assert [ax.get_title(loc="left") for ax in fitted.plot("predicted").axes] == [
        "marginal: f(X)",
        "conditional: f(X) + Zb",
    ]
    train, _ = sample
    linear = MixedEffectsForest("(1 | g)", LinearRegression(), linear=["x1"], max_iterations=1)
    figure = linear.fit(train[FRIEDMAN_COLUMNS], train["y"]).plot("predicted")
    assert figure.axes[0].get_title(loc="left") == "marginal: f(X) + Xβ"


def test_unknown_picture(fitted):
    with pytest.raises(OptionError, match="'convergence', 'ranef', 'predicted'"):
        fitted.plot("pie")
    with pytest.raises(OptionError, match="no random term 'h'; the terms are 'g'"):
        fitted.plot("ranef", group="h")


def test_crossed_factors_with_slopes():
    rng = np.random.default_rng(0)
    n = 2000
    data = pd.DataFrame(
        {"x": rng.random(n), "v": rng.random(n), "s": rng.integers(100, size=n), "t": rng.integers(40, size=n)}
    )
    y = np.sin(6 * data["x"]) + rng.standard_normal(100)[data["s"]] + data["v"] * rng.standard_normal(40)[data["t"]]
    y = y + 0.5 * rng.standard_normal(n)
    forest = MixedEffectsForest(
        "(1 | s) + (0 + v | t)", RandomForestRegressor(30, min_samples_leaf=5, random_state=0), max_iterations=4
    ).fit(data, y)
    sd = forest.varcorr()["sd"].to_numpy()
    np.testing.assert_allclose(sd, [1, 1, 0.5], rtol=0.35)  # three standard errors with 40 levels

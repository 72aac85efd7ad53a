"""Residuals of rows and groups the learner has not seen; when the loop ends; what it keeps."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from forest_data import FRIEDMAN_COLUMNS, friedman
from lightgbm import LGBMRegressor
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from bayeslmm import MixedEffectsForest, OptionError
from bayeslmm.design import build_design
from bayeslmm.forest.data.group_information import constant_within
from bayeslmm.forest.learners import Trainer, choose_fold_factor, group_folds
from bayeslmm.formula import parse


class Recorder(RegressorMixin, BaseEstimator):
    """Predicts the mean, and remembers which groups (column g2) it was fitted to."""

    seen: ClassVar[list] = []

    def fit(self, X, y, sample_weight=None):
        self.mean_ = float(np.average(y, weights=sample_weight))
        Recorder.seen.append((len(X), frozenset(X["copy"]), None if sample_weight is None else sample_weight.sum()))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def small(seed=0, n_groups=12, size=6):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), size)
    x = rng.standard_normal(len(g))
    y = x + rng.standard_normal(n_groups)[g] + 0.5 * rng.standard_normal(len(g))
    return pd.DataFrame({"x": x, "copy": g, "g": g}), pd.Series(y)


@pytest.mark.filterwarnings("ignore::bayeslmm.forest.GroupConstantWarning")
def test_crossfit_keeps_groups_whole_and_passes_weights():
    X, y = small()
    Recorder.seen.clear()
    weights = np.linspace(1, 2, len(y))
    MixedEffectsForest("(1 | g)", Recorder(), max_iterations=1, n_folds=4).fit(X, y, sample_weight=weights)
    assert len(Recorder.seen) == 4
    left_out = [set(range(12)) - groups for _, groups, _ in Recorder.seen]
    assert sorted(level for out in left_out for level in out) == list(range(12))
    assert sum(total for _, _, total in Recorder.seen) == pytest.approx(3 * weights.sum())


def test_columns_constant_within_groups_of_any_kind():
    g = np.array([0, 0, 1, 1, 2, 2], dtype=np.int32)
    data = pd.DataFrame({"x": [1.0, 2, 3, 4, 5, 6], "e": [1] * 6, "w": [np.nan, 1, 1, 1, 2, 2], "g": g})
    constant = pd.DataFrame(
        {
            "number": [1, 1, 2, 2, 2, 2],
            "hole": [1.0, 1, np.nan, np.nan, 3, 3],
            "text": ["x", "x", "y", "y", None, None],
            "category": pd.Categorical(list("aabbcc")),
            "flag": [True] * 2 + [False] * 4,
            "nullable": pd.array([1, 1, None, None, 2, 2], dtype="Int64"),
        }
    )
    terms = build_design(parse("x ~ 0 + (1 | g)"), data).terms
    features = pd.concat([data[["x", "e", "w"]], constant], axis=1)
    assert constant_within(features, terms) == {"g": list(constant.columns)}
    assert constant_within(features[["x", "e", "w", "number", "hole"]].to_numpy(float), terms) == {"g": [3, 4]}
    assert constant_within(features[["x", "e", "w", "text"]].to_numpy(object), terms) == {"g": [3]}


def test_folds_are_of_equal_size_and_as_many_as_there_are_groups():
    codes = np.repeat(np.arange(6, dtype=np.int32), [30, 10, 10, 10, 10, 10])
    folds = group_folds(codes, 6, "g", 3)
    assert sorted(np.bincount(folds)) == [20, 30, 30]
    assert group_folds(codes, 6, "g", 50).max() == 5
    with pytest.raises(OptionError, match="two levels of 'g'"):
        group_folds(np.zeros(5, np.int32), 1, "g", 3)


def test_factor_whose_levels_stay_together():
    pups = np.arange(12, dtype=np.int32)
    litters, other = pups // 3, np.tile(np.arange(2, dtype=np.int32), 6)
    assert choose_fold_factor([pups, litters], [12, 4], ["pup", "litter"], None) == 1
    assert choose_fold_factor([litters, other], [4, 2], ["litter", "other"], None) == 0
    assert choose_fold_factor([litters, other], [4, 2], ["litter", "other"], "other") == 1
    with pytest.raises(OptionError, match="'litter', 'other'"):
        choose_fold_factor([litters, other], [4, 2], ["litter", "other"], "x")


def test_predictions_by_fold_come_from_learners_that_did_not_see_the_group():
    X, y = small()
    folds = group_folds(X["g"].to_numpy(np.int32), 12, "g", 3)
    trainer = Trainer(DecisionTreeRegressor(random_state=0), X[["x"]], None, "crossfit", folds)
    fitted = trainer.round(y.to_numpy())
    for k, learner in enumerate(fitted.learners):
        own = folds == k
        np.testing.assert_array_equal(fitted.predictions[own], learner.predict(X.loc[own, ["x"]]))
    everywhere = [learner.predict(X[["x"]]) for learner in fitted.learners]
    np.testing.assert_allclose(fitted.ensemble, np.mean(everywhere, axis=0))


def test_sigma_does_not_collapse_as_it_does_in_bag():
    train, _, _ = friedman(0, n_groups=60)
    tree = DecisionTreeRegressor(min_samples_leaf=2, random_state=0)
    sigma = {}
    for residuals in ("crossfit", "inbag"):
        forest = MixedEffectsForest("(1 + z | g)", tree, residuals=residuals, max_iterations=4)
        sigma[residuals] = forest.fit(train[FRIEDMAN_COLUMNS], train["y"]).sigma_
    assert sigma["inbag"] < 1.0 < 1.5 < sigma["crossfit"]  # the true one is 1.5; out of sample f adds its own error


def test_out_of_bag_residuals():
    train, _, _ = friedman(0, n_groups=40)
    forest = MixedEffectsForest(
        "(1 | g)", RandomForestRegressor(50, random_state=0), residuals="oob", max_iterations=2
    ).fit(train[FRIEDMAN_COLUMNS], train["y"])
    np.testing.assert_array_equal(forest.fitted_.predictions, forest.learners_[0].oob_prediction_)
    assert forest.sigma_ > 1.5
    with pytest.raises(OptionError, match=r"oob_prediction_.*crossfit"):
        MixedEffectsForest("(1 | g)", LinearRegression(), residuals="oob").fit(train[FRIEDMAN_COLUMNS], train["y"])


def test_loop_settles_and_says_so_in_its_length():
    X, y = small()
    forest = MixedEffectsForest("(1 | g)", LinearRegression(), max_iterations=50, features=["x"]).fit(X, y)
    assert 3 <= len(forest.history_) < 50
    assert abs(np.diff(forest.history_["sigma"])[-1]) < 1e-3
    assert 1 <= forest.n_iter_ <= len(forest.history_)


def test_history_is_the_marginal_likelihood_of_out_of_sample_residuals():
    X, y = small()
    forest = MixedEffectsForest("(1 | g)", LinearRegression(), features=["x"]).fit(X, y)
    D, s2 = forest.fitted_.components.covariances[0][0, 0], forest.sigma_**2
    same = X["g"].to_numpy()[:, None] == X["g"].to_numpy()
    V = D * same + s2 * np.eye(len(y))
    r = y.to_numpy() - forest.fitted_.predictions
    expected = -0.5 * (r @ np.linalg.solve(V, r) + np.linalg.slogdet(V)[1] + len(y) * np.log(2 * np.pi))
    assert forest.history_["loglik"].loc[forest.n_iter_] == pytest.approx(expected, abs=1e-8)


class Worsening(RegressorMixin, BaseEstimator):
    """Good at its second fit to all rows, worse from then on."""

    calls = 0

    def fit(self, X, y):
        Worsening.calls += 1
        self.shift_ = abs(Worsening.calls - 2)
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_) - self.shift_ * np.sign(X["x"])


def test_early_stopping_keeps_the_best_sweep():
    X, y = small(size=20)
    Worsening.calls = 0
    forest = MixedEffectsForest(
        "(1 | g)", Worsening(), residuals="inbag", early_stopping=True, validation_fraction=0.2, patience=2,
        features=["x"], seed=1,
    ).fit(X, y)  # fmt: skip
    scores = forest.history_["held_out_rmse"]
    assert forest.n_iter_ == scores.idxmin() == 2
    assert len(scores) == 4
    assert forest.learners_[0].shift_ == 0
    assert forest.fitted_.design.n == round(0.8 * len(y))


def test_early_stopping_needs_a_score():
    X, y = small()
    with pytest.raises(OptionError, match="validation_fraction"):
        MixedEffectsForest("(1 | g)", LinearRegression(), residuals="inbag", early_stopping=True, features=["x"]).fit(
            X, y
        )


@pytest.mark.filterwarnings("ignore::bayeslmm.forest.GroupConstantWarning")
def test_iterating_does_not_hand_constant_columns_to_the_groups():
    """Two of Friedman's columns constant within groups: out-of-sample error, and the first variance (true: 2.25)."""
    train, _, _ = friedman(0, constant=(3, 4))
    learner = LGBMRegressor(verbose=-1, n_jobs=1)
    forest = MixedEffectsForest("(1 + z | g)", learner, max_iterations=4, tolerance=0.0, early_stopping=False)
    forest.fit(train[FRIEDMAN_COLUMNS], train["y"])
    assert (np.diff(forest.history_["held_out_rmse"]) < 0).all()
    variances = forest.history_["sd_g[Intercept]"] ** 2
    assert variances.iloc[-1] < variances.iloc[0] < 3.2


@pytest.mark.filterwarnings("ignore::bayeslmm.forest.GroupConstantWarning")
def test_a_learner_that_smooths_too_much_is_stopped_at_its_best_sweep():
    """Nearest neighbours hand more of f to the groups in every sweep; the default keeps the first."""
    train, _, _ = friedman(0, constant=(3, 4), n_groups=60)
    forest = MixedEffectsForest("(1 + z | g)", KNeighborsRegressor(20), max_iterations=10, tolerance=0.0)
    forest.fit(train[FRIEDMAN_COLUMNS], train["y"])
    errors = forest.history_["held_out_rmse"]
    assert forest.n_iter_ == errors.idxmin() < len(errors) < 10
    chosen = forest.history_.loc[forest.n_iter_]
    assert forest.sigma_ == chosen["sigma"]


@pytest.mark.filterwarnings("ignore::bayeslmm.forest.GroupConstantWarning")
def test_linear_columns_are_exact():
    X, y = small(n_groups=30)
    level = pd.Series(np.random.default_rng(5).standard_normal(30))[X["g"]].to_numpy()
    X = X.assign(level=level)
    forest = MixedEffectsForest("(1 | g)", KNeighborsRegressor(10), linear=["level"], features=["x"])
    forest.fit(X, y + 4 * level)
    assert list(forest.fixef().index) == ["Intercept", "level"]
    assert forest.fixef()["level"] == pytest.approx(4, abs=0.6)  # two standard errors of a mean of 30 groups

"""The scikit-learn contract."""

import numpy as np
import pandas as pd
import pytest
from forest_data import FRIEDMAN_COLUMNS, friedman, rat_pups
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from bayeslmm import MixedEffectsForest, load_dataset

BOOTSTRAP = "a bootstrap draws rows, so repeating a row is not the same as a weight of two"
EXPECTED_FAILURES = {
    "Ridge": {},
    "RandomForestRegressor": {
        "check_sample_weight_equivalence_on_dense_data": BOOTSTRAP,
        "check_sample_weight_equivalence_on_sparse_data": BOOTSTRAP,
    },
}


@pytest.mark.filterwarnings("ignore")  # the checks themselves provoke warnings
@pytest.mark.parametrize("learner", [Ridge(), RandomForestRegressor(5, random_state=0)], ids=lambda x: type(x).__name__)
def test_estimator_checks_without_random_effects(learner):
    expected = EXPECTED_FAILURES[type(learner).__name__]
    results = check_estimator(MixedEffectsForest(learner=learner), expected_failed_checks=expected, on_skip=None)
    assert sum(r["status"] == "passed" for r in results) >= 40
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(expected)


def test_parameters_round_trip_and_clone_is_unfitted():
    forest = MixedEffectsForest("(1 | g)", Ridge(2.0), linear=["x1"], max_iterations=2)
    copy = clone(forest)
    assert copy.get_params()["learner__alpha"] == 2.0
    assert copy.learner is not forest.learner
    copy.set_params(learner__alpha=5.0, random="(1 + z | g)")
    assert (copy.learner.alpha, copy.random, forest.learner.alpha) == (5.0, "(1 + z | g)", 2.0)


def test_fitting_changes_neither_learner_nor_data():
    train, _, _ = friedman(0, n_groups=20)
    learner, X = Ridge(), train[FRIEDMAN_COLUMNS].copy()
    before = X.copy()
    MixedEffectsForest("(1 | g)", learner).fit(X, train["y"])
    assert not hasattr(learner, "coef_")
    pd.testing.assert_frame_equal(X, before)


def test_same_seed_same_fit_and_global_state_untouched():
    train, _, _ = friedman(0, n_groups=20)
    np.random.seed(0)  # noqa: NPY002  the state that must not be touched
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    fits = [
        MixedEffectsForest("(1 | g)", RandomForestRegressor(5), max_iterations=2, seed=4)
        .fit(train[FRIEDMAN_COLUMNS], train["y"])
        .predict(train)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*fits)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_cross_validation_by_group_and_grid_search():
    train, _, _ = friedman(0, n_groups=30)
    X, y = train[FRIEDMAN_COLUMNS], train["y"]
    forest = MixedEffectsForest("(1 + z | g)", Ridge(), max_iterations=2)
    scores = cross_val_score(forest, X, y, groups=X["g"], cv=GroupKFold(3))
    assert len(scores) == 3
    assert np.all(scores > 0.4)  # Friedman's function is about three quarters linear
    search = GridSearchCV(forest, {"learner__alpha": [1e-3, 1e6]}, cv=GroupKFold(3)).fit(X, y, groups=X["g"])
    assert search.best_params_ == {"learner__alpha": 1e-3}


def test_learner_may_be_a_pipeline_with_an_encoder_and_takes_weights():
    data = load_dataset("ratpup").assign(treatment=lambda d: d["treatment"].astype(str))
    encoder = make_column_transformer((OneHotEncoder(), ["treatment", "sex"]), remainder="passthrough")
    forest = MixedEffectsForest("(1 | litter)", make_pipeline(encoder, LinearRegression()), max_iterations=3)
    X = data[["litsize", "treatment", "sex", "litter"]]
    with pytest.warns(UserWarning, match="constant within"):
        forest.fit(X, data["weight"], sample_weight=np.linspace(1, 2, len(data)))
    assert forest.score(X, data["weight"]) > 0.5


def test_forest_as_last_step_of_a_pipeline():
    train, _, _ = friedman(0, n_groups=20)
    scaler = make_column_transformer(
        (StandardScaler(), ["x1", "x2"]), remainder="passthrough", verbose_feature_names_out=False
    )
    scaler.set_output(transform="pandas")
    pipeline = make_pipeline(scaler, MixedEffectsForest("(1 | g)", Ridge()))
    X = train[FRIEDMAN_COLUMNS]
    assert pipeline.fit(X, train["y"]).predict(X).shape == (len(X),)


def test_default_learner_takes_categories_and_texts():
    X, y = rat_pups()
    data = load_dataset("ratpup")
    X = X.assign(sex=data["sex"].astype(str), treatment=data["treatment"])
    forest = MixedEffectsForest("(1 | litter)", max_iterations=1, linear=["litsize"], n_folds=2, seed=0)
    forest.learner = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["treatment", "sex"])), RandomForestRegressor(5, random_state=0)
    )
    with pytest.warns(UserWarning, match="'treatment' is constant"):
        by_hand = forest.fit(X, y).score(X, y)
    assert by_hand > 0.4
    from bayeslmm.forest.learners import default_learner

    encoded = default_learner(X[["sex", "treatment"]]).set_params(randomforestregressor__n_estimators=5)
    assert encoded.fit(X[["sex", "treatment"]], y).predict(X[["sex", "treatment"]].assign(sex="new")).shape == y.shape


def test_attributes_scikit_learn_expects():
    train, _, _ = friedman(0, n_groups=20)
    forest = MixedEffectsForest("(1 | g)", HistGradientBoostingRegressor(max_iter=5), max_iterations=1)
    forest.fit(train[FRIEDMAN_COLUMNS], train["y"])
    assert forest.n_features_in_ == 12
    assert list(forest.feature_names_in_) == FRIEDMAN_COLUMNS
    assert len(forest.learners_) == 5
    with pytest.raises(AttributeError, match="permutation_importance"):
        forest.feature_importances_  # noqa: B018
    assert not hasattr(forest, "feature_importances_")


def test_array_of_predictors_with_groups_apart():
    train, test, _ = friedman(0, n_groups=20)
    columns = [c for c in FRIEDMAN_COLUMNS if c != "g"]
    values, groups = train[columns].to_numpy(), train[["g", "z"]]
    forest = MixedEffectsForest("(1 + z | g)", Ridge(), max_iterations=2).fit(
        values, train["y"].to_numpy(), groups=groups
    )
    frame = MixedEffectsForest("(1 + z | g)", Ridge(), max_iterations=2).fit(train[FRIEDMAN_COLUMNS], train["y"])
    np.testing.assert_allclose(
        forest.predict(test[columns].to_numpy(), groups=test[["g", "z"]]), frame.predict(test), rtol=1e-9
    )

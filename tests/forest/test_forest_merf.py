"""MERF's loop against the numbers printed in a published rat-pup analysis (merf_rat_pups.json).

Run with scikit-learn 1.9.1 and LightGBM 4.7.0; the numbers were printed in 2023 with the versions of that time.
"""

import numpy as np
import pytest
from forest_data import PAGE, rat_pups
from lightgbm import LGBMRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

from bayeslmm import Model
from bayeslmm.forest import GroupConstantWarning, MixedEffectsForest

pytestmark = pytest.mark.filterwarnings("ignore::bayeslmm.forest.GroupConstantWarning")

TRACE_TOLERANCE = 1e-6  # the page prints all digits; equal arithmetic gives 1e-12, other CPUs may round otherwise
SPLIT_TOLERANCE = 0.1  # on the 70% split a tie between splits falls differently in today's scikit-learn
PRINTED_SIX = 6e-7  # half a unit of the sixth decimal
IMPORTANCE_TOLERANCE = 2e-6  # equal trees, but scikit-learn has since changed how it sums impurities
SPLIT_SCORE_TOLERANCE = 2e-3  # the same ties move the scores of the split in the third decimal

LEARNERS = {
    "forest": lambda: RandomForestRegressor(n_estimators=30, n_jobs=1, random_state=37),
    "linear": LinearRegression,
    "lightgbm": lambda: LGBMRegressor(verbose=-1, n_jobs=1),
}


def merf(name, X, y, iterations=20):
    forest = MixedEffectsForest("(0 + sex | litter)", LEARNERS[name](), residuals="inbag", max_iterations=iterations)
    return forest.fit(X, y)


def scores(y, predicted):
    return [
        mean_absolute_error(y, predicted),
        np.sqrt(mean_squared_error(y, predicted)),
        mean_absolute_percentage_error(y, predicted),
        r2_score(y, predicted),
    ]


@pytest.fixture(scope="module")
def fits():
    X, y = rat_pups()
    return {name: merf(name, X, y) for name in LEARNERS}


@pytest.mark.parametrize("name", LEARNERS)
def test_every_iteration_of_the_printed_trace(fits, name):
    np.testing.assert_allclose(fits[name].gll_, PAGE["gll"][name], rtol=0, atol=TRACE_TOLERANCE)


@pytest.mark.parametrize(
    ("name", "printed"), [("forest", "MERF"), ("linear", "MERF_LINEAR"), ("lightgbm", "MERF_LGBM")]
)
def test_printed_scores(fits, name, printed):
    X, y = rat_pups()
    found = scores(y, fits[name].predict(X))
    np.testing.assert_allclose(found, PAGE["performance"][printed], rtol=0, atol=PRINTED_SIX)


def test_printed_random_effects_and_importances(fits):
    b = fits["forest"].ranef()["litter"]["sex"].sort_index()
    assert list(b.index) == list(range(1, 28))
    np.testing.assert_allclose(b, PAGE["b"], rtol=0, atol=PRINTED_SIX)
    found = fits["forest"].feature_importances_
    assert list(found.index) == list(PAGE["importances"])
    np.testing.assert_allclose(found, list(PAGE["importances"].values()), rtol=0, atol=IMPORTANCE_TOLERANCE)


def test_trace_and_scores_of_the_printed_split():
    X, y = rat_pups()
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.30, random_state=37, shuffle=True, stratify=X["litter"]
    )
    forest = merf("forest", X_train, y_train)
    np.testing.assert_allclose(forest.gll_, PAGE["gll"]["forest_70_percent"], rtol=0, atol=SPLIT_TOLERANCE)
    for rows, response, part in ((X_train, y_train, "train"), (X_test, y_test, "test")):
        found = scores(response, forest.predict(rows))
        np.testing.assert_allclose(found, PAGE["split"][part], rtol=0, atol=SPLIT_SCORE_TOLERANCE)


def test_linear_learner_converges_to_maximum_likelihood():
    X, y = rat_pups()
    forest = merf("linear", X, y, iterations=600)
    model = Model("weight ~ litsize + treatment + sex + (0 + sex | litter)", X.assign(weight=y))
    fit = model.fit(method="ml")
    assert forest.history_["loglik"].iloc[-1] == pytest.approx(fit.loglik, abs=1e-6)  # EM's rate is linear
    assert forest.sigma_ == pytest.approx(fit.sigma, rel=1e-4)
    sd = fit.varcorr()["sd"]
    np.testing.assert_allclose(forest.varcorr()["sd"], sd, rtol=1e-3)
    np.testing.assert_allclose(forest.predict(X), fit.fitted(), atol=1e-3)


def test_warning_names_the_columns_constant_within_litters():
    X, y = rat_pups()
    with pytest.warns(GroupConstantWarning, match="'litsize', 'treatment' are constant.*linear=") as caught:
        merf("linear", X, y, iterations=1)
    assert [warning.filename for warning in caught] == [__file__]  # it points at the user's line

"""Bad input: what is refused, and with which words; and input that needs care."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from lightgbm import LGBMRegressor
from scipy.sparse import csr_matrix
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from bayeslmm import DataError, FormulaError, MixedEffectsForest, OptionError, mixed_forest

N = 40


def make(seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"x": rng.standard_normal(N), "w": rng.standard_normal(N), "g": np.arange(N) % 8})
    y = pd.Series(X["x"] + rng.standard_normal(8)[X["g"]] + 0.3 * rng.standard_normal(N), name="y")
    return X, y


def forest(**options):
    return MixedEffectsForest("(1 | g)", LinearRegression(), max_iterations=2, **options)


def test_groups_with_another_index_than_x():
    X, y = make()
    groups = X[["g"]].sort_values("g", kind="stable")
    with pytest.raises(DataError, match=r"another index than X \(first difference in row 1: 8 against 1\).*loc"):
        forest().fit(X[["x", "w"]], y, groups=groups)
    aligned = forest().fit(X[["x", "w"]], y, groups=groups.loc[X.index])
    together = forest().fit(X, y)
    np.testing.assert_array_equal(aligned.predict(X[["x", "w"]], groups=X[["g"]]), together.predict(X))
    with pytest.raises(DataError, match="another index than X"):
        aligned.predict(X[["x", "w"]], groups=groups)


def test_response_with_another_index_or_length():
    X, y = make()
    with pytest.raises(DataError, match="y has another index"):
        forest().fit(X, y.iloc[::-1])
    with pytest.raises(DataError, match="y has 39 rows and X has 40"):
        forest().fit(X, y.to_numpy()[:-1])
    with pytest.raises(DataError, match="sample_weight has another index"):
        forest().fit(X, y, sample_weight=pd.Series(1.0, index=X.index[::-1]))


def test_labels_of_response_and_groups_beside_an_array():
    X, y = make()
    with pytest.raises(DataError, match=r"y and groups have different indices.*loc\[y.index\]"):
        forest().fit(X[["x", "w"]].to_numpy(), y, groups=X["g"].iloc[::-1])
    apart = forest().fit(X[["x", "w"]].to_numpy(), y, groups=X["g"])
    assert apart.sigma_ == pytest.approx(forest().fit(X, y).sigma_)


def test_response_as_a_frame():
    X, y = make()
    one = forest().fit(X, y.to_frame()).predict(X)
    np.testing.assert_array_equal(one, forest().fit(X, y).predict(X))
    with pytest.raises(DataError, match="DataFrame with 2 columns"):
        forest().fit(X, pd.concat([y, y], axis=1))


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "missing or infinite in 1 row, first in row 3"), (np.inf, "row 3"), ("a", "must hold numbers")],
)
def test_response_that_is_no_number(value, message):
    X, y = make()
    y = y.astype(object)
    y[3] = value
    with pytest.raises(DataError, match=message):
        forest().fit(X, y)


def test_missing_values():
    X, y = make()
    hole = X.assign(w=X["w"].where(X.index != 5))
    with pytest.raises(DataError, match=r"(?s)LinearRegression refused.*'w' have missing values.*LGBM"):
        forest().fit(hole, y)
    taken = MixedEffectsForest("(1 | g)", LGBMRegressor(verbose=-1, n_estimators=2), max_iterations=1).fit(hole, y)
    assert np.isfinite(taken.predict(hole)).all()
    with pytest.raises(DataError, match=r"'g'.*5: fill them, or leave these rows out of X, y and groups"):
        forest().fit(X.assign(g=X["g"].where(X.index != 5)), y)
    with pytest.raises(DataError, match="'x'"):
        MixedEffectsForest("(1 + x | g)", LinearRegression()).fit(X.assign(x=X["x"].where(X.index != 5)), y)
    fitted = forest().fit(X, y)
    with pytest.raises(DataError, match="missing values"):
        fitted.predict(hole)


def test_texts_for_a_learner_that_takes_numbers():
    X, y = make()
    with pytest.raises(DataError, match="'w' are not numbers: encode them in a pipeline"):
        forest().fit(X.assign(w=np.where(X["w"] > 0, "a", "b")), y)


def test_learner_that_takes_no_weights():
    X, y = make()
    with pytest.raises(DataError, match="KNeighborsRegressor takes no row weights: leave sample_weight out"):
        MixedEffectsForest("(1 | g)", KNeighborsRegressor()).fit(X, y, sample_weight=np.ones(N))


def test_sparse_predictors():
    X, y = make()
    with pytest.raises(DataError, match=r"sparse matrix.*toarray"):
        forest().fit(csr_matrix(X[["x", "w"]]), y, groups=X["g"])


def test_a_column_is_the_learners_or_linear():
    X, y = make()
    with pytest.raises(OptionError, match="'x' would go to the learner and to the linear part"):
        forest(features=["x", "w"], linear=["x"]).fit(X, y)
    with pytest.warns(UserWarning, match="'g' is constant within"):  # a grouping column only where it is named
        assert forest(features=["w", "g"]).fit(X, y).fitted_.roles.features == ("w", "g")


def test_absent_columns():
    X, y = make()
    with pytest.raises(DataError, match=r"'g'.*\. Grouping.*X, or in groups="):
        forest().fit(X[["x", "w"]], y)
    fitted = forest().fit(X, y)
    with pytest.raises(DataError, match="X lacks the columns 'w'"):
        fitted.predict(X[["x", "g"]])
    with pytest.raises(DataError, match="'g'"):
        fitted.predict(X[["x", "w"]])
    with pytest.raises(DataError, match="'nosuch'"):
        forest(features=["x", "nosuch"]).fit(X, y)
    with pytest.raises(DataError, match="No column of X is left"):
        forest().fit(X[["g"]], y)
    with pytest.raises(DataError, match="array without column names"):
        forest().fit(X[["x", "w"]].to_numpy(), y.to_numpy())


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (object(), r"has no fit\(\)"),
        (RandomForestRegressor, "is a class; pass an instance"),
        ("forest", "'bart'"),
    ],
)
def test_learner_that_is_none(learner, message):
    X, y = make()
    with pytest.raises(OptionError, match=message):
        MixedEffectsForest("(1 | g)", learner).fit(X, y)


def test_learner_without_predict():
    class Half:
        def fit(self, X, y):
            return self

        def get_params(self, deep=True):
            return {}

    X, y = make()
    with pytest.raises(OptionError, match=r"Half has no predict\(\)"):
        MixedEffectsForest("(1 | g)", Half()).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "vb"}, "'em', 'gibbs'"),
        ({"residuals": "loo"}, "'crossfit', 'oob', 'inbag'"),
        ({"max_iterations": 0}, "at least 1"),
        ({"validation_fraction": 1.5}, "between 0 and 1"),
        ({"n_folds": 1}, "at least two folds"),
        ({"patience": 0}, "patience=0"),
        ({"seed": "one"}, "seed='one'"),
        ({"outer": "bootstrap"}, "method='gibbs'"),
        ({"crossfit_by": "h"}, "use one of 'g'"),
        ({"method": "gibbs", "outer": "jackknife"}, "'bootstrap' or None"),
        ({"method": "gibbs", "chains": 0}, "chains=0"),
        ({"method": "gibbs", "warmup": 1.0}, "warmup=1.0"),
    ],
)
def test_options_without_meaning(options, message):
    X, y = make()
    with pytest.raises(OptionError, match=message):
        MixedEffectsForest("(1 | g)", LinearRegression(), **options).fit(X, y)


@pytest.mark.parametrize("random", ["x", "(1 | g) + w", "(1 | g) + offset(x)", "bart(x) + (1 | g)"])
def test_random_terms_that_are_none(random):
    X, y = make()
    with pytest.raises(FormulaError, match="random terms only"):
        MixedEffectsForest(random, LinearRegression()).fit(X, y)
    with pytest.raises(OptionError, match="text"):
        MixedEffectsForest(1, LinearRegression()).fit(X, y)


def test_prediction_options_and_unseen_groups():
    X, y = make()
    fitted = forest().fit(X, y)
    new = X.head(2).assign(g=[99, 0])
    marginal = fitted.predict(new, kind="marginal")
    population = fitted.predict(new)
    assert population[0] == marginal[0]
    assert population[1] != marginal[1]
    with pytest.raises(DataError, match="level 99 of 'g'"):
        fitted.predict(new, new_levels="error")
    for options in ({"new_levels": "zero"}, {"kind": "both"}, {"interval": 90}):
        with pytest.raises(OptionError):
            fitted.predict(new, **options)
    np.testing.assert_array_equal(fitted.predict(X[["x", "w"]], kind="marginal"), fitted.predict(X, kind="marginal"))


def test_reading_without_random_effects_or_draws():
    X, y = make()
    alone = MixedEffectsForest(learner=LinearRegression()).fit(X[["x", "w"]], y)
    with pytest.raises(OptionError, match="random=None"):
        alone.ranef()
    with pytest.raises(OptionError, match="interval"):
        alone.predict(X[["x", "w"]], interval=0.9)
    fitted = forest().fit(X, y)
    for read in (lambda: fitted.idata, fitted.diagnostics):
        with pytest.raises(OptionError, match="method='gibbs'"):
            read()


def test_polars_and_mappings():
    X, y = make()
    expected = forest().fit(X, y).predict(X)
    np.testing.assert_allclose(forest().fit(pl.from_pandas(X), y.to_numpy()).predict(pl.from_pandas(X)), expected)
    apart = forest().fit(X[["x", "w"]], y, groups={"g": X["g"].to_numpy()})
    np.testing.assert_allclose(apart.predict(X[["x", "w"]], groups=X["g"].to_numpy()), expected)
    series = forest().fit(X[["x", "w"]], y, groups=X["g"])
    np.testing.assert_allclose(series.predict(X), expected)


def test_zero_weights_leave_rows_out():
    X, y = make()
    weights = np.ones(N)
    weights[::5] = 0
    kept = weights > 0
    with_zeros = forest(n_folds=3).fit(X, y, sample_weight=weights)
    without = forest(n_folds=3).fit(X[kept], y[kept], sample_weight=weights[kept])
    np.testing.assert_allclose(with_zeros.predict(X), without.predict(X), rtol=1e-9)
    assert with_zeros.fitted_.design.n == kept.sum()


def test_grouping_columns_stay_out_of_the_learner_and_slopes_stay_in():
    X, y = make()
    fitted = MixedEffectsForest("(1 + x | g)", LinearRegression(), max_iterations=1).fit(X, y)
    assert list(fitted.learners_[0].feature_names_in_) == ["x", "w"]


def test_two_columns_of_one_name_are_refused():
    X, y = make()
    twice = pd.concat([X, X[["w"]]], axis=1)
    with pytest.raises(DataError, match="several columns called 'w': rename or drop"):
        forest().fit(twice, y)


def test_columns_reach_the_learner_in_the_order_of_x():
    X, y = make()
    fitted = forest().fit(X[["w", "g", "x"]], y)
    assert fitted.learners_[0].feature_names_in_.tolist() == ["w", "x"]
    assert fitted.predict(X[["g", "x", "w"]]).tolist() == fitted.predict(X[["w", "g", "x"]]).tolist()


def test_groups_as_a_dictionary():
    X, y = make()
    features = X[["x", "w"]].set_axis([f"r{k}" for k in range(N)])
    y = y.set_axis(features.index)
    together = forest().fit(X, y.to_numpy())
    labelled = X["g"].set_axis(features.index)
    for groups in ({"g": X["g"].to_numpy()}, {"g": list(X["g"])}, {"g": labelled}):
        assert forest().fit(features, y, groups=groups).sigma_ == pytest.approx(together.sigma_)
        assert forest().fit(features.to_numpy(), y, groups=groups).sigma_ == pytest.approx(together.sigma_)
    with pytest.raises(DataError, match="groups has another index than X"):
        forest().fit(features, y, groups={"g": labelled[::-1]})
    with pytest.raises(DataError, match="y and groups have different indices"):
        forest().fit(features.to_numpy(), y, groups={"g": labelled[::-1]})
    with pytest.raises(DataError, match="'b' differs from that of 'g'"):
        forest().fit(features, y, groups={"g": labelled, "b": labelled[::-1]})


@pytest.mark.parametrize("Z", [np.ones((N, 1)), np.c_[np.ones(N), np.arange(N)], pd.DataFrame({"one": np.ones(N)})])
def test_the_order_of_arguments_of_merf(Z):
    X, y = make()
    with pytest.raises(DataError, match=r"merf's order.*here it is fit\(X, y, groups\)"):
        forest().fit(X[["x", "w"]], Z, X["g"], y)
    with pytest.raises(DataError, match="merf's order"):
        forest().fit(X[["x", "w"]], Z, X["g"], y.abs())
    column = forest().fit(X[["x", "w"]], y.to_frame(), X["g"], np.ones(N))
    assert column.sigma_ == pytest.approx(forest().fit(X, y).sigma_)


def test_what_is_masked_is_missing():
    X, y = make()
    features, hidden = X[["x", "w"]], np.arange(N) == 4
    with pytest.raises(DataError, match="y is missing or infinite in 1 row, first in row 4"):
        forest().fit(features, np.ma.array(y, mask=hidden), groups=X["g"])
    with pytest.raises(DataError, match="'g' has 1 missing values, first in row 4"):
        forest().fit(features, y, groups=np.ma.array(X["g"], mask=hidden))
    cells = np.ma.array(features.to_numpy(), mask=np.c_[hidden, hidden])
    with pytest.raises(DataError, match="The learner LinearRegression refused the data: Input X contains NaN"):
        forest().fit(cells, y.to_numpy(), groups=X["g"].to_numpy())


def test_complex_responses_empty_random_terms_and_unknown_options():
    X, y = make()
    with pytest.raises(DataError, match="y holds complex numbers: pass their real parts"):
        forest().fit(X, y + 1j)
    with pytest.raises(FormulaError, match="random='' holds no random term: write one"):
        MixedEffectsForest("", LinearRegression()).fit(X, y)
    with pytest.raises(OptionError, match=r"A forest has no option 'weights'; the options are .*sample_weight"):
        mixed_forest("y ~ x + (1 | g)", X.assign(y=y), LinearRegression(), weights="x")
    with pytest.raises(DataError, match=r"columns are 'x', 'w', 'y'\. Grouping and slope columns are looked up"):
        forest().fit(X[["x", "w"]], y)


def test_numbers_as_text_are_refused():
    X, y = make()
    for texts in (y.astype(str), y.astype(object).where(y.index != 3, "1.5"), list(map(str, y))):
        with pytest.raises(DataError, match="y holds texts"):
            forest().fit(X, texts)
    with pytest.raises(DataError, match="sample_weight holds texts"):
        forest().fit(X, y, sample_weight=["2"] * N)


def test_what_lightgbm_refuses_gets_the_remedy_that_works():
    lightgbm = pytest.importorskip("lightgbm")
    X, y = make()
    learner = lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, n_jobs=1)
    with pytest.raises(DataError, match=r"'x', 'w' have types of Arrow.*astype\('float64'\)"):
        MixedEffectsForest("(1 | g)", learner).fit(X.convert_dtypes(dtype_backend="pyarrow"), y)
    categories = X.assign(w=pd.Categorical(np.where(X["w"] > 0, "a", "b")))
    fitted = MixedEffectsForest("(1 | g)", learner, max_iterations=1).fit(categories, y)
    texts = categories.assign(w=categories["w"].astype(str))
    with pytest.raises(DataError, match=r"type it had in the fit, first of all 'w': X = X.astype\("):
        fitted.predict(texts)
    np.testing.assert_array_equal(fitted.predict(texts.astype(categories.dtypes)), fitted.predict(categories))

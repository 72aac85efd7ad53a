"""Cross-validation against closed forms."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayeslmm as blm
from bayeslmm.errors import DataError, FittingError, OptionError
from bayeslmm.studies.folds import make_folds

CLOSE = 1e-6


@pytest.fixture(scope="module")
def data():
    return blm.load_dataset("sleepstudy")


@pytest.fixture(scope="module")
def model(data):
    return blm.Model("Reaction ~ 1 + Days + (1 | Subject)", data)


def test_leaving_out_one_row_of_a_regression_is_the_deletion_formula(data):
    found = blm.cross_validate(blm.Model("Reaction ~ 1 + Days", data), k=180, method="ml")
    X, y = np.column_stack([np.ones(180), data["Days"]]), data["Reaction"].to_numpy()
    H = X @ np.linalg.solve(X.T @ X, X.T)
    e, h = y - H @ y, np.diag(H)
    np.testing.assert_allclose(found.pointwise["observed"] - found.pointwise["mean"], e / (1 - h), rtol=CLOSE)
    assert found.scores.loc["rmse", "score"] == pytest.approx(np.sqrt(np.mean((e / (1 - h)) ** 2)))
    assert found.scores.loc["elpd", "score"] == pytest.approx(found.pointwise["elpd"].sum())


def test_a_group_left_out_is_predicted_as_a_new_one(data, model):
    found = blm.cross_validate(model, by="group", k=18)
    assert list(found.by_fold.index[:3]) == [308, 309, 310]
    rest = data[data["Subject"] != 308]
    fit = blm.lmm("Reaction ~ 1 + Days + (1 | Subject)", rest)
    X = np.column_stack([np.ones(10), np.arange(10)])
    variance = fit.sigma**2 + fit.varcorr()["variance"].iloc[0] + np.einsum("ij,jk,ik->i", X, fit.vcov(), X)
    mine = found.pointwise[found.pointwise["fold"] == 308]
    np.testing.assert_allclose(mine["mean"], X @ fit.fixef(), rtol=CLOSE)
    expected = stats.norm(X @ fit.fixef(), np.sqrt(variance)).logpdf(mine["observed"])
    np.testing.assert_allclose(mine["elpd"], expected, rtol=1e-4)


def test_posteriors_agree_with_leave_one_out(data):
    """Folds of one row each against importance weights: rows 0 to 9 and all the others together."""
    model = blm.Model("Reaction ~ 1 + Days + (1 | Subject)", data)
    labels = np.r_[np.arange(10), np.full(170, 10)]
    found = blm.cross_validate(model, labels, method="importance", draws=500, chains=2, seed=1).pointwise.iloc[:10]
    weighed = blm.loo(model.fit("importance", seed=1))["loo_i"].values[:10]
    np.testing.assert_allclose(found["elpd"], weighed, atol=0.1)


def test_workers_make_no_difference(model):
    one = blm.cross_validate(model, k=4, seed=3).pointwise
    two = blm.cross_validate(model, k=4, seed=3, cores=2).pointwise
    pd.testing.assert_frame_equal(one, two)
    assert not one["fold"].equals(blm.cross_validate(model, k=4, seed=4).pointwise["fold"])


def test_counts_are_scored_by_their_family():
    data = blm.load_dataset("cbpp")
    model = blm.Model("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, family="binomial")
    found = blm.cross_validate(model, by="herd", k=5, method="ml")
    assert len(found.pointwise) == 56 and not found.failed
    assert (found.pointwise["elpd"] < 0).all()
    assert 0.8 < found.scores.loc["coverage", "score"] <= 1
    worse = blm.Model("cbind(incidence, size - incidence) ~ 1 + (1 | herd)", data, family="binomial")
    assert (
        blm.cross_validate(worse, by="herd", k=5, method="ml").scores.loc["elpd", "score"]
        < found.scores.loc["elpd", "score"]
    )


def test_weights_and_offsets_go_along(data):
    w = np.where(data["Days"] < 5, 4.0, 1.0)
    model = blm.Model("Reaction ~ 1 + Days + (1 | Subject)", data, weights=w, offset=np.full(180, 10.0))
    found = blm.cross_validate(model, k=5).pointwise
    wide = found["upper"] - found["lower"]
    assert wide[data["Days"] >= 5].min() > 1.3 * wide[data["Days"] < 5].max()
    assert abs((found["observed"] - found["mean"]).mean()) < 5


def test_folds(model):
    codes, names = make_folds(model.design, "Subject", 5, 0)
    assert len(names) == 5 and all(len(set(codes[i : i + 10])) == 1 for i in range(0, 180, 10))
    assert set(np.bincount(codes)) == {30, 40}
    rows, _ = make_folds(model.design, "row", None, 0)
    assert set(np.bincount(rows)) == {18}


def test_errors_name_the_remedy(data, model):
    with pytest.raises(OptionError, match="number of folds from 2 to 18"):
        blm.cross_validate(model, "group", k=40)
    with pytest.raises(DataError, match="one label for each of the 180"):
        blm.cross_validate(model, np.arange(7))
    with pytest.raises(OptionError, match="the same label"):
        blm.cross_validate(model, np.zeros(180))
    with pytest.raises(OptionError, match="takes a Model"):
        blm.cross_validate(model.fit("reml"))
    with pytest.raises(OptionError, match="takes no option 'draws'"):
        blm.cross_validate(model, draws=10)
    with pytest.raises(FittingError, match="The first: "):
        two = pd.DataFrame({"y": [1.0, 2.0, 3.0, 4.5], "x": ["a", "a", "b", "b"], "g": [1, 2, 1, 2]})
        blm.cross_validate(blm.Model("y ~ x + (1 | g)", two), two["x"])

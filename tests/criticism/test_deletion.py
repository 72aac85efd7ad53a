"""Leverage, influence and collinearity against lme4 (reference/reading_reference.json), dense matrices and refits."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import block_diag

import bayeslmm as blm

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "reading_reference.json").read_text())


@pytest.fixture(scope="module")
def sleep():
    return blm.lmm("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))


@pytest.fixture(scope="module", params=["reml", "ml"])
def crossed(request):
    """Nested and crossed terms, weights and an offset."""
    data = blm.load_dataset("ratpup")
    data["w"] = 1.0 + data["pup_id"] % 3
    data["shift"] = 0.1 * (data["pup_id"] % 2)
    data["day"] = data["pup_id"] % 7
    formula = "weight ~ litsize + sex + offset(shift) + (litsize | litter) + (1 | day)"
    return blm.Model(formula, data, weights="w").fit(request.param)


def dense(fit):
    """Relative covariance of y over sigma squared, X, y less offset, and weights."""
    design = fit.design
    weights = np.ones(design.n) if design.weights is None else design.weights
    V = np.diag(1 / weights)
    for term, factor in zip(design.terms, fit._factors, strict=True):
        Z = np.zeros((design.n, term.n_levels * term.n_columns))
        for i, code in enumerate(term.codes):
            Z[i, code * term.n_columns : (code + 1) * term.n_columns] = term.columns[i]
        V += Z @ block_diag(*[factor @ factor.T] * term.n_levels) @ Z.T
    y = design.y if design.offset is None else design.y - design.offset
    return V, design.X, y, weights


def gls(V, X, y):
    inverse = np.linalg.inv(V)
    beta = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse @ y)
    return beta, (y - X @ beta) @ inverse @ (y - X @ beta)


def test_leverage_of_lme4(sleep):
    found = sleep.leverage()
    np.testing.assert_allclose(found.iloc[:6], REFERENCE["influence_hat"]["sleep_first_six"], rtol=1e-4)
    assert found.sum() == pytest.approx(REFERENCE["influence_hat"]["sleep_sum"], rel=1e-4)
    assert found.index.equals(sleep.design.index)


def test_leverage_by_dense_projection(crossed):
    V, X, _, weights = dense(crossed)
    inverse = np.linalg.inv(V)
    P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    np.testing.assert_allclose(crossed.leverage(), 1 - np.diag(P) / weights, atol=1e-8)


def test_leverage_is_the_derivative_under_priors():
    data = blm.load_dataset("dyestuff")
    model = blm.Model("Yield ~ 1 + (1 | Batch)", data, priors={"Intercept": "Normal(1500, 20)"})
    fit = model.fit("map")
    design, t = fit.design, fit._factors[0][0, 0]
    Z = np.eye(6)[design.terms[0].codes]
    system = np.hstack([np.ones((30, 1)), Z])
    penalty = np.diag([fit.sigma**2 / 20**2, *[1 / t**2] * 6])
    H = system @ np.linalg.solve(system.T @ system + penalty, system.T)
    np.testing.assert_allclose(fit.leverage(), np.diag(H), atol=1e-8)


@pytest.mark.parametrize("by", ["litter", "day", "sex", "row"])
def test_closed_form_is_a_fit_without_the_rows(crossed, by):
    V, X, y, _ = dense(crossed)
    found = crossed.influence(by)
    assert list(found.changes.columns) == [*crossed.design.fixed_names, "sigma"]
    groups = crossed.design.index if by == "row" else crossed.design.data[by].to_numpy()
    p = crossed.design.p if crossed.method == "reml" else 0
    for label in found.changes.index[:8]:
        keep = np.asarray(groups != label)
        if np.linalg.matrix_rank(X[keep]) < X.shape[1]:
            assert found.changes.loc[label].isna().all()
            continue
        beta, squares = gls(V[np.ix_(keep, keep)], X[keep], y[keep])
        sigma = np.sqrt(squares / (keep.sum() - p))
        change = crossed.fixef().to_numpy() - beta
        np.testing.assert_allclose(found.changes.loc[label], [*change, crossed.sigma - sigma], atol=1e-7)
        distance = change @ np.linalg.solve(crossed.vcov(), change) / len(change)
        assert found.cooks_distance[label] == pytest.approx(distance, rel=1e-5)


def test_distances_of_lme4(sleep):
    """lme4 multiplies by (18 - 2)/18, groups less coefficients over groups, and refits from each deletion."""
    found = sleep.influence("Subject", refit=True)
    expected = np.array(REFERENCE["cooks_by_subject"]) * 18 / 16
    np.testing.assert_allclose(found.cooks_distance, expected, rtol=2e-3, atol=2e-5)


def test_refits_are_those_of_a_model_without_the_group(sleep):
    data = blm.load_dataset("sleepstudy")
    found = sleep.influence(refit=True)
    group = found.table.index[0]
    assert found.table["cooks_distance"].is_monotonic_decreasing
    other = blm.lmm("Reaction ~ Days + (Days | Subject)", data[data["Subject"] != group])
    np.testing.assert_allclose(
        found.changes.loc[group, ["Intercept", "Days"]], sleep.fixef() - other.fixef(), rtol=1e-3, atol=1e-4
    )
    sds = sleep.varcorr()["sd"].to_numpy() - other.varcorr()["sd"].to_numpy()
    labels = ["sd_Subject[Intercept]", "sd_Subject[Days]", "sigma"]
    np.testing.assert_allclose(found.changes.loc[group, labels], sds[~np.isnan(sds)], rtol=2e-2, atol=2e-3)


def test_a_coefficient_only_one_group_identifies_is_nan():
    data = blm.load_dataset("sleepstudy")
    data["first"] = (data["Subject"] == data["Subject"].iloc[0]).astype(float) * data["Days"]
    fit = blm.lmm("Reaction ~ Days + first + (1 | Subject)", data)
    for refit in (False, True):
        found = fit.influence(refit=refit)
        assert found.changes.isna().all(axis=1).tolist() == [True, *[False] * 17]


def test_influence_says_what_it_cannot_do(sleep):
    with pytest.raises(blm.OptionError, match="Subject"):
        sleep.influence("Subjekt")
    mode = blm.Model("Reaction ~ Days + (1 | Subject)", blm.load_dataset("sleepstudy")).fit("map")
    with pytest.raises(blm.OptionError, match="method='reml'"):
        mode.influence()


def test_inflation_without_random_terms_is_that_of_the_regressions():
    data = blm.load_dataset("ratpup")
    fit = blm.lmm("weight ~ litsize + treatment + sex", data)
    found = blm.collinearity(fit)
    X = fit.design.X
    for j, name in enumerate(fit.design.fixed_names):
        if name == "Intercept":
            assert name not in found.index
            continue
        others = np.delete(X, j, axis=1)
        rest = X[:, j] - others @ np.linalg.lstsq(others, X[:, j], rcond=None)[0]
        assert found[name] == pytest.approx(np.sum((X[:, j] - X[:, j].mean()) ** 2) / np.sum(rest**2))


def test_inflation_does_not_depend_on_units_and_is_one_of_one_column(sleep):
    assert blm.collinearity(sleep)["Days"] == pytest.approx(1.0)
    data = blm.load_dataset("ratpup")
    data["grams"] = 1e6 * data["litsize"]
    one = blm.collinearity(blm.lmm("weight ~ litsize + sex + (1 | litter)", data))
    other = blm.collinearity(blm.lmm("weight ~ grams + sex + (1 | litter)", data))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    with pytest.raises(blm.OptionError, match="takes a fit"):
        blm.collinearity(data)

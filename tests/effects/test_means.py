"""Means, contrasts and slopes against emmeans (make_reading_reference.R), closed forms and brute force."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import studentized_range
from scipy.stats import t as t_distribution

import bayeslmm as blm
from bayeslmm.effects.adjustment import adjusted_p, critical_values
from bayeslmm.effects.contrasts import contrast_weights
from bayeslmm.effects.specification import read_specification

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "reading_reference.json").read_text())
MODES = {"kenward_roger": "kenward-roger", "satterthwaite": "satterthwaite", "asymptotic": "normal"}
CLOSE = 1e-4  # to another implementation, whose optimum and derivatives are numerical
DF_CLOSE = 1e-3


@pytest.fixture(scope="module")
def rat():
    return blm.Model("weight ~ litsize + treatment * sex + (1 | litter)", blm.load_dataset("ratpup")).fit("reml")


@pytest.fixture(scope="module")
def curve():
    return blm.Model("Reaction ~ poly(Days, 2) + (Days | Subject)", blm.load_dataset("sleepstudy")).fit("reml")


@pytest.fixture(scope="module")
def posterior():
    model = blm.Model("weight ~ litsize + treatment * sex + (1 | litter)", blm.load_dataset("ratpup"))
    return model.fit("importance", draws=1000, seed=4)


@pytest.mark.parametrize("mode", MODES)
def test_means_are_those_of_emmeans(rat, mode):
    table = rat.means("treatment | sex", ddf=MODES[mode]).table()
    expected = pd.DataFrame(REFERENCE["emmeans"][mode]["means"])
    assert list(table["treatment"]) == list(expected["treatment"])
    assert list(table["sex"]) == list(expected["sex"])
    low, high = [name for name in expected if "CL" in name]
    for ours, theirs in (("estimate", "emmean"), ("std_error", "SE"), ("lower", low), ("upper", high)):
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=CLOSE)
    if mode != "asymptotic":
        np.testing.assert_allclose(table["df"], expected["df"], rtol=DF_CLOSE)


@pytest.mark.parametrize("adjust", ["tukey", "none", "holm"])
@pytest.mark.parametrize("mode", MODES)
def test_pairs_are_those_of_emmeans(rat, mode, adjust):
    table = rat.means("treatment | sex", ddf=MODES[mode]).contrast("pairwise", adjust=adjust).table()
    expected = pd.DataFrame(REFERENCE["emmeans"][mode][f"pairs_{adjust}"])
    assert list(table["contrast"]) == list(expected["contrast"])
    ratio = next(name for name in expected if name.endswith(".ratio"))
    for ours, theirs in (("estimate", "estimate"), ("std_error", "SE"), ("t", ratio)):
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=CLOSE)
    np.testing.assert_allclose(table["p"], expected["p.value"], rtol=DF_CLOSE, atol=CLOSE / 10)
    if mode != "asymptotic":
        np.testing.assert_allclose(table["df"], expected["df"], rtol=DF_CLOSE)


@pytest.mark.parametrize("mode", MODES)
def test_interaction_contrasts_are_those_of_emmeans(rat, mode):
    means = rat.means("treatment * sex", ddf=MODES[mode])
    table = means.contrast({"treatment": "trt.vs.ctrl", "sex": "pairwise"}).table()
    expected = pd.DataFrame(REFERENCE["emmeans"][mode]["interaction"])
    assert list(table["treatment"]) == list(expected["treatment_trt.vs.ctrl"])
    ratio = next(name for name in expected if name.endswith(".ratio"))
    for ours, theirs in (("estimate", "estimate"), ("std_error", "SE"), ("t", ratio), ("p", "p.value")):
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=CLOSE)
    if mode != "asymptotic":
        np.testing.assert_allclose(table["df"], expected["df"], rtol=DF_CLOSE)


def test_slopes_are_those_of_emtrends(curve):
    # emtrends takes the forward difference over 0.001 of the range, 0.009; of a parabola that is the exact slope
    # half a step further on.
    expected = pd.DataFrame(REFERENCE["trend"])
    table = curve.slopes("Days", at={"Days": expected["Days"] + 0.0045}, ddf="normal").table()
    np.testing.assert_allclose(table["estimate"].to_numpy(), expected["Days.trend"], rtol=CLOSE)
    np.testing.assert_allclose(table["std_error"].to_numpy(), expected["SE"], rtol=CLOSE)
    np.testing.assert_allclose(table["lower"].to_numpy(), expected["asymp.LCL"], rtol=CLOSE)
    np.testing.assert_allclose(table["upper"].to_numpy(), expected["asymp.UCL"], rtol=CLOSE)


def test_a_slope_without_cells_is_the_average_over_all():
    """One number: with equal weights, the mean of the slopes in the cells."""
    fit = blm.lmm("weight ~ litsize * sex * treatment + (1 | litter)", blm.load_dataset("ratpup"))
    alone = fit.slopes("litsize").table()
    cells = fit.slopes("litsize | treatment * sex").table()["estimate"]
    assert cells.nunique() == 6
    assert len(alone) == 1
    np.testing.assert_allclose(alone["estimate"], cells.mean(), rtol=1e-10)


def test_slopes_at_the_ends_of_a_spline():
    fit = blm.Model("Reaction ~ bs(Days, df=5) + (1 | Subject)", blm.load_dataset("sleepstudy")).fit("reml")
    slopes = fit.slopes("Days", at={"Days": [0.0, 4.5, 9.0]}).table()["estimate"].to_numpy()
    h = 1e-3
    means = fit.means("Days", at={"Days": [0, h, 4.5 - h, 4.5 + h, 9 - h, 9]}).table()["estimate"].to_numpy()
    expected = [(means[1] - means[0]) / h, (means[3] - means[2]) / (2 * h), (means[5] - means[4]) / h]
    np.testing.assert_allclose(slopes, expected, rtol=0.01)  # one-sided differences err by h times the curvature


def test_proportional_weights_are_frequencies(rat):
    data = blm.load_dataset("ratpup")
    cells = rat.means("treatment * sex").table().pivot(index="treatment", columns="sex", values="estimate")
    share = data["sex"].value_counts(normalize=True)
    table = rat.means("treatment", weights="proportional").table().set_index("treatment")
    for level in cells.index:
        assert table.loc[level, "estimate"] == pytest.approx(cells.loc[level] @ share[cells.columns])


def test_a_mean_is_a_prediction_of_the_typical_group(rat):
    row = {"litsize": [12.0], "treatment": ["High"], "sex": ["Female"], "litter": [1]}
    predicted = rat.predict(pd.DataFrame(row), kind="marginal").iloc[0]
    table = rat.means("treatment * sex", at={"litsize": 12, "treatment": "High", "sex": "Female"}).table()
    assert table["estimate"].to_numpy() == pytest.approx([predicted])


def test_cells_without_rows_are_not_estimable():
    data = blm.load_dataset("ratpup")
    data = data[(data["treatment"] != "Low") | (data["sex"] != "Male")]
    fit = blm.Model("weight ~ treatment * sex + (1 | litter)", data).fit("reml")
    table = fit.means("treatment * sex").table().set_index(["treatment", "sex"])
    assert np.isnan(table.loc[("Low", "Male"), "estimate"])
    assert "not estimable" in table.loc[("Low", "Male"), "note"]
    assert table["estimate"].isna().sum() == 1
    assert fit.means("treatment").table()["estimate"].isna().tolist() == [False, False, True]
    some = fit.means("treatment * sex", at={"treatment": ["Control", "High"]}).table()
    assert some["estimate"].notna().all()  # where the column left out is zero in every cell asked for
    pairs = fit.means("treatment | sex").contrast().table()
    assert pairs["p"].isna().sum() == 2
    assert (pairs.dropna()["p"] <= 1).all()


def test_a_posterior_agrees_with_the_likelihood(rat, posterior):
    point, drawn = rat.means("treatment | sex").table(), posterior.means("treatment | sex")
    table = drawn.table()
    assert drawn.draws.shape == (posterior.draws.beta.shape[0] * posterior.draws.beta.shape[1], 6)
    assert (np.abs(table["mean"] - point["estimate"]) < 0.3 * point["std_error"]).all()
    pairs = drawn.contrast()
    high = pairs.table()["probability_of_direction"][0]
    assert high == pytest.approx(np.mean(drawn.draws[:, 0] - drawn.draws[:, 1] > 0))
    with pytest.raises(blm.OptionError, match="ddf"):
        posterior.means("sex", ddf="normal")


def test_the_response_scale_of_a_logarithm(rat):
    fit = blm.Model("log(weight) ~ litsize + treatment + (1 | litter)", blm.load_dataset("ratpup")).fit("reml")
    link, response = fit.means("treatment"), fit.means("treatment", scale="response")
    a, b = link.table(), response.table()
    for name in ("estimate", "lower", "upper"):
        np.testing.assert_allclose(b[name], np.exp(a[name]))
    np.testing.assert_allclose(b["std_error"], np.exp(a["estimate"]) * a["std_error"], rtol=1e-6)  # delta method
    np.testing.assert_allclose(response.contrast().table()["estimate"], np.exp(link.contrast().table()["estimate"]))


def test_generalized_means_are_probabilities():
    data = blm.load_dataset("ratpup")
    data = data.assign(heavy=(data["weight"] > 6).astype(int))
    fit = blm.Model("heavy ~ treatment + (1 | litter)", data, family="bernoulli").fit("ml")
    table = fit.means("treatment", scale="response").table()
    frame = pd.DataFrame({"treatment": ["Control", "High", "Low"], "litter": [1, 1, 1]})
    np.testing.assert_allclose(table["estimate"], fit.predict(frame, random="none"))
    assert table[["lower", "upper"]].to_numpy().min() > 0
    assert table["upper"].max() < 1
    with pytest.raises(blm.OptionError, match="normal"):
        fit.means("treatment", ddf="satterthwaite")


def test_dunnett_by_simulation():
    # three comparisons with a control have correlations of one half
    rng = np.random.default_rng(2)
    z, chi = rng.normal(size=(400_000, 4)), rng.chisquare(8, size=400_000)
    largest = np.abs((z[:, 1:] - z[:, :1]) / np.sqrt(2)).max(axis=1) / np.sqrt(chi / 8)
    half = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    p = adjusted_p(np.array([2.4, 1.0, 3.5]), np.full(3, 8.0), "mvt", 4, half)
    expected = [np.mean(largest > x) for x in (2.4, 1.0, 3.5)]
    np.testing.assert_allclose(p, expected, atol=3e-3)  # four errors of the simulation
    value = critical_values(np.full(3, 8.0), "mvt", 4, half, 0.95)[0]
    assert np.mean(largest > value) == pytest.approx(0.05, abs=2e-3)


def pairs_of(k, sds=None):
    """Return the correlations of all pairs of k independent means, singular from three means on."""
    rows = np.array([np.eye(k)[i] - np.eye(k)[j] for i in range(k) for j in range(i + 1, k)])
    covariance = rows @ np.diag(np.ones(k) if sds is None else np.square(sds)) @ rows.T
    sd = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sd, sd)


@pytest.mark.parametrize(("k", "df", "close"), [(3, 9.0, 2e-4), (4, np.inf, 5e-4), (8, 30.0, 1e-2)])
def test_all_pairs_of_equal_errors_have_the_studentized_range(k, df, close):
    t = np.array([1.2, 2.0, 3.0, 4.5])
    correlation, m = pairs_of(k), k * (k - 1) // 2
    found = adjusted_p(np.resize(t, m) if m > 4 else t[:m], np.full(m, df), "mvt", k, correlation)
    expected = studentized_range.sf(np.sqrt(2) * np.resize(t, m), k, min(df, 1e6))
    np.testing.assert_allclose(found, expected[: len(found)], rtol=close)
    value = critical_values(np.full(m, df), "mvt", k, correlation, 0.95)[0]
    assert value == pytest.approx(studentized_range.isf(0.05, k, min(df, 1e6)) / np.sqrt(2), rel=2e-3)


def test_pairs_of_unequal_errors_by_simulation():
    """Tukey's range is an upper limit where errors differ (Hayter 1984); Bonferroni is further still."""
    sds = np.array([1.0, 2.0, 0.5])
    rng = np.random.default_rng(4)
    z, chi = sds * rng.normal(size=(400_000, 3)), rng.chisquare(10, size=400_000)
    gaps = np.stack([z[:, i] - z[:, j] for i, j in ((0, 1), (0, 2), (1, 2))], axis=1)
    largest = np.abs(gaps / np.sqrt([5.0, 1.25, 4.25])).max(axis=1) / np.sqrt(chi / 10)
    correlation = pairs_of(3, sds)
    p = adjusted_p(np.array([1.5, 2.5, 3.5]), np.full(3, 10.0), "mvt", 3, correlation)
    expected = [np.mean(largest > x) for x in (1.5, 2.5, 3.5)]
    np.testing.assert_allclose(p, expected, atol=3e-3)  # four errors of the simulation
    value = critical_values(np.full(3, 10.0), "mvt", 3, correlation, 0.95)[0]
    assert value < critical_values(np.full(3, 10.0), "tukey", 3, correlation, 0.95)[0]
    assert np.mean(largest > value) == pytest.approx(0.05, abs=2e-3)


def test_simple_adjustments_in_closed_form():
    t, df, eye = np.array([2.0, 2.5, 1.0]), np.full(3, 12.0), np.eye(3)
    p = 2 * t_distribution.sf(t, 12)
    np.testing.assert_allclose(adjusted_p(t, df, "bonferroni", 3, eye), np.minimum(3 * p, 1))
    np.testing.assert_allclose(adjusted_p(t, df, "sidak", 3, eye), 1 - (1 - p) ** 3)
    stepped = [max(3 * p[1], 2 * p[0]), 3 * p[1], max(3 * p[1], 2 * p[0], p[2])]
    np.testing.assert_allclose(adjusted_p(t, df, "holm", 3, eye), stepped)


def test_polynomials_are_the_tables_integers():
    names, rows = contrast_weights("polynomial", ["a", "b", "c", "d"])
    assert names == ["linear", "quadratic", "cubic"]
    assert rows.tolist() == [[-3, -1, 1, 3], [1, -1, -1, 1], [-1, 3, -3, 1]]  # Fisher and Yates


def test_given_weights(rat):
    means = rat.means("treatment")
    frame = pd.DataFrame({"dose": [-1.0, 0.5, 0.5]}, index=["Control", "Low", "High"])
    estimate = means.table()["estimate"].to_numpy()
    table = means.contrast(frame).table()
    assert table["estimate"].to_numpy() == pytest.approx([(estimate[1] + estimate[2]) / 2 - estimate[0]])
    with pytest.raises(blm.OptionError, match="2 weights"):
        means.contrast({"x": [1, -1]})
    with pytest.raises(blm.OptionError, match="rows of the weights"):
        means.contrast(frame.rename(index={"Low": "low"}))


@pytest.mark.parametrize("text", ["", "a |", "a | b | c", "a * a", "a | a"])
def test_specifications_that_name_nothing_clearly(text):
    with pytest.raises(blm.OptionError):
        read_specification(text)


def test_what_cannot_be_asked(rat):
    with pytest.raises(blm.DataError, match=r"'dose'.*'litsize'"):
        rat.means("dose")
    with pytest.raises(blm.DataError, match=r"no level 'Medium'.*'Control'"):
        rat.means("sex", at={"treatment": ["Medium"]})
    with pytest.raises(blm.DataError, match="'litsize' is a number"):
        rat.means("sex", at={"litsize": "many"})
    with pytest.raises(blm.DataError, match="'sex' is a category"):
        rat.slopes("sex")
    with pytest.raises(blm.OptionError, match="weights"):
        rat.means("sex", weights="cells")
    with pytest.raises(blm.OptionError, match="all pairs"):
        rat.means("sex").contrast("sequential", adjust="tukey")
    with pytest.raises(blm.OptionError, match="two means"):
        rat.means("litsize").contrast()


def test_pictures(rat, curve):
    assert len(rat.means("treatment | sex").plot().axes) == 2
    assert len(rat.means("treatment | sex").contrast().plot().axes) == 2
    assert len(curve.means("Days", at={"Days": np.linspace(0, 9, 19)}).plot().axes) == 1

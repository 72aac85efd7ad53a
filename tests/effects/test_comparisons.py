"""Comparisons by brute force over the rows, against contrasts of means where the two are the same, and by draws."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.effects import comparisons as module

EXACT = 1e-10  # the same arithmetic in another order
DIFFERENCES = 1e-5  # derivatives by differences


@pytest.fixture(scope="module")
def data():
    frame = blm.load_dataset("ratpup")
    return frame.assign(heavy=(frame["weight"] > 6).astype(int))


@pytest.fixture(scope="module")
def rat(data):
    return blm.Model("weight ~ litsize * sex + treatment + (1 | litter)", data).fit("reml")


@pytest.fixture(scope="module")
def logit(data):
    return blm.Model("heavy ~ litsize + treatment + sex + (1 | litter)", data, family="bernoulli").fit("ml")


def predicted(fit, frame, **options):
    return fit.predict(frame, **options).to_numpy()


def test_a_category_is_compared_over_the_rows(rat, data):
    table = rat.comparisons("sex", by="treatment").table()
    assert list(table["comparison"].unique()) == ["Female - Male"]
    male, female = (predicted(rat, data.assign(sex=sex), kind="marginal") for sex in ("Male", "Female"))
    expected = pd.Series(female - male).groupby(data["treatment"].to_numpy()).mean()
    np.testing.assert_allclose(table.set_index("treatment")["estimate"], expected[table["treatment"]], rtol=EXACT)


def test_errors_and_df_are_those_of_the_same_function(rat, data):
    # by hand: the mean of litsize is all that the average over rows needs
    L = np.zeros(rat.design.p)
    names = list(rat.design.fixed_names)
    L[names.index("sex[T.Female]")] = 1.0
    L[names.index("litsize:sex[T.Female]")] = data["litsize"].mean()
    row = rat.comparisons("sex").table().iloc[0]
    assert row["std_error"] == pytest.approx(np.sqrt(L @ rat.vcov().to_numpy() @ L))
    assert row["df"] == pytest.approx(rat._errors.find(None)[0].df(L[None])[0])
    assert row["lower"] < row["estimate"] < row["upper"]


def test_without_interactions_it_is_the_contrast_of_means(rat):
    ours = rat.comparisons("treatment", "pairwise").contrast({"all": [1, 0, 0]}).table()
    theirs = rat.means("treatment").contrast("pairwise", adjust="none").table()
    for name in ("estimate", "std_error", "df", "p"):
        assert ours[name][0] == pytest.approx(theirs[name][0])
    single = rat.comparisons("treatment", ("Low", "High")).table()
    assert single["comparison"].tolist() == ["High - Low"]
    assert len(rat.comparisons("treatment", "sequential").table()) == 2


@pytest.mark.parametrize("contrast", [None, 3, (5, 9), "sd", "iqr", "minmax"])
def test_a_number_that_enters_linearly(rat, data, contrast):
    x = data["litsize"]
    change = {None: 1, 3: 3, (5, 9): 4, "sd": x.std(), "iqr": np.subtract(*np.quantile(x, [0.75, 0.25])),
              "minmax": x.max() - x.min()}[contrast]  # fmt: skip
    slope = rat.slopes("litsize | sex").table().set_index("sex")
    table = rat.comparisons("litsize", contrast, at={"sex": ["Male", "Female"]}).table().set_index("sex")
    for name in ("estimate", "std_error"):
        np.testing.assert_allclose(table[name], change * slope[name], rtol=1e-6)


def test_curves_of_a_number_go_through_the_formula():
    data = blm.load_dataset("sleepstudy")
    fit = blm.Model("Reaction ~ poly(Days, 2) + (1 | Subject)", data).fit("reml")
    table = fit.comparisons("Days", (2, 7)).table()
    means = fit.means("Days", at={"Days": [2, 7]}).table()["estimate"]
    assert table["estimate"][0] == pytest.approx(means[1] - means[0])
    assert table["comparison"][0] == "7 - 2"


def test_probabilities_by_the_delta_method(logit, data):
    table = logit.comparisons("treatment").table()
    at = {level: predicted(logit, data.assign(treatment=level), random="none") for level in ("Control", "High", "Low")}
    expected = [np.mean(at[level] - at["Control"]) for level in ("High", "Low")]
    np.testing.assert_allclose(table["estimate"], expected, rtol=EXACT)
    beta, gradient = logit.fixef().to_numpy(), []
    X = {level: blm.design.new_rows(logit.design, data.assign(treatment=level)).X for level in at}
    for level in ("High", "Low"):
        slope = {k: v * (1 - v) for k, v in at.items()}  # of the inverse logit
        gradient.append((slope[level][:, None] * X[level] - slope["Control"][:, None] * X["Control"]).mean(axis=0))
    np.testing.assert_allclose(1 / (1 + np.exp(-X["High"] @ beta)), at["High"])
    G = np.array(gradient)
    np.testing.assert_allclose(
        table["std_error"], np.sqrt(np.diag(G @ logit.vcov().to_numpy() @ G.T)), rtol=DIFFERENCES
    )
    odds = logit.comparisons("treatment", scale="link").table()
    np.testing.assert_allclose(odds["estimate"], logit.fixef()[["treatment[T.High]", "treatment[T.Low]"]])


def test_a_posterior_averages_every_draw(data):
    model = blm.Model("log(weight) ~ litsize + treatment + sex + (1 | litter)", data)
    fit = model.fit("importance", draws=100, seed=3)
    found = fit.comparisons("treatment", scale="response", by="sex")
    beta = np.asarray(fit.draws.beta, dtype=float).reshape(-1, fit.design.p)
    rows = {level: blm.design.new_rows(fit.design, data.assign(treatment=level)).X for level in ("Control", "High")}
    male = (data["sex"] == "Male").to_numpy()
    expected = (np.exp(beta @ rows["High"][male].T) - np.exp(beta @ rows["Control"][male].T)).mean(axis=1)
    place = found.labels.query("sex == 'Male' and comparison == 'High - Control'").index[0]
    np.testing.assert_allclose(found.draws[:, place], expected, rtol=EXACT)
    table = found.table()
    assert table["mean"][place] == pytest.approx(expected.mean())
    assert table["probability_of_direction"][place] == pytest.approx(max(np.mean(expected > 0), np.mean(expected < 0)))
    between = found.contrast("pairwise", adjust="none")
    assert between.labels["comparison"].tolist() == ["High - Control", "Low - Control"]
    with pytest.raises(blm.OptionError, match="ddf"):
        fit.comparisons("treatment", ddf="normal")


@pytest.mark.parametrize("scale", ["link", "response"])
def test_batches_of_rows_make_no_difference(logit, monkeypatch, scale):
    whole = logit.comparisons("treatment", by="sex", scale=scale).table()
    monkeypatch.setattr(module, "BATCH", 400)  # 50 rows at a time
    np.testing.assert_allclose(
        logit.comparisons("treatment", by="sex", scale=scale).table()["std_error"], whole["std_error"], rtol=EXACT
    )


def test_what_the_data_do_not_identify_is_nan(data):
    some = data[(data["treatment"] != "Low") | (data["sex"] != "Male")]
    fit = blm.Model("weight ~ treatment * sex + (1 | litter)", some).fit("reml")
    table = fit.comparisons("treatment", by="sex").table().set_index(["comparison", "sex"])["estimate"]
    assert np.isnan(table["Low - Control", "Male"])
    assert table.isna().sum() == 1


def test_what_cannot_be_compared(rat):
    with pytest.raises(blm.DataError, match=r"'dose'.*'litsize'"):
        rat.comparisons("dose")
    with pytest.raises(blm.OptionError, match=r"'often'.*'pairwise'"):
        rat.comparisons("sex", "often")
    with pytest.raises(blm.OptionError, match=r"'often'.*'sd'"):
        rat.comparisons("litsize", "often")
    with pytest.raises(blm.DataError, match="no level 'Medium'"):
        rat.comparisons("treatment", ("Medium", "High"))
    with pytest.raises(blm.OptionError, match="as well"):
        rat.comparisons("sex", by="sex")
    with pytest.raises(blm.DataError, match="no column 'dose'"):
        rat.comparisons("sex", by="dose")
    with pytest.raises(blm.OptionError, match="other than zero"):
        rat.comparisons("litsize", 0)


def test_a_picture(rat):
    assert len(rat.comparisons("treatment", by="sex").plot().axes) == 2

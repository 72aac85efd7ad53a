"""Fits as data frames and as a table of models: lme4's numbers for sleepstudy, and labels that must be escaped."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

# lme4 1.1-31, lmer(Reaction ~ Days + (Days | Subject), sleepstudy), and lmerTest 3.1-3 for p
LME4 = {"Intercept": (251.405, 6.8246), "Days": (10.4673, 1.5458)}
VARCORR = {"sd__Intercept": 24.741, "sd__Days": 5.9221, "cor__Intercept.Days": 0.0656, "sd__Observation": 25.592}
AS_PRINTED = 2e-4  # relative: digits that are given above, but the correlation's


@pytest.fixture(scope="module")
def model():
    return blm.Model("Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy"))


@pytest.fixture(scope="module")
def reml(model):
    return model.fit("reml")


@pytest.fixture(scope="module")
def awkward():
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"y": rng.normal(size=40), "g": np.repeat(["a", "b", "c", "d"], 10)})
    data["f"] = np.tile(["0", "<b>50%_$&|\\~^#{x}"], 20)
    return blm.Model("y ~ f + (1 | g)", data).fit("ml")


def test_tidy_has_the_numbers_of_lme4(reml):
    tidy = reml.tidy()
    fixed = tidy[tidy["effect"] == "fixed"]
    assert np.allclose(fixed[["estimate", "std_error"]].to_numpy(), list(LME4.values()), rtol=AS_PRINTED)
    assert fixed["df"].iloc[1] == pytest.approx(17.0, rel=1e-3)
    assert fixed["p_value"].iloc[1] == pytest.approx(3.263824e-06, rel=1e-2)
    assert fixed["group"].isna().all()
    random = tidy[tidy["effect"] == "ran_pars"]
    assert list(random["group"]) == ["Subject"] * 3 + ["Residual"]
    found = dict(zip(random["term"], random["estimate"], strict=True))
    assert list(found) == ["sd__Intercept", "sd__Days", "cor__Intercept.Days", "sd__Observation"]
    assert all(found[name] == pytest.approx(value, rel=2e-3) for name, value in VARCORR.items())


def test_limits_are_those_of_confint(reml):
    tidy = reml.tidy(0.9)
    limits = tidy.loc[tidy["effect"] == "fixed", ["conf_low", "conf_high"]]
    assert np.array_equal(limits, reml.confint(0.9))
    assert tidy.loc[tidy["effect"] == "ran_pars", "conf_low"].isna().all()


def test_a_profile_gives_limits_of_standard_deviations():
    fit = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff")).fit("reml")
    fit.profile()
    tidy = fit.tidy().set_index("term")
    # lme4's profile by ML
    assert tidy.loc["sd__Intercept", "conf_low"] == pytest.approx(12.1985, rel=0.02)
    assert tidy.loc["sd__Observation", "conf_high"] == pytest.approx(67.6577, rel=0.02)


def test_tidy_of_a_posterior(model):
    fit = model.fit("importance", draws=400, seed=1)
    tidy = fit.tidy()
    assert np.allclose(tidy.loc[tidy["effect"] == "fixed", "estimate"], fit.fixef())
    assert np.allclose(tidy.loc[tidy["effect"] == "ran_pars", "conf_low"], fit.covariance_table()["lower"])
    assert tidy["p_value"].isna().all()
    glance = fit.glance().iloc[0]
    assert np.isnan(glance["AIC"])
    assert glance["sigma"] == fit.sigma
    assert "AIC" not in blm.table([fit])


def test_glance_has_the_criteria_of_lme4(model, reml):
    row = reml.glance().iloc[0]
    # lme4: REMLcrit 1743.628, and AIC 1763.939 of the ML fit
    assert row["REMLcrit"] == pytest.approx(1743.628, abs=1e-2)
    assert np.isnan(row["deviance"])
    assert row["AIC"] == pytest.approx(1755.628, abs=1e-2)
    assert model.fit("ml").glance()["AIC"].item() == pytest.approx(1763.939, abs=1e-2)


def test_augment_adds_up(reml):
    rows = reml.augment()
    assert np.allclose(rows["fitted"] + rows["resid"], rows["Reaction"])
    assert len(rows) == reml.nobs


def test_augment_replaces_nothing():
    data = blm.load_dataset("sleepstudy").rename(columns={"Days": "resid"})
    fit = blm.Model("Reaction ~ resid + (1 | Subject)", data).fit("ml")
    with pytest.raises(blm.DataError, match="resid"):
        fit.augment()


def test_a_generalized_fit():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(np.arange(20), 10), "x": rng.normal(size=200)})
    data["y"] = rng.poisson(np.exp(0.3 * data["x"] + 0.5 * rng.normal(size=20)[data["g"]]))
    fit = blm.Model("y ~ x + (1 | g)", data, family="poisson").fit("ml")
    tidy = fit.tidy()
    assert list(tidy["term"]) == [*fit.fixef().index, "sd__Intercept"]
    assert np.allclose(tidy["statistic"][:2], fit.coef_table()["z"])
    assert np.isnan(fit.glance()["sigma"].item())
    assert "Groups: g" in blm.table([fit])


def test_the_table_holds_both_models(reml, model):
    small = blm.Model("Reaction ~ 1 + (1 | Subject)", blm.load_dataset("sleepstudy")).fit("ml")
    lines = blm.table([small, reml], names=["null", "growth"]).splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("Days"))
    assert lines[at].split() == ["Days", "10.467"]
    assert lines[at + 1].split() == ["(1.5458)"]
    assert next(line for line in lines if line.startswith("Rows")).split() == ["Rows", "180", "180"]
    assert next(line for line in lines if line.startswith("Groups")).split() == ["Groups:", "Subject", "18", "18"]


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_labels_are_escaped(awkward):
    name = awkward.design.fixed_names[1]
    page = Cells()
    page.feed(blm.table([awkward], format="html"))
    assert "b" not in page.tags
    assert name in page.texts
    latex = blm.table([awkward], format="latex")
    assert r"50\%\_\$\&\textbar{}\textbackslash{}\textasciitilde{}\textasciicircum{}\#\{x\}" in latex
    markdown = blm.table([awkward], format="markdown").splitlines()
    assert r"\<b\>50%\_\$\&\|\\\~^\#\{x\}" in "\n".join(markdown)
    # two bars that are no text before, one between and one after the cells
    assert {line.replace("\\\\", "").replace("\\|", "").count("|") for line in markdown} == {3}


def test_bad_input(reml):
    with pytest.raises(blm.OptionError, match="'markdown'"):
        blm.table([reml], format="docx")
    with pytest.raises(blm.OptionError, match="one fit or more"):
        blm.table([])
    with pytest.raises(blm.OptionError, match="str"):
        blm.table(["reml"])
    with pytest.raises(blm.OptionError, match="level"):
        reml.tidy(95)

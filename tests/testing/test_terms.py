"""Numbers of lmerTest and lme4 are from reference/reading_reference.json; the script that made it is beside it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.testing.boundary import boundary_p

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "reading_reference.json").read_text())
FORMULAS = {
    "sleep": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "rat_intercept": ("weight ~ litsize + treatment + sex + (1 | litter)", "ratpup"),
    "rat_interaction": ("weight ~ litsize + treatment * sex + (1 | litter)", "ratpup"),
}
DF = 1e-3  # relative: lmerTest differentiates numerically at an optimum good to 1e-5
STATISTIC = 1e-4
LIKELIHOOD = 1e-5  # absolute: lme4 stops within this of the optimum


def fit_of(name, method="reml"):
    formula, data = FORMULAS[name]
    return blm.lmm(formula, blm.load_dataset(data), method)


def check(found, expected, sigma):
    expected = pd.DataFrame(expected)
    assert list(found.index) == list(expected["row"])
    assert list(found.columns) == ["df_num", "df_den", "F", "p"]
    assert list(found["df_num"]) == list(expected["NumDF"])
    np.testing.assert_allclose(found["df_den"], expected["DenDF"], rtol=DF)
    np.testing.assert_allclose(found["F"], expected["F value"], rtol=STATISTIC)
    np.testing.assert_allclose(found["p"], expected["Pr(>F)"], rtol=DF)
    # mean squares as lmerTest makes them, of F and the residual variance
    np.testing.assert_allclose(found["F"] * sigma**2, expected["Mean Sq"], rtol=2 * STATISTIC)
    np.testing.assert_allclose(found["F"] * sigma**2 * found["df_num"], expected["Sum Sq"], rtol=2 * STATISTIC)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("kind", ["3_satterthwaite", "3_kenward_roger", "2_satterthwaite"])
def test_table_of_lmertest(name, kind):
    number, ddf = kind.split("_", 1)
    fit = fit_of(name)
    found = fit.anova(type=int(number), ddf=ddf.replace("_", "-"))
    check(found, REFERENCE["tests"][name][f"anova_{kind}"], fit.sigma)


def test_drop1_of_lmertest():
    fit = fit_of("rat_interaction")
    check(fit.drop1(), REFERENCE["drop1"], fit.sigma)


def test_coding_does_not_matter():
    data = blm.load_dataset("ratpup")
    expected = fit_of("rat_interaction").anova()
    for coding in ("Sum", "Helmert", "Treatment('Low')"):
        fit = blm.lmm(f"weight ~ litsize + C(treatment, {coding}) * C(sex, {coding.replace('Low', 'Female')}) "
                      "+ (1 | litter)", data)  # fmt: skip
        np.testing.assert_allclose(fit.anova(), expected, rtol=1e-4)
        other = fit.anova(type=2)
        np.testing.assert_allclose(other["F"], fit_of("rat_interaction").anova(type=2)["F"], rtol=1e-4)


def test_type_3_is_type_2_where_cells_are_balanced():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame([(g, a, b) for g in range(8) for a in "xyz" for b in "uv"], columns=["g", "a", "b"])
    frame["y"] = rng.normal(size=48) + rng.normal(size=8)[frame["g"]] + (frame["a"] == "x")
    fit = blm.lmm("y ~ a * b + (1 | g)", frame)
    for other in (1, 2):
        np.testing.assert_allclose(fit.anova(type=other), fit.anova(), rtol=1e-6)
    np.testing.assert_allclose(fit.anova()["df_den"], 35, rtol=1e-4)  # 7 blocks' df times 5 of the cells
    assert list(fit.anova()["df_num"]) == [2, 1, 2]


def test_type_1_adds_up_without_random_terms():
    """The sums of squares of terms in order are the differences of residual sums of squares."""
    data = blm.load_dataset("ratpup")
    parts = ["1", "litsize", "treatment", "sex"]
    fits = [blm.lmm("weight ~ " + " + ".join(parts[:k]), data) for k in range(1, 5)]
    squares = [fit.residuals().pow(2).sum() for fit in fits]
    found = fits[-1].anova(type=1)
    expected = -np.diff(squares) / found["df_num"] / fits[-1].sigma ** 2
    np.testing.assert_allclose(found["F"], expected)
    assert (found["df_den"] == 322 - 5).all()


def test_numeric_factors_contain_nothing():
    fit = blm.lmm("Reaction ~ Days + I(Days**2) + (1 | Subject)", blm.load_dataset("sleepstudy"))
    assert list(fit.drop1().index) == ["Days", "I(Days ** 2)"]
    np.testing.assert_allclose(fit.drop1()["F"], fit.coef_table()["t"].iloc[1:] ** 2)


def test_empty_cells():
    data = blm.load_dataset("ratpup")
    data = data[~((data["treatment"] == "High") & (data["sex"] == "Male"))]
    fit = blm.lmm("weight ~ treatment * sex + (1 | litter)", data)
    with pytest.raises(blm.OptionError, match=r"use type=2 or type=1\.$"):
        fit.anova()
    assert fit.anova(type=2).loc["treatment:sex", "df_num"] == 1


@pytest.mark.parametrize("name", ["sleep", "rat_interaction"])
def test_ranova_of_lmertest(name):
    expected = pd.DataFrame(REFERENCE["ranova"][name])
    found = fit_of(name).ranova()
    assert list(found["dof"]) == list(expected["npar"])
    np.testing.assert_allclose(found["loglik"], expected["logLik"], atol=LIKELIHOOD)
    np.testing.assert_allclose(found["aic"], expected["AIC"], atol=2 * LIKELIHOOD)
    np.testing.assert_allclose(found["chisq"].iloc[1:], expected["LRT"].iloc[1:].astype(float), atol=2 * LIKELIHOOD)
    np.testing.assert_allclose(found["p"].iloc[1:], expected["Pr(>Chisq)"].iloc[1:].astype(float), rtol=1e-3)
    assert (found["p_boundary"].iloc[1:] < found["p"].iloc[1:]).all()
    assert "boundary" in repr(found)


def test_ranova_takes_every_effect():
    data = blm.load_dataset("sleepstudy")
    apart = blm.lmm("Reaction ~ Days + (1 + Days || Subject)", data).ranova()
    assert list(apart.index) == ["(none)", "1 in (1 + Days || Subject)", "Days in (1 + Days || Subject)"]
    assert list(apart["df"]) == [0, 1, 1]
    without = blm.lmm("Reaction ~ Days + (0 + Days | Subject)", data)
    assert apart["loglik"].iloc[1] == pytest.approx(without.loglik, abs=1e-6)
    alone = without.ranova()
    assert list(alone.index) == ["(none)", "(0 + Days | Subject)"]
    assert alone["loglik"].iloc[1] == pytest.approx(blm.lmm("Reaction ~ Days", data).loglik, abs=1e-6)


def test_mixture_of_chi_squares():
    assert boundary_p(3.841458820694124, 1) == pytest.approx(0.025)  # half the 5% of one df
    assert boundary_p(5.138, 2) == pytest.approx(0.05, abs=1e-4)  # Stram and Lee 1994: 5.14
    assert boundary_p(0.0, 1) == 1.0


def test_likelihood_ratios_of_lme4():
    data = blm.load_dataset("sleepstudy")
    formulas = [
        "Reaction ~ Days + (Days | Subject)",
        "Reaction ~ Days + (1 | Subject)",
        "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)",
    ]
    found = blm.anova(*(blm.lmm(formula, data, "ml") for formula in formulas), names=["c", "a", "b"])
    expected = pd.DataFrame(REFERENCE["likelihood_ratio"])
    assert list(found.index) == ["a", "b", "c"]
    names = {"dof": "npar", "aic": "AIC", "bic": "BIC", "loglik": "logLik", "deviance": "deviance"}
    for ours, theirs in names.items():
        np.testing.assert_allclose(found[ours], expected[theirs], atol=2 * LIKELIHOOD)
    for ours, theirs in [("chisq", "Chisq"), ("df", "Df"), ("p", "Pr(>Chisq)")]:
        np.testing.assert_allclose(found[ours].iloc[1:], expected[theirs].iloc[1:].astype(float), rtol=1e-3)


def test_reml_fits_of_different_means_are_refitted():
    data = blm.load_dataset("sleepstudy")
    small, large = (blm.lmm(f"Reaction ~ {part} + (Days | Subject)", data) for part in ("1", "Days"))
    found = blm.anova(small, large)
    assert "refitted by ML" in repr(found)
    expected = [blm.lmm(fit.formula, data, "ml").objective for fit in (small, large)]
    np.testing.assert_allclose(found["deviance"], expected, atol=1e-6)


def test_reml_fits_of_the_same_mean_are_compared():
    data = blm.load_dataset("sleepstudy")
    small, large = (blm.lmm(f"Reaction ~ Days + ({part} | Subject)", data) for part in ("1", "Days"))
    found = blm.anova(small, large)
    assert "refitted" not in repr(found)
    assert found["chisq"].iloc[1] == pytest.approx(small.objective - large.objective)


def test_refusals():
    data = blm.load_dataset("sleepstudy")
    fit = blm.lmm("Reaction ~ Days + (1 | Subject)", data)
    mode = blm.lmm("Reaction ~ Days + (1 | Subject)", data, "map")
    with pytest.raises(blm.OptionError, match="different rows"):
        blm.anova(fit, blm.lmm("Reaction ~ Days + (1 | Subject)", data.iloc[5:]))
    with pytest.raises(blm.OptionError, match="different responses"):
        blm.anova(fit, blm.lmm("log(Reaction) ~ Days + (1 | Subject)", data))
    with pytest.raises(blm.OptionError, match="'ml' or 'reml'"):
        blm.anova(fit, mode)
    with pytest.raises(blm.OptionError, match="two fits"):
        blm.anova(fit)
    with pytest.raises(blm.OptionError, match="different texts"):
        blm.anova(fit, fit, names=["a"])
    with pytest.raises(blm.OptionError, match="use 1"):
        fit.anova(type=4)
    with pytest.raises(blm.OptionError, match="posterior mode"):
        mode.ranova()
    with pytest.raises(blm.OptionError, match="no random term"):
        blm.lmm("Reaction ~ Days", data).ranova()


def test_drop1_keeps_a_number_whose_interaction_is_in_the_model():
    """As R's ``drop.scope`` has it."""
    fit = blm.Model("weight ~ treatment * litsize + sex + (1 | litter)", blm.load_dataset("ratpup")).fit("reml")
    assert list(fit.drop1().index) == ["sex", "treatment:litsize"]


def test_type_3_needs_no_column_that_was_left_out_with_its_whole_term():
    """The model is the one without the term; a term of which some columns are left out has no test of type 3."""
    data = blm.load_dataset("ratpup")
    data["twice"] = 2.0 * data["litsize"] - 3.0
    smaller = blm.lmm("weight ~ treatment * sex + litsize + (1 | litter)", data).anova(3)
    fit = blm.lmm("weight ~ treatment * sex + litsize + twice + (1 | litter)", data)
    assert fit.design.dropped_columns
    pd.testing.assert_frame_equal(fit.anova(3), smaller, rtol=1e-6)
    without = data[(data["treatment"] != "High") | (data["sex"] != "Male")]
    with pytest.raises(blm.OptionError, match="data in every cell"):
        blm.lmm("weight ~ treatment * sex + (1 | litter)", without).anova(3)

"""Numbers of lme4 are from reference/lme4_reference.json, with the script that made it beside it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.likelihood.kernel import build_kernel

RECORDS = json.loads((Path(__file__).parents[1] / "reference" / "lme4_reference.json").read_text())["fits"]
SMALL = [record for record in RECORDS if record["data"] in ("dyestuff", "sleepstudy")]

OBJECTIVE = 1e-6  # lme4 stops within this of the optimum
RELATIVE = 1e-4  # lme4's theta is good to about 1e-5; standard errors follow it
SD = 1e-3


def label(record):
    return f"{record['formula']} {record['method']}"


@pytest.mark.parametrize("record", SMALL, ids=label)
def test_same_numbers_as_lme4(record):
    fit = blm.lmm(record["formula"], blm.load_dataset(record["data"]), record["method"])
    assert fit.objective == pytest.approx(record["objective"], abs=OBJECTIVE)
    assert fit.deviance == fit.objective
    assert fit.loglik == pytest.approx(-record["objective"] / 2, abs=OBJECTIVE)
    assert fit.aic == pytest.approx(record["aic"], abs=OBJECTIVE)
    assert fit.bic == pytest.approx(record["bic"], abs=OBJECTIVE)
    assert (fit.dof, fit.nobs) == (record["dof"], record["nobs"])
    assert fit.sigma == pytest.approx(record["sigma"], rel=RELATIVE)
    np.testing.assert_allclose(fit.fixef(), list(record["fixef"].values()), rtol=RELATIVE)
    table = fit.coef_table()
    np.testing.assert_allclose(table["std_error"], list(record["se"].values()), rtol=RELATIVE)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.vcov())), table["std_error"])
    found = fit.varcorr()
    values = found["sd"].fillna(found["correlation"])
    np.testing.assert_allclose(values, [row["sdcor"] for row in record["varcorr"]], atol=SD, rtol=SD)


def test_ranef_of_lme4():
    record = next(r for r in SMALL if "1 + Days | Subject" in r["formula"] and r["method"] == "reml")
    fit = blm.lmm(record["formula"], blm.load_dataset("sleepstudy"))
    expected = pd.DataFrame(record["ranef"]["Subject"]).set_index("level")
    found = fit.ranef()["Subject"]
    assert list(found.index) == [int(level) for level in expected.index]
    assert (found.index.name, list(found.columns)) == ("Subject", ["Intercept", "Days"])
    np.testing.assert_allclose(found, expected[["(Intercept)", "Days"]], atol=SD)


def test_table_of_dyestuff_as_mixedmodels_prints_it():
    """The page of MixedModels.jl prints estimate 1527.5, standard error 17.6946 and z 86.326."""
    fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"), "ml")
    table = fit.coef_table()
    assert list(table.columns) == ["estimate", "std_error", "df", "t", "p"]
    assert (table.index.name, list(table.index)) == ("coefficient", ["Intercept"])
    assert table.loc["Intercept", "estimate"] == pytest.approx(1527.5)
    assert table.loc["Intercept", "std_error"] == pytest.approx(17.6946, abs=1e-3)
    assert table.loc["Intercept", "t"] == pytest.approx(86.326, abs=5e-3)
    normal = fit.coef_table(ddf="normal")
    assert list(normal.columns) == ["estimate", "std_error", "z", "p"]
    assert normal.loc["Intercept", "p"] < 1e-99


def test_spherical_effects_give_b(reml):
    lower = np.array([[reml.theta[0], 0], [reml.theta[1], reml.theta[2]]])
    u = reml.ranef("u")["Subject"].to_numpy()
    np.testing.assert_allclose(u @ lower.T, reml.ranef()["Subject"], rtol=1e-10)


def test_layout_of_varcorr(reml):
    table = reml.varcorr()
    assert list(table.columns) == ["group", "effect", "other_effect", "variance", "sd", "correlation"]
    assert list(table["group"]) == ["Subject", "Subject", "Subject", "Residual"]
    assert list(table["effect"]) == ["Intercept", "Days", "Intercept", None]
    assert list(table["other_effect"]) == [None, None, "Days", None]
    assert list(table["variance"].isna()) == [False, False, True, False]
    assert list(table["correlation"].isna()) == [True, True, False, True]
    np.testing.assert_allclose(table["sd"] ** 2, table["variance"])
    assert table["sd"].iloc[-1] == reml.sigma


def test_uncorrelated_effects_have_no_correlation(sleepstudy):
    table = blm.lmm("Reaction ~ Days + (Days || Subject)", sleepstudy).varcorr()
    assert list(table["effect"]) == ["Intercept", "Days", None]
    assert table["correlation"].isna().all()


def test_second_term_on_a_factor(crossed):
    fit = crossed.fit("reml")
    assert list(fit.ranef()) == ["litter", "litter.1", "treatment"]
    assert list(fit.varcorr()["group"]) == ["litter", "litter.1", "treatment", "Residual"]
    assert fit.n_levels == {"litter": 27, "treatment": 3}


def test_history_and_gradient(reml):
    history = reml.history
    assert list(history.columns) == ["objective", "theta_1", "theta_2", "theta_3"]
    assert history.index[0] == 1
    assert history["objective"].min() == pytest.approx(reml.objective, abs=1e-9)
    assert reml.gradient_norm < 1e-3
    history.loc[1, "objective"] = 0.0
    assert reml.history.loc[1, "objective"] != 0.0


def test_hessian_at_the_optimum(reml):
    """Against second differences of the objective."""
    kernel, step = build_kernel(reml.design), 1e-3

    def along(k, j, a, b):
        moved = reml.theta + a * step * np.eye(3)[k] + b * step * np.eye(3)[j]
        return kernel.objective(moved, "reml")

    for k in range(3):
        for j in range(3):
            corners = along(k, j, 1, 1) - along(k, j, 1, -1) - along(k, j, -1, 1) + along(k, j, -1, -1)
            assert reml.hessian[k, j] == pytest.approx(corners / (4 * step**2), rel=1e-3, abs=1e-2)
    assert reml.smallest_eigenvalue > 1.0
    assert not np.shares_memory(reml.hessian, reml.hessian)


def test_a_minimum_on_the_boundary_is_strict():
    rng = np.random.default_rng(5)
    data = {"y": rng.standard_normal(60), "x": rng.standard_normal(60), "g": np.arange(60) % 6}
    fit = blm.lmm("y ~ x + (x | g)", data)
    assert fit.status.code == "boundary"
    assert fit.smallest_eigenvalue > 1.0


def test_the_mode_has_no_hessian_of_the_likelihood(sleepstudy):
    with pytest.raises(blm.OptionError, match="'ml' or 'reml'"):
        blm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy, method="map").smallest_eigenvalue  # noqa: B018


def test_arrays_handed_out_are_copies(reml):
    theta, fixed, random = reml.theta, reml.fixef(), reml.ranef()["Subject"]
    theta[:] = 0
    fixed["Days"] = 0
    random.iloc[:] = 0
    assert reml.theta[0] > 0
    assert reml.fixef()["Days"] > 1
    assert reml.ranef()["Subject"].abs().to_numpy().max() > 1


def test_fixed_sigma_is_no_parameter():
    data = blm.load_dataset("dyestuff")
    free = blm.lmm("Yield ~ 1 + (1 | Batch)", data, "ml")
    fixed = blm.lmm("Yield ~ 1 + (1 | Batch)", data, "ml", sigma=free.sigma)
    assert fixed.dof == free.dof - 1
    assert fixed.sigma == free.sigma
    assert fixed.objective == pytest.approx(free.objective, abs=1e-6)


def test_without_random_effects_it_is_least_squares():
    data = blm.load_dataset("ratpup")
    fit = blm.lmm("weight ~ litsize + treatment + sex", data, "ml")
    X = np.column_stack([np.ones(len(data)), data["litsize"], *(data["treatment"] == t for t in ("High", "Low"))])
    X = np.column_stack([X, data["sex"] == "Female"]).astype(float)
    beta, rss = np.linalg.lstsq(X, data["weight"], rcond=None)[:2]
    np.testing.assert_allclose(fit.fixef(), beta, rtol=1e-9)
    n = len(data)
    assert fit.objective == pytest.approx(n * (1 + np.log(2 * np.pi * rss[0] / n)), rel=1e-10)
    assert (fit.ranef(), list(fit.varcorr()["group"])) == ({}, ["Residual"])
    assert "Residual" in str(fit.summary())


def test_summary_says_what_lme4_users_look_for(reml):
    text = str(reml.summary())
    for part in (
        "fit by REML",
        "Reaction ~ 1 + Days + (1 + Days | Subject)",
        "180 observations; Subject: 18 levels",
        "1743.6283",
        "AIC 1755.63",
        "612.09",
        "24.74",
        "0.07",
        "251.41",
        "6.82",
        "36.84",
        "<0.001",
        "Converged",
    ):
        assert part in text, part
    assert repr(reml.summary()) == text == str(reml)
    assert "<table" in reml.summary()._repr_html_()


def test_dropped_rows_and_columns_are_reported(sleepstudy):
    data = sleepstudy.assign(Twice=2 * sleepstudy["Days"], w=1.0)
    data.loc[3, "Reaction"] = np.nan
    data.loc[5, "w"] = 0.0
    fit = blm.lmm("Reaction ~ Days + Twice + (1 | Subject)", data, weights="w")
    assert fit.dropped_columns == ("Twice",)
    assert sum(fit.n_dropped.values()) == 2
    text = str(fit.summary())
    assert "2 rows dropped (missing: 1, zero weight: 1)" in text
    assert "Twice (collinear" in text
    assert "Weights" in text


def test_confint_is_walds(reml):
    limits = reml.confint(0.95, ddf="normal")
    expected = reml.fixef() - 1.959963984540054 * reml.coef_table()["std_error"]
    np.testing.assert_allclose(limits["lower"], expected)


def test_fitted_and_residuals(crossed):
    fit = crossed.fit("ml")
    np.testing.assert_allclose(fit.fitted() + fit.residuals(), crossed.design.y)
    frame = crossed.design.data.iloc[crossed.design.rows]
    np.testing.assert_allclose(fit.predict(frame), fit.fitted(), rtol=1e-12)


@pytest.mark.parametrize("call", [lambda f: f.ranef("v"), lambda f: f.coef_table(95), lambda f: f.confint(0)])
def test_bad_options(reml, call):
    with pytest.raises(blm.OptionError):
        call(reml)


def test_a_level_asked_for_is_a_level_given(reml):
    table = reml.coef_table(level=0.9, ddf="normal")
    half = 1.6448536269514722 * table["std_error"]  # the 95% point of the standard normal
    np.testing.assert_allclose(table["upper"] - table["estimate"], half)
    np.testing.assert_allclose(table["estimate"] - table["lower"], half)
    with pytest.raises(blm.OptionError, match="probability between 0 and 1"):
        reml.coef_table(level=95)

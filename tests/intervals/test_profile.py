"""Numbers of lme4 are from reference/reading_reference.json; the script that made it is beside it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import ndtri

import bayeslmm as blm
from bayeslmm.intervals.natural_parameters import Deviance, user_orders, with_fixed_function
from bayeslmm.results.comparison import interval_frames

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "reading_reference.json").read_text())["profile_ml"]
FORMULAS = {
    "dyestuff": ("Yield ~ 1 + (1 | Batch)", "dyestuff"),
    "sleep": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "rat_interaction": ("weight ~ litsize + treatment * sex + (1 | litter)", "ratpup"),
}
WIDTH = 1e-3  # of the interval: both interpolate between points of the profile
ORDER = {  # lme4 has standard deviations and sigma first
    "dyestuff": ["sd_Batch[Intercept]", "sigma", "Intercept"],
    "sleep": [
        "sd_Subject[Intercept]",
        "cor_Subject[Intercept, Days]",
        "sd_Subject[Days]",
        "sigma",
        "Intercept",
        "Days",
    ],
}


@pytest.mark.parametrize("name", FORMULAS)
def test_limits_of_lme4(name):
    formula, data = FORMULAS[name]
    fit = blm.lmm(formula, blm.load_dataset(data), "reml")
    profile = fit.profile()
    found = profile.confint()
    order = ORDER.get(name, [*found.index[-2:], *found.index[:-2]])
    expected = pd.DataFrame(REFERENCE[name])[["2.5 %", "97.5 %"]].to_numpy()
    width = np.diff(expected, axis=1)
    np.testing.assert_array_less(np.abs(found.loc[order].to_numpy() - expected) / width, WIDTH)
    assert profile.n_evaluations < 300
    assert set(profile.table.columns) == {"parameter", "value", "zeta", "slope"}
    pd.testing.assert_frame_equal(fit.confint(0.9, method="profile"), profile.confint(0.9), rtol=WIDTH)


def data_of_two_factors(seed=5):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "g": rng.integers(0, 15, 200),
            "h": rng.integers(0, 6, 200),
            "x": rng.normal(2, 1, 200),
            "z": rng.normal(size=200),
        }
    )
    effects = rng.normal(size=(15, 3)) @ np.array([[1.0, 0.3, 0.2], [0.0, 0.6, -0.2], [0.0, 0.0, 0.5]])
    data["y"] = data["x"] + (effects[data["g"]] * np.column_stack([np.ones(200), data["x"], data["z"]])).sum(axis=1)
    data["y"] += rng.normal(size=6)[data["h"]] + rng.normal(size=200)
    return data


def test_gradient_by_natural_parameters():
    fit = blm.lmm("y ~ x + (x + z | g) + (1 + x || h)", data_of_two_factors(), "ml")
    rng = np.random.default_rng(1)
    for orders in (user_orders(fit.kernel.shapes), user_orders(fit.kernel.shapes, 0, 2)):
        deviance = Deviance(fit.kernel, None, orders)
        optimum = deviance.point(fit._factors, fit.sigma)
        assert deviance(optimum)[0] == pytest.approx(fit.objective, abs=1e-7)
        psi = optimum + rng.uniform(0.05, 0.2, len(optimum))
        numeric = [(deviance(psi + h)[0] - deviance(psi - h)[0]) / 2e-5 for h in 1e-5 * np.eye(len(psi))]
        np.testing.assert_allclose(deviance(psi)[1], numeric, rtol=1e-5, atol=1e-5)


def test_limit_of_a_correlation_of_three_effects_by_brute_force():
    fit = blm.lmm("y ~ x + (x + z | g)", data_of_two_factors(), "ml")
    upper = fit.confint(0.8, method="profile", parameters="cor_g[x, z]").loc["cor_g[x, z]", "upper"]

    def deviance(free, rho=upper):
        s, r01, r02, sigma = np.exp(free[:3]), np.tanh(free[3]), np.tanh(free[4]), np.exp(free[5])
        R = np.array([[1, r01, r02], [r01, 1, rho], [r02, rho, 1]])
        try:
            factor = np.linalg.cholesky(R) * (s / sigma)[:, None]
        except np.linalg.LinAlgError:
            return 1e10
        return fit.kernel.objective(factor.T[np.triu_indices(3)], "ml", sigma)

    table = fit.varcorr()
    sds = np.log(table["sd"].dropna().to_numpy())
    start = np.concatenate([sds[:3], [0.0, 0.0], sds[3:]])
    best = minimize(deviance, start, method="Nelder-Mead", options={"maxiter": 6000, "xatol": 1e-6, "fatol": 1e-8})
    best = minimize(deviance, best.x, method="BFGS", options={"gtol": 1e-4})
    assert np.sqrt(best.fun - fit.objective) == pytest.approx(ndtri(0.9), abs=5e-3)


def test_a_function_of_the_coefficients_held():
    data = data_of_two_factors()
    fit = blm.lmm("y ~ x + z + (1 | g) + (1 | h)", data, "ml")
    held = with_fixed_function(fit.kernel, np.array([0.0, 1.0, 0.0]), 0.3)
    other = blm.lmm("y ~ z + (1 | g) + (1 | h)", data, "ml", offset=0.3 * data["x"])
    for theta in ([0.5, 0.2], [1.0, 2.0]):
        assert held.objective(theta, "ml") == pytest.approx(other.kernel.objective(theta, "ml"), rel=1e-10)


def test_wald_is_right_without_random_terms_and_sigma_known():
    fit = blm.lmm("y ~ x", data_of_two_factors(), "ml", sigma=2.0)
    limits = fit.confint(method="profile")
    assert list(limits.index) == ["Intercept", "x"]
    np.testing.assert_allclose(limits, fit.confint(ddf="normal"), rtol=1e-6)


def test_sd_on_the_boundary_is_bounded_on_one_side():
    data = data_of_two_factors()
    data["g"] = np.random.default_rng(2).permutation(data["g"])
    fit = blm.lmm("y ~ x + (1 | g) + (1 | h)", data, "ml")
    assert fit.status.code == "boundary"
    limits = fit.confint(method="profile")
    assert limits.loc["sd_g[Intercept]", "lower"] == 0.0
    upper = limits.loc["sd_g[Intercept]", "upper"]
    place = list(fit.n_levels).index("g")

    def rest(free):
        theta = [np.exp(free[0] - free[1])] * 2
        theta[place] = upper / np.exp(free[1])
        return fit.kernel.objective(theta, "ml", np.exp(free[1]))

    best = minimize(rest, [0.0, np.log(fit.sigma)], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9})
    assert np.sqrt(best.fun - fit.objective) == pytest.approx(ndtri(0.975), abs=5e-3)


def test_picture_and_refusals():
    fit = blm.lmm(*FORMULAS["dyestuff"][:1], blm.load_dataset("dyestuff"))
    profile = fit.profile(level=0.9)
    assert len([axis for axis in profile.plot().axes if axis.get_visible()]) == 3
    with pytest.raises(blm.OptionError, match=r"profile\(level=0.95\)"):
        profile.confint(0.95)
    with pytest.raises(blm.OptionError, match="did you mean 'sd_Batch"):
        fit.confint(method="profile", parameters="sd_Batch[intercept]")
    with pytest.raises(blm.OptionError, match="use 'wald'"):
        fit.confint(method="likelihood")
    with pytest.raises(blm.OptionError, match="posterior mode"):
        blm.lmm(FORMULAS["dyestuff"][0], blm.load_dataset("dyestuff"), "map").profile()


def test_what_was_computed_is_shown():
    fit = blm.lmm(FORMULAS["sleep"][0], blm.load_dataset("sleepstudy"))
    assert "97.5%" not in str(fit.summary())
    before = interval_frames([fit], 0.95)["reml"]
    assert before.loc["sigma", ["lower", "upper"]].isna().all()
    limits = fit.profile().confint(0.95)
    after = interval_frames([fit], 0.95)["reml"]
    rows = list(limits.index[2:])
    np.testing.assert_allclose(after.loc[rows, ["lower", "upper"]], limits.loc[rows])
    pd.testing.assert_frame_equal(after.iloc[:2], before.iloc[:2])
    text = str(fit.summary())
    assert "97.5%" in text
    assert f"{limits.loc['sd_Subject[Days]', 'upper']:.3f}" in text
    assert "97.5%" not in str(fit.summary(0.999))  # beyond what the profile reaches

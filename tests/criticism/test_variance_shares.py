"""Numbers of performance and lme4 are from reference/reading_reference.json; the script that made it is beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

import bayeslmm as blm

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "reading_reference.json").read_text())
FORMULAS = {
    "sleep": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "rat_intercept": ("weight ~ litsize + treatment + sex + (1 | litter)", "ratpup"),
    "rat_interaction": ("weight ~ litsize + treatment * sex + (1 | litter)", "ratpup"),
}
OPTIMA = 1e-4  # relative: two optimisers agree on variances to about 1e-5


def fit_of(name):
    formula, data = FORMULAS[name]
    return blm.lmm(formula, blm.load_dataset(data))


@pytest.mark.parametrize("name", FORMULAS)
def test_r2_of_performance(name):
    found, expected = fit_of(name).r2(), REFERENCE["r2"][name]
    assert list(found.index) == ["marginal", "conditional"]
    assert found["marginal"] == pytest.approx(expected["marginal"], rel=OPTIMA)
    assert found["conditional"] == pytest.approx(expected["conditional"], rel=OPTIMA)


def test_icc_of_performance():
    found = fit_of("rat_intercept").icc()
    assert found["litter"] == pytest.approx(REFERENCE["icc"]["rat_intercept"], rel=OPTIMA)
    assert found["(all)"] == found["litter"]


def test_principal_components_of_lme4():
    found = fit_of("sleep").rePCA().loc["Subject"]
    np.testing.assert_allclose(found["sd"], REFERENCE["rePCA"]["sleep"], rtol=1e-3)
    np.testing.assert_allclose(found["proportion"], found["sd"] ** 2 / (found["sd"] ** 2).sum())
    assert found["cumulative"].iloc[-1] == pytest.approx(1.0)


def test_shares_by_dense_rows():
    """Several terms, weights and an offset: every row's variance on its own."""
    data = blm.load_dataset("ratpup")
    data["w"] = 1.0 + data["pup_id"] % 3
    data["shift"] = 0.1 * (data["pup_id"] % 2)
    formula = "weight ~ litsize + sex + offset(shift) + (1 | litter) + (0 + litsize | litter) + (1 | treatment)"
    fit = blm.lmm(formula, data, weights="w")
    table = fit.varcorr()
    litter, slope, treatment, residual = table["variance"].to_numpy()
    litsize = data["litsize"].to_numpy(dtype=float)
    parts = [litter, np.mean(slope * litsize**2), treatment]
    rest = np.mean(residual / data["w"].to_numpy())
    fixed = np.var(fit.design.X @ fit.fixef().to_numpy(), ddof=1)
    total = fixed + sum(parts) + rest
    np.testing.assert_allclose(fit.r2(), [fixed / total, (fixed + sum(parts)) / total])
    np.testing.assert_allclose(fit.icc().iloc[:3], np.array(parts) / (sum(parts) + rest))


def test_components_of_two_terms_on_one_factor():
    fit = blm.lmm("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", blm.load_dataset("sleepstudy"))
    sds = np.sort(fit.varcorr()["sd"].to_numpy()[:2] / fit.sigma)[::-1]
    np.testing.assert_allclose(fit.rePCA()["sd"], sds)
    assert list(fit.rePCA().index) == [("Subject", 1), ("Subject", 2)]


def test_posterior_has_shares_by_draw():
    data = blm.load_dataset("sleepstudy")
    fit = blm.Model(FORMULAS["sleep"][0], data).fit("importance", draws=50, chains=2, seed=1, handover="keep")
    draws = fit.draws
    X, rows = fit.design.X, []
    for chain in range(2):
        for d in range(50):
            sd, cor = draws.sd[0][chain, d], draws.cor[0][chain, d]
            covariance = cor * np.outer(sd, sd)
            fixed = np.var(X @ draws.beta[chain, d], ddof=1)
            random = np.mean([z @ covariance @ z for z in fit.design.terms[0].columns])
            rows.append((fixed, random, draws.sigma[chain, d] ** 2))
    fixed, random, residual = np.array(rows).T
    found = fit.r2(level=0.8)
    assert found.loc["marginal", "mean"] == pytest.approx(np.mean(fixed / (fixed + random + residual)))
    conditional = (fixed + random) / (fixed + random + residual)
    assert found.loc["conditional", "lower"] == pytest.approx(np.quantile(conditional, 0.1))
    assert fit.icc().loc["Subject", "mean"] == pytest.approx(np.mean(random / (random + residual)))
    assert fit.rePCA()["sd"].is_monotonic_decreasing


def test_without_random_terms_r2_is_one_share():
    fit = blm.lmm("Reaction ~ Days", blm.load_dataset("sleepstudy"))
    assert fit.r2()["marginal"] == fit.r2()["conditional"]
    with pytest.raises(blm.OptionError, match="random effects"):
        fit.icc()
    with pytest.raises(blm.OptionError, match="random effects"):
        fit.rePCA()


def test_other_families_are_refused():
    data = blm.load_dataset("sleepstudy")
    data["slow"] = (data["Reaction"] > 300).astype(int)
    fit = blm.lmm("slow ~ Days + (1 | Subject)", data, family="bernoulli", method="ml")
    with pytest.raises(blm.OptionError, match="normal responses"):
        fit.rePCA()

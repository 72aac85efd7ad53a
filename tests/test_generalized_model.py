"""Models of counts, proportions and categories through the front door."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import bayeslmm as blm
from bayeslmm.families import Poisson

RECORDS = json.loads((Path(__file__).parent / "reference" / "glmm_reference.json").read_text(encoding="utf-8"))
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
VERB = "Anger + Gender + btype + situ + (1 | id) + (1 | item)"


@pytest.fixture(scope="module")
def cbpp():
    return blm.load_dataset("cbpp")


@pytest.fixture(scope="module")
def herds(cbpp):
    return blm.Model(CBPP, cbpp, family="binomial").fit("ml")


@pytest.fixture(scope="module")
def ticks():
    data = blm.load_dataset("grouseticks")
    return blm.Model("TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", data, family="poisson").fit("ml")


def test_estimates_of_lme4(herds):
    record = RECORDS["lme4"]["cbpp_laplace"]
    errors = herds.coef_table()["std_error"].to_numpy()
    assert herds.loglik == pytest.approx(record["loglik"], abs=2e-3)  # glmer stops its inner iterations early
    assert herds.loglik >= record["loglik"] - 1e-5
    assert np.abs((herds.fixef() - list(record["fixef"].values())) / errors).max() < 3e-3
    np.testing.assert_allclose(errors, list(record["se_hessian"].values()), rtol=2e-2)
    assert herds.varcorr()["sd"].to_list() == pytest.approx([record["varcorr"][0]["sdcor"]], rel=5e-4)
    assert herds.dof == 5
    assert herds.aic == pytest.approx(-2 * herds.loglik + 10)
    assert herds.status.code == "converged"


def test_a_negative_binomial_of_glmmtmb():
    record = RECORDS["glmmTMB"]["ticks_nbinom2"]
    data = blm.load_dataset("grouseticks")
    formula = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)"
    fit = blm.Model(formula, data, family="negative_binomial").fit("ml")
    assert fit.loglik == pytest.approx(record["loglik"], abs=1e-4)
    (value,) = fit.dispersion.values()
    assert value == pytest.approx(record["dispersion"], rel=1e-3)


def test_ordered_categories_of_clmm():
    data = blm.load_dataset("verbagg")
    fit = blm.Model(f"resp ~ {VERB}", data, family="cumulative").fit("ml")
    record = RECORDS["ordinal"]
    assert "Intercept" not in fit.fixef().index
    assert fit.loglik == pytest.approx(record["loglik"], abs=1e-3)
    (thresholds,) = fit.dispersion.values()
    np.testing.assert_allclose(thresholds, list(record["thresholds"].values()), atol=2e-3)
    np.testing.assert_allclose(fit.fixef(), list(record["fixef"].values()), atol=2e-3)


def test_two_categories_name_the_one_modelled():
    data = blm.load_dataset("verbagg")
    fit = blm.Model(f"r2 ~ {VERB}", data, family="bernoulli").fit("ml")
    assert fit.loglik == pytest.approx(RECORDS["lme4"]["verb"]["loglik"], abs=2e-3)
    assert "the probability of 'Y'" in str(fit.summary())
    numbers = blm.Model(f"y ~ {VERB}", data.assign(y=(data.r2 == "Y").astype(int)), family="bernoulli").fit("ml")
    assert numbers.loglik == pytest.approx(fit.loglik, abs=1e-9)


def test_three_ways_to_write_trials(cbpp, herds):
    """Successes and failures, successes and trials, a proportion whose weights are the trials."""
    trials = blm.Model("p(incidence, size) ~ period + (1 | herd)", cbpp, family="binomial").fit("ml")
    share = cbpp.assign(share=cbpp.incidence / cbpp["size"])
    proportion = blm.Model("share ~ period + (1 | herd)", share, family="binomial", weights="size").fit("ml")
    assert trials.loglik == pytest.approx(herds.loglik, abs=1e-9)
    assert proportion.loglik == pytest.approx(herds.loglik, abs=1e-9)


def test_families_as_objects_and_links(cbpp, ticks):
    data = blm.load_dataset("grouseticks")
    same = blm.Model("TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", data, family=Poisson(link="log"))
    assert same.fit("ml").loglik == pytest.approx(ticks.loglik, abs=1e-9)
    probit = blm.Model(CBPP, cbpp, family="binomial", link="probit").fit("ml")
    record = RECORDS["lme4"]["cbpp_probit"]  # glmer has expected information in the determinant, Laplace observed
    assert record["loglik"] < probit.loglik < record["loglik"] + 0.1
    assert np.abs((probit.fixef() - list(record["fixef"].values())) / probit.coef_table()["std_error"]).max() < 0.1


def test_quadrature(cbpp):
    model = blm.Model(CBPP, cbpp, family="binomial")
    fits = {n: model.fit("ml", n_quad=n) for n in (0, 9, 25)}
    k, n = cbpp["incidence"].to_numpy(), cbpp["size"].to_numpy()
    saturated = float(stats.binom(n, k / n).logpmf(k).sum())  # lme4 leaves it out
    for points in (9, 25):
        expected = RECORDS["lme4"][f"cbpp_agq{points}"]["loglik"] + saturated
        assert fits[points].loglik == pytest.approx(expected, abs=1e-4)
    assert fits[0].loglik < model.fit("ml").loglik
    assert np.isfinite(fits[0].coef_table()["std_error"]).all()


def test_means_of_groups_of_the_typical_one_and_of_the_population(cbpp, herds):
    rows = cbpp.head(4)
    link = herds.predict(rows, kind="link", random="none")
    np.testing.assert_allclose(herds.predict(rows, random="none"), 1 / (1 + np.exp(-link)), rtol=1e-12)
    np.testing.assert_allclose(herds.predict(rows), herds.fitted().head(4), rtol=1e-12)
    sd = herds.varcorr()["sd"].iloc[0]
    expected = [
        integrate.quad(lambda u, eta=eta: stats.norm.pdf(u) / (1 + np.exp(-eta - sd * u)), -9, 9, epsabs=1e-12)[0]
        for eta in link
    ]
    np.testing.assert_allclose(herds.predict(rows, random="marginal"), expected, rtol=1e-8)
    np.testing.assert_allclose(herds.predict(rows.drop(columns="herd"), kind="marginal"), expected, rtol=1e-8)
    unseen = rows.assign(herd=99)
    with pytest.raises(blm.DataError, match="99"):
        herds.predict(unseen)
    np.testing.assert_allclose(
        herds.predict(unseen, new_levels="population"), herds.predict(rows, random="none"), rtol=1e-12
    )


def test_conditional_sds_against_a_dense_inverse(herds):
    """Of u and beta: the inverse of the negative second derivatives of the log density at the mode."""
    design, (term,) = herds.design, herds.design.terms
    p = herds.predict().to_numpy()
    weights = herds.outcome.size * p * (1 - p)
    sd = herds.varcorr()["sd"].iloc[0]
    Z = sd * (term.codes[:, None] == np.arange(term.n_levels))
    columns = np.column_stack([Z, design.X])
    information = (columns.T * weights) @ columns
    information[: term.n_levels, : term.n_levels] += np.eye(term.n_levels)
    joint = sd * np.sqrt(np.diag(np.linalg.inv(information)))[: term.n_levels]
    alone = sd * np.sqrt(np.diag(np.linalg.inv(information[: term.n_levels, : term.n_levels])))
    np.testing.assert_allclose(herds.ranef_sd(coefficients="estimated")["herd"]["Intercept"], joint, rtol=1e-5)
    np.testing.assert_allclose(herds.ranef_sd()["herd"]["Intercept"], alone, rtol=1e-5)


def test_log_means_over_the_population(ticks):
    """Of log-normal means, exp(eta + variance / 2)."""
    variance = (ticks.varcorr()["sd"] ** 2).sum()
    eta = ticks.predict(kind="link", random="none")
    np.testing.assert_allclose(ticks.predict(random="marginal"), np.exp(eta + variance / 2), rtol=1e-8)


def test_limits_of_the_typical_group(herds, cbpp):
    found = herds.predict(cbpp.head(1), random="none", interval=0.95)
    row = herds.coef_table(0.95).loc["Intercept"]  # period 1
    expected = 1 / (1 + np.exp(-row[["lower", "upper"]].to_numpy(dtype=float)))
    np.testing.assert_allclose(found[["lower", "upper"]].iloc[0], expected, rtol=1e-10)
    with pytest.raises(blm.OptionError, match="population of groups use a posterior"):
        herds.predict(random="marginal", interval=0.95)


def test_an_exposure(ticks):
    """log(exposure) as an offset: doubling it takes log 2 off the intercept and nothing else."""
    data = blm.load_dataset("grouseticks").assign(exposure=2.0)
    formula = "TICKS ~ YEAR + cHEIGHT + offset(log(exposure)) + (1 | BROOD) + (1 | LOCATION)"
    fit = blm.Model(formula, data, family="poisson").fit("ml")
    assert fit.loglik == pytest.approx(ticks.loglik, abs=1e-6)
    change = ticks.fixef() - fit.fixef()
    np.testing.assert_allclose(change, [np.log(2), 0, 0, 0], atol=1e-4)
    np.testing.assert_allclose(fit.predict(), ticks.predict(), rtol=1e-4)


def test_ratios(herds):
    plain, ratios = herds.coef_table(0.9), herds.coef_table(0.9, exponentiate=True)
    for column in ("estimate", "lower", "upper"):
        np.testing.assert_allclose(ratios[column], np.exp(plain[column]))
    np.testing.assert_allclose(ratios["std_error"], np.exp(plain["estimate"]) * plain["std_error"])
    np.testing.assert_allclose(ratios["p"], plain["p"])


def test_overdispersion_is_said_and_a_row_effect_takes_it_up(ticks):
    assert ticks.overdispersion > 1.5
    assert "vary more than the poisson family" in ticks.status.message
    data = blm.load_dataset("grouseticks")
    formula = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)"
    fit = blm.Model(formula, data, family="poisson").fit("ml")
    assert fit.loglik == pytest.approx(RECORDS["lme4"]["ticks"]["loglik"], abs=2e-3)
    assert "vary more" not in fit.status.message


def test_residuals(ticks):
    observed = pd.Series(ticks.design.y, index=ticks.design.index)
    np.testing.assert_allclose(ticks.residuals(), observed - ticks.fitted())
    np.testing.assert_allclose(ticks.residuals("pearson"), ticks.residuals() / np.sqrt(ticks.fitted()))
    with pytest.raises(blm.OptionError, match="pearson"):
        ticks.residuals("deviant")


def test_quantile_residuals_of_simulated_data_are_normal():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(size=2000), "g": np.repeat(np.arange(20), 100)})
    data["y"] = rng.poisson(np.exp(0.5 + 0.3 * data.x + 0.4 * rng.normal(size=20)[data.g]))
    fit = blm.Model("y ~ x + (1 | g)", data, family="poisson").fit("ml")
    assert stats.kstest(fit.residuals("quantile", seed=1), "norm").pvalue > 0.001
    wrong = blm.Model("y ~ 1 + (1 | g)", data.assign(y=data.y**2), family="poisson").fit("ml")
    assert stats.kstest(wrong.residuals("quantile", seed=1), "norm").pvalue < 1e-6


def test_simulation(herds):
    many = herds.simulate(400, seed=2)
    expected = herds.outcome.size * herds.predict(random="marginal").to_numpy()
    error = many.std(axis=1).to_numpy() / np.sqrt(400)
    assert np.abs((many.mean(axis=1).to_numpy() - expected) / error).max() < 4.5
    assert (many <= herds.outcome.size[:, None]).all(axis=None)


def test_separation_and_what_the_data_cannot_tell():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(20), 10), "x": rng.normal(size=200)})
    data["rare"] = (np.arange(200) < 12).astype(int)
    data["y"] = np.where(data.rare == 1, 1, rng.integers(0, 2, 200))
    fit = blm.Model("y ~ x + rare + (1 | g)", data, family="bernoulli").fit("ml")
    assert "no maximum in rare: the column separates" in fit.status.message
    assert (fit.status.code, fit.status.ok) == ("doubtful", False)
    with pytest.raises(blm.FittingError, match="no maximum in rare"):
        blm.Model("y ~ x + rare + (1 | g)", data, family="bernoulli").fit("ml", strict=True)
    with pytest.raises(blm.ModelError, match="'row'"):
        blm.Model("y ~ x + (1 | row)", data.assign(row=np.arange(200)), family="bernoulli").fit("ml")
    twins = blm.Model("y ~ x + (1 | g) + (1 | h)", data.assign(h=data.g), family="bernoulli").fit("ml")
    assert "do not determine sd_g[Intercept] and sd_h[Intercept]" in twins.status.message


def test_bad_input(cbpp, herds):
    data = pd.DataFrame({"y": [0, 1, 2, -1, 3, 2], "share": [0, 0.5, 0.2, 0.4, 0.1, 0.9], "g": list("aabbcc")})
    with pytest.raises(blm.DataError, match="3 \\(-1"):
        blm.Model("y ~ 1 + (1 | g)", data, family="poisson")
    with pytest.raises(blm.DataError, match="share"):
        blm.Model("share ~ 1 + (1 | g)", data, family="beta")
    with pytest.raises(blm.DataError):
        blm.Model("p(size, incidence) ~ period + (1 | herd)", cbpp, family="binomial")
    with pytest.raises(blm.OptionError, match="'poisson'"):
        blm.Model("y ~ 1 + (1 | g)", data, family="poison")
    with pytest.raises(blm.OptionError, match="'log'"):
        blm.Model("y ~ 1 + (1 | g)", data.assign(y=1.0), family="poisson", link="logit")
    with pytest.raises(blm.OptionError, match="sigma"):
        blm.Model(CBPP, cbpp, family="binomial", sigma=1.0)
    with pytest.raises(blm.ModelError, match="family='binomial'"):
        blm.Model(CBPP, cbpp)
    model = blm.Model(CBPP, cbpp, family="binomial")
    with pytest.raises(blm.OptionError, match="REML"):
        model.fit("reml")
    with pytest.raises(blm.OptionError, match="n_quad"):
        blm.Model("incidence ~ period + (1 | herd)", cbpp).fit("ml", n_quad=9)
    for name in ("sigma", "kernel", "hessian", "smallest_eigenvalue"):
        assert not hasattr(herds, name)
    with pytest.raises(blm.OptionError, match="satterthwaite"):
        herds.coef_table(ddf="satterthwaite")


def test_pictures_and_comparison(cbpp, herds):
    for kind in ("forest", "ranef", "residuals", "history"):
        assert herds.plot(kind) is not None
    probit = blm.Model(CBPP, cbpp, family="binomial", link="probit").fit("ml")
    assert "sd_herd[Intercept]" in str(blm.compare(herds, probit))
    assert "binomial" in herds._repr_html_()

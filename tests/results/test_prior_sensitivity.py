"""Densities of draws by hand, and what users read of priors and replicates."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayeslmm as blm
from bayeslmm.errors import OptionError
from bayeslmm.posterior.draw_densities import log_priors

FORMULA = "Reaction ~ 1 + Days + (1 + Days | Subject)"
MEAN_DAYS = 4.5


@pytest.fixture(scope="module")
def data():
    return blm.load_dataset("sleepstudy")


@pytest.fixture(scope="module")
def fit(data):
    return blm.Model(FORMULA, data).fit("importance", seed=1)


def test_log_priors_of_draws(data):
    priors = {
        "Intercept": "Normal(300, 50)", "Days": "Normal(1, 3)", "sd_Subject": "HalfNormal(20)", "cor_Subject": "LKJ(2)",
        "sigma": "Exponential(0.1)",
    }  # fmt: skip
    model = blm.Model(FORMULA, data, priors=priors)
    beta, sigma = np.array([[250.0, 10.0], [260.0, 8.0]]), np.array([20.0, 30.0])
    sd, r = np.array([25.0, 6.0]), 0.4
    L = np.array([[sd[0], 0], [sd[1] * r, sd[1] * np.sqrt(1 - r**2)]])
    found = log_priors(model.resolved_priors, beta, [np.array([L, L])], sigma)
    assert found.shape == (2, 6)
    intercept = stats.norm(300, 50).logpdf(beta[:, 0] + MEAN_DAYS * beta[:, 1])  # the one at the mean of Days
    np.testing.assert_allclose(found[:, 0], intercept)
    np.testing.assert_allclose(found[:, 1], stats.norm(1, 3).logpdf(beta[:, 1]))
    np.testing.assert_allclose(found[:, 2:4], stats.halfnorm(scale=20).logpdf([sd, sd]))
    np.testing.assert_allclose(found[:, 4], np.log(0.75 * (1 - r**2)))  # LKJ(2) of one correlation
    np.testing.assert_allclose(found[:, 5], stats.expon(scale=10).logpdf(sigma))


def test_weak_priors_do_not_matter_and_strong_ones_are_named(fit, data, tmp_path):
    assert fit.prior_sensitivity().message == ""
    fit_of_strong = blm.Model(FORMULA, data, priors={"Days": "Normal(0, 1)"}).fit("importance", seed=1)
    strong = fit_of_strong.prior_sensitivity()
    assert strong.table.loc["Days", "diagnosis"] == "prior and data may disagree"
    assert "Days" in strong.message and strong.message in str(strong)
    page = fit_of_strong.report(tmp_path / "report.html", pictures=False).read_text()
    assert "may disagree about Days" in page
    assert list(strong.table.columns) == ["prior", "likelihood", "diagnosis"]


def test_what_the_data_say_nothing_of():
    """Two groups say little of the standard deviation between groups: its prior decides."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"g": np.repeat(["a", "b"], 20), "y": rng.normal(size=40)})
    found = blm.Model("y ~ 1 + (1 | g)", data).fit("importance", seed=1, handover="keep").prior_sensitivity()
    assert found.table.loc["sd_g[Intercept]", "prior"] > 0.05


def test_of_generalized_models():
    data = blm.load_dataset("cbpp")
    model = blm.Model("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, family="binomial")
    fit = model.fit("importance", seed=1, draws=250)
    found = fit.prior_sensitivity()
    assert found.table["likelihood"].isna().all() and found.table["prior"].notna().all()
    assert "sd_herd[Intercept]" in blm.prior_vs_posterior(fit).table.index
    assert 0 < fit.ppc("mean", seed=1).p_value < 1
    with pytest.raises(OptionError, match="normal responses"):
        fit.ppc("residual autocorrelation")


def test_priors_beside_posteriors(fit, data):
    found = blm.prior_vs_posterior(fit)
    table = found.table
    assert table.loc["sd_Subject[Days]", "contraction"] > 0.9
    assert table.loc["cor_Subject[Intercept, Days]", ["prior_lower", "prior_upper"]].tolist() == pytest.approx(
        [-0.95, 0.95], abs=0.02
    )  # uniform
    assert table.loc["Days", "median"] == pytest.approx(fit.fixef()["Days"], abs=0.2)
    assert found.plot(["Days", "sigma"]).axes[0].get_title(loc="left") == "Days"
    with pytest.raises(OptionError, match="did you mean 'Days'"):
        found.plot("days")
    flat = blm.Model(FORMULA, data, priors={"Days": blm.Flat()}).fit("importance", seed=1)
    improper = blm.prior_vs_posterior(flat).table
    assert improper["contraction"].isna().sum() == 2  # the intercept at Days = 0 moves with the slope
    with pytest.raises(OptionError, match="needs a posterior"):
        blm.prior_vs_posterior(blm.lmm(FORMULA, data))


def test_replicates_know_their_model(fit, data):
    assert 0.05 < fit.ppc("density", seed=1).p_value < 0.95
    assert 0.2 < fit.ppc("mean", seed=1).p_value < 0.8
    # residuals of neighbouring days are alike, which the model does not know
    follows = fit.ppc("residual autocorrelation", seed=1)
    assert follows.p_value < 0.02
    means = fit.ppc("group means", seed=1).table
    assert list(means.index[:2]) == ["308", "309"]
    wider = fit.ppc("group means", groups="new", seed=1).table
    assert ((wider.upper - wider.lower) > 2 * (means.upper - means.lower)).all()
    own = fit.ppc(lambda y: pd.Series({"low": y.min(), "high": y.max()}), seed=1)
    assert list(own.table.index) == ["low", "high"]
    assert own.table.loc["high", "observed"] == data["Reaction"].max()
    pd.testing.assert_frame_equal(fit.ppc("sd", seed=4).table, fit.ppc("sd", seed=4).table)
    for check in (fit.ppc("density", draws=20), follows, fit.ppc("group means", draws=20)):
        assert check.plot().axes


def test_a_wrong_spread_is_seen(data):
    too_narrow = blm.Model("Reaction ~ 1 + (1 | Subject)", data, sigma=10).fit("importance", seed=1)
    assert too_narrow.ppc("sd", seed=1).p_value < 0.05


def test_errors(fit):
    with pytest.raises(OptionError, match="Did you mean 'group means'"):
        fit.ppc("group_means")
    with pytest.raises(OptionError, match="is no grouping factor"):
        fit.ppc("group means", group="Days")
    with pytest.raises(OptionError, match="'same' or 'new'"):
        fit.ppc("mean", groups="old")
    with pytest.raises(OptionError, match="must return a number"):
        fit.ppc(lambda y: np.ones((2, 2)), draws=5)


def test_point_fits_make_new_groups_at_their_estimates(data):
    reml = blm.lmm(FORMULA, data)
    assert 0.05 < reml.ppc("sd", seed=1).p_value < 0.95
    wide = reml.ppc("group means", seed=1).table
    sd = np.sqrt(np.array([1, MEAN_DAYS]) @ _covariance(reml) @ np.array([1, MEAN_DAYS]) + reml.sigma**2 / 10)
    np.testing.assert_allclose(wide["upper"] - wide["lower"], 2 * 1.96 * sd, rtol=0.15)
    with pytest.raises(OptionError, match="need a posterior"):
        reml.ppc("residual autocorrelation")
    counts = blm.lmm("TICKS ~ YEAR + (1 | BROOD)", blm.load_dataset("grouseticks"), "ml", family="poisson")
    assert 0.0 <= counts.ppc("mean", draws=100, seed=1).p_value <= 1.0


def _covariance(fit):
    table = fit.varcorr()
    a, b, r = table["sd"][0], table["sd"][1], table["correlation"][2]
    return np.array([[a**2, r * a * b], [r * a * b, b**2]])

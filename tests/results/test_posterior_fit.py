import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray
from scipy.stats import norm
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.design.names import check_terms
from bayeslmm.inference.draws import Draws
from bayeslmm.results import PosteriorFit
from bayeslmm.results.diagnostics import diagnose

COLUMNS = ["mean", "sd", "lower", "upper", "ess_bulk", "ess_tail", "rhat"]


def test_idata_has_the_agreed_names_dims_and_labels(bayes, sleepstudy):
    idata = bayes.idata
    assert set(idata.groups()) == {"posterior", "sample_stats", "observed_data", "constant_data"}
    posterior = idata.posterior
    assert {str(name): variable.dims for name, variable in posterior.data_vars.items()} == {
        "beta": ("chain", "draw", "fixed"),
        "sigma": ("chain", "draw"),
        "sd_Subject": ("chain", "draw", "Subject_effect"),
        "cor_Subject": ("chain", "draw", "Subject_pair"),
        "r_Subject": ("chain", "draw", "Subject", "Subject_effect"),
    }
    assert list(posterior["Subject"].values) == list(sleepstudy["Subject"].cat.categories)
    assert list(posterior["fixed"].values) == ["Intercept", "Days"]
    assert list(posterior["Subject_pair"].values) == ["Intercept, Days"]
    np.testing.assert_array_equal(posterior["sd_Subject"], bayes.draws.sd[0])
    one = posterior["r_Subject"].sel(Subject=309, Subject_effect="Days")
    np.testing.assert_array_equal(one, bayes.draws.effects[0][:, :, 1, 1])
    assert "diverging" in idata.sample_stats
    np.testing.assert_array_equal(idata.observed_data["Reaction"], sleepstudy["Reaction"])
    np.testing.assert_array_equal(idata.constant_data["X"].sel(fixed="Days"), sleepstudy["Days"])
    assert bayes.idata is idata


def test_second_term_and_no_correlation_in_idata(crossed):
    fit = PosteriorFit(crossed.design, crossed.spec, draws_around(crossed.fit("reml"), length=20))
    names = set(fit.idata.posterior.data_vars)
    assert {"sd_litter", "sd_litter.1", "r_litter.1", "sd_treatment"} <= names
    assert not any(name.startswith("cor_") for name in names)
    assert fit.idata.posterior["r_litter.1"].dims == ("chain", "draw", "litter", "litter.1_effect")
    assert {"weights", "offset"} <= set(fit.idata.constant_data.data_vars)
    assert list(fit.ranef()) == ["litter", "litter.1", "treatment"]


def test_log_likelihood_and_predictive_are_added_on_request(crossed):
    fit = PosteriorFit(crossed.design, crossed.spec, draws_around(crossed.fit("reml"), chains=2, length=300))
    assert fit.add("log_likelihood") is fit
    fit.add("posterior_predictive", seed=4)
    design, draws = fit.design, fit.draws
    chain, draw, row = 1, 7, 30
    mean = design.X[row] @ draws.beta[chain, draw] + design.offset[row]
    for term, b in zip(design.terms, draws.effects, strict=True):
        mean += term.columns[row] @ b[chain, draw, term.codes[row]]
    scale = draws.sigma[chain, draw] / np.sqrt(design.weights[row])
    found = fit.idata.log_likelihood["weight"]
    assert found.dims == ("chain", "draw", "__obs__")
    assert found[chain, draw, row] == pytest.approx(norm.logpdf(design.y[row], mean, scale))
    simulated = fit.idata.posterior_predictive["weight"].to_numpy().reshape(-1, design.n)
    expected = fit.predict().to_numpy()
    error = simulated.std(axis=0) / np.sqrt(len(simulated))
    assert (np.abs(simulated.mean(axis=0) - expected) < 5 * error).all()  # 322 rows: 5 errors is far out
    with pytest.raises(blm.OptionError, match="'log_likelihood' and 'posterior_predictive'"):
        fit.add("prior")


def test_tables(bayes):
    table = bayes.coef_table(0.8)
    assert list(table.columns) == COLUMNS
    flat = bayes.draws.beta.reshape(-1, 2)
    np.testing.assert_allclose(table["mean"], flat.mean(axis=0))
    np.testing.assert_allclose(table["sd"], flat.std(axis=0, ddof=1))
    np.testing.assert_allclose(table["lower"], np.quantile(flat, 0.1, axis=0))
    np.testing.assert_allclose(table["upper"], np.quantile(flat, 0.9, axis=0))
    np.testing.assert_allclose(table["rhat"], diagnose(bayes.draws.beta).rhat)
    covariances = bayes.covariance_table()
    assert list(covariances.index) == [
        "sd_Subject[Intercept]",
        "sd_Subject[Days]",
        "cor_Subject[Intercept, Days]",
        "sigma",
    ]
    assert covariances.loc["cor_Subject[Intercept, Days]", "mean"] == pytest.approx(
        bayes.draws.cor[0][:, :, 1, 0].mean()
    )
    effects = bayes.ranef_table()["Subject"]
    assert effects.loc[(309, "Days"), "mean"] == pytest.approx(bayes.ranef()["Subject"].loc[309, "Days"])


def test_varcorr_has_mean_variances(bayes):
    table = bayes.varcorr()
    sd = bayes.draws.sd[0]
    np.testing.assert_allclose(table["sd"].iloc[:2], sd.mean(axis=(0, 1)))
    np.testing.assert_allclose(table["variance"].iloc[:2], (sd**2).mean(axis=(0, 1)))
    assert table["variance"].iloc[3] == pytest.approx((bayes.draws.sigma**2).mean())
    assert bayes.sigma == pytest.approx(bayes.draws.sigma.mean())


def test_random_effects_on_both_scales(bayes):
    draws = bayes.draws
    np.testing.assert_allclose(bayes.ranef()["Subject"], draws.effects[0].mean(axis=(0, 1)))
    np.testing.assert_allclose(bayes.ranef_sd()["Subject"], draws.effects[0].std(axis=(0, 1), ddof=1))
    total = np.zeros((18, 2))
    for c in range(draws.n_chains):
        for d in range(draws.n_draws):
            sd = np.diag(draws.sd[0][c, d])
            factor = np.linalg.cholesky(sd @ draws.cor[0][c, d] @ sd)
            total += draws.sigma[c, d] * np.linalg.solve(factor, draws.effects[0][c, d].T).T
    expected = total / (draws.n_chains * draws.n_draws)
    np.testing.assert_allclose(bayes.ranef("u")["Subject"], expected, rtol=1e-9)


def test_printing_needs_no_arviz():
    """In a new process: tables, status and summary must not wait for arviz, pymc or matplotlib."""
    import subprocess

    code = (
        "import sys; sys.path.insert(0, 'tests/results')\n"
        "import bayeslmm as blm\n"
        "from simulated_draws import draws_around\n"
        "model = blm.Model('Yield ~ 1 + (1 | Batch)', blm.load_dataset('dyestuff'))\n"
        "reml = model.fit('reml')\n"
        "fit = blm.PosteriorFit(model.design, model.spec, draws_around(reml, length=50))\n"
        "assert 'Batch' in str(fit.summary()) and fit.status.code and str(blm.compare(reml, fit))\n"
        "heavy = {'arviz', 'pymc', 'pytensor', 'matplotlib', 'nutpie', 'xarray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_summary(bayes):
    text = str(bayes.summary(0.8))
    for part in (
        "sampled by NUTS",
        "4 chains of 250, 300 to tune",
        "10%",
        "90%",
        "sd_Subject[Days]",
        "cor_Subject[Intercept, Days]",
    ):
        assert part in text, part
    assert "Status: ok" in text
    assert "R-hat" in bayes.summary()._repr_html_()


def test_only_the_lower_triangle_is_summarised(bayes):
    assert sum(name.startswith("cor_") for name in bayes.covariance_table().index) == 1


# -- status -------------------------------------------------------------------------------------------------


def with_draws(fit, **changes):
    old = fit.draws
    parts = {name: getattr(old, name) for name in ("beta", "sigma", "sd", "cor", "effects", "stats", "method", "info")}
    return PosteriorFit(fit.design, fit.spec, Draws(**{**parts, **changes}), fit.priors, changes.get("notes", ()))


def test_good_draws_are_ok(bayes):
    assert bayes.status.code == "ok"
    assert "no divergences" in bayes.status.message
    assert bayes.n_divergences == 0


def test_divergences_make_doubtful(bayes):
    diverging = np.zeros((4, 250), dtype=bool)
    diverging[1, 3:6] = True
    fit = with_draws(bayes, stats={"diverging": diverging})
    assert fit.status.code == "doubtful"
    assert "3 of 1000 draws ended in a divergence" in fit.status.message
    assert fit.n_divergences == 3


def test_chains_apart_are_named(bayes):
    sigma = bayes.draws.sigma.copy()
    sigma[0] += 0.35 * sigma.std()
    fit = with_draws(bayes, sigma=sigma)
    assert fit.status.code == "doubtful"
    assert "R-hat of sigma is" in fit.status.message
    sigma[0] += 10 * sigma.std()
    assert with_draws(bayes, sigma=sigma).status.code == "failed"


def test_random_effects_are_checked_where_they_were_sampled(bayes):
    effects = bayes.draws.effects[0].copy()
    effects[0, :, 1, 1] += 5 * effects[0, :, 1, 1].std()
    apart = with_draws(bayes, effects=(effects,))
    assert apart.status.code == "failed"
    assert "Subject[309]: Days" in apart.status.message
    exact = with_draws(bayes, effects=(effects,), info={"parametrization": "marginal"})
    assert exact.status.code == "ok"


def test_few_effective_draws(model, reml):
    fit = PosteriorFit(model.design, model.spec, draws_around(reml, chains=2, length=100))
    assert fit.status.code == "doubtful"
    assert "effective draws, fewer than 400" in fit.status.message


def test_too_few_draws_to_judge(model, reml):
    fit = PosteriorFit(model.design, model.spec, draws_around(reml, chains=1, length=2))
    assert fit.status.code == "doubtful"
    assert "too few draws" in fit.status.message
    assert "doubtful" in str(fit.summary())


def test_draws_that_are_not_finite(bayes):
    beta = bayes.draws.beta.copy()
    beta[2, 5, 1] = np.nan
    status = with_draws(bayes, beta=beta).status
    assert status.code == "failed"
    assert "Some draws of Days are not finite" in status.message
    effects = bayes.draws.effects[0].copy()
    effects[0, 0, 0, 0] = np.inf
    assert "effects of Subject are not finite" in with_draws(bayes, effects=(effects,)).status.message


def test_draws_that_never_move(bayes):
    beta = bayes.draws.beta.copy()
    beta[:, :, 1] = 3.0
    status = with_draws(bayes, beta=beta).status
    assert status.code == "failed"
    assert "All draws of Days are the same" in status.message


def test_k_hat_notes_and_messages(bayes):
    info = {"k_hat": 0.9, "messages": ["Handed over to NUTS."]}
    status = with_draws(bayes, info=info, method="importance", stats={}).status
    assert status.code == "doubtful"
    assert "0.90" in status.message
    assert status.message.endswith("Handed over to NUTS.")
    fine = with_draws(bayes, info={"k_hat": 0.1}, method="importance", stats={}).status
    assert (fine.code, "k̂ 0.10" in fine.message) == ("ok", True)
    few = with_draws(bayes, info={"k_hat": 0.1, "effective_size": 90.0}, method="importance", stats={}).status
    assert (few.code, "90 effective draws" in few.message) == ("doubtful", True)
    failing = with_draws(bayes, info={"kernel_failures": 3}).status
    assert failing.code == "ok"
    assert failing.message.endswith("The log posterior was not finite at 3 points, which were given no probability.")
    doubt = "The Pareto k̂ of ADVI's draws is 0.90: 16 of 1000 draws remain effective."
    weighed = {"k_hat": 0.9, "effective_size": 16.0, "approximation": "mean-field", "doubts": (doubt,)}
    assert with_draws(bayes, info=weighed, method="advi", stats={}).status.message == doubt  # said once
    note = "The grouping factor 'g' has a single level."
    told = PosteriorFit(bayes.design, bayes.spec, bayes.draws, notes=(note,)).status
    assert (told.code, told.message) == ("doubtful", note)


def test_fixed_sigma_does_not_disturb(bayes):
    draws = with_draws(bayes, sigma=np.full((4, 250), 25.0)).draws
    fit = PosteriorFit(bayes.design, replace(bayes.spec, sigma=25.0), draws)
    assert fit.status.code == "ok"
    assert np.isnan(fit.covariance_table().loc["sigma", "rhat"])


# -- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sd_g", "g_effect", "r_g"])
def test_factors_named_like_parts_of_the_posterior(name):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.standard_normal(40), "g": np.arange(40) % 5, name: np.arange(40) % 4})
    with pytest.raises(blm.ModelError, match="rename the column"):
        blm.Model(f"y ~ 1 + (1 | g) + (1 | {name})", data)


def test_names_that_only_look_alike_are_fine(bayes):
    check_terms(bayes.design.terms)


def test_float32_draws_are_enough(bayes):
    old = bayes.draws
    small = with_draws(bayes, effects=(old.effects[0].astype("float32"),))
    np.testing.assert_allclose(small.ranef()["Subject"], bayes.ranef()["Subject"], rtol=1e-4, atol=1e-4)
    assert small.ranef("u")["Subject"].to_numpy().dtype.kind == "f"
    assert isinstance(small.idata.posterior, xarray.Dataset)


def test_without_fixed_effects(tmp_path):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.standard_normal(60), "g": np.arange(60) % 6})
    model = blm.Model("y ~ 0 + (1 | g)", data)
    reml = model.fit("reml")
    assert reml.fixef().empty
    assert "Fixed effects" not in str(reml)
    fit = PosteriorFit(model.design, model.spec, draws_around(reml, length=60))
    assert fit.vcov().shape == (0, 0)
    assert list(blm.compare(reml, fit).index) == ["sd_g[Intercept]", "sigma"]
    assert len(fit.predict(interval=0.5, seed=1)) == 60
    assert "beta" in blm.load(fit.save(tmp_path / "fit")).idata.posterior

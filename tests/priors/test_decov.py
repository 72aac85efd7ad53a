"""rstanarm's prior of a term's standard deviations, against quadrature, simulation and rstanarm itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

import bayeslmm as blm
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors.decov import Decov
from bayeslmm.priors.predictive import prior_predictive

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "rstanarm_reference.json").read_text())
PRIORS = [Decov(), Decov(2.0, 1.5, 0.7), Decov(0.8, 3.0, 2.0)]
FORMULAS = {"sleepstudy": "Reaction ~ Days + (Days | Subject)", "dyestuff": "Yield ~ 1 + (1 | Batch)"}


def model(name="sleepstudy", formula=None, priors="rstanarm"):
    return blm.Model(formula or FORMULAS[name], blm.load_dataset(name), priors=priors)


@pytest.mark.parametrize("prior", PRIORS)
def test_density_integrates_to_one(prior):
    one, _ = quad(lambda x: np.exp(prior.logpdf(np.exp([x]))), -20, 6, limit=200)
    assert one == pytest.approx(1, abs=1e-6)
    two, _ = dblquad(lambda a, b: np.exp(prior.logpdf(np.exp([a, b]))), -18, 5, -18, 5, epsabs=1e-4)
    assert two == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_gradient(prior, size):
    at = np.random.default_rng(size).normal(size=size)
    steps = 1e-5 * np.eye(size)
    numeric = [(prior.logpdf(np.exp(at + h)) - prior.logpdf(np.exp(at - h))) / 2e-5 for h in steps]
    np.testing.assert_allclose(prior.slopes(np.exp(at)), numeric, atol=1e-7)


@pytest.mark.parametrize("prior", PRIORS)
def test_draws_have_the_density(prior):
    """E[g(t)] of draws and by quadrature, for g that tells tau from the shares."""
    t = prior.sample(np.random.default_rng(1), 2, 40_000)
    for g in (lambda t: np.exp(-t[..., 0]), lambda t: t[..., 0] / (t[..., 0] + t[..., 1])):
        exact, _ = dblquad(
            lambda a, b, g=g: g(np.exp([a, b])) * np.exp(prior.logpdf(np.exp([a, b]))), -16, 5, -16, 5, epsabs=1e-4
        )
        found = g(t)
        assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(len(found)) + 2e-3


def test_gradient_of_the_posterior():
    found = model()
    density = CovarianceDensity(found.kernel, found.resolved_priors)
    x = np.array([-0.1, -1.4, 0.2, 3.2])
    steps = 1e-5 * np.eye(4)
    numeric = [(density.value(x + h) - density.value(x - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(density.value_and_gradient(x)[1], numeric, rtol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_agrees_with_rstanarm(name):
    """Means and sds within four Monte Carlo errors of both; rstanarm reports at least `n_eff` effective draws."""
    fit = model(name).fit("importance", draws=4000, seed=1, progressbar=False)
    theirs = REFERENCE[name]["posterior"]
    rows = {**fit.covariance_table().T.to_dict(), **fit.coef_table().T.to_dict()}
    names = {"sd1": 0, "sd2": 1, "cor": 2} if name == "sleepstudy" else {"sd1": 0}
    pairs = {theirs_name: fit.covariance_table().index[place] for theirs_name, place in names.items()}
    pairs |= {"sigma": "sigma", "(Intercept)": "Intercept"}
    pairs |= {"Days": "Days"} if name == "sleepstudy" else {}
    assert len(rows) == len(pairs)
    for theirs_name, own in pairs.items():
        row, other = rows[own], theirs[theirs_name]
        error = np.hypot(row["sd"] / np.sqrt(row["ess_bulk"]), other["sd"] / np.sqrt(REFERENCE[name]["n_eff"]))
        assert abs(row["mean"] - other["mean"]) < 4 * error, own
        assert row["sd"] == pytest.approx(other["sd"], rel=0.1), own


def test_explicit_model_has_the_same_prior():
    """Log ratios of sds and of sds to sigma, simulated by PyMC and by this package."""
    import pymc as pm

    found = model()
    own = prior_predictive(found.design, found.resolved_priors, draws=4000, seed=1)
    for parametrization in ("noncentered", "marginal"):
        explicit = found.to_pymc(parametrization)
        variables = [explicit[name] for name in ("sd_Subject", "sigma")]
        sd, sigma = (np.array(draws) for draws in pm.draw(variables, 2000, random_seed=1))
        for value, other in (
            (np.log(sd[:, 0] / sd[:, 1]), np.log(own["sd_Subject"][:, 0] / own["sd_Subject"][:, 1])),
            (np.log(sd[:, 0] / sigma), np.log(own["sd_Subject"][:, 0] / own["sigma"])),
        ):
            error = np.hypot(value.std() / np.sqrt(len(value)), other.std() / np.sqrt(len(other)))
            assert abs(value.mean() - other.mean()) < 4 * error
            assert value.std() == pytest.approx(other.std(), rel=0.15)


def test_uncorrelated_effects_are_terms_of_their_own():
    """As in rstanarm, where ``(x || g)`` is two terms."""
    one = model(formula="Reaction ~ Days + (Days || Subject)")
    two = model(formula="Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)")
    x = np.array([-0.1, -1.4, 3.2])
    values = [CovarianceDensity(m.kernel, m.resolved_priors).value_and_gradient(x) for m in (one, two)]
    assert values[0][0] == pytest.approx(values[1][0])
    np.testing.assert_allclose(values[0][1], values[1][1])


def test_an_sd_with_its_own_prior_leaves_the_scheme():
    priors = model(priors={"preset": "rstanarm", "sd_Subject[Days]": "HalfNormal(10)"}).priors.set_index("parameter")
    assert priors.loc["sd_Subject[Days]", "prior"] == "HalfNormal(10)"
    assert priors.loc["sd_Subject[Intercept]", "prior"].startswith("Exponential(")
    assert model().priors.set_index("parameter").loc["sd_Subject[Days]", "prior"] == "sigma Decov(1, 1, 1)"


def test_a_fixed_sigma():
    fit = blm.Model(FORMULAS["dyestuff"], blm.load_dataset("dyestuff"), priors="rstanarm", sigma=50.0).fit(
        "importance", seed=1, progressbar=False
    )
    assert fit.status.ok
    assert np.isfinite(fit.log_evidence)
    assert blm.prior_vs_posterior(fit).table.notna().all(axis=None)

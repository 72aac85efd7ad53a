"""Fits of lognormal responses speak in the response's own units: residuals, simulations and refits."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

MILLIONTHS = 1e-6  # units in which a response on the scale of its logarithm would be far from its mean
SPREAD = 5  # standard errors of a mean of draws


@pytest.fixture(scope="module", params=[None, "w"])
def fit(request):
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"x": rng.normal(size=120), "g": np.repeat(np.arange(12), 10)})
    data["w"] = np.where(np.arange(120) < 60, 2.0, 0.5)
    error = 0.5 * rng.normal(size=120) / np.sqrt(data.w if request.param else 1.0)
    data["y"] = MILLIONTHS * np.exp(0.4 * data.x + 0.5 * rng.normal(size=12)[data.g] + error)
    return blm.Model("y ~ x + (1 | g)", data, family="lognormal", weights=request.param).fit("ml")


def test_residuals_are_about_the_mean(fit):
    raw = fit.residuals("raw")
    np.testing.assert_allclose(raw, fit.design.data["y"] - fit.predict())
    pearson = fit.residuals("pearson")
    assert 0.5 < pearson.std() < 1.5 and abs(pearson.mean()) < 0.3


def test_simulated_responses_have_the_mean_and_can_be_fitted(fit):
    simulated = fit.simulate(2000, random="conditional", seed=1)
    if fit.design.weights is None:  # with weights the mean is exp(eta + sigma^2/2w)
        error = simulated.std(axis=1) / np.sqrt(2000)
        assert (abs(simulated.mean(axis=1) - fit.predict()) < SPREAD * error).all()
    else:
        middle = simulated.median(axis=1) / np.exp(fit.predict(kind="link"))
        np.testing.assert_allclose(middle, 1.0, atol=0.15)
    again = fit.refit(simulated[simulated.columns[0]])
    np.testing.assert_allclose(again.fixef(), fit.fixef(), atol=0.5)
    np.testing.assert_allclose(again.design.data["y"], simulated[simulated.columns[0]])


def test_bootstrap_fits_its_replicates(fit):
    found = fit.bootstrap(4, seed=1)
    assert len(found.replicates) == 4 and np.isfinite(found.replicates.to_numpy(dtype=float)).all()


def test_a_refit_of_the_response_is_the_fit(fit):
    assert fit.refit(fit.design.data["y"]).loglik == pytest.approx(fit.loglik, abs=1e-6)

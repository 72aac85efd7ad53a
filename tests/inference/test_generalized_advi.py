"""ADVI of generalized models: near the posterior where that is nearly normal, weighed where it is not."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import OptionError

SHORT = {"draws": 200, "chains": 2, "seed": 1, "progressbar": False}


def data_of(n=200):
    rng = np.random.default_rng(31)
    data = pd.DataFrame({"x": rng.normal(size=n), "g": np.arange(n) % 8})
    return data.assign(
        y=rng.negative_binomial(3, 3 / (3 + np.exp(2 + 0.5 * data.x + 0.4 * rng.normal(size=8)[data.g])))
    )


@pytest.fixture(scope="module")
def model():
    return blm.Model("y ~ x", data_of(), family="negative_binomial")


@pytest.fixture(scope="module")
def fit(model):
    """Without effects: PyMC compiles for ten seconds, once is enough, and the way of effects is the normal one's."""
    return model.fit("advi", full_rank=True, iterations=3000, **SHORT)


def test_posterior_of_many_rows_is_nearly_normal(model, fit):
    """Against mode and curvature of 200 counts, which the posterior matches to a few hundredths of an sd."""
    known, table = model.fit("map"), fit.coef_table()
    error = known.coef_table()["std_error"]
    np.testing.assert_allclose(table["mean"], known.fixef(), atol=0.3 * error.max())
    np.testing.assert_allclose(table["sd"], error, rtol=0.3)
    assert fit.dispersion.mean() == pytest.approx(known.dispersion["shape"], rel=0.15)
    assert fit.draws.info["k_hat"] < 0.7


def test_dispersions_have_their_names_and_draws_their_size(fit):
    assert fit.method == "advi" and fit.idata.posterior["shape"].shape == (2, 200)
    assert fit.draws.info["parametrization"] == "noncentered"
    # draws of the approximation are independent: weights judge them and do not shrink them
    assert fit.coef_table()["ess_bulk"].min() > 200
    assert "approximated by ADVI" in str(fit.summary())


def test_effects_cannot_be_integrated_out():
    with pytest.raises(OptionError, match="use parametrization='noncentered'"):
        blm.Model("y ~ x + (1 | g)", data_of(), family="poisson").fit("advi", parametrization="marginal", **SHORT)


def test_reml_is_for_normal_responses():
    with pytest.raises(OptionError, match="REML is for normal responses"):
        blm.Model("y ~ x + (1 | g)", data_of(), family="poisson").fit("reml")

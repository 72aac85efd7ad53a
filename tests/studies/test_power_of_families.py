"""Power of generalized models: each simulated fit against a model of its own, and what every test must have."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.studies.generalized_study import GeneralizedStudy
from bayeslmm.studies.power_analysis import extended, extended_rows

SIMULATIONS = 80


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(24), 5)
    data = pd.DataFrame({"g": g, "x": (g % 2).astype(float), "t": rng.uniform(0.5, 2.0, 120)})
    eta = 0.8 + 0.4 * data["x"] + np.log(data["t"]) + 0.3 * rng.normal(size=24)[g]
    data["y"] = rng.poisson(np.exp(eta))
    return blm.Model("y ~ x + offset(log(t)) + (1 | g)", data, family="poisson").fit("ml")


def test_one_simulated_fit_is_that_of_a_model_of_its_rows(counts):
    rows, drawn = extended_rows(counts.design, 0, 30, 2)
    study = GeneralizedStudy.of(counts, extended(counts.design, 0, 30, 2), rows, 1, 0.7)
    y = study.simulate(np.random.default_rng(4))
    estimate, error, code = study.one(np.random.default_rng(4))
    data = counts.design.data.iloc[rows].assign(y=y, g=drawn)
    alone = blm.Model("y ~ x + offset(log(t)) + (1 | g)", data, family="poisson").fit("ml")
    assert estimate == pytest.approx(alone.fixef()["x"], abs=1e-3)
    assert error == pytest.approx(alone.coef_table().loc["x", "std_error"], rel=1e-2)
    assert code == alone.status.code
    many = np.array([study.simulate(np.random.default_rng(k)) for k in range(200)])
    mean = np.exp(study.truth.beta[0] + 0.7 * data["x"] + np.log(data["t"]) + counts.varcorr()["variance"][0] / 2)
    assert np.mean(many) == pytest.approx(mean.mean(), rel=0.05)  # 200 sets of 30 groups: an error of half a percent


def test_size_width_and_workers(counts):
    found = blm.power(counts, "x", n=SIMULATIONS, groups=[24, 96], effect=0.0, level=0.9, seed=2)
    assert (np.abs(found["power"] - 0.1) < 4 * np.sqrt(0.09 / SIMULATIONS)).all()
    assert found["width"][1] / found["width"][0] == pytest.approx(0.5, abs=0.05)
    assert (np.abs(found["coverage"] - 0.9) < 4 * np.sqrt(0.09 / SIMULATIONS)).all()
    assert list(found["rows"]) == [120, 480]
    assert np.isinf(found["df"]).all() and (found["separated"] == 0).all()
    few = blm.power(counts, "x", n=20, seed=3)
    pd.testing.assert_frame_equal(few, blm.power(counts, "x", n=20, seed=3, cores=2))


def test_separated_data_sets_are_counted_and_not_significant():
    """Six rows with a probability near one: most simulated sets have only successes there."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.arange(60) % 10, "x": (np.arange(60) >= 54).astype(float)})
    data["y"] = np.where(data["x"] == 1, np.arange(60) > 54, rng.random(60) < 0.5).astype(int)
    fit = blm.Model("y ~ x + (1 | g)", data, family="bernoulli").fit("ml")
    found = blm.power(fit, "x", n=40, effect=4.0, seed=1).iloc[0]
    assert found["separated"] > 20
    assert found["power"] < 0.5
    assert np.isfinite(found[["width", "bias", "coverage"]].astype(float)).all()


def test_shares_of_zeros_follow_their_rows():
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(20), 6), rng.normal(size=120)
    y = rng.poisson(np.exp(1.0 + 0.4 * x + 0.4 * rng.normal(size=20)[g])) * (rng.random(120) < 0.8)
    data = pd.DataFrame({"g": g, "x": x, "y": y})
    fit = blm.Model("y ~ x + (1 | g)", data, family="zero_inflated_poisson", zero="~ x").fit("ml")
    found = blm.power(fit, "x", n=10, groups=[30], seed=1)
    assert found["rows"][0] == 180 and found["failed"][0] == 0

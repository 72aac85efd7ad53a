"""Posteriors without a factor against those with one."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import FittingError, OptionError, StorageError, UnavailableError
from bayeslmm.inference.importance import points
from bayeslmm.inference.iterative_sampling import approximate
from bayeslmm.inference.laplace import find_laplace
from bayeslmm.inference.optimum.average_information import maximise_iteratively
from bayeslmm.likelihood import layout
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.iterative_density import IterativeDensity

WITH_SLOPES = "y ~ x + (x | a) + (1 | b)"
PLAIN = "y ~ x + (1 | a) + (1 | b)"
FEW = {"draws": 25, "seed": 2}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 2500
    a, b = rng.integers(0, 120, n), rng.integers(0, 80, n)
    x, w = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    noise = rng.normal(size=n) / np.sqrt(w)
    y = 1 + x + rng.normal(size=120)[a] + 0.5 * x * rng.normal(size=120)[a] + 0.7 * rng.normal(size=80)[b] + noise
    no_b = 1 + rng.normal(size=120)[a] + noise
    return pd.DataFrame({"y": y, "no_b": no_b, "x": x, "a": a, "b": b, "w": w})


@pytest.fixture(scope="module")
def slopes(data: pd.DataFrame) -> blm.PosteriorFit:
    return blm.Model(WITH_SLOPES, data, weights="w").fit("importance", solver="iterative", draws=250, seed=1)


def compare(fit: blm.PosteriorFit, exact: blm.PosteriorFit) -> None:
    """Compare means and sds in Monte Carlo errors: of both sets of points, and of the probes' log density."""
    drift = fit.info["log_density_error"]
    for found, wanted in (
        (fit.covariance_draws, exact.covariance_draws),
        (fit.draws.beta, exact.draws.beta),
        *zip(fit.draws.effects, exact.draws.effects, strict=True),
    ):
        one, other = (draws.reshape(-1, *draws.shape[2:]) for draws in (found, wanted))
        spread = other.std(axis=0)
        sizes = [min(f.info["effective_size"], len(d)) for f, d in ((fit, one), (exact, other))]
        error = np.sqrt(sum(1.0 / size for size in sizes) + drift**2)
        assert np.max(np.abs(one.mean(axis=0) - other.mean(axis=0)) / spread) < 4.0 * error
        assert np.max(np.abs(np.log(one.std(axis=0) / spread))) < 4.0 * error


def test_the_posterior_is_that_of_the_factor(slopes: blm.PosteriorFit, data: pd.DataFrame) -> None:
    exact = blm.Model(WITH_SLOPES, data, weights="w").fit("importance", solver="exact", draws=250, seed=3)
    compare(slopes, exact)
    assert slopes.status.ok and "conjugate gradients" in slopes.status.message
    assert slopes.info["log_density_error"] < 0.1 and "probes" not in exact.info
    np.testing.assert_allclose(slopes.predict(data.head(20)), exact.predict(data.head(20)), atol=0.1)
    for name in ("a", "b"):
        np.testing.assert_allclose(slopes.ranef_sd()[name], exact.ranef_sd()[name], rtol=0.15)


@pytest.mark.calibration
def test_a_variance_of_zero(data: pd.DataFrame) -> None:
    model = blm.Model("no_b ~ x + (1 | a) + (1 | b)", data, weights="w")
    found, exact = (model.fit("importance", solver=s, draws=250, seed=k) for k, s in enumerate(("iterative", "exact")))
    compare(found, exact)


def test_the_first_proposal_is_near_the_mode(data: pd.DataFrame) -> None:
    model = blm.Model(PLAIN, data)
    exact = find_laplace(CovarianceDensity(model.kernel, model.resolved_priors))
    found = maximise_iteratively(model.kernel, "reml")
    density = IterativeDensity(model.kernel, model.resolved_priors, n_probes=found.n_probes)
    laplace = approximate(density, found)
    spread = np.sqrt(np.diag(exact.covariance))
    assert np.max(np.abs(laplace.mode - exact.mode) / spread) < 0.2
    np.testing.assert_allclose(np.sqrt(np.diag(laplace.covariance)), spread, rtol=0.1)


def test_draws_depend_on_the_seed_alone(data: pd.DataFrame) -> None:
    model = blm.Model(PLAIN, data)
    first, again = (model.fit("importance", solver="iterative", **FEW) for _ in range(2))
    np.testing.assert_array_equal(first.draws.beta, again.draws.beta)
    none = model.fit("importance", solver="iterative", store=(), **FEW)
    np.testing.assert_array_equal(first.draws.sigma, none.draws.sigma)
    np.testing.assert_allclose(first.draws.beta, none.draws.beta, rtol=1e-12)


def test_nuts_does_not_take_over(data: pd.DataFrame, monkeypatch) -> None:
    monkeypatch.setattr(points, "ENOUGH_EFFECTIVE", 1e9)
    monkeypatch.setattr(points, "MOST_ROUNDS", 1)
    with pytest.raises(FittingError, match="NUTS cannot take over") as caught:
        blm.Model(PLAIN, data).fit("importance", solver="iterative", **FEW)
    assert "handover='keep'" in str(caught.value)


def test_a_summary_is_refused(data: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match="store='summary'"):
        blm.Model(PLAIN, data).fit("importance", solver="iterative", store="summary")


def test_a_saved_posterior_comes_back_where_no_factor_fits(data: pd.DataFrame, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(layout, "available_memory", lambda: 1000)
    monkeypatch.setattr(layout, "ALWAYS_THERE", 0)
    fit = blm.Model(PLAIN, data).fit("importance", solver="iterative", **FEW)
    assert len(fit.ranef()["b"]) == 80
    fit.save(tmp_path / "fit")
    loaded = blm.load(tmp_path / "fit")
    assert loaded.status == fit.status
    np.testing.assert_array_equal(loaded.draws.beta, fit.draws.beta)
    with pytest.raises(UnavailableError, match="dense matrix"):
        _ = loaded.kernel
    record = tmp_path / "fit" / "fit.json"
    record.write_text(record.read_text().replace(f'"probes": {fit.info["probes"]}', '"probes": 9'))
    with pytest.raises(StorageError, match="objective"):
        blm.load(tmp_path / "fit")


def test_many_effects_are_sampled_without_a_factor(data: pd.DataFrame, monkeypatch) -> None:
    from bayeslmm.likelihood.iterative import choice

    monkeypatch.setattr(choice, "LARGEST_DENSE", 50)
    assert "probes" in blm.Model(PLAIN, data).fit("importance", **FEW).info

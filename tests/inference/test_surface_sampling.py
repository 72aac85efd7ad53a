"""When a density is interpolated, and when its points are solved one by one."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference import surface
from bayeslmm.inference.iterative_sampling import approximate
from bayeslmm.inference.laplace import Laplace
from bayeslmm.inference.optimum.average_information import maximise_iteratively
from bayeslmm.inference.surface import build_surface
from bayeslmm.posterior.iterative_density import IterativeDensity

PLAIN = "y ~ x + (1 | a) + (1 | b)"


def data(b_sd: float = 0.7) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 2500
    a, b, x = rng.integers(0, 120, n), rng.integers(0, 80, n), rng.normal(size=n)
    y = 1 + x + rng.normal(size=120)[a] + b_sd * rng.normal(size=80)[b] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "a": a, "b": b})


def parts(formula: str, frame: pd.DataFrame) -> tuple[IterativeDensity, Laplace]:
    model = blm.Model(formula, frame)
    found = maximise_iteratively(model.kernel, "reml")
    density = IterativeDensity(model.kernel, model.resolved_priors, n_probes=found.n_probes)
    return density, approximate(density, found)


def test_few_points_are_solved() -> None:
    fit = blm.Model(PLAIN, data()).fit("importance", solver="iterative", draws=100, seed=1)
    assert fit.info["nodes"] == 14  # ten monomials of degree three in two parameters, and four points held out
    assert fit.info["evaluations"] < 30 < fit.info["points"]
    assert 0.0 < fit.info["surface_error"] < 0.1
    assert "at 14 points" in fit.status.message
    assert len(np.unique(fit.draws.sd[0])) > 300  # draws of their own, where weighted points had come several times


def test_draws_do_not_depend_on_what_is_kept() -> None:
    model = blm.Model(PLAIN, data())
    whole, one, none = (
        model.fit("importance", solver="iterative", draws=25, seed=1, store=store) for store in (None, ("b",), ())
    )
    for fit in (one, none):
        np.testing.assert_array_equal(fit.draws.beta, whole.draws.beta)
        np.testing.assert_array_equal(fit.draws.sigma, whole.draws.sigma)
    np.testing.assert_array_equal(one.draws.effects[1], whole.draws.effects[1])


def test_a_weak_variance_is_not_interpolated() -> None:
    assert build_surface(*parts(PLAIN, data(b_sd=0.0))) is None


def test_many_parameters_are_not_interpolated(monkeypatch) -> None:
    density, laplace = parts(PLAIN, data())
    monkeypatch.setattr(surface, "MOST_NODES", 5)
    assert build_surface(density, laplace) is None


def test_nodes_that_memory_does_not_hold(monkeypatch) -> None:
    density, laplace = parts(PLAIN, data())
    monkeypatch.setattr(surface, "available_memory", lambda: 1000)
    assert build_surface(density, laplace) is None


def test_an_error_that_is_too_large_goes_back_to_points(monkeypatch) -> None:
    monkeypatch.setattr(surface, "LARGEST_ERROR", 1e-9)
    fit = blm.Model(PLAIN, data()).fit("importance", solver="iterative", draws=100, seed=1)
    assert "nodes" not in fit.info and fit.info["points"] == fit.info["kernel_evaluations"]


def test_a_posterior_wider_than_the_nodes_goes_back_to_points(monkeypatch) -> None:
    from bayeslmm.inference import iterative_sampling

    def narrow(density: IterativeDensity, found: object) -> Laplace:
        laplace = approximate(density, found)
        return replace(laplace, covariance=laplace.covariance / 30)

    monkeypatch.setattr(iterative_sampling, "approximate", narrow)
    fit = blm.Model(PLAIN, data()).fit("importance", solver="iterative", draws=100, seed=1)
    assert "nodes" not in fit.info


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_posterior_does_not_hang_on_the_normal_approximation(scale: float, monkeypatch) -> None:
    from bayeslmm.inference import iterative_sampling

    model = blm.Model(PLAIN, data())
    fit = model.fit("importance", solver="iterative", draws=1000, seed=1, store=())

    def scaled(density: IterativeDensity, found: object) -> Laplace:
        laplace = approximate(density, found)
        return replace(laplace, covariance=laplace.covariance * scale)

    monkeypatch.setattr(iterative_sampling, "approximate", scaled)
    other = model.fit("importance", solver="iterative", draws=1000, seed=2, store=())
    for one, two in zip(fit.draws.sd, other.draws.sd, strict=True):
        assert abs(one.mean() - two.mean()) / two.std() < 0.12
        assert abs(np.log(one.std() / two.std())) < 0.12

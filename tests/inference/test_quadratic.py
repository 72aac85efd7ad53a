"""The normal approximation from values alone: exact for a normal density, the one by gradients elsewhere."""

import numpy as np
import pytest
from scipy import stats

import bayeslmm as blm
from bayeslmm.inference.importance import points as importance_points
from bayeslmm.inference.laplace import find_laplace
from bayeslmm.inference.quadratic import laplace_of_values
from bayeslmm.posterior import single_density
from bayeslmm.posterior.density import CovarianceDensity

ROUNDING = 1e-9
NEAR = 0.1  # standard deviations, and of a variance: what third and fourth derivatives over a step change


def normal(d, seed=0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    return stats.multivariate_normal(rng.normal(size=d) * 0.1, root @ root.T + np.eye(d))


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_a_normal_density_is_found_exactly(d):
    density = normal(d)
    found = laplace_of_values(lambda x: np.atleast_1d(density.logpdf(x)), np.zeros(d), np.ones(d), np.full(d, 100.0))
    assert found.evaluations == 1 + d + d * d
    np.testing.assert_allclose(found.mode, density.mean, atol=ROUNDING)
    np.testing.assert_allclose(found.covariance, density.cov, atol=ROUNDING)
    assert found.log_density == pytest.approx(density.logpdf(density.mean))


@pytest.mark.parametrize(("start", "step"), [(6.0, 1.0), (0.0, 0.05), (2.0, 20.0)])
def test_the_stencil_moves_and_changes_its_size(start, step):
    density = normal(2)
    found = laplace_of_values(density.logpdf, np.full(2, start), np.full(2, step), np.full(2, 100.0))
    assert found.evaluations > 7
    np.testing.assert_allclose(found.mode, density.mean, atol=1e-5)  # differences over steps of 0.01 are rounded
    np.testing.assert_allclose(found.covariance, density.cov, rtol=1e-4, atol=1e-4)


def test_what_is_not_near_normal_is_left_to_gradients():
    flat = laplace_of_values(lambda x: np.zeros(len(x)), np.zeros(2), np.ones(2), np.full(2, 100.0))
    ended = laplace_of_values(lambda x: np.where(x[:, 0] > 0.5, -np.inf, 0.0), np.zeros(1), np.ones(1), np.full(1, 9.0))
    wide = laplace_of_values(normal(2).logpdf, np.zeros(2), np.ones(2), np.full(2, 0.06))
    assert flat is None and ended is None and wide is None


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g) + (1 | h)", "y ~ x + (x | g)"])
def test_the_approximation_is_that_by_gradients(monkeypatch, formula):
    rng = np.random.default_rng(2)
    g, h, x = np.arange(4000) % 200, rng.integers(0, 150, 4000), rng.normal(size=4000)
    b = rng.normal(size=(200, 2))
    y = b[g, 0] + b[g, 1] * x + rng.normal(size=150)[h] + rng.normal(size=4000)
    model = blm.Model(formula, {"g": g, "h": h, "x": x, "y": y})
    density = CovarianceDensity(model.kernel, model.resolved_priors)
    monkeypatch.setattr(importance_points, "SMALL_ORDER", 0)
    monkeypatch.setattr(single_density, "LARGE_TERM", 0)
    found, expected = importance_points.approximate(density), find_laplace(density).of_first(density.n_phi)
    assert found.mode.shape == (density.n_phi,)
    sds = np.sqrt(np.diag(expected.covariance))
    np.testing.assert_allclose((found.mode - expected.mode) / sds, 0.0, atol=NEAR)
    np.testing.assert_allclose(
        found.covariance / np.outer(sds, sds), expected.covariance / np.outer(sds, sds), atol=NEAR
    )

"""The density by conjugate gradients and probes against the factor's."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import UnavailableError
from bayeslmm.likelihood.iterative.evaluation import rademacher
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.iterative_density import IterativeDensity

SETS = 20  # of probes
FORMULAS = ["y ~ x + (1 | a) + (1 | b)", "y ~ x + (x | a) + (1 | b) + (1 | c)"]


def model(formula: str, **arguments: object) -> blm.Model:
    rng = np.random.default_rng(3)
    n = 1500
    a, b, c = (rng.integers(0, j, n) for j in (80, 50, 20))
    x = rng.normal(size=n)
    y = 1 + x + rng.normal(size=80)[a] + 0.6 * rng.normal(size=50)[b] + rng.normal(size=n)
    return blm.Model(formula, pd.DataFrame({"y": y, "x": x, "a": a, "b": b, "c": c}), **arguments)


def points(density: CovarianceDensity, count: int) -> np.ndarray:
    """Return points as far from each other as those of a posterior."""
    return -0.3 + 0.2 * np.random.default_rng(5).normal(size=(count, density.n_phi))


@pytest.mark.parametrize("sigma", [None, 1.1])
@pytest.mark.parametrize("formula", FORMULAS)
def test_all_but_the_determinant_is_exact(formula: str, sigma: float | None) -> None:
    m = model(formula, priors={"x": blm.Normal(0, 0.1)})
    exact = CovarianceDensity(m.kernel, m.resolved_priors, sigma)
    iterative = IterativeDensity(m.kernel, m.resolved_priors, sigma, n_probes=8)
    for phi in points(exact, 3):
        found, wanted = iterative.grid(phi), exact.grid(phi)
        shift = 0.5 * (found.posterior.eliminated.log_det - wanted.posterior.eliminated.log_det)
        assert found.log_density + shift == pytest.approx(wanted.log_density, abs=1e-5)
        np.testing.assert_allclose(found.log_sigma, wanted.log_sigma, atol=1e-7)
        np.testing.assert_allclose(found.posterior.mean(1.0), wanted.posterior.mean(1.0), atol=1e-5)
        at_sigma = phi if sigma is not None else np.append(phi, 0.1)
        assert iterative.value(at_sigma) + shift == pytest.approx(exact.value(at_sigma), abs=1e-5)


@pytest.mark.parametrize("formula", FORMULAS)
def test_differences_of_the_log_density_have_the_stated_error(formula: str) -> None:
    m = model(formula)
    exact = CovarianceDensity(m.kernel, m.resolved_priors)
    first, *others = points(exact, 4)
    wanted = [exact.grid(phi).log_density - exact.grid(first).log_density for phi in others]
    scores = []
    for k in range(SETS):
        iterative = IterativeDensity(m.kernel, m.resolved_priors, n_probes=16)
        iterative.signs = rademacher(m.kernel.products.n_trailing, 16, 16 * k)
        best = iterative.grid(first)
        for phi, difference in zip(others, wanted, strict=True):
            found = iterative.grid(phi)
            error = 0.5 * found.posterior.eliminated.determinant.difference_error(best.posterior.eliminated.determinant)
            assert error < 0.5  # of log densities that lie several units apart
            scores.append((found.log_density - best.log_density - difference) / error)
    # t statistics of 14 degrees of freedom, root mean square 1.08, of which each set of probes has one in effect
    assert 0.6 < np.sqrt(np.mean(np.square(scores))) < 1.6


def test_the_error_over_the_posterior_is_that_of_its_points() -> None:
    m = model(FORMULAS[0])
    iterative = IterativeDensity(m.kernel, m.resolved_priors, n_probes=8)
    phi = points(iterative, 3)
    found = [iterative.grid(point).posterior.eliminated.determinant for point in phi]
    errors = [0.5 * one.difference_error(found[1]) for one in found]
    weights = np.array([0.3, 0.5, 0.2])
    assert errors[1] == 0.0 and errors[0] > 0.0
    assert iterative.difference_error(phi, weights) == pytest.approx(np.sqrt(weights @ np.square(errors)))


def test_a_point_seen_before_is_not_probed_again() -> None:
    m = model(FORMULAS[0])
    iterative = IterativeDensity(m.kernel, m.resolved_priors, n_probes=8)
    phi = points(iterative, 1)[0]
    first, again = (iterative.eliminate(phi) for _ in range(2))
    assert again.determinant is first.determinant
    np.testing.assert_allclose(again.beta, first.beta, rtol=1e-4)


def test_there_is_no_factor() -> None:
    m = model(FORMULAS[0])
    iterative = IterativeDensity(m.kernel, m.resolved_priors, n_probes=8)
    x = np.append(points(iterative, 1)[0], 0.0)
    for ask in (iterative.factor, iterative.value_and_gradient):
        with pytest.raises(UnavailableError, match='solver="exact"'):
            ask(x)

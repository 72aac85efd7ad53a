"""The interpolated density, and draws of random effects about it, against points that were solved and the factor."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference.iterative_sampling import approximate
from bayeslmm.inference.optimum.average_information import maximise_iteratively
from bayeslmm.inference.surface import LARGEST_ERROR, build_surface
from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.posterior.surface_density import SurfaceDensity

FORMULAS = ["y ~ x + (1 | a) + (1 | b)", "y ~ x + (x | a) + (1 | b) + (1 | c)"]


def surface_of(formula: str, sigma: float | None) -> tuple[IterativeDensity, SurfaceDensity, float]:
    rng = np.random.default_rng(3)
    n = 3000
    a, b, c = (rng.integers(0, j, n) for j in (150, 100, 60))
    x = rng.normal(size=n)
    fixed = 1 + x + rng.normal(size=150)[a] + 0.5 * x * rng.normal(size=150)[a]
    y = fixed + 0.6 * rng.normal(size=100)[b] + 0.8 * rng.normal(size=60)[c] + rng.normal(size=n)
    m = blm.Model(formula, pd.DataFrame({"y": y, "x": x, "a": a, "b": b, "c": c}))
    found = maximise_iteratively(m.kernel, "reml", sigma=sigma)
    density = IterativeDensity(m.kernel, m.resolved_priors, sigma, n_probes=found.n_probes)
    built = build_surface(density, approximate(density, found))
    assert built is not None
    return density, *built


@pytest.mark.parametrize("sigma", [None, 1.1])
def test_the_log_density_is_right_to_the_stated_error(sigma: float | None) -> None:
    density, surface, error = surface_of(FORMULAS[0], sigma)
    assert 0.0 < error < LARGEST_ERROR
    rng = np.random.default_rng(7)
    z = rng.normal(size=(12, density.n_phi))
    points = surface.surface.centre + z @ surface.surface.root.T
    differences = [density.grid(phi).log_density - surface.grid(phi).log_density for phi in points]
    assert np.std(differences) < 3.0 * error + 1e-6
    # the probes' error is that of the points themselves
    probes = [each.difference_error(points, np.full(12, 1 / 12)) for each in (density, surface)]
    assert probes[1] == pytest.approx(probes[0], rel=0.3)


@pytest.mark.parametrize("formula", FORMULAS)
def test_draws_of_effects_are_those_of_the_factor(formula: str) -> None:
    _, surface, _ = surface_of(formula, None)
    kernel = surface.kernel
    phi = surface.surface.centre + surface.surface.root @ np.resize([1.0, -1.5, 0.5], surface.n_phi)
    factor = CovarianceDensity(kernel, surface.priors).factor(phi)
    m, at_once, sigma = 2000, 200, 1.1
    beta = np.repeat(factor.beta[:, None] + 0.1, m, axis=1)
    rng = np.random.default_rng(3)
    blocks = [
        surface.draw_effects(np.repeat(phi[None], at_once, axis=0), beta[:, :at_once], np.full(at_once, sigma), rng)
        for _ in range(m // at_once)
    ]
    modes = solve_effects(factor, beta[:, :1])
    noise = [sigma * rng.standard_normal((shape.n_levels, shape.n_columns, m)) for shape in kernel.shapes]
    exact = solve_effects(factor, beta, noise)
    for term, factor_of_term in enumerate(factor.lambdas):
        ours = np.concatenate([block[term] for block in blocks], axis=2)
        mode, theirs = factor_of_term @ modes[term], factor_of_term @ exact[term]
        spread = theirs.std(axis=2)
        assert np.abs((ours.mean(axis=2) - mode[..., 0]) / spread).max() < 5 / np.sqrt(m) + 0.01
        np.testing.assert_allclose(ours.std(axis=2), spread, rtol=5 / np.sqrt(m))

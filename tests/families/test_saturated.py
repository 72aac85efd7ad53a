"""The saturated model: the highest log density of each row, against closed forms and a grid of predictors."""

import numpy as np
import pytest
from scipy.special import xlogy
from test_family_densities import CASES, make, rows

from bayeslmm.families import Request, family
from bayeslmm.families.saturated import saturated_log_density, scaled_deviance


@pytest.mark.parametrize(("name", "link", "values"), CASES)
def test_no_predictor_of_a_grid_is_better(name, link, values):
    response, _ = rows(name, link)
    chosen = make(name, link)
    working = chosen.working(values)
    highest = saturated_log_density(chosen, response, working)
    grid = np.geomspace(1e-3, 1e3, 4000) if link == "inverse" else np.linspace(-45.0, 45.0, 18_001)
    best = np.max([chosen.derivatives(response, np.full(len(highest), x), working)[0] for x in grid], axis=0)
    assert (highest >= best - 1e-12 * (1 + np.abs(best))).all()
    np.testing.assert_allclose(highest, best, atol=5e-4)  # the grid is .005 wide


def test_closed_forms():
    """McCullagh and Nelder (1989), table 2.1; the negative binomial's by the same rule."""
    y, mean = np.array([0.0, 1, 4, 7, 60]), np.array([0.3, 2.5, 4.0, 1.0, 71.0])
    poisson = family("poisson")
    found = scaled_deviance(poisson, poisson.read(y), np.log(mean), np.zeros(0))
    np.testing.assert_allclose(found, 2 * (xlogy(y, y / mean) - (y - mean)), atol=1e-12)
    counts, shape = family("negative_binomial"), 1.7
    found = scaled_deviance(counts, counts.read(y), np.log(mean), counts.working([shape]))
    unit = 2 * (xlogy(y, y / mean) - (y + shape) * np.log((y + shape) / (mean + shape)))
    np.testing.assert_allclose(found, unit, atol=1e-12)
    size, p = np.array([4.0, 1, 4, 9, 60]), np.array([0.1, 0.7, 0.5, 0.9, 0.99])
    trials = family("binomial")
    found = scaled_deviance(trials, trials.read(y, Request(trials=size)), np.log(p / (1 - p)), np.zeros(0))
    unit = 2 * (xlogy(y, y / (size * p)) + xlogy(size - y, (size - y) / (size * (1 - p))))
    np.testing.assert_allclose(found, unit, atol=1e-12)
    for link in ("log", "inverse"):
        gamma, z = family("gamma", link), y + 0.2
        eta = np.log(mean) if link == "log" else 1 / mean
        found = scaled_deviance(gamma, gamma.read(z), eta, gamma.working([shape]))
        np.testing.assert_allclose(found, 2 * shape * ((z - mean) / mean - np.log(z / mean)), atol=1e-12)

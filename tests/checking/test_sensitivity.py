"""Power-scaling sensitivity against exact posteriors of a normal mean with a normal prior."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri

from bayeslmm.checking.sensitivity import STEP, power_sensitivity, weighted_distance

N_DRAWS = 20_000
ROUNDING = 1e-7  # the root of rounding errors of sums
GRID_ERROR = 0.03  # relative: the tails beyond the draws, and differences of a power of .01


def exact_distance(P, Q, grid):
    middle = (P + Q) / 2
    both = P * np.log2(P / middle) + Q * np.log2(Q / middle)
    return np.sqrt(np.trapezoid(both, grid) / np.trapezoid(P + Q, grid))


def exact_sensitivity(prior_mean, prior_sd, data_mean, data_sd, component):
    """The same by distribution functions of the normal posteriors under both powers."""

    def posterior(alpha):
        prior = (alpha if component == "prior" else 1.0) / prior_sd**2
        data = (alpha if component == "likelihood" else 1.0) / data_sd**2
        return stats.norm((prior * prior_mean + data * data_mean) / (prior + data), (prior + data) ** -0.5)

    base = posterior(1.0)
    # the support of the draws, outside of which nothing is integrated
    grid = np.linspace(*base.ppf([0.5 / N_DRAWS, 1 - 0.5 / N_DRAWS]), 20_001)
    found = 0.0
    for alpha in (1 - STEP, 1 + STEP):
        moved = posterior(alpha)
        two = [
            exact_distance(base.cdf(grid), moved.cdf(grid), grid),
            exact_distance(base.sf(grid), moved.sf(grid), grid),
        ]
        found += max(two) / abs(np.log2(alpha)) / 2
    return found


@pytest.mark.parametrize("component", ["prior", "likelihood"])
@pytest.mark.parametrize("prior_mean", [0.0, 3.0])
def test_against_exact_posteriors(prior_mean, component):
    prior_sd, data_mean, data_sd = 1.0, 0.5, 0.5
    precision = 1 / prior_sd**2 + 1 / data_sd**2
    mean = (prior_mean / prior_sd**2 + data_mean / data_sd**2) / precision
    draws = mean + precision**-0.5 * ndtri((np.arange(N_DRAWS) + 0.5) / N_DRAWS)
    logs = {
        "prior": stats.norm(prior_mean, prior_sd).logpdf(draws),
        "likelihood": stats.norm(data_mean, data_sd).logpdf(draws),
    }
    found = power_sensitivity(draws[:, None], logs[component])[0]
    exact = exact_sensitivity(prior_mean, prior_sd, data_mean, data_sd, component)
    assert found == pytest.approx(exact, rel=GRID_ERROR)


def test_the_distance_is_one_for_distributions_apart_and_zero_for_the_same():
    values = np.concatenate([np.linspace(0, 1e-6, 500), np.linspace(1, 1 + 1e-6, 500)])
    half = np.where(values < 0.5, 1 / 500, 0.0)
    assert weighted_distance(values, np.full(1000, 1e-3)) < ROUNDING
    assert 0.2 < weighted_distance(values, half) < 1


def test_a_constant_component_moves_nothing():
    draws = np.random.default_rng(1).normal(size=(500, 2))
    np.testing.assert_allclose(power_sensitivity(draws, np.zeros(500)), 0, atol=ROUNDING / STEP)

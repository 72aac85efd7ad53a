"""Scores of predictive distributions against their definitions."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import ndtri

from bayeslmm.comparison.scores import score_draws, score_normal

N_DRAWS = 20_000


def test_normal_crps_is_the_integral_over_thresholds():
    y, mean, sd = np.array([1.3, -2.0]), np.array([0.5, 1.0]), np.array([0.7, 2.0])
    found = score_normal(y, mean, sd, 0.9)
    for i in range(2):
        F = stats.norm(mean[i], sd[i])
        below = quad(lambda t, F=F: F.cdf(t) ** 2, -30, y[i])[0]
        above = quad(lambda t, F=F: F.sf(t) ** 2, y[i], 30)[0]
        assert found.crps[i] == pytest.approx(below + above, rel=1e-6)
        assert found.elpd[i] == pytest.approx(F.logpdf(y[i]))
        assert (found.lower[i], found.upper[i]) == pytest.approx(F.interval(0.9))


def test_draws_of_a_normal_score_like_it():
    y = np.array([0.4, 2.5])
    draws = np.repeat(ndtri((np.arange(N_DRAWS) + 0.5) / N_DRAWS)[:, None], 2, axis=1)
    logs = np.broadcast_to(stats.norm.logpdf(y), draws.shape)
    found, exact = score_draws(y, logs, draws, draws, 0.8), score_normal(y, np.zeros(2), np.ones(2), 0.8)
    for name in ("crps", "elpd", "lower", "upper", "mean"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), atol=2e-3)


def test_crps_of_few_draws_by_all_pairs():
    rng = np.random.default_rng(3)
    draws, y = rng.normal(size=(7, 3)), rng.normal(size=3)
    found = score_draws(y, draws, draws, draws, 0.5).crps
    pairs = np.abs(draws[:, None] - draws[None]).mean(axis=(0, 1)) / 2
    np.testing.assert_allclose(found, np.abs(draws - y).mean(axis=0) - pairs)

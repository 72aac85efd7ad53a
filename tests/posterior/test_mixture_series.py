"""Quantiles of mixtures by a few of their moments, against distribution functions."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from bayeslmm.posterior.mixture_series import (
    SERIES,
    hermite_values,
    mixture_moments,
    series_coefficients,
    series_quantile,
)

LEFT_OUT = 2e-8  # of a probability: what the series leaves out, and Halley's step
SCORES = np.array([-3.0, -1.96, -0.5, 0.0, 0.7, 2.5])


def mixture(spread, seed=3):
    """Return means, variances and weights of a mixture whose parts lie about `spread` of their sd 2 apart."""
    rng = np.random.default_rng(seed)
    means = 40 + 2 * spread * rng.standard_exponential(50)
    return means, 4 * np.exp(spread * rng.standard_exponential(50)), rng.dirichlet(np.ones(50))


@pytest.mark.parametrize("spread", [1e-4, 0.003, 0.01])
def test_quantiles_are_those_of_the_mixture(spread):
    means, variances, weights = mixture(spread)
    mean, variance = mixture_moments(means, variances, weights)
    assert mean == pytest.approx(weights @ means, rel=1e-12)
    assert variance == pytest.approx(weights @ variances + weights @ (means - mean) ** 2, rel=1e-12)
    terms = np.empty(SERIES)
    assert series_coefficients(means, variances, weights, mean, variance, terms)
    for score, hermite in zip(SCORES, hermite_values(SCORES), strict=True):
        found = mean + np.sqrt(variance) * series_quantile(score, hermite, terms)
        p = norm.cdf(score)
        assert weights @ norm.cdf(found, means, np.sqrt(variances)) == pytest.approx(p, abs=LEFT_OUT)
        if spread == 0.01:  # a normal distribution's quantile would not do
            exact = brentq(lambda x, p=p: weights @ norm.cdf(x, means, np.sqrt(variances)) - p, 0, 80, xtol=1e-13)
            assert abs(mean + np.sqrt(variance) * score - exact) > 10 * abs(found - exact)


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_parts_too_far_apart_are_told(spread):
    means, variances, weights = mixture(spread)
    mean, variance = mixture_moments(means, variances, weights)
    assert not series_coefficients(means, variances, weights, mean, variance, np.empty(SERIES))
    assert not series_coefficients(means * np.nan, variances, weights, mean, variance, np.empty(SERIES))

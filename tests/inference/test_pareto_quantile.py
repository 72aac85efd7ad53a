"""Quantiles of the generalised Pareto distribution against scipy, and where its shape is out of all bounds."""

import numpy as np
import pytest
from scipy.stats import genpareto

from bayeslmm.inference.importance.psis import pareto_quantile, smooth_weights

PROBABILITIES = np.linspace(0.01, 0.99, 25)


@pytest.mark.parametrize("shape", [-0.4, 0.0, 0.3, 2.0])
def test_quantiles_are_those_of_scipy(shape):
    assert np.allclose(
        pareto_quantile(PROBABILITIES, shape, 1.7), genpareto(shape, scale=1.7).ppf(PROBABILITIES), rtol=1e-10
    )


@pytest.mark.parametrize("shape", [286.0, 1e6])
def test_a_shape_of_hundreds_gives_finite_ascending_quantiles(shape):
    # warnings are errors: expm1 overflowed here on some processors
    quantiles = pareto_quantile(PROBABILITIES, shape, 1.0)
    assert np.all(np.isfinite(quantiles)) and np.all(np.diff(quantiles) >= 0)


def test_weights_of_ratios_far_apart_are_finite_and_sum_to_one():
    smoothed = smooth_weights(-np.geomspace(1e-3, 600.0, 400))
    assert np.isclose(smoothed.weights.sum(), 1.0) and np.all(np.isfinite(smoothed.weights))

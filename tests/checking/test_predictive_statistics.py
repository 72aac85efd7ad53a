"""Statistics of replicates against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from bayeslmm.checking.predictive import Replicated, distance_of_distributions, lag_one, level_means


def test_p_values_count_ties_half():
    found = Replicated(np.zeros((4, 1)), np.array([[-1.0], [0.0], [1.0], [2.0]]))
    assert found.p_values[0] == pytest.approx((0.5 + 2) / 4)


def test_the_distance_is_kolmogorovs():
    rng = np.random.default_rng(1)
    y, replicates = rng.normal(0.3, 1, 40), rng.normal(size=(30, 40))
    found = distance_of_distributions(y, replicates)
    pooled = replicates.ravel()
    assert found.observed[0, 0] == pytest.approx(stats.ks_2samp(y, pooled).statistic)
    assert found.replicated[3, 0] == pytest.approx(stats.ks_2samp(replicates[3], pooled).statistic)


def test_the_distance_with_ties():
    rng = np.random.default_rng(2)
    y, replicates = rng.poisson(2, 50).astype(float), rng.poisson(1.5, (20, 50)).astype(float)
    found = distance_of_distributions(y, replicates)
    for row, distance in zip(replicates, found.replicated[:, 0], strict=True):
        values = np.arange(15)
        F = (row[:, None] <= values).mean(axis=0)
        G = (replicates.ravel()[:, None] <= values).mean(axis=0)
        assert distance == pytest.approx(np.abs(F - G).max())


def test_level_means():
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]])
    codes = np.array([1, 0, 1], dtype=np.int32)
    np.testing.assert_allclose(level_means(values, codes, 2), [[2, 2], [5, 6.5]])
    np.testing.assert_allclose(level_means(values[0], codes, 2), [2, 2])


def test_neighbours_are_those_of_the_same_level():
    codes = np.array([0, 1, 0, 1, 0], dtype=np.int32)
    e = np.array([[1.0, 10.0, 2.0, -3.0, 4.0]])
    products = (1 * 2 + 2 * 4 + 10 * -3) / 3
    assert lag_one(e, codes)[0, 0] == pytest.approx(products / np.mean(e**2))

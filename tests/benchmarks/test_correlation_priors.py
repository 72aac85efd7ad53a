"""The data of the study of LKJ priors have the covariance they are meant to have, and a cell gives its row."""

import numpy as np
import pytest

from benchmarks.correlation_priors import SDS, SIGMA, cell, simulate


def test_simulated_covariance():
    """The pooled slopes and intercepts of many groups, by least squares in each, less what the noise adds."""
    data = simulate(2, 4000, 0.5, np.random.default_rng(1))
    y = data["y"].to_numpy().reshape(-1, 10)
    X = np.column_stack([np.ones(10), np.arange(10.0)])
    b = y @ X @ np.linalg.inv(X.T @ X)
    found = np.cov(b.T) - SIGMA**2 * np.linalg.inv(X.T @ X)
    sds = np.sqrt(np.diag(found))
    assert sds == pytest.approx(SDS[:2], rel=0.05)
    assert found[0, 1] / np.prod(sds) == pytest.approx(0.5, abs=0.08)


def test_a_cell():
    row = cell(3, 12, 0.0, 1.0, 2)
    assert {"effects", "groups", "correlation", "LKJ", "sd(Intercept)", "sd(x)", "sd(z1)", "coverage"} == set(row)
    assert 0 <= row["coverage"] <= 1

"""Sums of rows by level against numpy's unbuffered addition."""

import numpy as np
import pytest

from bayeslmm.likelihood.partial_sums import add_rows

EXACT = 1e-12  # sums of 60 numbers of size one in another order


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_are_added_by_level(width, weighted):
    rng = np.random.default_rng(width)
    codes, rows = rng.integers(0, 5, 60).astype(np.int32), rng.normal(size=(60, width))
    root = rng.uniform(0.5, 2.0, 60) if weighted else np.ones(0)
    found = rng.normal(size=(5, width))
    expected = found.copy()
    np.add.at(expected, codes, rows * root[:, None] if weighted else rows)
    add_rows(codes, rows, root, found)
    np.testing.assert_allclose(found, expected, rtol=EXACT, atol=EXACT)

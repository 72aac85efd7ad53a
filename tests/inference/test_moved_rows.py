"""Rows moved within their array, against a copy."""

import tracemalloc

import numpy as np
import pytest

from bayeslmm.inference.importance.moved_rows import NOTHING, moved_rows


@pytest.mark.parametrize("seed", range(30))
def test_rows_are_those_asked_for(seed):
    """Duplicates, chains, cycles, rows that stay and rows that are left open."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    count = n + int(rng.integers(0, 5))
    source = rng.permutation(count)[:n] if seed % 2 else rng.integers(0, count, n)
    source[rng.uniform(size=n) < 0.1 * (seed % 3)] = NOTHING
    values = rng.normal(size=(count, 3, 2)).astype(np.float32 if seed % 5 else np.float64)
    expected, asked = values[source], source != NOTHING
    moved = moved_rows(values, source)
    assert moved.shape == (n, 3, 2)
    np.testing.assert_array_equal(moved[asked], expected[asked])


def test_no_second_array_is_made():
    rng = np.random.default_rng(1)
    moved_rows(rng.normal(size=(3, 4, 1)), np.array([2, 0]))  # compiled before memory is counted
    source = rng.permutation(1200)[:1000]
    tracemalloc.start()
    try:
        values = rng.normal(size=(1200, 500, 1))
        size = values.nbytes
        moved = moved_rows(values, source)
        now, peak = tracemalloc.get_traced_memory()
        assert peak < 1.02 * size and now < 1.02 * moved.nbytes
    finally:
        tracemalloc.stop()


def test_empty_rows():
    assert moved_rows(np.empty((5, 0, 2)), np.array([4, 4, 1])).shape == (3, 0, 2)

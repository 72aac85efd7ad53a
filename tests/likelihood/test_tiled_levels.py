"""Levels eliminated many at a time, against one by one and against dense matrices."""

import numpy as np
import pytest

from bayeslmm.likelihood.single_term import reduce_single
from bayeslmm.likelihood.tiled_levels import MOST, TILE, levels_last, reduce_levels

ROUNDING = 1e-10


def products(n_levels, size, p, seed=0):
    """Cross-products of random columns, and a factor: z (J, S, S), xy (J, S, p + 1), total, lambda."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_levels, 3, size + p + 1))
    found = rows.transpose(0, 2, 1) @ rows
    z, xy = np.ascontiguousarray(found[:, :size, :size]), np.ascontiguousarray(found[:, :size, size:])
    factor = np.tril(rng.normal(size=(size, size))) + np.eye(size)
    return z, xy, found[:, size:, size:].sum(axis=0), factor


@pytest.mark.parametrize("n_levels", [2, TILE - 1, TILE, 3 * TILE + 5])
@pytest.mark.parametrize(("size", "p"), [(1, 0), (1, 2), (2, 2), (3, 1), (4, 6)])
def test_what_levels_one_by_one_leave(n_levels, size, p):
    z, xy, total, factor = products(n_levels, size, p)
    total += np.eye(p + 1)
    schur, expected = np.zeros((p + 1, p + 1)), np.zeros((p + 1, p + 1))
    log_det = reduce_levels(levels_last(z), levels_last(xy), total, factor, schur)
    assert log_det == pytest.approx(reduce_single(z, xy, total, factor, z.copy(), xy.copy(), expected), rel=ROUNDING)
    np.testing.assert_allclose(np.tril(schur), np.tril(expected), rtol=1e-8, atol=1e-8)


def test_dense_matrices():
    z, xy, total, factor = products(70, 2, 2)
    total += np.eye(3)
    omega = factor.T @ z @ factor + np.eye(2)
    scaled = factor.T @ xy
    rest = total - np.sum(scaled.transpose(0, 2, 1) @ np.linalg.solve(omega, scaled), axis=0)
    schur = np.zeros((3, 3))
    log_det = reduce_levels(levels_last(z), levels_last(xy), total, factor, schur)
    assert log_det == pytest.approx(np.linalg.slogdet(omega)[1].sum(), rel=ROUNDING)
    np.testing.assert_allclose(np.tril(schur) @ np.tril(schur).T, rest, rtol=1e-8)


def test_products_of_pivots_do_not_overflow():
    """A thousand tiles of large pivots: their product has tens of thousands of digits."""
    n_levels = 1000 * TILE
    z, xy, total = np.full((1, 1, n_levels), 1e30), np.zeros((1, 1, n_levels)), np.eye(1)
    log_det = reduce_levels(z, xy, total, np.eye(1), np.zeros((1, 1)))
    assert MOST > 1e30
    assert log_det == pytest.approx(n_levels * np.log(1e30), rel=ROUNDING)


@pytest.mark.parametrize("value", [-5.0, np.nan])
def test_a_pivot_that_is_not_positive(value):
    z, xy, total, factor = products(100, 2, 1)
    z[40, 1, 1] = value
    assert np.isnan(reduce_levels(levels_last(z), levels_last(xy), total, factor, np.zeros((2, 2))))

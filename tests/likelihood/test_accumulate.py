"""One pass over the rows: the compiled loops against numpy."""

import numpy as np
import pytest

from bayeslmm.design.centring import Centring, find_centring, no_centring
from bayeslmm.likelihood.accumulate import (
    add_by_level,
    add_effects,
    add_nest,
    add_weighted,
    move_columns,
    sum_squares,
    weighted_products,
)
from bayeslmm.likelihood.columns import column_map

ROUNDING = 1e-12  # relative: sums in another order


@pytest.mark.parametrize("weighted", [False, True])
def test_columns_are_moved_to_the_last_digit(weighted):
    rng = np.random.default_rng(1)
    columns, means, scales = rng.normal(5, 2, (40, 3)), rng.normal(size=3), rng.uniform(0.5, 2, 3)
    root = rng.uniform(0.5, 2, 40) if weighted else np.zeros(0)
    out = np.full((40, 4), 7.0)
    move_columns(columns, means, scales, root, out)
    expected = (columns - means) / scales * (root[:, None] if weighted else 1.0)
    np.testing.assert_array_equal(out[:, :3], expected)
    assert (out[:, 3] == 7.0).all()


def test_both_sides_of_a_nest_are_added_as_apart():
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 6, 50).astype(np.int32)
    left, related, xy = rng.normal(size=(50, 2)), rng.normal(size=(50, 3)), rng.normal(size=(50, 4))
    left[::7] = 0.0
    expected, expected_xy = np.zeros((6, 2, 3)), np.zeros((6, 2, 4))
    add_by_level(codes, left, related, expected)
    add_by_level(codes, left, xy, expected_xy)
    found, found_xy = np.zeros((6, 2, 3)), np.zeros((6, 2, 4))
    add_nest(codes, left, related, xy, found, found_xy)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_xy, expected_xy)


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 2.0, 30)])
@pytest.mark.parametrize("seen_often", [False, True])
def test_scales_are_root_mean_squares(seen_often, weights):
    columns = np.random.default_rng(3).normal(4, 2, (30, 2))
    if seen_often:
        columns = np.broadcast_to(columns[0], (30, 2))
    centring = Centring(np.zeros(2), np.array([0.0, 1.5]))
    w = np.ones(30) if weights is None else weights
    expected = np.sqrt(np.sum(w[:, None] * (columns - centring.means) ** 2, axis=0) / 30)
    np.testing.assert_allclose(column_map(columns, centring, weights).scale, expected, rtol=ROUNDING)
    squares = sum_squares(columns, centring.means, np.zeros(0) if weights is None else weights)
    np.testing.assert_allclose(squares, expected**2 * 30, rtol=ROUNDING)


def test_a_column_of_zeros_keeps_its_scale():
    assert column_map(np.zeros((5, 1)), no_centring(1), None).scale.tolist() == [1.0]


@pytest.mark.parametrize("change", [0, 99, 150, 299])
def test_a_column_that_changes_in_one_row_is_no_constant(change):
    columns = np.column_stack([np.full(300, 2.0), np.arange(300.0)])
    assert find_centring(columns).constant.tolist() == [0.5, 0.0]
    columns[change, 0] = 2.5
    assert not find_centring(columns).spans_constant


@pytest.mark.parametrize(("size", "width"), [(1, 1), (1, 2), (2, 1), (2, 4)])
def test_weighted_products_are_those_of_matrices(size, width):
    """One column beside one, and few products in all, have loops of their own."""
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 6, 50).astype(np.int32)
    weights, left, right = rng.normal(size=50), rng.normal(size=(50, size)), rng.normal(size=(50, width))
    found = np.zeros((6, size, width))
    add_weighted(codes, weights, left, right, found)
    expected = [(weights * (codes == j) * left.T) @ right for j in range(6)]
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(weighted_products(weights, left, right), sum(expected), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("size", [1, 2])
def test_effects_reach_the_rows_of_their_level_only(size):
    rng = np.random.default_rng(5)
    codes = rng.integers(-1, 6, 50).astype(np.int32)
    columns, effects = rng.normal(size=(50, size)), rng.normal(size=(6, size))
    found = np.full(50, 7.0)
    add_effects(codes, columns, effects, found)
    expected = np.where(codes >= 0, np.sum(columns * effects[codes], axis=1), 0.0)
    np.testing.assert_allclose(found, 7.0 + expected, rtol=ROUNDING)

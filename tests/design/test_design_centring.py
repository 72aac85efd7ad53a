"""The constant in the span of columns, and the columns moved by their means."""

import numpy as np
import pytest

from bayeslmm.design.centring import find_centring

EXACT = 1e-12  # products of a few numbers of order one


@pytest.fixture
def x():
    return np.random.default_rng(3).normal(loc=4, size=30)


def test_an_intercept(x):
    centring = find_centring(np.column_stack([np.ones(30), x]))
    np.testing.assert_array_equal(centring.constant, [1, 0])
    np.testing.assert_allclose(centring.means, [0, x.mean()])
    moved = centring.apply(np.column_stack([np.ones(30), x]))
    assert abs(moved[:, 1].mean()) < EXACT


def test_indicators(x):
    indicators = np.eye(3)[np.arange(30) % 3]
    A = np.column_stack([indicators, x])
    centring = find_centring(A)
    np.testing.assert_array_equal(centring.constant, [1, 1, 1, 0])
    np.testing.assert_allclose(A @ centring.constant, 1)
    np.testing.assert_allclose(A @ centring.matrix, centring.apply(A), atol=EXACT)


def test_a_constant_made_of_two_columns(x):
    A = np.column_stack([x, 2 - x])
    centring = find_centring(A)
    np.testing.assert_allclose(A @ centring.constant, 1)


def test_no_constant(x):
    centring = find_centring(x[:, None])
    assert not centring.spans_constant
    np.testing.assert_array_equal(centring.apply(x[:, None]), x[:, None])
    assert not find_centring(np.empty((30, 0))).spans_constant


def test_the_matrix_has_determinant_one_and_its_inverse(x):
    centring = find_centring(np.column_stack([np.ones(30), x, x**2]), np.linspace(1, 2, 30))
    np.testing.assert_allclose(np.linalg.det(centring.matrix), 1)
    np.testing.assert_allclose(centring.matrix @ centring.inverse, np.eye(3), atol=EXACT)
    np.testing.assert_allclose(centring.means[1], np.average(x, weights=np.linspace(1, 2, 30)))

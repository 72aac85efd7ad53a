"""LAPACK without Python's lock: the same numbers as numpy's, and nothing else accepted."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.errors import FittingError
from bayeslmm.likelihood import lapack


def positive_definite(order, seed=0):
    root = np.random.default_rng(seed).standard_normal((order, order + 2))
    return np.asfortranarray(root @ root.T)


@pytest.mark.parametrize("order", [0, 1, 2, 37, 200])
def test_cholesky_and_inverse(order):
    matrix = positive_definite(order)
    factor = matrix.copy(order="F")
    assert lapack.cholesky(factor) == 0
    assert_allclose(np.tril(factor), np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-11)
    inverse = factor.copy(order="F")
    assert lapack.inverse_from_cholesky(inverse) == 0
    whole = np.tril(inverse) + np.tril(inverse, -1).T
    assert_allclose(whole @ matrix, np.eye(order), atol=1e-7)


@pytest.mark.parametrize("columns", [0, 1, 5])
def test_solve_transposed(columns):
    factor = np.asfortranarray(np.tril(positive_definite(20)) + 20 * np.eye(20))
    right = np.asfortranarray(np.random.default_rng(1).standard_normal((20, columns)))
    found = right.copy(order="F")
    assert lapack.solve_transposed(factor, found) == 0
    assert_allclose(factor.T @ found, right, atol=1e-10)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3)])
def test_small_solutions_take_any_order_of_memory(shape, order):
    whole = np.asarray(positive_definite(6), order=order)
    lower, right = whole[1:5, 1:5], np.asarray(np.random.default_rng(1).standard_normal(shape), order=order)
    before = whole.copy(), right.copy()
    found = lapack.solved_transposed(lower, right)
    assert_allclose(np.tril(lower).T @ found, right, atol=1e-10)
    assert (whole == before[0]).all()
    assert (right == before[1]).all()


def test_only_the_lower_triangle_is_read():
    matrix = positive_definite(30)
    spoilt = np.asfortranarray(np.tril(matrix) + np.triu(np.full((30, 30), np.nan), 1))
    assert lapack.cholesky(spoilt) == 0
    assert_allclose(np.tril(spoilt), np.linalg.cholesky(matrix), rtol=1e-9, atol=1e-11)


def test_the_place_of_the_first_pivot_that_is_not_positive():
    matrix = np.asfortranarray(np.diag([1.0, 2.0, -1.0, 1.0]))
    assert lapack.cholesky(matrix) == 3
    assert lapack.inverse_from_cholesky(np.asfortranarray(np.diag([1.0, 0.0]))) == 2
    assert lapack.solve_transposed(np.asfortranarray(np.diag([0.0, 1.0])), np.zeros((2, 1), order="F")) == 1


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((2, 3), order="F"),
        np.ones(4),
        np.eye(3, dtype=np.float32, order="F"),
        np.arange(9.0).reshape(3, 3),
        np.eye(6, order="F")[::2, ::2],
        np.broadcast_to(np.float64(1.0), (1, 1)),
    ],
    ids=["not square", "not a matrix", "single precision", "row-major", "strided", "read-only"],
)
def test_other_memory_is_refused(matrix):
    for routine in (lapack.cholesky, lapack.inverse_from_cholesky):
        with pytest.raises(FittingError, match="matrix"):
            routine(matrix)


@pytest.mark.parametrize("right", [np.zeros((3, 1), order="F"), np.zeros((2, 2)), np.zeros(2)])
def test_right_hand_sides_that_do_not_fit(right):
    with pytest.raises(FittingError, match="right-hand"):
        lapack.solve_transposed(np.eye(2, order="F"), right)


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("width", [0, 3, 7])
def test_products_are_subtracted_from_the_upper_triangle_alone(count, width):
    rng = np.random.default_rng(2)
    rows, matrix = rng.standard_normal((count, width)), rng.standard_normal((7, 7))
    found = matrix.copy()
    lapack.subtract_gram(rows, found)
    expected = matrix.copy()
    expected[:width, :width] -= np.triu(rows.T @ rows)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [np.ones((3, 8)), np.ones((7, 3)).T, np.ones((2, 3), dtype=np.float32)])
def test_products_of_other_rows_are_refused(rows):
    with pytest.raises(FittingError, match="rows must be doubles in C order"):
        lapack.subtract_gram(rows, np.zeros((7, 7)))

"""The likelihood of a single term in compiled loops is that of LAPACK, and its search takes the same steps."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "likelihood"))
import dense

import bayeslmm as blm
from bayeslmm.covariance import DIAGONAL, FULL
from bayeslmm.inference.nuts.starting import starting_factors
from bayeslmm.inference.optimum import profiled
from bayeslmm.inference.optimum.compiled_point import covariance_slope, empty_point, evaluate
from bayeslmm.inference.optimum.compiled_search import search_factor
from bayeslmm.inference.optimum.compiled_terms import room, terms_of
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.inference.optimum.profiled import Likelihood, is_single, minimise_likelihood
from bayeslmm.inference.optimum.search import Record, minimise, tolerance_of
from bayeslmm.likelihood import Kernel

ROUNDING = 1e-10  # relative: the same sums in another order


def single(size, correlated, p=2, levels=9, seed=3):
    return Kernel.build(*single_arrays(size, correlated, p, levels, seed))


def single_arrays(size, correlated, p=2, levels=9, seed=3):
    rng = np.random.default_rng(seed)
    n = 12 * levels
    Z = np.column_stack([np.ones(n), rng.normal(size=(n, size - 1))])
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    codes = rng.permutation(np.arange(n) % levels).astype(np.int32)
    y = X.sum(axis=1) + np.einsum("ns,ns->n", Z, rng.normal(size=(levels, size))[codes]) + rng.normal(size=n)
    return y, X, [dense.Term(codes, Z, levels, correlated)], rng.uniform(0.5, 2.0, n)


def compiled_point(kernel, factor, method, sigma):
    """Return the point at a factor and the slope by the covariance there, and whether digits were lost."""
    term, point = terms_of(kernel, method, sigma), empty_point(len(factor))
    work = room(term, 0)
    point.factor[:] = factor
    evaluate(term, point, work)
    return point, covariance_slope(term, point.factor, work), bool(work.tally[1])


def dense_slope(arrays, factor, method, sigma):
    """Return the sum over levels of Z_j'MZ_j - Z_j'V^-1 r r'V^-1 Z_j / sigma^2, V the n x n matrix over sigma^2."""
    kernel = Kernel.build(*arrays)
    y, X, (term,), weights = arrays
    root = np.sqrt(weights)[:, None]
    X, Z = root * kernel.fixed.apply(X), root * kernel.maps[0].apply(term.columns)
    blocks = np.eye(term.n_levels)[term.codes]
    Z = np.einsum("nj,ns->jns", blocks, Z)
    V = np.eye(len(y)) + np.einsum("jns,st,jmt->nm", Z, factor @ factor.T, Z)
    inverse = np.linalg.inv(V)
    projected = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    r = projected @ (root[:, 0] * (y - kernel.y_mean))
    if sigma is None:
        sigma = np.sqrt(r @ V @ r / (len(y) - (X.shape[1] if method == "reml" else 0)))
    middle = (projected if method == "reml" else inverse) - np.outer(r, r) / sigma**2
    return np.einsum("jns,nm,jmt->st", Z, middle, Z)


SINGULAR = {
    1: [np.zeros((1, 1))],
    2: [np.zeros((2, 2)), np.array([[0.8, 0.0], [-0.5, 0.0]]), np.diag([0.0, 0.6])],
    3: [np.zeros((3, 3)), np.array([[0.8, 0.0, 0.0], [-0.5, 1e-9, 0.0], [0.3, 0.2, 0.0]]), np.diag([0.7, 0.0, 0.4])],
}


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_derivatives_at_singular_factors_are_those_of_dense_matrices(size, sigma, method):
    arrays = single_arrays(size, True)
    kernel = Kernel.build(*arrays)
    for factor in SINGULAR[size]:
        expected = dense_slope(arrays, factor, method, sigma)
        scale = np.abs(expected).max()
        point, slope, _ = compiled_point(kernel, factor, method, sigma)
        np.testing.assert_allclose(slope, expected, rtol=1e-9, atol=1e-9 * scale)
        np.testing.assert_allclose(point.slope, 2 * expected @ factor, rtol=1e-9, atol=1e-9 * scale)
        value = point.numbers[0] - kernel.products.log_weights
        assert value == pytest.approx(Likelihood(kernel, method, sigma).value([factor]), rel=ROUNDING)


def test_a_singular_fit_asks_the_compiled_loops_alone(monkeypatch):
    y, X, terms, weights = single_arrays(2, True)
    kernel = Kernel.build(X.sum(axis=1) + np.sin(7.0 * np.arange(len(y))), X, terms, weights)
    expected = maximise(kernel, "reml")
    assert expected.code == "boundary"
    for name in ("evaluate", "factor_gradients", "covariance_gradients"):
        monkeypatch.delattr(profiled, name)
    assert maximise(kernel, "reml").objective == expected.objective


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize(("size", "correlated"), [(1, False), (2, True), (3, True), (3, False)])
def test_everything_at_a_point_is_that_of_lapack(size, correlated, sigma, method):
    kernel = single(size, correlated)
    rng = np.random.default_rng(1)
    factor = np.tril(rng.normal(size=(size, size))) + 2 * np.eye(size)
    if not correlated:
        factor = np.diag(np.diag(factor))
    compiled, _, _ = compiled_point(kernel, factor, method, sigma)
    expected = Likelihood(kernel, method, sigma).point([factor])
    assert compiled.numbers[0] - kernel.products.log_weights == pytest.approx(expected.value, rel=ROUNDING)
    assert compiled.numbers[1] == pytest.approx(expected.sigma, rel=ROUNDING)
    np.testing.assert_allclose(compiled.slope, expected.slopes[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(compiled.excess, expected.excess[0], rtol=1e-9, atol=1e-9)
    known = kernel.shapes[0].n_levels - np.diag(expected.inverse_sums[0])
    np.testing.assert_allclose(compiled.known, known, rtol=1e-9, atol=1e-9)


def searched(kernel, method, sigma=None):
    """Return the minimum and the record of the compiled search, and those of the general one."""
    records = Record(), Record()
    found = minimise_likelihood(kernel, method, sigma, records[0])
    start = starting_factors(kernel.products, sigma)
    return (found, records[0]), (minimise(Likelihood(kernel, method, sigma), start, records[1]), records[1])


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("correlated", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_search_takes_the_same_steps(size, correlated, sigma, method):
    kernel = single(size, correlated)
    (found, record), (expected, known) = searched(kernel, method, sigma)
    assert len(record.values) == len(known.values)
    np.testing.assert_allclose(record.values, known.values, rtol=ROUNDING)
    np.testing.assert_allclose(kernel.thetas(record.lambdas), kernel.thetas(known.lambdas), rtol=1e-6, atol=1e-8)
    assert found.value == pytest.approx(expected.value, rel=ROUNDING)
    assert found.sigma == pytest.approx(expected.sigma, rel=1e-7)
    assert (found.singular, found.converged) == (expected.singular, expected.converged)


def compiled_search(kernel, method, sigma, kept=1_000):
    """Return where the search in compiled loops ends, and its record."""
    term, start = terms_of(kernel, method, sigma), starting_factors(kernel.products, sigma)[0]
    work, point = room(term, kept), empty_point(len(start))
    point.factor[:] = start
    search_factor(term, point, tolerance_of(kernel.shapes), work)
    return point, work


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("correlated", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_search_in_compiled_loops_takes_the_same_steps(size, correlated, sigma, method):
    kernel = single(size, correlated)
    point, work = compiled_search(kernel, method, sigma)
    _, (expected, known) = searched(kernel, method, sigma)
    count, lost = work.tally
    assert not lost
    np.testing.assert_allclose(work.values[:count] - kernel.products.log_weights, known.values, rtol=ROUNDING)
    factors = [(factor,) for factor in work.factors[:count]]
    np.testing.assert_allclose(kernel.thetas(factors), kernel.thetas(known.lambdas), rtol=1e-6, atol=1e-8)
    assert point.numbers[1] == pytest.approx(expected.sigma, rel=1e-7)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize(("size", "correlated"), [(1, True), (2, True), (2, False), (3, True), (4, True)])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_search_ends_on_the_same_boundary(rank, size, correlated, method):
    y, X, terms, weights = single_arrays(size, correlated)
    rng = np.random.default_rng(rank)
    effects = rng.normal(size=(9, rank)) @ rng.normal(size=(rank, size))
    y = np.einsum("ns,ns->n", terms[0].columns, effects[terms[0].codes]) + rng.normal(size=len(y))
    (found, _), (expected, _) = searched(Kernel.build(y, X, terms, weights), method)
    assert found.value == pytest.approx(expected.value, abs=1e-6)
    assert found.converged
    assert found.singular == expected.singular


def test_where_the_loops_are_used():
    assert is_single(single(2, True))
    assert is_single(single(2, True, p=30))
    assert not is_single(single(1, False, p=30, levels=1_000))
    crossed = blm.Model(
        "y ~ 1 + (1 | g) + (1 | h)", {"y": np.sin(np.arange(24)), "g": [0, 1, 2, 3] * 6, "h": [0] * 5 + [1] * 19}
    )
    assert not is_single(crossed.kernel)


@pytest.mark.parametrize("structure", [FULL, DIAGONAL])
@pytest.mark.parametrize("size", [1, 3])
def test_factors_of_many_roots_are_those_of_each(structure, size):
    roots = np.random.default_rng(2).normal(size=(5, size, size))
    roots[3] = 0.0
    expected = [structure.factor_of_root(root) for root in roots]
    np.testing.assert_allclose(structure.factor_of_root(roots), expected, atol=1e-14)


def test_thetas_of_many_points_are_those_of_each():
    kernel = single(3, True)
    points = [[np.tril(np.random.default_rng(k).normal(size=(3, 3)))] for k in range(4)]
    np.testing.assert_allclose(kernel.thetas(points), [kernel.theta(point) for point in points], atol=1e-14)


def test_nearly_collinear_columns_are_left_to_lapack():
    rng = np.random.default_rng(5)
    n = 108
    x = rng.normal(size=n)
    X = np.column_stack([np.ones(n), x, x + 1e-6 * rng.normal(size=n)])
    term = dense.Term((np.arange(n) % 9).astype(np.int32), np.ones((n, 1)), 9, False)
    kernel = Kernel.build(x + rng.normal(size=n), X, [term])
    assert compiled_point(kernel, np.eye(1), "reml", None)[2]
    (found, record), (expected, known) = searched(kernel, "reml")
    assert found.value == expected.value
    assert record.values == known.values


def test_a_compiled_search_says_that_its_room_has_run_out():
    _, work = compiled_search(single(2, True), "reml", None, kept=3)
    assert work.tally[1]


def test_a_term_of_zero_variance_leaves_the_gradient_of_the_others_exact():
    model = blm.Model(
        "y ~ 1 + (1 | g) + (1 | h)", {"y": np.sin(np.arange(24)), "g": [0, 1, 2, 3] * 6, "h": [0, 1] * 12}
    )
    target = Likelihood(model.kernel, "reml", None)
    lambdas = [np.zeros((1, 1)), np.full((1, 1), 0.7)]
    found = target.point(lambdas)
    by_covariance = target.covariance_slopes(lambdas)
    assert found.slopes[0] == 0
    np.testing.assert_allclose(found.slopes[1], 2 * by_covariance[1] * 0.7, rtol=1e-6)

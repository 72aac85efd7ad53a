"""The likelihood of a single term in compiled loops is that of LAPACK, and the search takes the same steps."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "likelihood"))
import dense

import bayeslmm as blm
from bayeslmm.covariance import DIAGONAL, FULL
from bayeslmm.inference.optimum import profiled
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.inference.optimum.profiled import CompiledLikelihood, Likelihood, likelihood_of
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
    target = CompiledLikelihood(Kernel.build(*arrays), method, sigma)
    for factor in SINGULAR[size]:
        expected = dense_slope(arrays, factor, method, sigma)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(target.covariance_slopes([factor])[0], expected, rtol=1e-9, atol=1e-9 * scale)
        point = target.point([factor])
        np.testing.assert_allclose(point.slopes[0], 2 * expected @ factor, rtol=1e-9, atol=1e-9 * scale)
        assert point.value == pytest.approx(Likelihood(target.kernel, method, sigma).value([factor]), rel=ROUNDING)
        assert target.value([factor]) == pytest.approx(point.value, rel=ROUNDING)


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
    compiled = CompiledLikelihood(kernel, method, sigma).point([factor])
    expected = Likelihood(kernel, method, sigma).point([factor])
    assert compiled.value == pytest.approx(expected.value, rel=ROUNDING)
    assert compiled.sigma == pytest.approx(expected.sigma, rel=ROUNDING)
    for name in ("slopes", "excess", "inverse_sums"):
        np.testing.assert_allclose(getattr(compiled, name)[0], getattr(expected, name)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_search_takes_the_same_steps(monkeypatch, size, method):
    kernel = single(size, True)
    found = maximise(kernel, method)
    monkeypatch.setattr(profiled.CompiledLikelihood, "point", Likelihood.point)
    expected = maximise(kernel, method)
    assert found.n_evaluations == expected.n_evaluations
    np.testing.assert_allclose(found.thetas, expected.thetas, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.objectives, expected.objectives, rtol=ROUNDING)


def test_where_the_loops_are_used():
    assert type(likelihood_of(single(2, True), "ml", None)) is CompiledLikelihood
    assert type(likelihood_of(single(2, True, p=30), "ml", None)) is CompiledLikelihood
    assert type(likelihood_of(single(1, False, p=30, levels=1_000), "ml", None)) is Likelihood
    crossed = blm.Model(
        "y ~ 1 + (1 | g) + (1 | h)", {"y": np.sin(np.arange(24)), "g": [0, 1, 2, 3] * 6, "h": [0] * 5 + [1] * 19}
    )
    assert type(likelihood_of(crossed.kernel, "ml", None)) is Likelihood


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
    found, expected = (cls(kernel, "reml", None).point([np.eye(1)]) for cls in (CompiledLikelihood, Likelihood))
    assert found.value == expected.value

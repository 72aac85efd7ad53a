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
    rng = np.random.default_rng(seed)
    n = 12 * levels
    Z = np.column_stack([np.ones(n), rng.normal(size=(n, size - 1))])
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    codes = rng.permutation(np.arange(n) % levels).astype(np.int32)
    y = X.sum(axis=1) + np.einsum("ns,ns->n", Z, rng.normal(size=(levels, size))[codes]) + rng.normal(size=n)
    return Kernel.build(y, X, [dense.Term(codes, Z, levels, correlated)], rng.uniform(0.5, 2.0, n))


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

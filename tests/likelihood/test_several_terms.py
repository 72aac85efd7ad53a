"""Several terms with few effects in compiled loops, against dense matrices."""

import dense
import numpy as np
import pytest

from bayeslmm.covariance import theta_from_factors
from bayeslmm.inference.optimum.compiled_point import covariance_slope, empty_point, evaluate
from bayeslmm.inference.optimum.compiled_terms import room, terms_of
from bayeslmm.inference.optimum.profiled import Likelihood
from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.marginal import covariance_gradients

ROUNDING = 1e-9  # relative: other sums in another order
EXTRAPOLATED = 1e-5  # relative: the general way to the derivative at a singular factor

LAYOUTS = [name for name in dense.LAYOUTS if name not in ("none", "scalar", "vector", "slope only", "uncorrelated")]


def random_factors(kernel, rng):
    found = []
    for shape in kernel.shapes:
        factor = np.tril(rng.normal(size=(shape.n_columns,) * 2)) + np.eye(shape.n_columns)
        found.append(factor * np.eye(shape.n_columns) if shape.n_theta == shape.n_columns else factor)
    return found


def point_at(kernel, factors, method, sigma):
    """Return the point at factors, and the slope by the covariance there, in loops."""
    terms = terms_of(kernel, method, sigma)
    work, point = room(terms, 0), empty_point(len(terms.effects.term))
    for first, factor in zip(firsts(factors), factors, strict=True):
        point.factor[first : first + len(factor), first : first + len(factor)] = factor
    evaluate(terms, point, work)
    slope = covariance_slope(terms, point.factor, work)
    assert not work.tally[1]
    return point, slope


def in_kernels_columns(kernel, y, X, terms):
    """Return y, X and the terms as the kernel sees them."""
    moved = [
        dense.Term(t.codes, columns.apply(t.columns), t.n_levels, t.correlated)
        for t, columns in zip(terms, kernel.maps, strict=True)
    ]
    return y - kernel.y_mean, kernel.fixed.apply(X), moved


def firsts(factors):
    return np.cumsum([0, *(len(factor) for factor in factors)])[:-1]


def on_the_diagonal(matrix, factors):
    return [matrix[a : a + len(f), a : a + len(f)] for a, f in zip(firsts(factors), factors, strict=True)]


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_objective_and_gradient_are_those_of_dense_matrices(layout, sigma, method):
    y, X, terms, weights = dense.simulate(3, layout, weights=True)
    kernel = Kernel.build(y, X, terms, weights)
    lambdas = random_factors(kernel, np.random.default_rng(1))
    theta = theta_from_factors(lambdas, kernel.shapes)
    expected = dense.solve(*in_kernels_columns(kernel, y, X, terms), theta, method, weights, sigma)
    point, slope = point_at(kernel, lambdas, method, sigma)
    assert point.numbers[0] - kernel.products.log_weights == pytest.approx(expected.objective, rel=ROUNDING)
    assert point.numbers[1] == pytest.approx(expected.sigma, rel=ROUNDING)
    slopes = on_the_diagonal(point.slope, lambdas)
    for own, found, by_covariance in zip(lambdas, slopes, on_the_diagonal(slope, lambdas), strict=True):
        np.testing.assert_allclose(found, 2.0 * by_covariance @ own, rtol=ROUNDING, atol=ROUNDING)
    by_theta = np.concatenate([found[shape.free_entries] for found, shape in zip(slopes, kernel.shapes, strict=True)])
    np.testing.assert_allclose(by_theta, expected.gradient, rtol=1e-7, atol=1e-7 * np.abs(expected.gradient).max())


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_derivatives_at_singular_factors(layout, method):
    y, X, terms, _ = dense.simulate(4, layout)
    kernel = Kernel.build(y, X, terms)
    rng = np.random.default_rng(2)
    for zero in range(len(terms) + 1):
        lambdas = random_factors(kernel, rng)
        for k, factor in enumerate(lambdas):
            if k == zero:
                factor[:] = 0.0
            factor[-1, -1] = 0.0
        _, slope = point_at(kernel, lambdas, method, None)
        expected = covariance_gradients(kernel.products, lambdas, method)
        for shape, found, known in zip(kernel.shapes, on_the_diagonal(slope, lambdas), expected, strict=True):
            both = [np.diag(m) if shape.n_theta == shape.n_columns else m for m in (found, known)]
            np.testing.assert_allclose(*both, rtol=EXTRAPOLATED, atol=EXTRAPOLATED * np.abs(known).max())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_excess_and_knowledge_are_those_of_the_kernel(layout):
    """The excess is J I less the sums of C and of u u' / sigma^2; what the data know is J less the sum of C."""
    y, X, terms, _ = dense.simulate(5, layout)
    kernel = Kernel.build(y, X, terms)
    lambdas = random_factors(kernel, np.random.default_rng(3))
    point, _ = point_at(kernel, lambdas, "reml", None)
    expected = Likelihood(kernel, "reml", None).point(lambdas)
    for shape, found, known in zip(kernel.shapes, on_the_diagonal(point.excess, lambdas), expected.excess, strict=True):
        both = [np.diag(m) if shape.n_theta == shape.n_columns else m for m in (found, known)]
        np.testing.assert_allclose(*both, rtol=ROUNDING, atol=1e-8)
    known = [shape.n_levels - np.diag(c) for shape, c in zip(kernel.shapes, expected.inverse_sums, strict=True)]
    np.testing.assert_allclose(point.known, np.concatenate(known), rtol=1e-7, atol=1e-8)

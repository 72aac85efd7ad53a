"""The kernel against a dense reference written from the equations."""

from itertools import pairwise

import dense
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslmm.likelihood import Kernel

EXACT = 1e-9  # relative: both sides solve the same equations in double precision at condition numbers below 1e5
SHIFTED = 1e-5  # relative, for columns at x + 1e4: the dense side, uncentred, loses eight digits of sixteen to X'X


def close(found, expected, tolerance=EXACT, unit=None):
    """Whether two arrays agree relative to the largest element (or to `unit`)."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if expected.size:
        scale = np.abs(expected).max() if unit is None else unit
        assert np.abs(found - expected).max() <= tolerance * max(scale, 1e-30)


def check_everything(y, X, terms, theta, method, weights, sigma, tolerance=EXACT):
    """Compare value, gradient, coefficients, modes and variances at one theta."""
    kernel = Kernel.build(y, X, terms, weights)
    expected = dense.solve(y, X, terms, theta, method, weights, sigma)
    close(kernel.objective(theta, method, sigma), expected.objective, tolerance, max(abs(expected.objective), len(y)))
    # the gradient is a difference of sums over the levels and rows: their number is its unit
    unit = max(len(y), np.abs(expected.gradient).max(initial=0.0))
    close(kernel.gradient(theta, method, sigma), expected.gradient, tolerance, unit)
    found = kernel.conditional(theta, method, sigma)
    close(found.sigma, expected.sigma, tolerance)
    close(found.beta, expected.beta, tolerance)
    close(found.beta_cov, expected.beta_cov, tolerance)
    lams = dense.factors(theta, terms)
    for b, u, cov, lam, b_expected, cov_expected in zip(
        found.b, found.u, found.b_cov, lams, expected.b, expected.b_cov, strict=True
    ):
        close(b, b_expected, tolerance, max(np.abs(b_expected).max(), expected.sigma * np.abs(lam).max()))
        close(u @ lam.T, b, tolerance, max(np.abs(b).max(), expected.sigma * np.abs(lam).max()))
        close(cov, cov_expected, tolerance, (expected.sigma * np.abs(lam).max()) ** 2)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("sigma", [None, 0.8])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", dense.LAYOUTS)
def test_all_quantities_at_a_regular_theta(layout, weighted, sigma, method):
    y, X, terms, weights = dense.simulate(1, layout, weights=weighted)
    theta = np.random.default_rng(2).uniform(0.2, 1.5, dense.n_theta(terms))
    check_everything(y, X, terms, theta, method, weights, sigma)


@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("kind", ["zero", "zero pivot", "tiny", "large", "negative"])
@pytest.mark.parametrize("layout", [name for name in dense.LAYOUTS if name != "none"])
def test_all_quantities_at_extreme_thetas(layout, kind, method):
    y, X, terms, _ = dense.simulate(3, layout)
    rng = np.random.default_rng(4)
    theta = rng.uniform(0.2, 1.5, dense.n_theta(terms))
    diagonal = np.array([row == col for term in terms for row, col in dense.free_positions(term)])
    match kind:
        case "zero":
            theta[:] = 0.0
        case "zero pivot":
            theta[np.flatnonzero(diagonal)[-1]] = 0.0
        case "tiny":
            theta[diagonal] = 1e-7
        case "large":
            theta[diagonal] *= 30.0
        case "negative":
            theta[diagonal] *= -1.0
    check_everything(y, X, terms, theta, method, None, None)


@pytest.mark.parametrize("layout", [name for name in dense.LAYOUTS if name != "none"])
@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("singular", [False, True])
def test_gradient_is_the_derivative_of_the_objective(layout, method, singular):
    y, X, terms, weights = dense.simulate(5, layout, weights=True)
    kernel = Kernel.build(y, X, terms, weights)
    theta = np.random.default_rng(6).uniform(0.2, 1.5, kernel.n_theta)
    if singular:
        theta[-1] = 0.0
    found = kernel.gradient(theta, method)
    step = 2e-2
    expected = np.empty_like(found)
    for k, direction in enumerate(np.eye(kernel.n_theta)):
        halved = [
            (kernel.objective(theta + h * direction, method) - kernel.objective(theta - h * direction, method))
            / (2 * h)
            for h in step / 2.0 ** np.arange(5)
        ]
        for order in range(1, 5):  # Richardson: each round removes the next even power of the step
            halved = [(4**order * near - far) / (4**order - 1) for far, near in pairwise(halved)]
        expected[k] = halved[0]
    # rounding of f (1e-13) over the smallest step (1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=2e-8)


@pytest.mark.parametrize("layout", ["none", "vector", "nested vector", "crossed vector", "crossed sparse"])
@pytest.mark.parametrize("method", ["ml", "reml"])
def test_no_fixed_columns(layout, method):
    y, _, terms, weights = dense.simulate(7, layout, weights=True)
    theta = np.random.default_rng(8).uniform(0.2, 1.5, dense.n_theta(terms))
    check_everything(y, np.zeros((len(y), 0)), terms, theta, method, weights, None)


@pytest.mark.parametrize("layout", ["vector", "nested vector", "crossed vector", "three factors"])
@pytest.mark.parametrize("method", ["ml", "reml"])
def test_far_from_the_origin(layout, method):
    y, X, terms, _ = dense.simulate(9, layout, shift=1e4)
    lams = [np.diag(np.r_[1.0, np.full(t.columns.shape[1] - 1, 1e-4)]) for t in terms]
    theta = [lam[at] for lam, t in zip(lams, terms, strict=True) for at in dense.free_positions(t)]
    check_everything(y, X, terms, np.array(theta), method, None, None, tolerance=SHIFTED)


@st.composite
def designs(draw):
    """A random design: rows, fixed columns, one to three terms on factors of any balance, weights, theta."""
    n = draw(st.integers(12, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p = draw(st.integers(0, 3))
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])[:, :p]
    codes: list[np.ndarray] = []
    terms = []
    for _ in range(draw(st.integers(1, 3))):
        n_levels = draw(st.integers(1, 12))
        if codes and draw(st.booleans()):
            own = codes[-1] * n_levels + rng.integers(0, n_levels, n)  # nested in the factor before
            own = np.unique(own, return_inverse=True)[1]
        else:
            own = np.minimum(rng.geometric(0.3, n) - 1, n_levels - 1)  # unbalanced, some levels empty
        codes.append(own)
        size = draw(st.integers(1, 3))
        columns = np.column_stack([np.ones(n), rng.normal(size=(n, 3))])[:, draw(st.integers(0, 1)) :][:, :size]
        levels = int(own.max()) + 1 + draw(st.integers(0, 2))
        terms.append(
            dense.Term(own.astype(np.int32), np.ascontiguousarray(columns), levels, size == 1 or draw(st.booleans()))
        )
    theta = rng.uniform(-1.0, 1.5, dense.n_theta(terms))
    theta[rng.uniform(size=len(theta)) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 0.0
    weights = rng.uniform(0.2, 4.0, n) if draw(st.booleans()) else None
    y = 3.0 + rng.normal(size=n) * draw(st.sampled_from([1.0, 100.0]))
    sigma = draw(st.sampled_from([None, 1.3]))
    return y, X, terms, theta, weights, sigma


@given(designs(), st.sampled_from(["ml", "reml"]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_random_designs(design, method):
    y, X, terms, theta, weights, sigma = design
    check_everything(y, X, terms, theta, method, weights, sigma)

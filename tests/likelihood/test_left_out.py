"""Densities of left-out rows and sets against the conditional normal distribution, from the whole covariance matrix."""

import dense
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.left_out import DataRows, Sets, row_parts, rows_left_out
from bayeslmm.likelihood.normal_prior import NormalPrior, fixed_posterior
from bayeslmm.likelihood.sets_left_out import sets_left_out

CLOSE = 1e-7  # two ways of solving the same equations
SIGMAS = np.array([0.7, 1.3])


def covariance(terms, X, weights, theta, sigma, prior_cov):
    """V of y under the model, (n, n)."""
    V = np.diag(sigma**2 / weights) + X @ prior_cov @ X.T
    for term, factor in zip(terms, dense.factors(theta, terms), strict=True):
        Z = dense.indicator(term)
        V += sigma**2 * Z @ np.kron(np.eye(term.n_levels), factor @ factor.T) @ Z.T
    return V


def given_rest(y, mean, V, members):
    """log p(y_I | y_-I)."""
    rest = np.setdiff1d(np.arange(len(y)), members)
    gain = np.linalg.solve(V[np.ix_(rest, rest)], V[np.ix_(rest, members)]).T
    centre = mean[members] + gain @ (y[rest] - mean[rest])
    spread = V[np.ix_(members, members)] - gain @ V[np.ix_(rest, members)]
    return multivariate_normal(centre, spread).logpdf(y[members])


def given_all(y, mean, V, W, sigma, members):
    """The density of a repetition of the rows I at y_I: mean and covariance of their linear predictors given y."""
    noise = np.diag(sigma**2 / W)
    signal = V - noise
    centre = mean + signal @ np.linalg.solve(V, y - mean)
    spread = signal - signal @ np.linalg.solve(V, signal) + noise
    return multivariate_normal(centre[members], spread[np.ix_(members, members)]).logpdf(y[members])


def problem(layout, weighted):
    y, X, terms, _ = dense.simulate(7, layout, n=60)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.3, 2.0, len(y)) if weighted else None
    kernel = Kernel.build(y, X, terms, weights)
    W = np.ones(len(y)) if weights is None else weights
    theta = rng.uniform(0.3, 1.5, kernel.n_theta)
    # beta_user ~ N(m, B); beta_user = T beta + c mean(y)
    p = X.shape[1]
    m, B = rng.normal(size=p), np.diag(rng.uniform(0.2, 2.0, p))
    T, c = kernel.fixed.matrix, kernel.fixed.centring.constant * kernel.y_mean
    precision = T.T @ np.linalg.inv(B) @ T
    prior = NormalPrior(precision, np.linalg.solve(T, m - c), float(np.linalg.slogdet(precision)[1]), p)
    factor = factorise(kernel.products, kernel.lambdas(theta))
    posterior = fixed_posterior(factor, prior)
    data = DataRows(y, X, tuple(t.codes for t in terms), tuple(t.columns for t in terms), np.sqrt(W))
    Vs = [covariance(terms, X, W, theta, sigma, B) for sigma in SIGMAS]
    return kernel, factor, posterior, data, X @ m, Vs, W


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", dense.LAYOUTS)
def test_rows(layout, weighted):
    kernel, _, posterior, data, mean, Vs, W = problem(layout, weighted)
    out, within = rows_left_out(row_parts(kernel, posterior, data), posterior, SIGMAS)
    every = range(len(data.y))
    for k, (V, sigma) in enumerate(zip(Vs, SIGMAS, strict=True)):
        np.testing.assert_allclose(out[k], [given_rest(data.y, mean, V, [i]) for i in every], rtol=CLOSE)
        np.testing.assert_allclose(within[k], [given_all(data.y, mean, V, W, sigma, [i]) for i in every], rtol=CLOSE)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", dense.LAYOUTS)
@pytest.mark.parametrize("kind", ["large", "small", "levels"])
def test_sets(layout, weighted, kind):
    """More rows than coefficients, fewer, and whole levels, of which cross-products are enough."""
    kernel, factor, posterior, data, mean, Vs, W = problem(layout, weighted)
    count = {"large": 7, "small": 40, "levels": 5}[kind]
    codes = np.random.default_rng(2).permutation(len(data.y)) % count
    if kind == "levels" and data.codes:
        codes = np.unique(data.codes[0], return_inverse=True)[1]
        count = int(codes.max()) + 1
    sets = Sets.of(codes, count)
    parts = row_parts(kernel, posterior, data, leverages=False)
    out, within = sets_left_out(factor, parts, posterior, SIGMAS, sets)
    for k, (V, sigma) in enumerate(zip(Vs, SIGMAS, strict=True)):
        members = [np.flatnonzero(codes == u) for u in range(count)]
        np.testing.assert_allclose(out[k], [given_rest(data.y, mean, V, i) for i in members], rtol=CLOSE)
        np.testing.assert_allclose(within[k], [given_all(data.y, mean, V, W, sigma, i) for i in members], rtol=CLOSE)


def test_a_row_that_alone_identifies_a_flat_coefficient_cannot_be_left_out():
    y, X, terms, _ = dense.simulate(7, "scalar", n=30)
    X = np.column_stack([X, np.eye(30)[4]])
    kernel = Kernel.build(y, X, terms)
    flat = NormalPrior(np.zeros((X.shape[1],) * 2), np.zeros(X.shape[1]), 0.0, 0)
    factor = factorise(kernel.products, kernel.lambdas(np.full(kernel.n_theta, 0.5)))
    posterior = fixed_posterior(factor, flat)
    data = DataRows(y, X, tuple(t.codes for t in terms), tuple(t.columns for t in terms), np.ones(30))
    out, _ = rows_left_out(row_parts(kernel, posterior, data), posterior, SIGMAS)
    assert list(np.flatnonzero(~np.isfinite(out[0]))) == [4]
    sets = Sets.of(np.arange(30) // 3, 10)
    parts = row_parts(kernel, posterior, data, leverages=False)
    assert list(np.flatnonzero(~np.isfinite(sets_left_out(factor, parts, posterior, SIGMAS, sets)[0][0]))) == [1]

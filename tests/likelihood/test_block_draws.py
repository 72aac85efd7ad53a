"""Weighted draws of coefficients and random effects against integration over all of them."""

from itertools import product

import dense
import dense_generalized
import numpy as np
import pytest
from scipy import stats
from scipy.linalg import block_diag

from bayeslmm.families import Request, family
from bayeslmm.likelihood.generalized.block_draws import draw_blocks, heavy_tailed, lattice
from bayeslmm.likelihood.generalized.centre import averaged_slopes, centre_on_mean
from bayeslmm.likelihood.generalized.laplace import Point, evaluate
from bayeslmm.likelihood.generalized.mode import FixedPrior, Problem
from bayeslmm.likelihood.generalized.predictor import Predictor

N = 36
DRAWS = 4000
ERRORS = 4.5  # standard errors, of a dozen comparisons with fixed seeds
PRECISION = 0.5


def grid(n, size):
    """Nodes and log weights of a standard normal, (n^size, size) and (n^size,)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    places = np.array(list(product(range(n), repeat=size)))
    return nodes[places], np.log(weights / weights.sum())[places].sum(axis=1)


def model(name, layout):
    """A small data set with one fixed coefficient; problem, evaluation, and its parts."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=N)
    X = (1.0 + 0.3 * rng.normal(size=N))[:, None]
    six, two = np.arange(N) % 6, np.arange(N) // 6 % 2
    columns = {"vector": [np.ones(N), x]}.get(layout, [np.ones(N)])
    nested = {"nested": six % 2, "crossed": two}
    terms = [dense.Term(six.astype(np.int32), np.column_stack(columns), 6, True)]
    if layout in nested:
        terms.append(dense.Term(nested[layout].astype(np.int32), np.ones((N, 1)), 2, True))
    theta = np.array({"vector": [0.8, 0.2, 0.5], "scalar": [0.9]}.get(layout, [0.9, 0.6]))
    z = dense_generalized.effects_matrix(terms, theta)
    eta = 0.3 * X[:, 0] + z @ rng.normal(size=z.shape[1])
    chosen = family(name)
    working = chosen.working({"negative_binomial": [2.0]}.get(name, []))
    response = chosen.read(chosen.simulate(chosen.read(np.ones(N)), eta, working, rng), Request())
    predictor = Predictor.build(X, terms)
    T = predictor.fixed.matrix
    problem = Problem(chosen, response, predictor, True, FixedPrior(PRECISION * T.T @ T, np.zeros(1)))
    lambdas = [m.inverse @ f for m, f in zip(predictor.maps, dense.factors(theta, terms), strict=True)]
    # a correlated term is centred by the kernel: its factor there is the triangular one of the same covariance
    lambdas = [s.structure.factor_of_root(f) for f, s in zip(lambdas, predictor.shapes, strict=True)]
    point = Point(tuple(lambdas), working, np.zeros(1))
    return problem, evaluate(problem, point, predictor.zeros(), integrated=True, gradient=False), z, X


def integrated(problem, evaluation, z, X):
    """Log marginal likelihood and posterior means of (outer effects, beta), by grids over all of them."""
    chosen, response, working = problem.family, problem.response, evaluation.point.working
    shapes = problem.predictor.shapes
    lead, size = shapes[0].n_effects, shapes[0].n_columns
    both = np.hstack([z, X])
    outer = both.shape[1] - lead
    penalty = block_diag(np.eye(both.shape[1] - 1), PRECISION)
    mode, _, omega = dense_generalized.mode(chosen, response, both, 0.0, penalty, working, np.zeros(both.shape[1]))
    root = np.linalg.cholesky(np.linalg.inv(omega)[lead:, lead:])
    nodes, log_weights = grid({1: 41, 2: 25, 3: 15}[outer], outer)
    v = mode[lead:] + nodes @ root.T
    log_prior = -0.5 * np.sum((v[:, :-1]) ** 2, axis=1) - 0.5 * PRECISION * v[:, -1] ** 2 + 0.5 * np.log(PRECISION)
    log_q = -0.5 * np.sum(nodes**2, axis=1) - np.sum(np.log(np.diag(root)))
    u, log_u = grid(120 if size == 1 else 25, size)
    total = log_weights + log_prior - log_q
    fixed = v @ both[:, lead:].T
    for j in range(shapes[0].n_levels):
        rows = np.flatnonzero(np.abs(z[:, j * size : (j + 1) * size]).sum(axis=1))
        here = type(response)(response.y[rows], response.size[rows], response.base[rows])
        random = u @ z[rows, j * size : (j + 1) * size].T
        for m in range(len(v)):
            eta = (fixed[m, rows] + random).ravel()
            tiled = type(here)(np.tile(here.y, len(u)), np.tile(here.size, len(u)), np.tile(here.base, len(u)))
            logs = chosen.log_density(tiled, eta, working).reshape(len(u), -1).sum(axis=1)
            total[m] += np.logaddexp.reduce(logs + log_u)
    log_marginal = np.logaddexp.reduce(total)
    return log_marginal, np.exp(total - log_marginal) @ v


CASES = [
    ("poisson", "scalar"), ("bernoulli", "vector"), ("bernoulli", "crossed"), ("poisson", "nested"),
    ("negative_binomial", "crossed"),
]  # fmt: skip


@pytest.mark.parametrize("n_candidates", [1, 8])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("name", "layout"), CASES)
def test_weights_estimate_the_likelihood_and_the_posterior(name, layout, centred, n_candidates):
    problem, evaluation, z, X = model(name, layout)
    log_marginal, means = integrated(problem, evaluation, z, X)
    if centred:
        evaluation = centre_on_mean(problem, evaluation)
    draws = draw_blocks(problem, evaluation, DRAWS, n_candidates, np.random.default_rng(3))
    weights = np.exp(draws.log_weights - log_marginal)
    assert abs(weights.mean() - 1) < ERRORS * weights.std() / np.sqrt(DRAWS)
    beta = draws.beta @ problem.predictor.fixed.matrix.T
    values = np.column_stack([*(u.reshape(DRAWS, -1) for u in draws.u[1:]), beta])
    shares = weights / weights.sum()
    found = shares @ values
    errors = np.sqrt((shares**2) @ (values - found) ** 2)
    assert (np.abs(found - means) < ERRORS * errors).all()


def test_leading_effects_come_from_their_posterior():
    """Posterior means of the leading effects are those their scores imply: E[u] = E[Lambda' Z' l'(eta)]."""
    problem, evaluation, _, _ = model("bernoulli", "crossed")
    draws = draw_blocks(problem, centre_on_mean(problem, evaluation), DRAWS, 16, np.random.default_rng(5))
    predictor, point = problem.predictor, evaluation.point
    shares = np.exp(draws.log_weights - draws.log_weights.max())
    shares /= shares.sum()
    gaps = np.empty((DRAWS, 6))
    for m in range(DRAWS):
        u = [values[m] for values in draws.u]
        eta = predictor.eta(draws.beta[m], u, point.lambdas)
        slopes = problem.family.derivatives(problem.response, eta, point.working)[1]
        gaps[m] = (predictor.by_level(slopes)[0] @ point.lambdas[0] - u[0])[:, 0]
    mean = shares @ gaps
    errors = np.sqrt((shares**2) @ (gaps - mean) ** 2)
    assert (np.abs(mean) < ERRORS * errors).all()
    assert errors.max() < 0.05


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_the_centre_has_no_averaged_score(name, layout):
    problem, evaluation, _, _ = model(name, layout)
    moved = centre_on_mean(problem, evaluation)
    assert moved is not evaluation
    plain = draw_blocks(problem, evaluation, DRAWS, 8, np.random.default_rng(1)).log_weights
    better = draw_blocks(problem, moved, DRAWS, 8, np.random.default_rng(1)).log_weights
    assert better.std() < 1.1 * plain.std()


def test_averaged_slopes_are_averages():
    """Of a Poisson mean under a normal linear predictor: exp(eta + h/2)."""
    problem, _, _, _ = model("poisson", "scalar")
    eta, spread = np.linspace(-1, 1, N), np.full(N, 0.7)
    found = averaged_slopes(problem, eta, spread, np.zeros(0))
    np.testing.assert_allclose(found, problem.response.y - np.exp(eta + 0.245), rtol=1e-6, atol=1e-6)


def test_heavy_tailed_quantiles():
    uniform = np.array([1e-12, 1e-4, 0.2, 0.5 - 1e-9, 0.5, 0.7, 1 - 1e-6])
    t, log_density = heavy_tailed(uniform)
    np.testing.assert_allclose(t, stats.t(4).ppf(uniform), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(log_density, stats.t(4).logpdf(t), rtol=1e-10)


@pytest.mark.parametrize(("n_points", "size"), [(1, 1), (8, 1), (16, 2), (16, 3)])
def test_lattice_projections_are_evenly_spaced(n_points, size):
    points = lattice(n_points, size)
    for s in range(size):
        np.testing.assert_allclose(np.sort(points[:, s]), np.arange(n_points) / n_points, atol=1e-12)

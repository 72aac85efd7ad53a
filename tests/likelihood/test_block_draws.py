"""Weighted draws of coefficients and random effects against integration over all of them."""

import numpy as np
import pytest
from scipy import stats
from small_generalized import N, integrated, model

from bayeslmm.likelihood.generalized.block_draws import draw_blocks, heavy_tailed, lattice
from bayeslmm.likelihood.generalized.centre import averaged_slopes, centre_on_mean

DRAWS = 4000
ERRORS = 4.5  # standard errors, of a dozen comparisons with fixed seeds


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
    """Of a Poisson mean under a normal linear predictor, exp(eta + h/2): three nodes give three digits at sd 0.7."""
    problem, _, _, _ = model("poisson", "scalar")
    eta, spread = np.linspace(-1, 1, N), np.full(N, 0.7)
    found = averaged_slopes(problem, eta, spread, np.zeros(0))
    np.testing.assert_allclose(found, problem.response.y - np.exp(eta + 0.245), rtol=0, atol=1e-3 * np.exp(1.245))


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

"""Importance sampling of many covariance parameters: its proposals, what points are worth for each, when it stops."""

import numpy as np
import pandas as pd
import pytest
import small_models
from scipy import stats

import bayeslmm as blm
from bayeslmm.inference.hamiltonian.scores import scored_density
from bayeslmm.inference.importance import points as importance_points
from bayeslmm.inference.importance.points import WeightedPoints, point_parameters, weighted_points
from bayeslmm.inference.importance.proposals import StudentProposal, identity_map, moment_proposal
from bayeslmm.inference.importance.psis import SmoothedWeights
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.importance.scored import ScoreMap
from bayeslmm.inference.importance.sizes import TAILS, parameter_sizes, tail_sizes
from bayeslmm.inference.laplace import find_laplace
from bayeslmm.inference.options import Options
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.validation.agreement import compare_draws

DIFFERENCE = 1e-5  # step of central differences, whose error is its square


@pytest.fixture(scope="module")
def correlated():
    return small_models.correlated_slope()


def test_score_map_is_inverse_and_has_its_jacobian(correlated):
    density = correlated.problem.density
    coordinates = ScoreMap(scored_density(density, find_laplace(density)))
    x = np.random.default_rng(1).normal(size=(6, density.n_phi))
    phi = coordinates.backward(x)
    back, log_jacobian = coordinates.forward(phi)
    np.testing.assert_allclose(back, x, atol=1e-7)
    for a in range(density.n_phi):
        move = np.eye(density.n_phi)[a] * DIFFERENCE
        slope = (coordinates.forward(phi + move)[0] - coordinates.forward(phi - move)[0])[:, a] / (2 * DIFFERENCE)
        log_jacobian -= np.log(slope)
    np.testing.assert_allclose(log_jacobian, 0.0, atol=1e-6)


def test_careful_moments_are_shrunk_to_the_previous_proposal():
    rng = np.random.default_rng(2)
    x, weights = rng.normal(size=(50, 4)), rng.dirichlet(np.ones(50))
    previous = StudentProposal(identity_map(), np.full(4, 2.0), 3.0 * np.eye(4), 30.0)
    mean, size = weights @ x, 15.0
    moments = (x - mean).T @ np.diag(weights) @ (x - mean)
    found = moment_proposal(previous, x, weights, size, 30.0, careful=True)
    np.testing.assert_allclose(found.centre, (15 * mean + 4 * 2.0) / 19)
    np.testing.assert_allclose(found.root @ found.root.T, (15 * moments + 10 * 9.0 * np.eye(4)) / 25)


def test_sizes_of_parameters():
    """Equal weights are worth their number; unequal ones of no relation to a parameter what Kish says, about."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4000, 3))
    np.testing.assert_allclose(parameter_sizes(values, np.full(4000, 1 / 4000)), 4000)
    weights = rng.dirichlet(np.ones(4000))
    np.testing.assert_allclose(parameter_sizes(values, weights), 1 / np.sum(weights**2), rtol=0.15)
    np.testing.assert_allclose(parameter_sizes(np.exp(3 * values), weights), parameter_sizes(values, weights))
    assert parameter_sizes(np.ones((4000, 1)), weights)[0] == np.inf


def test_sizes_of_tails_are_the_error_of_their_shares():
    """A proposal too narrow: few points carry the tails, and the size tells the error of both over 300 seeds."""
    errors, sizes = [], []
    for seed in range(300):
        x = 0.8 * np.random.default_rng(seed).normal(size=(1000, 1))
        logs = stats.norm.logpdf(x[:, 0]) - stats.norm.logpdf(x[:, 0], scale=0.8)
        weights = np.exp(logs) / np.exp(logs).sum()
        errors.append([weights @ (x[:, 0] <= stats.norm.ppf(share)) - share for share in TAILS])
        sizes.append(tail_sizes(x, weights)[0])
    actual = 0.05 * 0.95 / np.mean(np.square(errors), axis=0)
    assert 1 / np.mean(1 / np.array(sizes)) == pytest.approx(actual.min(), rel=0.35)  # the smaller of two, each draw
    assert np.mean(sizes) < 0.85 * np.mean(parameter_sizes(x, weights))


def test_sizes_of_tails_of_equal_weights():
    values = np.column_stack([np.random.default_rng(3).normal(size=(4000, 2)), np.ones(4000)])
    found = tail_sizes(values, np.full(4000, 1 / 4000))
    np.testing.assert_allclose(found, [4000, 4000, np.inf])


def test_sizes_of_parameters_are_the_error_of_means():
    """A proposal too narrow in one coordinate: its size is below Kish's and tells the error over 300 seeds."""
    sds = np.array([0.8, 1.0])
    errors, sizes, kish = [], [], []
    for seed in range(300):
        x = np.random.default_rng(seed).normal(size=(500, 2)) * sds
        logs = stats.norm.logpdf(x).sum(axis=1) - stats.norm(scale=sds).logpdf(x).sum(axis=1)
        weights = np.exp(logs) / np.exp(logs).sum()
        errors.append(weights @ x)
        sizes.append(parameter_sizes(x, weights))
        kish.append(1 / np.sum(weights**2))
    actual = 1 / np.mean(np.square(errors), axis=0)
    np.testing.assert_allclose(1 / np.mean(1 / np.array(sizes), axis=0), actual, rtol=0.25)
    assert np.mean(sizes, axis=0)[0] < 0.8 * np.mean(kish)


def test_the_worst_parameter_is_told_apart():
    smoothed = SmoothedWeights(np.full(900, 1 / 900), 0.1, 900.0)
    points = (np.zeros((900, 1)), np.zeros(900), smoothed, 900.0, 0.0, 0.0, None, 0, 1)
    assert WeightedPoints(*points, worst_size=500.0).trouble == ""
    assert "an effective size of 250 for the worst parameter of 900 points" in WeightedPoints(*points, 250.0).trouble


@pytest.fixture(scope="module")
def maximal():
    """Two crossed factors, four correlated effects each, 20 covariance parameters, some variances zero."""
    rng = np.random.default_rng(8)
    n, subjects, items = 600, 24, 16
    contrasts = rng.choice([-1.0, 1.0], size=(n, 3))
    subject, item = rng.integers(0, subjects, n), rng.integers(0, items, n)
    X = np.column_stack([np.ones(n), contrasts])
    effects = [rng.normal(size=(count, 4)) * [0.7, 0.3, 0.1, 0.0] for count in (subjects, items)]
    y = X @ [1, 0.5, 0, 0] + np.sum(X * (effects[0][subject] + effects[1][item]), axis=1) + rng.normal(size=n)
    data = pd.DataFrame({"y": y, "subject": subject, "item": item, **dict(zip("abc", contrasts.T, strict=True))})
    model = blm.Model("y ~ a + b + c + (a + b + c | subject) + (a + b + c | item)", data)
    return model, CovarianceDensity(model.kernel, model.resolved_priors)


def test_a_singular_model_in_normal_scores(maximal, monkeypatch):
    """20 parameters: every one has its size, in no more points than the Laplace proposals need, and both agree."""
    model, density = maximal
    laplace = find_laplace(density)
    options = Options(draws=1000, chains=1, seed=1)
    found = weighted_points(density, options, laplace=laplace)
    assert found.trouble == "" and found.worst_size >= 400
    sizes = parameter_sizes(point_parameters(density, found.phi), found.smoothed.weights)
    assert found.worst_size == pytest.approx(sizes.min())
    monkeypatch.setattr(importance_points, "SCORED_FROM", 100)
    other = weighted_points(density, options, laplace=laplace)
    assert len(found.phi) < len(other.phi)
    pair = [importance_draws(density, weighted, options) for weighted in (found, other)]
    compared = compare_draws(model.design, *pair)
    assert compared.agrees(), compared.table().to_string()


def test_rounds_go_on_until_the_worst_parameter_has_its_size(correlated, monkeypatch):
    """What the worst is worth decides, however much the weights are worth by themselves."""
    density = correlated.problem.density
    options = Options(draws=500, chains=1, seed=1)
    before = weighted_points(density, options)
    monkeypatch.setattr(
        importance_points, "parameter_sizes", lambda values, weights: np.array([0.08 * len(values), 1e9])
    )
    after = weighted_points(density, options)
    assert before.rounds < after.rounds and len(after.phi) >= 400 / 0.08
    assert after.trouble == ""

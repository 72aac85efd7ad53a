"""Importance sampling and marginal NUTS tell of one posterior, on real data under the default priors."""

from dataclasses import replace

import numpy as np
import pytest

from bayeslmm.errors import FittingError
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.nuts.marginal import sample_marginal
from bayeslmm.inference.options import Options
from bayeslmm.validation.agreement import LIMIT, compare_draws, draws_moments
from benchmarks.calibration import four_methods
from benchmarks.calibration.four_methods import CROSSED, DATA_SETS, Effort, compare_four, known_problem

DRAWS = 2000


@pytest.mark.parametrize("name", DATA_SETS)
def test_importance_agrees_with_marginal_nuts(name):
    problem = known_problem(name)
    points = weighted_points(problem.density, Options(draws=DRAWS, chains=1, seed=1))
    assert points.trouble == ""
    first = importance_draws(problem.density, points, Options(draws=DRAWS, chains=1, seed=1))
    second = sample_marginal(problem.density, Options(draws=400, tune=300, chains=2, seed=2, target_accept=0.9))
    found = compare_draws(problem.design, first, second)
    assert found.agrees(), found.table().to_string()


def test_table_of_pairs(monkeypatch):
    """Two of the four, for the explicit hierarchy takes a compiler; the report runs them all."""
    every = four_methods.ways(known_problem(CROSSED), Effort(draws=300, chains=2, tune=200))
    assert list(every) == ["importance", "marginal NUTS", "non-centred NUTS", "centred NUTS"]
    two = {name: every[name] for name in ("importance", "marginal NUTS")}
    monkeypatch.setattr(four_methods, "ways", lambda problem, effort: two)
    (row,) = compare_four(CROSSED, 1).to_dict("records")
    assert (row["first"], row["second"], row["parameters"]) == ("importance", "marginal NUTS", 5 + 9 + 7)
    assert 0 < max(row["mean_z"], row["sd_z"]) < LIMIT
    assert 0 < row["first_ess"] <= 600 and row["second_ess"] > 0
    assert row["first_divergences"] == 0


def test_a_hand_over_is_nothing_to_compare(monkeypatch):
    monkeypatch.setattr("bayeslmm.inference.importance.points.ENOUGH_EFFECTIVE", 1e9)
    by_importance = four_methods.ways(known_problem(CROSSED), Effort(draws=20, chains=1))["importance"]
    with pytest.raises(FittingError, match="Importance sampling reached an effective size"):
        by_importance(1)


def normal_draws(rng, *, mean=0.0, sd=1.0, chains=2, draws=1000):
    """Draws of a model with one coefficient, independent standard normals but for mean and sd."""

    def normals(*shape):
        return mean + sd * rng.standard_normal((chains, draws, *shape))

    return Draws(normals(1), np.exp(normals()), (), (), (), {}, "nuts")


def empty_design():
    design = known_problem("dyestuff").design
    return replace(design, terms=())


def test_standard_errors_of_independent_draws():
    """Differences over their standard errors are standard normal: 4 is far out, and their spread is one."""
    rng = np.random.default_rng(0)
    found = [compare_draws(empty_design(), normal_draws(rng), normal_draws(rng)) for _ in range(60)]
    for z in (np.concatenate([a.mean_z for a in found]), np.concatenate([a.sd_z for a in found])):
        assert np.abs(z).max() < LIMIT
        assert 0.8 < z.std() < 1.25  # 120 values: standard error 0.07, and the errors themselves are estimates


def test_autocorrelated_draws_count_less():
    rng = np.random.default_rng(1)
    length = 10_000
    independent = normal_draws(rng, draws=length)
    walk = np.empty((2, length))
    walk[:, 0] = rng.standard_normal(2)
    for i in range(1, length):
        walk[:, i] = 0.9 * walk[:, i - 1] + np.sqrt(1 - 0.81) * rng.standard_normal(2)
    slow = replace(independent, beta=walk[..., None])
    ratio = draws_moments(empty_design(), slow).mean_error[1] / draws_moments(empty_design(), independent).mean_error[1]
    assert ratio == pytest.approx(np.sqrt(1.9 / 0.1), rel=0.2)  # autocorrelation time (1 + rho) / (1 - rho)


@pytest.mark.parametrize(("mean", "sd"), [(0.25, 1.0), (0.0, 1.2)])
def test_differences_are_seen(mean, sd):
    rng = np.random.default_rng(2)
    found = compare_draws(empty_design(), normal_draws(rng), normal_draws(rng, mean=mean, sd=sd))
    assert not found.agrees()


def test_effective_size_of_weights_bounds_that_of_draws():
    rng = np.random.default_rng(3)
    draws = normal_draws(rng)
    few = replace(draws, info={"effective_size": 100.0})
    moments = draws_moments(empty_design(), few)
    assert moments.mean_error == pytest.approx(moments.sd / 10)

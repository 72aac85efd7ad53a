"""When importance sampling of families goes on, and when it warns."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference.importance import generalized as importance
from bayeslmm.inference.importance.generalized import sample_generalized
from bayeslmm.inference.importance.points import ENOUGH_EFFECTIVE, uneven
from bayeslmm.inference.importance.proposals import StudentProposal, identity_map
from bayeslmm.inference.importance.psis import SmoothedWeights
from bayeslmm.posterior.generalized_mixture import generalized_density

SEEDS = range(3)
POINTS = 512


def groups(seed, slopes=False):
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=60)
    eta = 0.5 + 0.4 * x + 0.7 * rng.normal(size=10)[g]
    if slopes:
        eta += 0.5 * rng.normal(size=10)[g] * x
    return pd.DataFrame({"x": x, "g": g, "y": rng.poisson(np.exp(eta))})


def test_tails_of_correlations_are_known_where_the_status_is_ok():
    """What the status judges afterwards is what rounds go on for."""
    model = blm.Model("y ~ x + (x | g)", groups(0, slopes=True), family="poisson")
    fit = model.fit("importance", seed=1, progressbar=False)
    assert fit.status.code == "ok"
    assert fit.covariance_table()[["ess_bulk", "ess_tail"]].min().min() >= 400


@pytest.mark.parametrize(
    ("k_hat", "size", "worst", "rounds", "finished"),
    [
        (0.2, 900.0, 500.0, 1, True),
        (0.2, 900.0, 276.0, 1, False),  # a correlation's tail: the next round is worth its time
        (0.6, 900.0, 500.0, 1, False),
        (0.6, 900.0, 500.0, 4, True),  # no alarm, and further rounds would not change that
        (0.2, 900.0, 276.0, 4, False),
        (0.2, 120.0, 90.0, 4, True),  # at this yield eight would not be enough
        (0.2, 900.0, 399.0, 8, True),
    ],
)
def test_rounds_end_when_every_parameter_has_enough(monkeypatch, k_hat, size, worst, rounds, finished):
    sampler = object.__new__(importance._Sampler)
    sampler.rounds, sampler.density, sampler.x = rounds, None, None
    monkeypatch.setattr(sampler, "point_weights", lambda: SmoothedWeights(np.ones(1), k_hat, size), raising=False)
    monkeypatch.setattr(importance, "worst_size", lambda density, x, weights: worst)
    assert sampler.finished(400.0) is finished


def test_alarms_about_right_and_wrong_proposals(monkeypatch):
    """None for the proposals as they are, one for those that stay within a quarter of the posterior's width."""
    monkeypatch.setattr(importance, "MOMENT_ROUNDS", 0)
    monkeypatch.setattr(importance, "MOST_ROUNDS", 1)

    def alarms():
        found = 0
        for seed in SEEDS:
            model = blm.Model("y ~ x + (1 | g)", groups(seed), family="poisson")
            density = generalized_density(model.design, model.family, model.resolved_priors)
            drawn = sample_generalized(density, n_draws=400, seed=seed, n_points=POINTS, n_candidates=4)
            found += uneven(drawn.smoothed) or drawn.effective_points < ENOUGH_EFFECTIVE
        return found

    def narrow(mode, covariance, sd_places, dof):
        return [StudentProposal(identity_map(), mode, 0.25 * np.linalg.cholesky(covariance), 30.0)]

    assert alarms() == 0
    monkeypatch.setattr(importance, "laplace_proposals", narrow)
    assert alarms() == len(SEEDS)

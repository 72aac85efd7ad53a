"""When importance sampling of families goes on, and when it warns."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference.importance import generalized as importance
from bayeslmm.inference.importance.proposals import StudentProposal, identity_map

SEEDS = range(6)


def groups(seed, slopes=False):
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=60)
    eta = 0.5 + 0.4 * x + 0.7 * rng.normal(size=10)[g]
    if slopes:
        eta += 0.5 * rng.normal(size=10)[g] * x
    return pd.DataFrame({"x": x, "g": g, "y": rng.poisson(np.exp(eta))})


@pytest.mark.parametrize("seed", [0, 1])
def test_rounds_go_on_until_the_tails_of_correlations_are_known(seed):
    """What the status judges afterwards is what rounds go on for."""
    fit = blm.Model("y ~ x + (x | g)", groups(seed, slopes=True), family="poisson").fit("importance", seed=1)
    assert fit.status.code == "ok"
    assert fit.covariance_table()[["ess_bulk", "ess_tail"]].min().min() >= 400


def test_alarms_about_right_and_wrong_proposals(monkeypatch):
    """No alarm for the sampler as it is, one for points that stay within a quarter of the posterior's width."""

    def narrow(mode, covariance, sd_places, dof):
        return [StudentProposal(identity_map(), mode, 0.25 * np.linalg.cholesky(covariance), 30.0)]

    def alarms():
        found = 0
        for seed in SEEDS:
            model = blm.Model("y ~ x + (1 | g)", groups(seed), family="poisson")
            fit = model.fit("importance", seed=seed, handover="keep", progressbar=False)
            found += fit.status.code != "ok"
        return found

    assert alarms() == 0
    monkeypatch.setattr(importance, "laplace_proposals", narrow)
    monkeypatch.setattr(importance, "moment_proposal", lambda previous, *rest: previous)
    assert alarms() == len(SEEDS)

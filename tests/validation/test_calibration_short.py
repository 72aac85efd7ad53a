"""Simulation-based calibration in its short form, and proof that it can fail."""

from dataclasses import replace

import numpy as np
import pytest

from bayeslmm.priors import Normal
from bayeslmm.validation.calibration import Calibration, calibrate
from bayeslmm.validation.methods import choose, importance
from bayeslmm.validation.simulate import STUDIES, random_intercept

SIMULATIONS = 80
SEED = 11


@pytest.mark.parametrize("name", ["random intercept", "correlated slope, centred"])
def test_importance_is_calibrated(name):
    found = calibrate(STUDIES[name](), importance, simulations=SIMULATIONS, seed=SEED, method="importance")
    assert found.uniform, found.table().to_string()
    assert found.replaced == 0


def inflated(problem, n_draws, seed):
    draws = importance(problem, n_draws, seed)
    return replace(draws, sigma=1.2 * draws.sigma)


def test_standard_deviations_a_fifth_too_large_are_flagged():
    found = calibrate(random_intercept(), inflated, simulations=SIMULATIONS, seed=SEED)
    assert {"sigma", "log-likelihood"} <= set(found.outside)
    assert not found.uniform


def test_misplaced_intercept_prior_is_flagged():
    """The intercept's prior read at x = 0 instead of at the column means."""
    study = random_intercept()
    priors = replace(study.priors, fixed=(Normal(1, 0.2), Normal(-0.5, 1)))
    sharp = replace(study, priors=priors)
    wrong = replace(priors, fixed_centring=replace(priors.fixed_centring, means=np.zeros(2)))
    right = calibrate(sharp, importance, simulations=40, seed=SEED)
    misplaced = calibrate(replace(sharp, priors=wrong), importance, simulations=40, seed=SEED, truth=sharp)
    assert "beta[Intercept]" not in right.outside
    assert "beta[Intercept]" in misplaced.outside


def reversed_effects(problem, n_draws, seed):
    draws = importance(problem, n_draws, seed)
    mixed = np.random.default_rng(seed).permutation(n_draws)
    return replace(draws, effects=choose(draws, mixed).effects)


def test_random_effects_not_drawn_with_beta_are_flagged_by_the_likelihood():
    """Every margin is right; only a quantity that reads the data and all parameters at once tells."""
    found = calibrate(random_intercept(), reversed_effects, simulations=SIMULATIONS, seed=SEED)
    assert "log-likelihood" in found.outside
    assert "r_g[largest, Intercept]" not in found.outside


def test_result_has_a_table_and_curves():
    rng = np.random.default_rng(0)
    ranks = np.column_stack([rng.integers(0, 64, 300), rng.integers(0, 32, 300)])
    found = Calibration("study", "method", ("right", "low"), ranks, 63)
    assert found.outside == ("low",)
    table = found.table()
    assert table["inside"].tolist() == [True, False]
    assert table["mean_rank"][1] == pytest.approx(0.25, abs=0.02)
    assert found.curves.shape == (63, 2) and found.curves[31, 1] == pytest.approx(0.5)

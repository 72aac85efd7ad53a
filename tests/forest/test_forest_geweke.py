"""Geweke's joint-distribution test of the BART sweep.

Alternating new data given the parameters with one sweep leaves the joint distribution of both where it is, so that the
parameters keep their priors. Any mistake in a conditional distribution, or in the bookkeeping between trees,
linear part and random effects, moves them. Geweke (2004), Getting it right, Journal of the American Statistical
Association 99, 799-804. Of the trees it checks f at two points, which has mean zero and standard deviation s
whatever their structure.
"""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.forest.bart.fitting import BartSampler, plan_bart
from bayeslmm.forest.data.inputs import read_training
from bayeslmm.priors import LKJ, HalfNormal, Normal

PRIORS = {
    "Intercept": Normal(0, 1),
    "w": Normal(0, 1),
    "sd_g": HalfNormal(1),
    "cor_g": LKJ(2),
    "sigma": HalfNormal(1),
}
SCALE = 1.0
N_BATCHES = 50  # batch means give standard errors of any moment, slowly mixing ones included
STANDARD_ERRORS = 4.5  # of Student's t with 49 degrees of freedom, 22 comparisons: one false alarm in 1,000 runs


def simulate(n_sweeps, seed, noise_factor=1.0, constant=False):
    rng = np.random.default_rng(seed)
    n, n_groups = 60, 8
    g = np.arange(n) % n_groups
    X = pd.DataFrame({"x1": rng.random(n), "x2": rng.random(n), "w": rng.standard_normal(n), "g": g})
    if constant:
        X["x1"] = rng.random(n_groups)[g]
    y = pd.Series(rng.standard_normal(n), name="y")
    training = read_training(X, y, None, None, "(1 + x2 | g)", "1 + w", None)
    sampler = BartSampler(plan_bart(training, PRIORS, 5, scale=SCALE), rng)
    assert len(sampler.groups) == constant
    kept = []
    for _ in range(n_sweeps):
        noise = noise_factor * sampler.block.sigma * rng.standard_normal(n)
        sampler.observe(sampler.own + sampler.other + noise)
        sampler.sweep(rng)
        b = sampler.block
        whitened = b.effects[0] / b.sds[0]
        kept.append(
            [*b.beta, b.sigma, *b.sds[0], b.correlations[0][0, 1], *sampler.f[:2], *whitened[0], whitened[:, 0].mean()]
        )
    return np.array(kept)


def deviations(draws):
    """Return (mean - expected) / standard error for first and second moments under the prior."""
    half = np.sqrt(2 / np.pi)
    first = [0, 0, half, half, half, 0, 0, 0, 0, 0, 0]
    second = [1, 1, 1, 1, 1, 0.2, SCALE**2, SCALE**2, 1, 1, 1 / 8]  # var of r under LKJ(2), 2 x 2: 1 / (2 eta + 1)
    scores = []
    for values, expected in ((draws, first), (draws**2, second)):
        batches = values[: len(values) // N_BATCHES * N_BATCHES].reshape(N_BATCHES, -1, values.shape[1]).mean(axis=1)
        error = batches.std(axis=0, ddof=1) / np.sqrt(N_BATCHES)
        scores.append((values.mean(axis=0) - expected) / error)
    return np.concatenate(scores)


@pytest.mark.calibration
@pytest.mark.parametrize("constant", [False, True])
def test_parameters_keep_their_priors(constant):
    found = deviations(simulate(40_000, seed=1, constant=constant))
    assert np.abs(found).max() < STANDARD_ERRORS, found.round(1)


@pytest.mark.calibration
def test_data_of_another_model_are_noticed():
    """Residuals a tenth too large, as a wrong scale between trees and the rest would make them."""
    found = deviations(simulate(10_000, seed=2, noise_factor=1.1))
    assert np.abs(found).max() > 2 * STANDARD_ERRORS

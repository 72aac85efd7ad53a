"""Long chains where short ones do not do, and who takes over when a method is stuck."""

import numpy as np
import pytest

from bayeslmm.errors import FittingError
from bayeslmm.inference.draws import Draws
from bayeslmm.validation import methods
from bayeslmm.validation.calibration import calibrate
from bayeslmm.validation.simulate import random_intercept

N_DRAWS = 40


def autoregressive(length, rho, seed=0):
    """A chain of every parameter of the random-intercept study."""
    rng = np.random.default_rng(seed)
    levels = random_intercept().design.terms[0].n_levels
    x = np.empty((length, 4 + levels))
    x[0] = rng.standard_normal(x.shape[1])
    for i in range(1, length):
        x[i] = rho * x[i - 1] + np.sqrt(1 - rho**2) * rng.standard_normal(x.shape[1])
    return Draws(
        x[None, :, :2], np.exp(x[None, :, 2]), (np.exp(x[None, :, 3:4]),), (None,), (x[None, :, 4:, None],), {}, "nuts"
    )


def test_chains_are_doubled_until_they_are_long_enough():
    lengths = []

    def run(length):
        lengths.append(length)
        return autoregressive(length, 0.9)

    found = methods.thin(random_intercept().design, run, N_DRAWS)
    assert lengths == [2 * N_DRAWS * 2**k for k in range(len(lengths))] and len(lengths) > 2
    assert found.beta.shape == (1, N_DRAWS, 2)
    last = autoregressive(lengths[-1], 0.9)
    assert np.array_equal(found.sigma[0, [0, -1]], last.sigma[0, [0, -1]])  # kept draws span the chain


def test_a_chain_that_never_mixes_is_an_error():
    with pytest.raises(FittingError, match=f"effective draws after .*; {N_DRAWS} were wanted"):
        methods.thin(random_intercept().design, lambda length: autoregressive(length, 0.99999), N_DRAWS)


class Hierarchy:
    """Stands for a compiled hierarchy; the non-centred one gets stuck on the second data set."""

    def __init__(self, centered):
        self.centered = centered
        self.solved = 0

    def sample(self, design, n_draws, seed):
        self.solved += 1
        if not self.centered and self.solved == 2:
            raise FittingError("The chain has 2 effective draws")
        return autoregressive(n_draws, 0.0, seed)


def test_the_centred_hierarchy_takes_over(monkeypatch):
    built = []

    def build(problem, centered):
        built.append(centered)
        return Hierarchy(centered)

    monkeypatch.setattr(methods.CompiledHierarchy, "build", build)
    found = calibrate(random_intercept(), methods.HierarchicalNuts(), simulations=4, n_draws=N_DRAWS)
    assert built == [False, True]  # each compiled once
    assert found.replaced == 1
    assert found.n_simulations == 4


def test_an_importance_sampler_in_trouble_is_counted(monkeypatch):
    monkeypatch.setattr("bayeslmm.inference.importance.points.ENOUGH_EFFECTIVE", 1e9)
    found = calibrate(random_intercept(), methods.importance, simulations=2, n_draws=N_DRAWS)
    assert found.replaced == 2

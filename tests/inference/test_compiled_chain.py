"""The compiled sampler of generalized models: its density is the explicit one, and its draws are from it."""

from threading import Event

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import expm

import bayeslmm as blm
from bayeslmm.inference.importance.generalized_laplace import find_generalized_laplace
from bayeslmm.inference.nuts.compiled_chain import _Run, sample_compiled_chain
from bayeslmm.inference.nuts.generalized import compiled_density
from bayeslmm.inference.nuts.trajectories import LONGEST, Metric, drift, kick, part_turns, trajectory, turns, uniform
from bayeslmm.inference.options import Options
from bayeslmm.posterior.explicit_arrays import can_compile
from bayeslmm.posterior.generalized_explicit import ExplicitDensity
from bayeslmm.posterior.generalized_mixture import generalized_density

ROUNDING = 1e-9  # relative to the largest derivative: sums over rows in another order
MONTE_CARLO = 5  # standard errors
MODELS = {
    "crossed": ("yes ~ x + between + (1 | g) + (1 | h)", "bernoulli"),
    "correlated, crossed": ("y ~ x + (x | g) + (x || h)", "poisson"),
    "nested, a dispersion": ("y ~ x + (1 | g / h)", "negative_binomial"),
    "weights": ("positive ~ x + (0 + x | g)", "gamma"),
    "two dispersions": ("positive ~ between + (1 | g)", "student"),
    "no random effects": ("yes ~ x", "bernoulli"),
    "thresholds": ("grade ~ 0 + x + (1 | g)", "cumulative"),
    "extra zeros": ("y ~ x + (1 | g)", "zero_inflated_negative_binomial"),
    "a formula for zeros": ("y ~ x + (1 | g)", "hurdle_poisson"),
}
ZEROS = {"a formula for zeros": "~ x + between"}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(size=120), "g": np.repeat(np.arange(12), 10), "h": np.tile(np.arange(5), 24)})
    frame["between"] = rng.normal(size=12)[frame.g]
    mean = np.exp(0.5 + 0.4 * frame.x + 0.5 * rng.normal(size=12)[frame.g])
    return frame.assign(
        y=rng.poisson(mean), yes=rng.random(120) < mean / (1 + mean), positive=rng.gamma(3, mean / 3), w=1 + frame.h,
        grade=np.digitize(np.log(mean) + rng.logistic(size=120), [-0.5, 0.5, 1.5]),
    )  # fmt: skip


def explicit_density(name, data):
    formula, chosen = MODELS[name]
    model = blm.Model(formula, data, family=chosen, weights="w" if name == "weights" else None, zero=ZEROS.get(name))
    family = model.family.for_response(model.design.outcome)
    density = generalized_density(model.design, family, model.resolved_priors)
    laplace, evaluation = find_generalized_laplace(density)
    return ExplicitDensity(density, laplace.mode, evaluation), laplace


@pytest.mark.parametrize("name", MODELS)
def test_the_compiled_density_is_the_explicit_one(name, data):
    explicit, laplace = explicit_density(name, data)
    assert can_compile(explicit)
    compiled = compiled_density(explicit, laplace)
    run = _Run(compiled, 0.8, 1, Event())
    d, root = len(laplace.mode), compiled.arrays.root
    rng = np.random.default_rng(3)
    values = []
    for _ in range(4):
        point = rng.normal(size=explicit.dimension)
        run.memory.chosen[1, 0] = point
        value = run._block(0, adapting=False)[0]
        there = np.concatenate([laplace.mode + root @ point[:d], point[d:]])
        theirs, slope = explicit.value_and_gradient(there)
        values.append((value, theirs))
        slope = np.concatenate([slope[:d] @ root, slope[d:]])
        np.testing.assert_allclose(run.memory.chosen[1, 1], slope, atol=ROUNDING * max(1, np.abs(slope).max()))
    ours, theirs = np.array(values).T
    np.testing.assert_allclose(np.diff(ours), np.diff(theirs), atol=ROUNDING * np.abs(theirs).max())


def test_coefficients_of_draws_are_those_of_the_map(data):
    explicit, laplace = explicit_density("correlated, crossed", data)
    compiled = compiled_density(explicit, laplace)
    draws, found, _ = _Run(compiled, 0.8, 1, Event()).advance(5, adapting=True)
    d = len(laplace.mode)
    for point, c in zip(draws, found, strict=True):
        there = explicit.unpack(np.concatenate([laplace.mode + compiled.arrays.root @ point[:d], point[d:]]))
        expected = np.concatenate([*(u.ravel() for u in there.u), there.beta])
        np.testing.assert_allclose(c, expected, atol=1e-10)


def test_a_group_level_column_is_carried_by_its_groups(data):
    explicit, laplace = explicit_density("crossed", data)
    arrays = compiled_density(explicit, laplace).arrays
    assert len(arrays.kept) == 1  # of constant, x and between
    codes = explicit.density.problem.predictor.pattern.codes[0]
    assert np.ptp(arrays.X[0][codes == 0]) > 0


def test_agrees_with_importance_sampling_where_factors_cross(data):
    formula, family = MODELS["crossed"]
    model = blm.Model(formula, data, family=family)
    table = model.fit("nuts", seed=1, draws=1000, tune=400, chains=2, progressbar=False).coef_table()
    other = model.fit("importance", seed=2, draws=1000, chains=2, progressbar=False).coef_table()
    error = np.sqrt(table["sd"] ** 2 / table["ess_bulk"] + other["sd"] ** 2 / other["ess_bulk"])
    assert (np.abs(table["mean"] - other["mean"]) / error).max() < MONTE_CARLO
    np.testing.assert_allclose(table["sd"], other["sd"], rtol=0.15)


def test_turns_of_parts_are_those_of_all_balanced_parts():
    """Against a direct look at every aligned part of 2, 4, 8, ... leaves."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        momenta = rng.normal(size=(16, 3)) + 1.0
        memory, variances = trajectory(3), np.array([0.5, 1.0, 2.0])
        for leaf, momentum in enumerate(momenta):
            memory.moving[1] = momentum
            memory.sums[0] += momentum
            expected = any(
                turns(momenta[first], momentum, momenta[first : leaf + 1].sum(axis=0), variances)
                for size in (2, 4, 8, 16)
                if (leaf + 1) % size == 0
                for first in [leaf + 1 - size]
            )
            assert part_turns(leaf, memory, variances) == expected


@pytest.fixture
def metric():
    """One coordinate that moves straight, two that turn."""
    return Metric(1, np.array([0.0, 0.7, -2.0]), np.array([0.5, 2.0, 0.1]))


@pytest.mark.parametrize("time", (0.3, -0.3, 2.5))
def test_a_drift_solves_the_equations_of_motion(metric, time):
    """Against the matrix exponential of d(q - m)/dt = s p, dp/dt = -(q - m)/s, without a force on the first."""
    rng = np.random.default_rng(5)
    position, momentum = rng.normal(size=3), rng.normal(size=3)
    force = np.diag(np.where(np.arange(3) < metric.straight, 0.0, -1.0 / metric.variances))
    motion = expm(time * np.block([[np.zeros((3, 3)), np.diag(metric.variances)], [force, np.zeros((3, 3))]]))
    expected = motion @ np.concatenate([position - metric.means, momentum])
    drift(position, momentum, time, metric)
    np.testing.assert_allclose(np.concatenate([position - metric.means, momentum]), expected, atol=1e-12)


def test_a_kick_leaves_alone_what_the_normal_distribution_explains(metric):
    position, momentum = np.array([0.4, 1.0, -1.0]), np.array([1.0, 2.0, 3.0])
    unexplained = np.array([0.3, 0.0, 0.2])
    gradient = unexplained - (position - metric.means) / metric.variances
    gradient[0] = unexplained[0]
    kick(position, momentum, gradient, 0.5, metric)
    np.testing.assert_allclose(momentum, [1.15, 2.0, 3.1])


def test_hundreds_of_nearly_normal_effects_do_not_shorten_the_steps():
    """Seven leaps make half a turn of length pi; the leapfrog scheme needs fifteen here."""
    data = blm.load_dataset("verbagg")
    model = blm.Model("r2 ~ Anger + btype + situ + (1 | id) + (1 | item)", data, family="bernoulli")
    fit = model.fit("nuts", draws=60, tune=200, chains=1, seed=1, progressbar=False)
    assert fit.draws.stats["n_steps"].mean() < 8.0
    assert 0.45 < fit.draws.stats["step_size"][0, -1] <= LONGEST


def test_uniform_numbers_are_those_of_splitmix():
    """First output of SplitMix64 at seed zero, from its authors' code."""
    counter = np.zeros(1, dtype=np.uint64)
    assert uniform(counter) == (0xE220A8397B1DCDAF >> 11) * 2.0**-53


def test_a_stopped_chain_ends(data):
    explicit, laplace = explicit_density("crossed", data)
    stop = Event()
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        sample_compiled_chain(compiled_density(explicit, laplace), Options(), 1, stop)

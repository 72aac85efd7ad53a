"""Draws made when points are weighed: each point is factored once, and the draws are those of its distribution."""

import tracemalloc

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.inference.importance import early
from bayeslmm.inference.importance import points as importance_points
from bayeslmm.inference.importance.coefficients import coefficients_at
from bayeslmm.inference.importance.early import EarlyDraws
from bayeslmm.inference.options import Options
from bayeslmm.posterior.density import CovarianceDensity

OTHER_ARRAYS = 2e6  # bytes of points, weights and parameters


@pytest.fixture
def model(monkeypatch):
    """A crossed model whose points count as costly."""
    monkeypatch.setattr(importance_points, "SMALL_ORDER", 0)
    rng = np.random.default_rng(2)
    g, h = np.arange(3000) % 60, rng.integers(0, 50, 3000)
    y = rng.normal(size=60)[g] + rng.normal(size=50)[h] + rng.normal(size=3000)
    return blm.Model("y ~ 1 + (1 | g) + (1 | h)", {"g": g, "h": h, "y": y})


@pytest.fixture
def eliminations(monkeypatch):
    """The points at which random effects were eliminated."""
    found = []
    real = CovarianceDensity.eliminate

    def counting(self, phi):
        found.append(phi.tobytes())
        return real(self, phi)

    monkeypatch.setattr(CovarianceDensity, "eliminate", counting)
    return found


@pytest.mark.parametrize("surplus", [2.0, 1.2, 1.0])
def test_only_points_that_are_to_give_more_are_factored_again(model, eliminations, monkeypatch, surplus):
    monkeypatch.setattr(early, "SURPLUS", surplus)
    fit = model.fit("importance", draws=512, chains=4, seed=1)
    assert fit.info["points"] == 64
    again = int(np.sum(np.bincount(fit.draws.stats["point"].ravel()) > np.ceil(surplus * 32)))
    assert len(set(eliminations)) == 64 + 7  # seven values for the normal approximation
    assert len(eliminations) == 64 + 7 + again
    assert (again == 0) == (surplus == 2.0)


def test_few_draws_wait_for_the_weights(model, eliminations):
    fit = model.fit("importance", draws=100, chains=4, seed=1)
    chosen = len(np.unique(fit.draws.stats["point"]))
    assert len(eliminations) - len(set(eliminations)) == chosen


def test_early_draws_have_the_distribution_of_late_ones(model):
    """4,000 draws at one point either way: means within five errors, standard deviations within a tenth."""
    density = CovarianceDensity(model.kernel, model.resolved_priors)
    point = importance_points.approximate(density).mode[None]
    options = Options(draws=4000, chains=1, seed=3)
    kept = EarlyDraws(density, options)
    kept.expect(1)
    kept.add(0, density.grid(point[0]))
    chosen = np.zeros(4000, dtype=np.intp)
    drawn = [coefficients_at(density, point, chosen, options, early=given) for given in (kept, None)]
    for one, two in zip(*([d.sigma, d.beta, *d.effects] for d in drawn), strict=True):
        assert not np.array_equal(one, two)
        error = two.std(axis=0) * np.sqrt(2 / 4000)
        assert (np.abs(one.mean(axis=0) - two.mean(axis=0)) < 5 * error).all()
        np.testing.assert_allclose(one.std(axis=0), two.std(axis=0), rtol=0.1)


@pytest.mark.parametrize("fewest", [early.FEWEST, np.inf])
def test_what_is_not_kept_is_not_drawn(model, monkeypatch, fewest):
    """Other draws are the same, and effects have the precision asked for, drawn early or late."""
    monkeypatch.setattr(early, "FEWEST", fewest)
    every = model.fit("importance", draws=300, seed=1, precision="float32")
    some = model.fit("importance", draws=300, seed=1, store=("h",))
    assert every.draws.effects[0].dtype == np.float32
    assert some.draws.effects[0].shape[2] == 0 and some.draws.effects[1].shape[2] == 50
    np.testing.assert_array_equal(some.draws.sigma, every.draws.sigma)
    np.testing.assert_array_equal(some.draws.beta, every.draws.beta)
    np.testing.assert_array_equal(some.draws.effects[1].astype(np.float32), every.draws.effects[1])


def test_draws_of_points_that_are_not_chosen_are_forgotten(model):
    """Whatever points are chosen: those of others are no part of the arrays, and what one has too few of is drawn."""
    density = CovarianceDensity(model.kernel, model.resolved_priors)
    mode = importance_points.approximate(density).mode
    options = Options(draws=20, chains=1, seed=3)
    phi = np.array([mode, mode + 0.01])
    for chosen in (np.ones(20, dtype=np.intp), np.arange(20) % 2):
        kept = EarlyDraws(density, options)
        kept.expect(2)
        for point in (0, 1):
            kept.add(point, density.grid(phi[point]))
        early_ones = [kept.rows.sigma[:12].copy(), kept.rows.sigma[12:].copy()]
        drawn = coefficients_at(density, phi, chosen, options, early=kept)
        assert kept.rows is None
        assert [len(values) for values in (drawn.sigma, drawn.beta, *drawn.effects)] == [20] * 4
        for point, own in enumerate(early_ones):
            asked = drawn.sigma[chosen == point]
            assert np.isin(asked, own).all() == (len(asked) <= 12)


def test_draws_lie_in_memory_once(model):
    """Early draws are at most 1.25 times as many, and what is held besides a few hundredths of them."""
    model.fit("importance", draws=600, seed=1)  # compiled, imported
    tracemalloc.start()
    try:
        fit = model.fit("importance", draws=2000, seed=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    kept = sum(effects.nbytes for effects in fit.draws.effects)
    assert 1.15 * kept < peak < 1.3 * kept + OTHER_ARRAYS

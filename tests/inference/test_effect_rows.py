"""Random effects of weighted draws: kept once, whatever their number, and the same whether kept or made again."""

import tracemalloc

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.covariance import DIAGONAL, TermShape
from bayeslmm.inference.importance import effect_rows
from bayeslmm.inference.importance import generalized as generalized_importance
from bayeslmm.inference.importance.effect_rows import EffectRows
from bayeslmm.inference.importance.generalized import sample_generalized
from bayeslmm.inference.importance.moved_rows import NOTHING
from bayeslmm.posterior.generalized_mixture import generalized_density


@pytest.fixture(scope="module")
def density():
    rng = np.random.default_rng(6)
    g, h, x = np.arange(120) % 12, rng.integers(0, 5, 120), rng.normal(size=120)
    y = rng.poisson(np.exp(0.3 * x + 0.5 * rng.normal(size=12)[g] + 0.5 * rng.normal(size=5)[h]))
    model = blm.Model("y ~ x + (x | g) + (1 | h)", {"y": y, "x": x, "g": g, "h": h}, family="poisson")
    return generalized_density(model.posterior_design, model.family, model.resolved_priors)


@pytest.mark.parametrize("n_draws", [20, 80])  # of 64 or more that are made
def test_effects_without_a_row_are_drawn_again_as_they_were(density, monkeypatch, n_draws):
    found, again = [], []
    monkeypatch.setattr(generalized_importance, "MOST_ROUNDS", 4)
    monkeypatch.setattr(generalized_importance, "GOOD_K_HAT", 0.0)  # so that there are four rounds
    fill = EffectRows.fill
    monkeypatch.setattr(EffectRows, "fill", lambda self, row, b: again.append(row) or fill(self, row, b))
    for most in (1 << 22, 0):
        monkeypatch.setattr(effect_rows, "MOST_NUMBERS", most)
        again.clear()
        found.append(sample_generalized(density, n_draws=n_draws, seed=2, n_points=32, per_point=2, n_candidates=4))
        assert found[-1].n_rounds == 4
    np.testing.assert_array_equal(found[0].beta, found[1].beta)
    for one, two in zip(found[0].b, found[1].b, strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.shape[0] == n_draws and len(np.unique(one.reshape(n_draws, -1), axis=0)) > 5
    b = found[0].b[0].reshape(n_draws, -1)
    np.testing.assert_array_equal(b[:, 0] == b[0, 0], found[0].beta[:, 0] == found[0].beta[0, 0])  # draws of one kind
    some = sample_generalized(
        density, n_draws=n_draws, seed=2, n_points=32, per_point=2, n_candidates=4, store=(), dtype=np.float32
    )
    np.testing.assert_array_equal(some.beta, found[0].beta)
    assert [b.shape[1] for b in some.b] == [0] * len(some.b)


def test_rows_go_to_draws_of_more_weight(monkeypatch):
    monkeypatch.setattr(effect_rows, "MOST_NUMBERS", 0)
    rows = EffectRows([TermShape(2, 1, DIAGONAL)], (True,), np.float64, 3)
    rows.expect(2, np.zeros(0))
    for draw in range(2):
        rows.put(draw, [np.full((2, 1), draw)])
    rows.expect(2, np.array([0.9, 0.1]))  # one row is free; the other must be that of draw 1
    for draw in (2, 3):
        rows.put(draw, [np.full((2, 1), draw)])
    assert rows.row[1] == NOTHING
    missing = rows.choose(np.array([3, 1, 0]))
    np.testing.assert_array_equal(missing, [1])
    np.testing.assert_array_equal(rows.values[0][[0, 2], 0, 0], [3, 0])


def test_effects_lie_in_memory_once(monkeypatch):
    """Of 2,000 effects, 1,024 draws are made and 600 returned; arrays of compiled loops are not counted."""
    monkeypatch.setattr(generalized_importance, "MOST_ROUNDS", 4)
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(2000), 2)
    data = {"g": g, "y": rng.poisson(np.exp(0.5 * rng.normal(size=2000)[g]))}
    model = blm.Model("y ~ 1 + (1 | g)", data, family="poisson")
    density = generalized_density(model.posterior_design, model.family, model.resolved_priors)
    few = {"n_points": 64, "per_point": 4, "n_candidates": 2, "seed": 1}
    sample_generalized(density, n_draws=1, **few)  # compiled, imported
    tracemalloc.start()
    try:
        found = sample_generalized(density, n_draws=600, **few)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.n_points == 256 and found.b[0].nbytes == 600 * 2000 * 8
    assert found.b[0].nbytes < peak < 1.3 * found.b[0].nbytes + 2e6

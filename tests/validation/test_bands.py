"""Simultaneous bands: exact probabilities against enumeration and simulation."""

from itertools import product

import numpy as np
import pytest

from bayeslmm.validation.bands import (
    count_below,
    rank_places,
    simultaneous_band,
    simultaneous_p_value,
)

SIMULATIONS = 4000
FOUR_ERRORS = 4.0  # standard errors of a simulated share


def stays(ranks, largest_rank, band):
    counts = count_below(ranks, largest_rank)
    return bool(((band.lower <= counts) & (counts <= band.upper)).all())


def test_level_is_exact_for_few_ranks():
    """All 4^5 sequences of five ranks in 0..3, enumerated."""
    band = simultaneous_band(5, 3, 0.7)
    kept = np.mean([stays(np.array(ranks), 3, band) for ranks in product(range(4), repeat=5)])
    assert band.level == pytest.approx(kept, abs=1e-12)
    assert kept >= 0.7


@pytest.mark.parametrize(("count", "largest_rank", "level"), [(80, 255, 0.9), (200, 63, 0.99), (37, 10, 0.8)])
def test_coverage_by_simulation(count, largest_rank, level):
    rng = np.random.default_rng(count)
    band = simultaneous_band(count, largest_rank, level)
    kept = np.mean([stays(rng.integers(0, largest_rank + 1, count), largest_rank, band) for _ in range(SIMULATIONS)])
    error = np.sqrt(band.level * (1 - band.level) / SIMULATIONS)
    assert abs(kept - band.level) < FOUR_ERRORS * error
    assert level <= band.level < level + 0.5 * (1 - level)  # counts are discrete: the level is met from above


def test_p_values_are_valid():
    """A p-value falls below any level with at most that probability, and not far less."""
    rng = np.random.default_rng(1)
    found = np.array([simultaneous_p_value(rng.integers(0, 64, 100), 63) for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert level - 0.15 * level - FOUR_ERRORS * np.sqrt(level / 400) < np.mean(found <= level)
        assert np.mean(found <= level) < level + FOUR_ERRORS * np.sqrt(level / 400)


def test_p_value_and_band_agree():
    rng = np.random.default_rng(2)
    for power in (1.0, 1.3, 1.6):
        ranks = np.floor(rng.uniform(size=150) ** power * 64).astype(int)
        outside = not stays(ranks, 63, simultaneous_band(150, 63, 0.99))
        assert outside == (simultaneous_p_value(ranks, 63) <= 0.01)


def test_shifted_narrow_and_wide_ranks_leave_the_band():
    u = (np.arange(200) + 0.5) / 200
    band = simultaneous_band(200, 255, 0.99)
    assert stays(np.floor(256 * u).astype(int), 255, band)
    for wrong in (u**1.4, 0.15 + 0.7 * u, np.where(u < 0.5, u**2 * 2, 1 - 2 * (1 - u) ** 2)):
        assert not stays(np.floor(256 * wrong).astype(int), 255, band)


def test_places_fall_between_ranks():
    assert rank_places(255).tolist() == list(range(4, 256, 4))
    assert rank_places(3).tolist() == [1, 2, 3]

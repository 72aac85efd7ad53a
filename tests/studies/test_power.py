"""Power by simulation against the noncentral t distribution of a balanced design."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayeslmm as blm
from bayeslmm.errors import DataError, OptionError
from bayeslmm.studies.power_analysis import extended

SIMULATIONS = 400


@pytest.fixture(scope="module")
def pilot():
    """Ten groups of six rows, half of them treated: group means have sd sqrt(1 + 1 / 6)."""
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(10), 6)
    b = rng.normal(size=10)
    data = pd.DataFrame({"g": groups, "x": (groups % 2).astype(float)})
    data["y"] = 1 + data.x + b[groups] + rng.normal(size=60)
    return blm.lmm("y ~ x + (1 | g)", data)


def test_against_the_noncentral_t(pilot):
    effect = 1.5
    found = blm.power(pilot, "x", n=SIMULATIONS, groups=[10, 20], effect=effect, seed=1)
    variances = pilot.varcorr()["variance"].to_numpy()
    for row in found.itertuples():
        per_arm = row.groups / 2
        error = np.sqrt(2 * (variances[0] + variances[1] / 6) / per_arm)
        quantile = stats.t(row.groups - 2).ppf(0.975)
        t = stats.nct(row.groups - 2, effect / error)
        exact = t.sf(quantile) + t.cdf(-quantile)
        assert row.df == pytest.approx(row.groups - 2, rel=0.05)
        assert abs(row.power - exact) < 4 * np.sqrt(exact * (1 - exact) / SIMULATIONS)
        assert row.power_lower < row.power < row.power_upper
        assert row.width == pytest.approx(2 * quantile * error, rel=0.1)
        assert abs(row.coverage - 0.95) < 4 * np.sqrt(0.05 * 0.95 / SIMULATIONS)
    assert list(found["rows"]) == [60, 120]


def test_no_effect_is_found_as_often_as_the_level_says(pilot):
    found = blm.power(pilot, "x", n=SIMULATIONS, effect=0.0, level=0.9, seed=2)
    assert abs(found["power"][0] - 0.1) < 4 * np.sqrt(0.1 * 0.9 / SIMULATIONS)


def test_more_rows_and_workers(pilot):
    one = blm.power(pilot, "x", n=60, rows=[1, 4], seed=3)
    assert list(one["rows"]) == [60, 240]
    assert one["width"][1] < one["width"][0]
    pd.testing.assert_frame_equal(one, blm.power(pilot, "x", n=60, rows=[1, 4], seed=3, cores=2))


def test_nested_levels_are_new_and_crossed_ones_stay():
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {"a": np.repeat([1, 2, 3], 8), "b": np.tile(np.repeat(list("pqrs"), 2), 3), "y": rng.normal(size=24)}
    )
    nested = blm.Model("y ~ 1 + (1 | a/b)", data).design
    inner = next(k for k, term in enumerate(nested.terms) if term.n_levels == 12)
    outer = 1 - inner
    bigger = extended(nested, outer, 5, 2)
    assert bigger.n == 5 * 8 * 2
    assert (bigger.terms[outer].n_levels, bigger.terms[inner].n_levels) == (5, 20)
    crossed = blm.Model("y ~ 1 + (1 | a) + (1 | b)", data).design
    bigger = extended(crossed, 0, 6, 1)
    assert [term.n_levels for term in bigger.terms] == [6, 4]


def test_errors_name_the_remedy(pilot):
    with pytest.raises(OptionError, match="did you mean 'x'"):
        blm.power(pilot, "X")
    with pytest.raises(OptionError, match="no grouping factor"):
        blm.power(pilot, "x", along="h")
    with pytest.raises(OptionError, match="at least 2"):
        blm.power(pilot, "x", groups=[1])
    with pytest.raises(DataError, match="more groups"):
        extended(pilot.design, 0, 1, 1)
    with pytest.raises(OptionError, match="method='reml' or 'ml'"):
        blm.power(pilot.design, "x")

"""Coverage in its short form, and that the table says where a method under-covers."""

from dataclasses import replace

import numpy as np
import pytest

from bayeslmm.errors import FittingError
from bayeslmm.validation.coverage import kind_of, measure_coverage, under_coverage
from bayeslmm.validation.intervals import Intervals, default_methods, quantile_intervals
from bayeslmm.validation.methods import importance
from bayeslmm.validation.quantities import all_parameters
from bayeslmm.validation.simulate import random_intercept, simulate

SIMULATIONS = 30
SEED = 5


def test_every_method_is_in_one_table():
    found = measure_coverage(random_intercept(), default_methods(), simulations=SIMULATIONS, seed=SEED)
    table = found.table()
    assert found.failures == {"ml": 0, "reml": 0, "map": 0, "importance": 0}
    both = {"beta", "random effects"}
    kinds = table.groupby("method")["kind"].agg(set).to_dict()
    assert kinds == {"ml": both, "reml": both, "map": both, "importance": {*both, "sd", "sigma"}}
    # posterior intervals have exactly their level when data come from the prior: no level is missed by three errors
    assert (table[table["method"] == "importance"]["under_covers"] == "").all(), table.to_string()
    # z intervals of random effects leave out what is not known of the coefficients
    z = table[(table["method"] == "reml") & (table["kind"] == "random effects")]
    assert z["under_covers"].item() == "50%, 80%, 95%"
    assert any(sentence.startswith("reml: intervals of random effects") for sentence in under_coverage(table))


def test_narrow_intervals_are_told():
    def overconfident(problem, n_draws, seed):
        draws = importance(problem, n_draws, seed)
        centre = draws.beta.mean(axis=(0, 1))
        return replace(draws, beta=centre + 0.5 * (draws.beta - centre))

    made = quantile_intervals(overconfident, n_draws=200)
    table = measure_coverage(random_intercept(), {"narrow": made}, simulations=SIMULATIONS, seed=SEED).table()
    assert "95%" in table.set_index("kind").loc["beta", "under_covers"]


def test_exact_shares_and_their_errors():
    """Intervals that contain the truth in the first three of four data sets, for beta; none for the rest."""
    truths = [
        all_parameters(s.problem.design, s.truth).values[0, 0] for s in simulate(random_intercept(), 4, seed=SEED)
    ]
    beta = np.array([name.startswith("beta") for name in _names()])
    calls = iter(range(4))

    def make(problem, levels, seed):
        i = next(calls)
        centre = np.where(beta, truths[i] + (10.0 if i == 3 else 0.0), np.nan)
        limits = np.repeat(centre[None], len(levels), axis=0)
        return Intervals(limits - 1, limits + 1)

    table = measure_coverage(random_intercept(), {"known": make}, simulations=4, seed=SEED).table()
    assert table["kind"].tolist() == ["beta"]
    assert table["80%"].item() == 0.75
    assert table["80% error"].item() == pytest.approx(np.std([1, 1, 1, 0], ddof=1) / 2)


def _names():
    (simulation,) = simulate(random_intercept(), 1, seed=0)
    return all_parameters(simulation.problem.design, simulation.truth).names


def test_failures_are_counted():
    def failing(problem, levels, seed):
        raise FittingError("never")

    found = measure_coverage(random_intercept(), {"failing": failing}, simulations=3, seed=SEED)
    assert found.failures == {"failing": 3}
    assert found.table().empty


def test_kinds():
    names = ["beta[x]", "r_g[3, x]", "sd_g[x]", "cor_g[Intercept, x]", "sigma"]
    assert [kind_of(name) for name in names] == ["beta", "random effects", "sd", "correlation", "sigma"]

"""Rows left out without a factor, against the factor."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.comparison import leave_one_out, solved_leave_one_out
from bayeslmm.likelihood import layout
from bayeslmm.results import leave_one_out as of_results

FORMULA = "y ~ x + (x | a) + (1 | b)"


def data(n: int = 2500, levels: tuple[int, int] = (120, 80)) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    a, b, x = rng.integers(0, levels[0], n), rng.integers(0, levels[1], n), rng.normal(size=n)
    effects = (
        rng.normal(size=levels[0])[a] + 0.5 * x * rng.normal(size=levels[0])[a] + 0.7 * rng.normal(size=levels[1])[b]
    )
    return pd.DataFrame(
        {"y": 1 + x + effects + rng.normal(size=n), "x": x, "a": a, "b": b, "w": rng.uniform(0.5, 2, n)}
    )


def fitted(frame: pd.DataFrame, formula: str = FORMULA) -> blm.PosteriorFit:
    model = blm.Model(formula, frame, weights="w")
    return model.fit("importance", solver="iterative", draws=100, seed=1, store=())


def exact_loo(fit: blm.PosteriorFit) -> Any:
    """Return leave-one-out by the factor, from the same draws, by the same quadratic."""
    probes = fit.draws.info.pop("probes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leave_one_out, "DEAR", 0)
        found = blm.loo(fit)
    fit.draws.info["probes"] = probes
    return found


def test_rows_are_those_of_the_factor() -> None:
    fit = fitted(data())
    exact = exact_loo(fit)
    with pytest.MonkeyPatch.context() as patch:  # no memory for a factor
        patch.setattr(layout, "available_memory", lambda: 1000)
        patch.setattr(layout, "ALWAYS_THERE", 0)
        found = blm.loo(fit)
    off = found["loo_i"].values - exact["loo_i"].values
    assert np.sqrt(np.mean(off**2)) < 0.005  # whose spread is .8: the probes' error only, the draws being the same
    assert np.abs(off / found["mcse_i"].values).max() < 5.0
    assert abs(off.sum()) < 4.0 * found["mcse"] and found["mcse"] > exact["mcse"]
    assert found["p_loo"] == pytest.approx(exact["p_loo"], rel=0.01)


def test_few_draws_where_a_quadratic_will_not_do(monkeypatch) -> None:
    fit = fitted(data())
    monkeypatch.setattr(leave_one_out, "TOLERANCE", 0.0)
    few = blm.loo(fit)
    monkeypatch.undo()
    assert few["n_samples"] == solved_leave_one_out.FEW_DRAWS
    many = blm.loo(fit)
    assert abs(few["elpd_loo"] - many["elpd_loo"]) < 4.0 * np.hypot(few["mcse"], many["mcse"])


def test_rows_that_rest_on_probes_are_said(monkeypatch) -> None:
    fit = fitted(data(levels=(400, 300)), "y ~ x + (1 | a) + (1 | b)")
    monkeypatch.setattr(of_results, "LARGE_ERROR", 1e-3)
    with pytest.warns(UserWarning, match="of 2500 rows' log predictive densities"):
        blm.loo(fit)


def test_leverages_of_a_point_fit() -> None:
    model = blm.Model(FORMULA, data(), weights="w")
    exact, found = (model.fit("reml", solver=solver).leverage() for solver in ("exact", "iterative"))
    assert found.sum() == pytest.approx(exact.sum(), rel=1e-3)
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.05 * exact.mean()
    pd.testing.assert_index_equal(found.index, exact.index)

"""Leave-one-out against exact refits: the evidence of all rows over that of the others."""

from dataclasses import replace

import arviz as az
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayeslmm as blm
from bayeslmm.comparison import leave_one_out
from bayeslmm.comparison.pareto_loo import leave_out
from bayeslmm.errors import DataError, OptionError
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.psis import smooth_weights
from bayeslmm.inference.options import Options
from bayeslmm.likelihood import Kernel
from bayeslmm.posterior.density import CovarianceDensity

REFIT_ERROR = 0.03  # of a log evidence by 1024 points and more; measured .005 to .015


@pytest.fixture(scope="module")
def fit():
    data = blm.load_dataset("sleepstudy")
    return blm.Model("Reaction ~ 1 + Days + (1 + Days | Subject)", data).fit("importance", seed=1)


def log_evidence(fit, rows):
    """log p(y) of some rows under the priors of the fit."""
    design = fit.design
    term = design.terms[0]
    known, codes = np.unique(term.codes[rows], return_inverse=True)
    term = replace(
        term, codes=codes.astype(np.int32), columns=np.ascontiguousarray(term.columns[rows]), levels=term.levels[known]
    )
    kernel = Kernel.build(design.y[rows], design.X[rows], [term])
    density = CovarianceDensity(kernel, fit.priors)
    return weighted_points(density, Options(draws=1024, chains=1, seed=3, store=())).log_evidence


def test_rows_against_exact_refits(fit):
    found = blm.loo(fit)
    every = np.arange(fit.nobs)
    chosen = np.argsort(found["loo_i"].values)[
        [0, 1, 2, 20, 50, 80, 110, 140, 160, 179]
    ]  # the worst predicted among them
    whole = log_evidence(fit, every)
    exact = np.array([whole - log_evidence(fit, np.delete(every, i)) for i in chosen])
    error = np.hypot(found["mcse_i"].values[chosen], REFIT_ERROR)
    assert np.all(np.abs(found["loo_i"].values[chosen] - exact) < 4 * error)
    assert found["pareto_k"].max() < 0.5


def test_groups_against_exact_refits(fit):
    found = blm.loo(fit, unit="group")
    codes = fit.design.terms[0].codes
    whole = log_evidence(fit, np.arange(fit.nobs))
    exact = np.array([whole - log_evidence(fit, np.flatnonzero(codes != g)) for g in range(18)])
    error = np.hypot(found["mcse_i"].values, REFIT_ERROR)
    assert np.all(np.abs(found["loo_i"].values - exact) < 4 * error)
    assert found["pareto_k"].max() < 0.5
    assert list(found["loo_i"].coords["Subject"].values[:2]) == [308, 309]


def test_one_way_round_or_the_other(fit, monkeypatch):
    """The proposal, the draws themselves and the quadratic through a few points tell the same."""
    proposed = blm.loo(fit, draws=500)
    monkeypatch.setattr(leave_one_out, "FEWEST_EFFECTIVE", 2.0)
    drawn = blm.loo(fit, draws=500)
    assert abs(proposed["elpd_loo"] - drawn["elpd_loo"]) < 4 * np.hypot(proposed["mcse"], drawn["mcse"])
    assert abs(proposed["p_loo"] - drawn["p_loo"]) < 1.0


def test_the_quadratic_is_that_of_many_draws(monkeypatch):
    data = blm.load_dataset("dyestuff")
    many = type(data)({"Yield": np.tile(data["Yield"], 40), "Batch": np.arange(30 * 40) // 5})
    many["Yield"] += np.random.default_rng(1).normal(0, 30, len(many))
    fit = blm.Model("Yield ~ 1 + (1 | Batch)", many).fit("importance", seed=1, draws=250)
    direct = blm.loo(fit, draws=300)
    monkeypatch.setattr(leave_one_out, "DEAR", 0)
    monkeypatch.setattr(leave_one_out, "_by_proposal", None)  # must not be asked
    quick = blm.loo(fit, draws=300)
    error = np.hypot(quick["mcse_i"].values, direct["mcse_i"].values)
    assert np.all(np.abs(quick["loo_i"].values - direct["loo_i"].values) < 5 * error + 1e-3)
    assert abs(quick["elpd_loo"] - direct["elpd_loo"]) < 4 * np.hypot(quick["mcse"], direct["mcse"])
    groups = blm.loo(fit, unit="Batch", draws=300)
    assert groups["n_data_points"] == 240
    assert groups["elpd_loo"] < quick["elpd_loo"] < 0


def test_smoothing_is_that_of_importance_sampling():
    rng = np.random.default_rng(2)
    logs = -2.0 * rng.standard_exponential((400, 3)) - 0.3 * rng.standard_normal((400, 3)) ** 4
    base = rng.normal(0, 0.1, 400)
    found = leave_out(logs, logs, base)
    for u in range(3):
        expected = smooth_weights(base - logs[:, u])
        assert found.k[u] == pytest.approx(expected.k_hat, rel=1e-7)
        assert found.largest[u] == pytest.approx(expected.largest, rel=1e-7)
        elpd = np.log(expected.weights @ np.exp(logs[:, u]))
        assert found.elpd[u] == pytest.approx(elpd, rel=1e-7)
        prior = np.exp(base) / np.exp(base).sum()
        assert found.within[u] == pytest.approx(np.log(prior @ np.exp(logs[:, u])), rel=1e-9)


def test_agrees_with_arviz_on_plain_draws():
    rng = np.random.default_rng(4)
    logs = rng.normal(-1.0, 0.5, (1000, 20))
    mine = leave_out(logs, logs)
    idata = az.from_dict(posterior={"a": rng.normal(size=(1, 1000))}, log_likelihood={"y": logs[None]})
    theirs = az.loo(idata, pointwise=True)
    np.testing.assert_allclose(mine.elpd, theirs["loo_i"].values, rtol=1e-3)
    np.testing.assert_allclose(mine.k, theirs["pareto_k"].values, atol=0.02)


def test_prints_like_arviz_and_compares(fit):
    data = blm.load_dataset("sleepstudy")
    plain = blm.Model("Reaction ~ 1 + Days + (1 | Subject)", data).fit("importance", seed=2)
    found = blm.loo(plain)
    assert "elpd_loo" in str(found) and "180  100.0%" in str(found)
    table = blm.compare_models({"slopes": fit, "means": plain})
    assert list(table.index) == ["slopes", "means"]
    assert table.loc["means", "elpd_loo"] == pytest.approx(found["elpd_loo"])
    assert table.loc["means", "elpd_diff"] > 10
    again = blm.compare_models({"means": found, "slopes": blm.loo(fit)}, weights="pseudo-BMA")
    assert again.loc["slopes", "weight"] > 0.999
    by_group = blm.compare_models({"slopes": fit, "means": plain}, unit="group")
    assert by_group.loc["slopes", "elpd_loo"] == pytest.approx(blm.loo(fit, unit="group")["elpd_loo"])


def test_errors_name_the_remedy(fit):
    data = blm.load_dataset("sleepstudy")
    with pytest.raises(OptionError, match="method='importance'"):
        blm.loo(blm.lmm("Reaction ~ Days + (1 | Subject)", data))
    with pytest.raises(OptionError, match="neither 'row'"):
        blm.loo(fit, unit="subject")
    with pytest.raises(OptionError, match="by name"):
        blm.compare_models({"one": fit})
    other = blm.Model("log(Reaction) ~ Days + (1 | Subject)", data).fit("importance", seed=1)
    with pytest.raises(OptionError, match="different responses"):
        blm.compare_models({"one": fit, "two": other})
    fewer = blm.Model("Reaction ~ Days + (1 | Subject)", data.iloc[:170]).fit("importance", seed=1)
    with pytest.raises(OptionError, match="different rows"):
        blm.compare_models({"one": fit, "two": fewer})
    with pytest.raises(OptionError, match="different units"):
        blm.compare_models({"one": blm.loo(fit), "two": blm.loo(fit, unit="Subject")})


def test_labels_of_rows_are_units_too(fit):
    half = np.arange(180) // 90
    found = blm.loo(fit, unit=pd.Series(half, index=fit.design.index)[::-1], draws=64)
    assert found["n_data_points"] == 2 and found["unit"] == "label"
    codes = fit.design.terms[0].codes
    by_label, by_name = blm.loo(fit, unit=codes, draws=64), blm.loo(fit, unit="Subject", draws=64)
    np.testing.assert_allclose(by_label["loo_i"], by_name["loo_i"])
    with pytest.raises(DataError, match="one label for each of the 180"):
        blm.loo(fit, unit=[1, 2])
    with pytest.raises(DataError, match="no label for row 3"):
        blm.loo(fit, unit=np.where(np.arange(180) == 3, np.nan, half))


def test_without_covariance_parameters_nothing_is_sampled():
    """With sigma integrated by quadrature a regression's leave-one-out is exact: the refit's Student t, nearly."""
    data = blm.load_dataset("sleepstudy")
    flat = {"Intercept": blm.Flat(), "Days": blm.Flat(), "sigma": blm.Flat()}
    found = blm.loo(blm.Model("Reaction ~ 1 + Days", data, priors=flat).fit("importance", seed=1))
    X, y = np.column_stack([np.ones(180), data["Days"]]), data["Reaction"].to_numpy()
    for i in (0, 57, 99):
        Z, z = np.delete(X, i, axis=0), np.delete(y, i)
        beta, rss = np.linalg.lstsq(Z, z, rcond=None)[:2]
        dof = 179 - 2 - 1  # a flat prior of sigma, not of its logarithm
        scale = np.sqrt(rss[0] / dof * (1 + X[i] @ np.linalg.solve(Z.T @ Z, X[i])))
        assert found["loo_i"].values[i] == pytest.approx(stats.t(dof, X[i] @ beta, scale).logpdf(y[i]), abs=1e-6)
    assert found["mcse"] < 1e-9 and found["good_k"] == 0.7

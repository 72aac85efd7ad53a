"""Fits without a factor against those with one."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import OptionError, StorageError, UnavailableError
from bayeslmm.likelihood import layout
from bayeslmm.likelihood.iterative.eliminated import PairedProducts
from bayeslmm.likelihood.iterative.evaluation import evaluate_iteratively, rademacher
from bayeslmm.results import hypothesis
from bayeslmm.results.iterative import IterativeFit

WITH_SLOPES = "y ~ x + (x | a) + (1 | b)"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n, levels = 5000, (250, 160, 50)
    a, b, c = (rng.integers(0, j, n) for j in levels)
    x, w = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    fixed = 1 + x + rng.normal(size=250)[a] + 0.5 * x * rng.normal(size=250)[a]
    noise = rng.normal(size=n) / np.sqrt(w)
    crossed = rng.normal(size=160)[b]
    strong = 1 + x + 30 * rng.normal(size=250)[a] + 20 * rng.normal(size=160)[b] + noise
    return pd.DataFrame(
        {"y": fixed + 0.7 * crossed + noise, "strong": strong, "nothing": noise, "x": x, "a": a, "b": b, "c": c, "w": w}
    )


CASES = [
    ("y ~ x + (1 | a) + (1 | b)", {}, "reml"),
    (WITH_SLOPES, {"weights": "w"}, "reml"),
    ("y ~ x + (x | a) + (x || b) + (1 | c)", {"weights": "w", "offset": "x", "sigma": 1.1}, "ml"),
    ("strong ~ x + (1 | a) + (1 | b)", {}, "reml"),  # high signal to noise
    ("y ~ x + (x | a) + (x | b)", {"weights": "w"}, "reml"),  # the slope has no variance by b
    ("nothing ~ x + (1 | a) + (1 | b) + (1 | c)", {"weights": "w"}, "ml"),
]


@pytest.mark.parametrize(("formula", "arguments", "method"), CASES)
def test_estimates_are_those_of_the_factor(data: pd.DataFrame, formula: str, arguments: dict, method: str) -> None:
    model = blm.Model(formula, data, **arguments)
    exact, fit = model.fit(method), model.fit(method, solver="iterative")
    assert isinstance(fit, IterativeFit) and not isinstance(exact, IterativeFit)
    assert fit.status.code == exact.status.code
    # the exact objective at the estimates: a rise of e^2/2 is what an error of e standard errors costs
    assert model.objective(fit.theta, method) - exact.objective < 0.05**2 / 2
    # one set of sixteen probes has an error estimated with few degrees of freedom; its calibration is tested below
    assert abs(fit.objective - exact.objective) < 6 * fit.monte_carlo["objective"] + 0.01
    assert fit.monte_carlo["parameters"] < 0.05
    np.testing.assert_allclose(fit.fixef(), exact.fixef(), atol=0.02 * np.sqrt(np.diag(exact.vcov())).min())
    assert "Monte Carlo" in fit.status.message


@pytest.mark.parametrize("case", [0, 2, 3])
def test_the_stated_error_of_the_objective_is_calibrated(data: pd.DataFrame, case: int) -> None:
    formula, arguments, method = CASES[case]
    model = blm.Model(formula, data, **arguments)
    exact = model.fit(method)
    kernel = model.kernel
    paired, lambdas = PairedProducts.of(kernel.products), kernel.lambdas(exact.theta)
    scores = []
    for k in range(40):
        signs = rademacher(kernel.products.n_trailing, 16, 16 * k)
        found = evaluate_iteratively(paired, lambdas, method, model.spec.sigma, signs, derivatives=False)
        scores.append((found.value + kernel.shift(method) - exact.objective) / found.value_error)
    # a t statistic of 14 degrees of freedom has a root mean square of 1.08
    assert 0.7 < np.sqrt(np.mean(np.square(scores))) < 1.35
    assert abs(np.mean(scores)) < 0.6


def test_reading_a_fit(data: pd.DataFrame) -> None:
    model = blm.Model(WITH_SLOPES, data, weights="w")
    exact, fit = model.fit("reml"), model.fit("reml", solver="iterative")
    np.testing.assert_allclose(fit.vcov(), exact.vcov(), rtol=0.02, atol=1e-6)
    new = data.head(30).copy()
    new.loc[3, "a"] = 9999
    limits, expected = (f.predict(new, interval=0.9, new_levels="sample") for f in (fit, exact))
    np.testing.assert_allclose(limits, expected, atol=0.01)
    for name in ("a", "b"):
        np.testing.assert_allclose(fit.ranef()[name], exact.ranef()[name], atol=0.01)
        np.testing.assert_allclose(fit.ranef("u")[name], exact.ranef("u")[name], atol=0.01)
        for coefficients in ("known", "estimated"):
            sds, wanted = (f.ranef_sd(coefficients=coefficients)[name] for f in (fit, exact))
            np.testing.assert_allclose(sds, wanted, rtol=0.06)
    assert "conjugate gradients" in str(fit.summary())
    assert list(fit.coef_table().columns) == ["estimate", "std_error", "z", "p"]
    assert "df" in fit.coef_table(ddf="satterthwaite")
    with pytest.raises(OptionError, match="coefficients='none'"):
        fit.ranef_sd(coefficients="none")


def test_hypotheses_about_coefficients_need_no_factor(data: pd.DataFrame, monkeypatch) -> None:
    fit = blm.Model(WITH_SLOPES, data).fit("importance", solver="iterative", draws=25, seed=1)
    found = fit.hypothesis("x = 1")
    monkeypatch.setattr(hypothesis, "solves", hypothesis.factors_of)
    by_factor = fit.hypothesis("x = 1")
    assert found["bayes_factor"].iloc[0] == pytest.approx(by_factor["bayes_factor"].iloc[0], rel=1e-4)
    monkeypatch.undo()
    monkeypatch.setattr(layout, "available_memory", lambda: 1000)
    monkeypatch.setattr(layout, "ALWAYS_THERE", 0)
    pd.testing.assert_frame_equal(fit.hypothesis("x = 1"), found)


def test_a_saved_fit_comes_back(data: pd.DataFrame, tmp_path) -> None:
    fit = blm.Model(WITH_SLOPES, data).fit("reml", solver="iterative")
    fit.save(tmp_path / "fit")
    loaded = blm.load(tmp_path / "fit")
    assert isinstance(loaded, IterativeFit) and loaded.status == fit.status
    pd.testing.assert_series_equal(loaded.monte_carlo, fit.monte_carlo, rtol=1e-6)
    pd.testing.assert_frame_equal(loaded.ranef()["a"], fit.ranef()["a"])
    record = tmp_path / "fit" / "fit.json"
    record.write_text(record.read_text().replace('"probes": 16', '"probes": 17'))
    with pytest.raises(StorageError, match="objective"):
        blm.load(tmp_path / "fit")


def test_what_needs_a_factor_says_so_where_it_does_not_fit(data: pd.DataFrame, monkeypatch) -> None:
    monkeypatch.setattr(layout, "available_memory", lambda: 1000)
    monkeypatch.setattr(layout, "ALWAYS_THERE", 0)
    model = blm.Model(WITH_SLOPES, data)
    with pytest.raises(blm.ModelError, match="dense matrix"):
        model.fit("reml", solver="exact")
    fit = model.fit("reml", solver="iterative")
    assert len(fit.ranef()["b"]) == 160
    with pytest.raises(UnavailableError, match="dense matrix"):
        fit.coef_table(ddf="satterthwaite")


def test_which_solver(data: pd.DataFrame) -> None:
    nested = blm.Model("y ~ x + (1 | a)", data).fit("reml", solver="iterative")
    assert not isinstance(nested, IterativeFit)  # nothing is left to solve
    with pytest.raises(OptionError, match="solver='dense'"):
        blm.Model(WITH_SLOPES, data).fit("reml", solver="dense")
    with pytest.raises(OptionError, match="solver"):
        blm.Model(WITH_SLOPES, data).fit("nuts", solver="iterative")


def test_many_crossed_levels_are_iterative_unless_told_otherwise() -> None:
    rng = np.random.default_rng(2)
    n = 20_000
    a, b = rng.integers(0, 4000, n), rng.integers(0, 3500, n)
    y = rng.normal(size=4000)[a] + rng.normal(size=3500)[b] + rng.normal(size=n)
    fit = blm.Model("y ~ 1 + (1 | a) + (1 | b)", {"y": y, "a": a, "b": b}).fit("reml")
    assert isinstance(fit, IterativeFit) and fit.status.ok
    np.testing.assert_allclose(fit.varcorr()["sd"], 1.0, atol=0.06)


def test_rows_that_streamed_need_no_factor_either(data: pd.DataFrame, monkeypatch) -> None:
    monkeypatch.setattr(layout, "available_memory", lambda: 1000)
    monkeypatch.setattr(layout, "ALWAYS_THERE", 0)
    whole, streamed = blm.Model(WITH_SLOPES, data), blm.Model(WITH_SLOPES, data, chunk_rows=700)
    found, wanted = (model.fit("reml", solver="iterative") for model in (streamed, whole))
    np.testing.assert_allclose(found.theta, wanted.theta, rtol=1e-6)
    np.testing.assert_allclose(found.ranef()["b"], wanted.ranef()["b"], atol=1e-6)
    draws = streamed.fit("importance", solver="iterative", draws=25, seed=1, store=("b",))
    assert draws.draws.effects[1].shape[2] == 160
    with pytest.raises(blm.ModelError, match="dense matrix"):
        streamed.fit("reml", solver="exact")

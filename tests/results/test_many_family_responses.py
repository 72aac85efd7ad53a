"""Many responses of one generalized model: each row is the fit of its response alone."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm

OBJECTIVE = 1e-5  # two searches of one objective


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(20), 8)
    x = rng.normal(size=160)
    eta = 0.2 + 0.5 * x + 0.7 * rng.normal(size=20)[g]
    return pd.DataFrame({"g": g, "x": x, "eta": eta, "y": rng.poisson(np.exp(eta)), "n": rng.integers(4, 9, 160)})


def test_counts(data):
    rng = np.random.default_rng(1)
    Y = pd.DataFrame({"a": rng.poisson(np.exp(data["eta"])), "zero": 0, "b": rng.poisson(1.5, 160)})
    model = blm.Model("y ~ x + (1 | g)", data, family="negative_binomial")
    table = model.fit_many(Y.sample(frac=1, random_state=2))
    assert list(table.index) == ["a", "zero", "b"]
    for name in ("a", "b"):
        alone = blm.Model("y ~ x + (1 | g)", data.assign(y=Y[name]), family="negative_binomial").fit("ml")
        row = table.loc[name]
        assert row["objective"] == pytest.approx(alone.objective, abs=OBJECTIVE)
        np.testing.assert_allclose(row[["Intercept", "x"]].astype(float), alone.fixef(), atol=2e-3)
        errors = row[["std_error[Intercept]", "std_error[x]"]].astype(float)
        np.testing.assert_allclose(errors, alone.coef_table()["std_error"], rtol=1e-2)
        assert row["status"] == alone.status.code
    assert table.loc["zero", "status"] == "failed" or table.loc["zero", "Intercept"] == -np.inf
    by_place = model.fit_many(Y.to_numpy(), cores=2)
    assert list(by_place.index) == [0, 1, 2]
    np.testing.assert_allclose(by_place.loc[[0, 2], "x"], table.loc[["a", "b"], "x"])


def test_trials_and_categories(data):
    rng = np.random.default_rng(2)
    p = 1 / (1 + np.exp(-data["eta"]))
    Y = np.column_stack([rng.binomial(data["n"], p) for _ in range(2)])
    table = blm.Model("p(k, n) ~ x + (1 | g)", data.assign(k=Y[:, 0]), family="binomial").fit_many(Y)
    alone = blm.Model("p(k, n) ~ x + (1 | g)", data.assign(k=Y[:, 1]), family="binomial").fit("ml")
    assert table.loc[1, "objective"] == pytest.approx(alone.objective, abs=OBJECTIVE)
    words = pd.DataFrame({"first": np.where(rng.random(160) < p, "yes", "no"), "all": "yes"})
    table = blm.Model("first ~ x + (1 | g)", data.assign(first=words["first"]), family="bernoulli").fit_many(words)
    assert np.isfinite(table.loc["first", "x"])
    assert table.loc["all", "status"] == "failed" or table.loc["all", "Intercept"] == np.inf


def test_refusals_name_the_column(data):
    model = blm.Model("y ~ x + (1 | g)", data, family="poisson")
    Y = pd.DataFrame({"a": data["y"], "b": data["y"].where(data.index != 4, -2)})
    with pytest.raises(blm.DataError, match=r"Column 'b' of Y is negative in 1 row: 4 \(-2"):
        model.fit_many(Y)
    with pytest.raises(blm.DataError, match="Column 1 of Y is not a whole number in 160 rows"):
        model.fit_many(np.column_stack([data["y"], data["y"] + 0.5]))
    with pytest.raises(blm.DataError, match="one value for each of 160 rows"):
        model.fit_many(Y.to_numpy()[1:])
    with pytest.raises(blm.DataError, match="two dimensions"):
        model.fit_many(data["y"])
    with pytest.raises(blm.OptionError, match="use 'ml'"):
        model.fit_many(Y, "reml")

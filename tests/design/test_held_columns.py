"""Fixed columns of many rows held one by one."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.design import held_columns
from bayeslmm.design.held_columns import HeldColumns, hold

FORMULAS = ("y ~ x + z + (x | a) + (1 | b)", "y ~ 0 + x + (1 | a)", "y ~ 1 + (1 | a)")


@pytest.fixture
def data() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    n = 600
    frame = pd.DataFrame({"x": rng.normal(size=n), "z": rng.integers(0, 4, n), "w": rng.uniform(0.5, 2.0, n)})
    frame["a"], frame["b"] = rng.integers(0, 40, n), rng.integers(0, 12, n)
    frame["y"] = 1 + frame["x"] + rng.normal(size=40)[frame["a"]] + rng.normal(size=n)
    return frame


def test_columns_that_take_no_memory(data: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_columns, "LONG", 500)
    held = blm.Model(FORMULAS[0], data).design.fixed_columns
    assert isinstance(held, HeldColumns) and held.shape == (600, 3)
    ones, x, z = held.columns
    assert ones.strides == (0,)
    protected = not data["x"].to_numpy().flags.writeable  # by copying on write, which pandas has from 3.0 on
    assert np.shares_memory(x, data["x"].to_numpy()) == protected
    assert z.base is None  # whole numbers are no column of the matrix
    expected = np.column_stack([np.ones(600), data["x"], data["z"]])
    np.testing.assert_array_equal(np.asarray(held), expected)
    np.testing.assert_array_equal(held[100:130], expected[100:130])


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("weights", [None, "w"])
def test_fits_are_those_of_the_matrix(data: pd.DataFrame, formula: str, weights: str | None, monkeypatch) -> None:
    matrix = blm.Model(formula, data, weights=weights)
    monkeypatch.setattr(held_columns, "LONG", 500)
    held = blm.Model(formula, data, weights=weights)
    np.testing.assert_array_equal(held.design.X, matrix.design.X)
    found, wanted = held.fit("reml"), matrix.fit("reml")
    assert found.objective == pytest.approx(wanted.objective, abs=1e-8)
    np.testing.assert_allclose(found.fixef(), wanted.fixef(), rtol=1e-8)
    pd.testing.assert_frame_equal(pd.DataFrame(held.priors), pd.DataFrame(matrix.priors))
    np.testing.assert_allclose(found.predict(data), wanted.predict(data), rtol=1e-8)
    draws = held.fit("importance", draws=50, seed=1)
    np.testing.assert_allclose(draws.fixef(), matrix.fit("importance", draws=50, seed=1).fixef(), rtol=1e-6)


def test_a_matrix_that_has_no_such_column_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_columns, "LONG", 5)
    X = np.random.default_rng(1).normal(size=(10, 2))
    assert hold(X, pd.DataFrame()) is X
    few = np.ones((5, 1))
    assert hold(few, pd.DataFrame()) is few

"""Collinear columns: which are dropped, at any origin and in any unit."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslmm.design import build_design
from bayeslmm.design.centring import find_centring
from bayeslmm.design.rank import independent_columns
from bayeslmm.formula import parse


def keep(X):
    return independent_columns(X, find_centring(X)).tolist()


def table(n=40):
    rng = np.random.default_rng(4)
    x = rng.normal(size=n)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": x,
            "z": rng.normal(size=n),
            "twice": 2 * x + 3,
            "g": np.arange(n) % 4,
            "one": 1.0,
        }
    )


def test_collinear_columns_are_dropped_and_reported():
    design = build_design(parse("y ~ x + twice + z"), table())
    assert design.fixed_names == ("Intercept", "x", "z")
    assert design.dropped_columns == ("twice",)
    assert design.X.shape == (40, 3)
    assert np.linalg.matrix_rank(design.X) == design.p == 3


def test_the_earliest_columns_are_kept():
    assert build_design(parse("y ~ twice + z + x"), table()).dropped_columns == ("x",)
    assert build_design(parse("y ~ one + x"), table()).dropped_columns == ("one",)
    assert build_design(parse("y ~ 0 + one + x + twice"), table()).dropped_columns == ("twice",)
    assert build_design(parse("y ~ 0 + x + one + twice"), table()).dropped_columns == ("twice",)
    assert build_design(parse("y ~ 0 + x + twice + one"), table()).dropped_columns == ("one",)
    assert build_design(parse("y ~ 0 + C(g) + one + x"), table()).dropped_columns == ("one",)


def test_without_an_intercept_a_shifted_copy_is_independent():
    assert build_design(parse("y ~ 0 + x + twice"), table()).dropped_columns == ()
    assert build_design(parse("y ~ 0 + C(g) + x"), table()).dropped_columns == ()


def test_empty_cells_of_an_interaction():
    data = table().assign(h=lambda d: np.where(d["g"] == 1, 0, np.arange(40) // 20))
    design = build_design(parse("y ~ C(g)*C(h)"), data)
    assert design.dropped_columns == ("C(g)[T.1]:C(h)[T.1]",)


@pytest.mark.parametrize("shift", [0, 1e3, -1e6, 1e8])
@pytest.mark.parametrize("unit", [1e-9, 1, 1e9])
def test_neither_origin_nor_unit_matters(shift, unit):
    data = table()
    data["x"] = (data["x"] + shift) * unit
    data["z"] = (data["z"] + shift) * unit
    assert build_design(parse("y ~ x + z"), data).dropped_columns == ()
    data["sum"] = data["x"] + data["z"]
    assert build_design(parse("y ~ x + z + sum"), data).dropped_columns == ("sum",)


@pytest.mark.parametrize(("noise", "kept"), [(1e-5, True), (1e-6, True), (1e-9, False), (0, False)])
def test_the_tolerance_is_a_relative_residual_of_1e_7(noise, kept):
    rng = np.random.default_rng(8)
    x, e = rng.normal(size=(2, 500))
    X = np.column_stack([np.ones(500), x, x + noise * e])
    assert keep(X) == [True, True, kept]


def test_near_copies_do_not_hide_later_columns():
    rng = np.random.default_rng(9)
    x, e, z = rng.normal(size=(3, 300))
    X = np.column_stack([np.ones(300), x, x + 1e-6 * e, x + 1e-6 * e + 1e-12 * z, z, z + e])
    assert keep(X) == [True, True, True, False, True, False]


def test_constant_columns():
    x = np.random.default_rng(1).normal(size=20)
    assert keep(np.column_stack([np.full(20, 7.0), x, np.full(20, 0.1 + 0.2)])) == [True, True, False]
    assert keep(np.column_stack([np.zeros(20), x])) == [False, True]
    assert keep(np.column_stack([np.ones(20), np.zeros(20), x])) == [True, False, True]


def test_a_column_that_is_constant_but_for_rounding():
    rounded = 1e8 * (1 + 1e-16 * np.random.default_rng(2).normal(size=50))
    assert keep(np.column_stack([np.ones(50), rounded + 1e-8])) == [True, False]


def brute_force(X):
    kept = []
    for column in range(X.shape[1]):
        if np.linalg.matrix_rank(X[:, [*kept, column]]) > len(kept):
            kept.append(column)
    return [column in kept for column in range(X.shape[1])]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 4), st.booleans())
def test_against_ranks_of_small_integer_matrices(seed, p, rank, intercept):
    rng = np.random.default_rng(seed)
    X = (rng.integers(-3, 4, (12, rank)) @ rng.integers(-2, 3, (rank, p))).astype(float)
    if intercept:
        X = np.column_stack([np.ones(12), X])
    assert keep(X) == brute_force(X)

"""Rows are matched by label or not at all: every input with labels goes by one rule."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.design import build_design
from bayeslmm.design.alignment import index_difference
from bayeslmm.errors import DataError
from bayeslmm.formula import parse

FORMULA = "y ~ x + (1 | g)"


def table():
    rng = np.random.default_rng(0)
    index = pd.Index([f"r{k}" for k in range(30)])
    return pd.DataFrame({"y": rng.standard_normal(30), "x": rng.standard_normal(30), "g": np.arange(30) % 5}, index)


@pytest.mark.parametrize(
    ("index", "expected", "said"),
    [
        (pd.RangeIndex(3), pd.Index([0, 1, 2]), None),
        (pd.Index([0, 2, 1]), pd.RangeIndex(3), "(first difference in row 1: 2 against 1)"),
        (pd.RangeIndex(2), pd.RangeIndex(3), "(2 rows against 3)"),
        (pd.MultiIndex.from_tuples([(1, 2)]), pd.Index([5]), "(first difference in row 0: (1, 2) against 5)"),
    ],
)
def test_where_labels_differ(index, expected, said):
    assert index_difference(index, expected) == said


def test_series_in_a_dictionary_in_another_order():
    data = table()
    shuffled = {"y": data["y"], "x": data["x"][::-1], "g": data["g"]}
    with pytest.raises(DataError, match=r"column 'x' differs from that of 'y'.*'r29' against 'r0'.*DataFrame"):
        blm.Model(FORMULA, shuffled)
    together = blm.lmm(FORMULA, pd.DataFrame(shuffled))
    # pandas sorts the rows by label, which changes the last digits of sums
    np.testing.assert_allclose(together.fixef(), blm.lmm(FORMULA, data).fixef(), rtol=1e-10)
    new = {"x": data["x"], "g": data["g"][::-1]}
    with pytest.raises(DataError, match="column 'g' differs from that of 'x'"):
        together.predict(new)
    labelled = together.predict({"x": data["x"], "g": data["g"]})
    pd.testing.assert_series_equal(labelled, together.predict(data))


def test_series_of_a_dictionary_keep_their_labels_and_arrays_go_by_position():
    data = table()
    mixed = build_design(parse(FORMULA), {"y": data["y"], "x": data["x"].to_numpy(), "g": list(data["g"])})
    assert mixed.index.equals(data.index)
    np.testing.assert_array_equal(mixed.X, build_design(parse(FORMULA), data).X)
    weights = pd.Series(1.0 + np.arange(30), index=data.index)
    assert build_design(parse(FORMULA), dict(data.items()), weights=weights).weights is not None
    with pytest.raises(DataError, match=r"index of weights differs.*'r29' against 'r0'"):
        build_design(parse(FORMULA), dict(data.items()), weights=weights[::-1])


def test_columns_that_are_not_used_are_left_alone():
    data = table()
    assert build_design(parse(FORMULA), {**dict(data.items()), "z": data["x"][:3]}).n == 30


def test_a_dictionary_without_columns_in_use():
    fit = blm.lmm("y ~ 1 + (1 | g)", table())
    assert len(fit.predict({"z": [1, 2, 3]}, kind="population")) == 3


def test_labels_of_what_a_users_function_returns():
    data = table()
    x = data["x"].to_numpy()
    same = {
        "by position": lambda v: pd.Series(v),
        "with the labels of the rows": lambda v: pd.Series(v, index=data.index),
        "several columns": lambda v: pd.DataFrame({"a": v}),
    }
    for function in same.values():
        found = build_design(parse("y ~ f(x)", ("f",)), data, functions={"f": function}).X[:, 1]
        np.testing.assert_array_equal(found, x)
    for function in (lambda v: pd.Series(v).sort_values(), lambda v: pd.DataFrame({"a": v})[::-1]):
        with pytest.raises(DataError, match=r"f\(x\): the index of what f returns differs .*first difference in row 0"):
            build_design(parse("y ~ f(x)", ("f",)), data, functions={"f": function})

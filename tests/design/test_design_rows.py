"""Which rows take part: missing and infinite values, weights, offsets."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design
from bayeslmm.errors import DataError, OptionError
from bayeslmm.formula import parse


def table(n=30):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "f": rng.choice(["a", "b"], size=n),
            "g": np.arange(n) % 5,
            "w": rng.uniform(1, 2, size=n),
            "o": rng.normal(size=n),
            "other": np.nan,
        }
    )


FORMULA = parse("y ~ x + f + (1 | g)")


@pytest.mark.parametrize("column", ["y", "x", "f", "g"])
def test_rows_with_missing_values_are_dropped_and_counted(column):
    data = table()
    data.loc[[3, 7], column] = None
    design = build_design(FORMULA, data)
    assert design.n == 28
    assert dict(design.n_dropped) == {"missing": 2}
    assert design.rows.tolist() == [i for i in range(30) if i not in (3, 7)]
    assert design.index.tolist() == design.rows.tolist()
    assert len(design.data) == 30
    with pytest.raises(DataError, match=f"Column '{column}' has 2 missing values, first in row 3"):
        build_design(FORMULA, data, missing="error")


def test_only_used_columns_count():
    design = build_design(FORMULA, table(), missing="error")
    assert design.n == 30
    assert dict(design.n_dropped) == {}
    assert set(design.data.columns) == {"y", "x", "f", "g"}


def test_learner_columns_are_used_columns():
    design = build_design(parse("y ~ bart(x + other) + (1 | g)"), table().assign(other=1.0))
    assert set(design.data.columns) == {"y", "x", "other", "g"}


def test_an_unknown_option():
    with pytest.raises(OptionError, match=r"missing='ignore'.*'drop', 'error'"):
        build_design(FORMULA, table(), missing="ignore")


@pytest.mark.parametrize("column", ["y", "x", "w", "o"])
def test_infinite_values_name_the_column_and_the_first_row(column):
    data = table().set_index(pd.Index([f"r{i}" for i in range(30)]))
    data.loc["r4", column] = -np.inf
    with pytest.raises(DataError, match=rf"{column}'.*infinite.*row 4 \(index 'r4'\)"):
        build_design(FORMULA, data, weights="w", offset="o")


def test_rows_lost_to_missing_values_do_not_leave_their_level():
    data = table()
    data.loc[data["g"] == 2, "x"] = np.nan
    assert 2 not in build_design(FORMULA, data).terms[0].levels


def test_no_rows():
    with pytest.raises(DataError, match="The data have no rows"):
        build_design(FORMULA, table().head(0))
    with pytest.raises(DataError, match="No rows are left of 30: dropped 30 for missing"):
        build_design(FORMULA, table().assign(x=np.nan))
    with pytest.raises(DataError, match="30 for zero weight"):
        build_design(FORMULA, table(), weights=np.zeros(30))


def test_weights_by_name_and_by_value():
    data = table()
    named = build_design(FORMULA, data, weights="w")
    given = build_design(FORMULA, data, weights=data["w"].to_numpy())
    np.testing.assert_array_equal(named.weights, data["w"])
    np.testing.assert_array_equal(given.weights, data["w"])
    assert named.weights_column == "w"
    assert given.weights_column == "(weights)"
    assert "(weights)" in given.data and "(weights)" not in data
    assert build_design(FORMULA, data).weights is None


def test_zero_weights_leave_rows_out():
    data = table()
    data.loc[[0, 5, 9], "w"] = 0
    data.loc[[5, 6], "x"] = np.nan
    design = build_design(FORMULA, data, weights="w")
    assert dict(design.n_dropped) == {"missing": 2, "zero weight": 2}
    assert design.n == 26
    assert design.weights.min() > 0


@pytest.mark.parametrize(("value", "what"), [(-1.0, "negative"), (np.nan, "missing"), (np.inf, "infinite")])
def test_impossible_weights(value, what):
    weights = np.ones(30)
    weights[[11, 12]] = value
    for argument in (weights, weights.tolist()):
        with pytest.raises(DataError, match=rf"weights.*{what} in 2 rows, first in row 11"):
            build_design(FORMULA, table(), weights=argument)


def test_arguments_of_the_wrong_length_or_type():
    with pytest.raises(DataError, match=r"weights has shape \(3,\); it needs one value for each of 30 rows"):
        build_design(FORMULA, table(), weights=[1, 2, 3])
    with pytest.raises(DataError, match="offset has shape"):
        build_design(FORMULA, table(), offset=2.0)
    with pytest.raises(DataError, match="not numeric"):
        build_design(FORMULA, table(), weights="f")
    with pytest.raises(DataError, match="'f' is not numeric"):
        build_design(FORMULA, table(), offset="f")
    with pytest.raises(DataError, match="index of weights differs"):
        build_design(FORMULA, table(), weights=table()["w"].sample(frac=1, random_state=1))
    with pytest.raises(DataError, match="did you mean 'w'"):
        build_design(FORMULA, table(), weights="W")


def test_offsets_add_up():
    data = table()
    formula = parse("y ~ x + offset(w) + offset(log(w)) + (1 | g)")
    expected = data["w"] + np.log(data["w"]) + data["o"]
    np.testing.assert_allclose(build_design(formula, data, offset="o").offset, expected, rtol=1e-14)
    np.testing.assert_allclose(build_design(formula, data, offset=data["o"].to_numpy()).offset, expected, rtol=1e-14)
    assert build_design(FORMULA, data).offset is None


def test_the_offset_follows_the_rows_kept():
    data = table()
    data.loc[2, "x"] = np.nan
    design = build_design(FORMULA, data, offset=np.arange(30.0))
    assert 2.0 not in design.offset
    assert len(design.offset) == 29


@pytest.mark.parametrize("offset", [None, "o"])
def test_input_is_not_changed(offset):
    data = table()
    data.loc[2, "x"] = np.nan
    before = data.copy(deep=True)
    build_design(parse("y ~ scale(x)*f + poly(w, 2) + (x | g)"), data, weights="w", offset=offset)
    pd.testing.assert_frame_equal(data, before)


def test_duplicate_and_exotic_row_labels():
    data = table().set_index(pd.Index([0] * 15 + [1] * 15))
    data.iloc[4, 1] = np.nan
    design = build_design(FORMULA, data)
    assert design.n == 29
    multi = table().set_index([table()["g"], table().index])
    assert build_design(FORMULA, multi).n == 30

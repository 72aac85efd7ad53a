"""The same columns at new rows."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design, new_rows
from bayeslmm.errors import DataError, OptionError
from bayeslmm.formula import parse

CLOSE = 1e-12  # transforms are recomputed from what they remember


def table(n=60):
    rng = np.random.default_rng(6)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(loc=5, size=n),
            "f": rng.choice(["b", "a", "c"], size=n),
            "k": rng.integers(0, 3, size=n),
            "flag": rng.random(n) < 0.5,
            "g": rng.integers(10, 16, size=n),
            "h": rng.choice(["u", "v"], size=n),
            "o": rng.normal(size=n),
        }
    )


@pytest.mark.parametrize(
    "effects",
    [
        "x", "scale(x)", "center(x)", "standardize(x)", "poly(x, 3)", "bs(x, df=5)", "cr(x, df=4)",
        "cc(x, df=4)", "f*flag", "C(k)", "C(k, Sum)*f", "C(k, Treatment(2))", "C(f, levels=['c', 'b', 'a'])",
        "C(k, Poly)", "I(x > 5)*f", "log(x) + I(x**2)", "0 + f", "f/x", "poly(scale(x), 2)", "x + I(2*x) + f",
    ],
)  # fmt: skip
def test_rows_of_the_fit_are_reproduced_one_by_one(effects):
    data = table()
    design = build_design(parse(f"y ~ {effects} + ({effects} | g)"), data)
    for rows in ([0], [7, 3], list(range(60)), []):
        new = new_rows(design, data.iloc[rows].drop(columns="y"))
        assert new.X.shape == (len(rows), design.p)
        np.testing.assert_allclose(new.X, design.X[rows], atol=CLOSE)
        np.testing.assert_allclose(new.terms[0].columns, design.terms[0].columns[rows], atol=CLOSE)
        np.testing.assert_array_equal(new.terms[0].codes, design.terms[0].codes[rows])
        assert new.new_labels[0].tolist() == data["g"].iloc[rows].tolist()
        np.testing.assert_array_equal(new.offset, np.zeros(len(rows)))
        assert new.index.tolist() == rows


def test_predicting_does_not_change_the_design():
    data = table()
    design = build_design(parse("y ~ poly(x, 2) + scale(x)*f"), data)
    first = new_rows(design, data.head(5)).X
    new_rows(design, data.assign(x=data["x"] * 100))
    np.testing.assert_array_equal(new_rows(design, data.head(5)).X, first)


def test_unknown_grouping_levels():
    data = table()
    design = build_design(parse("y ~ x + (1 | g) + (1 | h:g)"), data)
    known = data.iloc[[0, 1]]
    new = new_rows(design, pd.concat([known, known.assign(g=99), known.assign(h="w")]))
    assert new.terms[0].codes.tolist()[:2] == design.terms[0].codes[:2].tolist()
    assert new.terms[0].codes.tolist()[2:4] == [-1, -1]
    assert new.terms[1].codes.tolist()[2:] == [-1] * 4
    assert new.terms[1].codes.tolist()[:2] == design.terms[1].codes[:2].tolist()
    assert new.new_labels[0].tolist()[2] == 99
    assert new.new_labels[1].tolist()[4] == f"w:{known['g'].iloc[0]}"
    assert new.terms[0].levels is design.terms[0].levels


def test_combinations_that_did_not_occur_are_unknown():
    data = table()
    data = data[~((data["h"] == "u") & (data["g"] == 12))]
    design = build_design(parse("y ~ 1 + (1 | h:g)"), data)
    new = new_rows(design, pd.DataFrame({"h": ["u", "v"], "g": [12, 12]}))
    assert new.terms[0].codes[0] == -1
    assert design.terms[0].levels[new.terms[0].codes[1]] == "v:12"


@pytest.mark.parametrize("dtype", ["category", float, "int8", object, "Int64", "int64[pyarrow]"])
def test_labels_match_across_dtypes(dtype):
    data = table()
    design = build_design(parse("y ~ 1 + (1 | g) + (1 | h:g)"), data)
    new = new_rows(design, data.astype({"g": dtype}))
    for term, fitted in zip(new.terms, design.terms, strict=True):
        np.testing.assert_array_equal(term.codes, fitted.codes)


def test_text_labels_for_numbers_are_refused_rather_than_unknown():
    data = table()
    design = build_design(parse("y ~ 1 + (1 | g)"), data)
    with pytest.raises(DataError, match=r"'g' are .* in the fit.*astype"):
        new_rows(design, data.assign(g=data["g"].astype(str)))


def test_unknown_categories_name_column_value_and_levels():
    data = table()
    design = build_design(parse("y ~ f + C(k) + flag"), data)
    with pytest.raises(DataError, match=r"Column 'f' has the value 'q', .* levels known are 'a', 'b', 'c'"):
        new_rows(design, data.head(3).assign(f=["a", "q", "q"]))
    with pytest.raises(DataError, match=r"Column 'C\(k\)' has the value 9, .* 0, 1, 2"):
        new_rows(design, data.head(3).assign(k=9))


def test_columns_that_changed_their_kind():
    data = table()
    design = build_design(parse("y ~ x*f + flag"), data)
    with pytest.raises(DataError, match="'f' has the value 5"):
        new_rows(design, data.head(3).assign(f=5))
    with pytest.raises(DataError, match="'x' is a category here and was numeric"):
        new_rows(design, data.head(3).assign(x="a"))
    as_numbers = data.assign(flag=data["flag"].astype(int))
    np.testing.assert_array_equal(new_rows(design, as_numbers).X, design.X)


def test_missing_values_raise_or_drop():
    data = table()
    design = build_design(parse("y ~ x + (1 | g)"), data)
    gaps = data.head(6).copy()
    gaps.loc[2, "x"] = np.nan
    gaps["y"] = np.nan
    with pytest.raises(DataError, match="'x' has 1 missing values, first in row 2"):
        new_rows(design, gaps)
    new = new_rows(design, gaps, missing="drop")
    assert new.index.tolist() == [0, 1, 3, 4, 5]
    assert len(new.X) == len(new.offset) == len(new.terms[0].codes) == len(new.new_labels[0]) == 5
    with pytest.raises(OptionError):
        new_rows(design, gaps, missing="keep")
    with pytest.raises(DataError, match="infinite"):
        new_rows(design, data.assign(x=np.inf))


def test_without_random_terms_grouping_columns_are_not_needed():
    data = table()
    design = build_design(parse("y ~ x + (f | g)"), data)
    new = new_rows(design, data[["x"]].head(4), random=False)
    assert new.terms == () and new.new_labels == ()
    np.testing.assert_array_equal(new.X, design.X[:4])
    with pytest.raises(DataError, match="no column 'f'"):
        new_rows(design, data[["x"]].head(4))


def test_intercept_only_models_take_their_rows_from_the_frame():
    data = table()
    design = build_design(parse("y ~ 1"), data)
    np.testing.assert_array_equal(new_rows(design, data.head(3)).X, np.ones((3, 1)))
    np.testing.assert_array_equal(new_rows(design, {"anything": [1, 2]}).X, np.ones((2, 1)))


def test_offsets():
    data = table()
    named = build_design(parse("y ~ x + offset(log(x))"), data, offset="o")
    expected = (np.log(data["x"]) + data["o"]).head(4)
    np.testing.assert_allclose(new_rows(named, data.head(4)).offset, expected)
    given = build_design(parse("y ~ x + offset(log(x))"), data, offset=data["o"].to_numpy())
    np.testing.assert_allclose(new_rows(given, data.head(4), offset=data["o"].head(4)).offset, expected)
    with pytest.raises(DataError, match="pass offset="):
        new_rows(given, data.head(4))


def test_extrapolation_of_splines_says_so():
    data = table()
    design = build_design(parse("y ~ bs(x, df=4)"), data)
    with pytest.raises(DataError, match=r"bs\(x, df=4\) cannot be computed"):
        new_rows(design, data.head(2).assign(x=1000.0))


def test_user_functions_are_used_again():
    data = table()
    design = build_design(parse("y ~ twice(x)", {"twice"}), data, functions={"twice": lambda x: 2 * x})
    np.testing.assert_array_equal(new_rows(design, data.head(2)).X[:, 1], 2 * data["x"].head(2))

"""Messages name the cell, the column or the spelling that is wrong, and the remedy that works."""

import unicodedata
import warnings

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design, new_rows
from bayeslmm.design.texts import cells_not_numbers
from bayeslmm.errors import DataError, ModelError
from bayeslmm.formula import parse

N = 120
DECOMPOSED = unicodedata.normalize("NFD", "\u00e9")


def table(**columns):
    rng = np.random.default_rng(0)
    data = {
        "y": rng.standard_normal(N),
        "x": rng.standard_normal(N),
        "z": rng.standard_normal(N),
        "g": np.arange(N) % 6,
    }
    return pd.DataFrame(data).assign(**columns)


def stray(values, where=(17,), cell="."):
    values = values.copy()
    values.iloc[list(where)] = cell
    return values


def design(data, formula="y ~ x + (1 | g)", **options):
    return build_design(parse(formula), data, **options)


MIXED = stray(table()["x"].astype(object))
TEXT = stray(table()["x"].round(1).astype(str))


@pytest.mark.parametrize(
    ("columns", "formula", "said"),
    [
        ({"x": MIXED}, "y ~ x", "'x' is not numeric: row 17 holds '.'"),
        ({"x": MIXED}, "y ~ 1 + (x | g)", "'x' is not numeric: row 17 holds '.'"),
        ({"y": MIXED}, "y ~ x", "'y' is not numeric: row 17 holds '.'"),
        ({"x": stray(MIXED, (17, 19, 30))}, "y ~ x", r"row 17 holds '.' \(and 2 others\)"),
        ({"x": TEXT}, "y ~ log(x)", r"log\(x\): x is a category.*row 17 holds '.'"),
        ({"a b": TEXT}, "y ~ log(`a b`)", r"log\(`a b`\): `a b` is a category.*row 17 holds '.'"),
        ({"y": TEXT}, "y ~ x", "y is not numeric.*row 17 holds '.'"),
        ({"o": TEXT}, "y ~ offset(o)", "o is not numeric.*row 17 holds '.'"),
    ],
)
def test_a_cell_that_is_no_number_is_named(columns, formula, said):
    with pytest.raises(DataError, match=said):
        design(table(**columns), f"{formula} + (1 | g)")


@pytest.mark.parametrize("switches", ["2", "True, 3", "center=0", "scale=2.5"])
def test_scale_takes_no_numbers(switches):
    with pytest.raises(DataError, match="True or False"):
        design(table(), f"y ~ scale(x, {switches}) + (1 | g)")


@pytest.mark.parametrize("cell", [[1, 2], {"a": 1}, {1}, np.arange(2)], ids=str)
@pytest.mark.parametrize("column", ["x", "y", "g"])
def test_a_cell_that_is_no_value_is_named(column, cell):
    values = table()["x"].astype(object)
    values.iat[17] = cell
    with pytest.raises(DataError, match=rf"'{column}'.*row 17"):
        design(table(**{column: values}))


@pytest.mark.parametrize(
    ("spell", "remedy"),
    [
        (lambda v: f"{v:.3f}".replace(".", ","), "decimal=','"),
        (lambda v: f"{1000 * v:,.2f}".replace(",", "_").replace(".", ",").replace("_", "."), "decimal=','"),
        (lambda v: f"{1e6 * v:,.0f}", "separators of thousands"),
        (lambda v: f"{v:.3f} %", "separators of thousands and signs"),
        (lambda v: f"€{v:.3f}", "separators of thousands and signs"),
        (lambda v: f"{v:.3f}".replace("-", "\u2212"), "write minus as '-'"),
        (lambda v: f"<{v:.3f}" if v < 0.5 else f"{v:.3f}", "signs such as %, € and <"),
        (lambda v: f" {v:.3f} ", "with pandas.to_numeric"),
    ],
)
def test_numbers_spelled_otherwise_are_told(spell, remedy):
    texts = table()["x"].round(1).map(spell)
    with pytest.warns(UserWarning, match=rf"'x' is text with \d+ different values.*{remedy}.*C\(x\)"):
        design(table(x=texts), "y ~ x + (1 | g)")
    with pytest.raises(DataError, match=remedy):
        new_rows(design(table()), table(x=texts))
    with pytest.raises(DataError, match=remedy):
        design(table(w=texts), weights="w")
    with pytest.raises(DataError, match=remedy):
        design(table(y=texts))


def test_rows_dropped_before_it_do_not_move_the_cell():
    missing = table(x=MIXED, z=lambda d: d["z"].where(d.index != 3))
    with pytest.raises(DataError, match="row 17 holds"):
        design(missing, "y ~ x + z + (1 | g)")


@pytest.mark.parametrize(("row", "cell"), [(0, "ms"), (N - 1, "Total")])
def test_a_row_of_units_or_a_total_is_named_though_it_is_left_out(row, cell):
    column = stray(table()["x"].round(1).astype(str), (row,), cell)
    rest = table(z=table()["z"].where(np.arange(N) != row))
    said = f"row {row}, left out for a missing value, holds '{cell}'"
    with pytest.raises(DataError, match=f"y is not numeric.*{said}: correct it"):
        design(rest.assign(y=column), "y ~ z + (1 | g)")
    with pytest.warns(UserWarning, match=f"'x' is text with .*{said}"):
        design(rest.assign(x=column), "y ~ x + z + (1 | g)")
    for formula, options in (("y ~ log(x) + z + (1 | g)", {}), ("y ~ z + (1 | g)", {"offset": "x"})):
        with pytest.raises(DataError, match=f"x.*{said}"):
            design(rest.assign(x=column), formula, **options)
    with pytest.raises(DataError, match=f"'x'.*{said}"):
        new_rows(design(table(), "y ~ x + z + (1 | g)"), rest.assign(x=column), missing="drop")


def test_the_factor_with_too_many_levels_is_named():
    days = pd.date_range("2020-01-01", periods=N).astype(str)
    with pytest.raises(ModelError, match=f"'day' makes {N - 1} of them.*numbers or dates stored as text"):
        design(table(day=days), "y ~ x + day + (1 | g)")


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("y ~ I(x == c)", r"I\(x == c\) compares labels with numbers"),
        ("y ~ I(c == 'A')", r"I\(c == 'A'\): 'A' does not occur; the levels are 'a', 'b'"),
        ("y ~ I(1 != c)", "1 does not occur"),
        ("y ~ I(x == '1')", "compares numbers with the text '1': leave out the quotes"),
        ("y ~ poly(x, 2.5)", "poly: a basis of 2.5 columns is not possible; use a whole number"),
        ("y ~ poly(x, degree='two')", "a basis of 'two' columns"),
        ("y ~ bs(x, df=2)", r"bs\(x, df=2\) cannot be computed \(.*\): check the arguments of its functions"),
        ("y ~ poly(x, 2, raw=TRUE)", "no column 'TRUE': write True for TRUE"),
        ("y ~ dose + z", "no column 'dose': did you mean 'dose-mg'. Its name goes into backquotes, `dose-mg`"),
        ("c ~ x", r"this holds labels such as 'a'\. Labels are the response of a family such as 'bernoulli'"),
        ("y ~ bs(x, degree=130)", r"120 rows cannot estimate 131 fixed columns .* more rows than columns\.$"),
    ],
)
def test_wrong_values_and_arguments_are_named(formula, said):
    with pytest.raises((DataError, ModelError), match=said):
        design(table(c=["a", "b"] * (N // 2), **{"dose-mg": 1.0}), f"{formula} + (1 | g)")


def test_true_and_false_are_no_weights():
    for flags in (np.arange(N) % 2 == 0, pd.array([True, False] * (N // 2), dtype="boolean")):
        with pytest.raises(DataError, match=r"'w' are true or false: to leave rows out, pass data\[data\['w'\]\]"):
            design(table(w=flags), weights="w")
        with pytest.raises(DataError, match="are true or false"):
            design(table(), weights=flags)


def test_what_is_masked_is_missing():
    masked = np.ma.array(np.ones(N), mask=np.arange(N) == 3)
    with pytest.raises(DataError, match=r"'\(weights\)' are missing in 1 row, first in row 3"):
        design(table(), weights=masked)
    assert design(table(), offset=masked).n == N - 1
    assert design({name: table()[name] for name in ("y", "g")} | {"x": masked * table()["x"].to_numpy()}).n == N - 1


def test_functions_of_the_user_may_return_texts_and_lists():
    data = table()
    named = {"sign": lambda x: np.where(x > 0, "up", "down"), "listed": lambda x: list(2 * x)}
    fitted = build_design(parse("y ~ sign(x) + listed(z) + (1 | g)", named), data, functions=named)
    assert fitted.fixed_names == ("Intercept", "sign(x)[T.up]", "listed(z)")
    np.testing.assert_array_equal(fitted.X[:, 1], data["x"] > 0)
    np.testing.assert_array_equal(fitted.X[:, 2], 2 * data["z"])


@pytest.mark.parametrize("label", ["a\0", "\ud800", "é\udcff"])
def test_labels_that_no_file_can_hold_are_refused(label):
    texts = pd.Series(["a", label] * (N // 2), dtype=object)
    for columns, formula in (({"g": texts}, "y ~ x + (1 | g)"), ({"c": texts}, "y ~ c + (1 | g)")):
        with pytest.raises(DataError, match=r"Column '[cg]' has the level .*read the file with the encoding it has"):
            design(table(**columns), formula)


def test_a_label_may_be_absent_from_new_rows_and_dates_as_text_are_compared():
    data = table(c=["a", "b"] * (N // 2), day=pd.date_range("2020-01-01", periods=N).astype(str))
    fitted = design(data, "y ~ I(c == 'a') + I(day > '2020-02-30') + (1 | g)")
    assert fitted.fixed_names == ("Intercept", "I(c == 'a')[T.True]", "I(day > '2020-02-30')[T.True]")
    assert fitted.X[:, 2].sum() == N - 60
    assert new_rows(fitted, data[data.c == "b"]).X[:, 1].sum() == 0


def test_new_data_in_which_a_cell_is_no_number():
    fitted = design(table())
    for values in (MIXED, TEXT):
        with pytest.raises(DataError, match=r"'x'.*row 17 holds '.'"):
            new_rows(fitted, table(x=values))


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ z * x + (1 | g)", "y ~ 1 + (x | g)"])
def test_numbers_stored_as_text_are_told(formula):
    with pytest.warns(UserWarning, match=r"'x' is text with \d+ different values.*to_numeric, or write C\(x\)"):
        design(table(x=table()["x"].round(1).astype(str)), formula)
    with pytest.warns(UserWarning, match="read as numbers, except that row 17 holds '.'"):
        design(table(x=TEXT), formula)


@pytest.mark.parametrize(
    ("columns", "formula"),
    [
        ({"x": [str(k % 10) for k in range(N)]}, "y ~ x"),  # few levels are labels
        ({"x": [f"dose {k % 40}" for k in range(N)]}, "y ~ x"),  # no numbers
        ({"x": table()["x"].round(1).astype(str)}, "y ~ C(x)"),
        ({"x": table()["x"].round(1).astype(str).astype("category")}, "y ~ x"),
        ({"g": [str(k // 2) for k in range(N)]}, "y ~ x"),  # groups are labels
    ],
)
def test_labels_are_no_numbers(columns, formula):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert design(table(**columns), f"{formula} + (1 | g)").n == N


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, "3", "1e4", None], [False] * 5),
        (["1", "2", "3", "4", "5", ".", None, "."], [False] * 5 + [True, False, True]),
        (["a", "b", "1"], None),
        ([None, None], None),
    ],
)
def test_cells_that_read_as_numbers(values, expected):
    found = cells_not_numbers(pd.Series(values, dtype=object))
    assert found is None if expected is None else found.tolist() == expected


@pytest.mark.parametrize("empty", [np.nan, None, pd.NaT])
def test_a_column_without_values_is_named(empty):
    with pytest.raises(DataError, match=r"No rows are left of 120.*'x' has no value at all"):
        design(table(x=empty))
    with pytest.raises(DataError, match="'x', 'z' have no value at all"):
        design(table(x=empty, z=empty), "y ~ x + z + (1 | g)")


def test_columns_that_leave_no_complete_row():
    halves = table(x=lambda d: d["x"].where(d.index % 2 == 0), z=lambda d: d["z"].where(d.index % 2 == 1))
    with pytest.raises(DataError, match="missing are 'x' in 60, 'z' in 60 rows"):
        design(halves, "y ~ x + z + (1 | g)")


@pytest.mark.parametrize("weights", ["w", ["2"] * N, pd.Series(pd.Categorical([1] * N)), np.array(["1"] * N)])
def test_weights_as_text(weights):
    with pytest.raises(DataError, match=r"weights.* not numeric.*to_numeric"):
        design(table(w="2"), weights=weights)


def test_offsets_as_text():
    with pytest.raises(DataError, match="'o' is not numeric"):
        design(table(o="2"), offset="o")


@pytest.mark.parametrize("index", ["g", ["g", "z"]])
def test_a_column_that_is_in_the_index(index):
    with pytest.raises(DataError, match=r"'g', but an index of this name: pass data.reset_index\(\)"):
        design(table().set_index(index), "y ~ 1 + (1 | g)")
    assert design(table().set_index(index).reset_index()).n == N


def test_columns_with_several_levels():
    with pytest.raises(DataError, match="several levels"):
        design(pd.concat({"a": table()}, axis=1))


def test_two_spellings_of_a_column():
    with pytest.raises(DataError, match=r"looks like '\u00e9'.*str.normalize\('NFC'\)"):
        design(table().rename(columns={"x": DECOMPOSED}), "y ~ \u00e9 + (1 | g)")


@pytest.mark.parametrize("formula", ["y ~ 1 + (1 | k)", "y ~ k + (1 | g)", "y ~ 1 + (1 | g:k)"])
def test_two_spellings_of_a_level(formula):
    labels = ["caf\u00e9", "caf" + "e\u0301", "bar"] * (N // 3)
    with pytest.warns(UserWarning, match="'k' has two levels that look like"):
        design(table(k=labels), formula)
    merged = design(table(k=pd.Series(labels).str.normalize("NFC")), "y ~ 1 + (1 | k)")
    assert merged.terms[0].n_levels == 2

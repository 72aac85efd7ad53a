"""Frames of every make and columns of every dtype give the same design."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design, new_rows
from bayeslmm.errors import DataError
from bayeslmm.formula import parse

FORMULA = parse("y ~ x*f + b + C(k) + (1 | g) + (f | k)")


def table(n=50):
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "f": rng.choice(["b", "a", "c"], size=n),
            "b": rng.random(n) < 0.5,
            "k": rng.integers(0, 3, size=n),
            "g": rng.integers(10, 16, size=n),
        }
    )


def polars_frame():
    pl = pytest.importorskip("polars")
    return pl.DataFrame({name: column.to_numpy().tolist() for name, column in table().items()})


def polars_categories():
    pl = pytest.importorskip("polars")
    return polars_frame().with_columns(
        pl.col("f").cast(pl.Categorical), pl.col("x").cast(pl.Float64), pl.col("g").cast(pl.Int16)
    )


def arrow_dictionary():
    pa = pytest.importorskip("pyarrow")
    levels = pd.Categorical(table()["f"])
    values = pa.DictionaryArray.from_arrays(levels.codes, levels.categories.tolist())
    return table().assign(f=pd.Series(values, dtype=pd.ArrowDtype(values.type)))


MAKES = {
    "dictionary": lambda: {name: column.to_numpy() for name, column in table().items()},
    "lists": lambda: {name: column.tolist() for name, column in table().items()},
    "series": lambda: dict(table().items()),
    "object": lambda: table().astype(object),
    "nullable": lambda: table().convert_dtypes(dtype_backend="numpy_nullable"),
    "arrow": lambda: table().convert_dtypes(dtype_backend="pyarrow"),
    "string": lambda: table().astype({"f": "string"}),
    "categories": lambda: table().astype(dict.fromkeys("fgkb", "category")),
    "arrow dictionary": arrow_dictionary,
    "ordered": lambda: table().assign(f=lambda d: pd.Categorical(d["f"], ordered=True)),
    "float labels": lambda: table().astype({"g": float}),
    "small": lambda: table().astype({"k": "int8", "g": "uint16"}),
    "polars": polars_frame,
    "polars categories": polars_categories,
    "other columns": lambda: table().assign(**{"when": pd.Timestamp("2024-01-01"), "bad": np.inf}),
    "odd names": lambda: table().rename_axis("row").assign(other=1).rename(columns={"other": 7}),
    "duplicates elsewhere": lambda: table().assign(u=1, v=2).rename(columns={"v": "u"}),
}  # fmt: skip


@pytest.mark.parametrize("make", MAKES)
def test_the_same_design_whatever_the_frame(make):
    expected = build_design(FORMULA, table())
    data = MAKES[make]()
    design = build_design(FORMULA, data)
    assert design.fixed_names == expected.fixed_names
    np.testing.assert_array_equal(design.X, expected.X)
    np.testing.assert_array_equal(design.y, expected.y)
    for term, other in zip(design.terms, expected.terms, strict=True):
        assert term.effects == other.effects
        np.testing.assert_array_equal(term.codes, other.codes)
        np.testing.assert_array_equal(term.columns, other.columns)
        assert [float(level) for level in term.levels] == other.levels.tolist()
    again = new_rows(design, data)
    np.testing.assert_array_equal(again.X, design.X)
    np.testing.assert_array_equal(again.terms[0].codes, design.terms[0].codes)


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow", "polars", "object"])
def test_missing_values_of_every_kind(backend):
    data = table().astype(object)
    for row, name in enumerate(data.columns):
        data.loc[row, name] = None
    if backend == "polars":
        pl = pytest.importorskip("polars")
        data = pl.DataFrame({name: column.tolist() for name, column in data.items()})
    elif backend != "object":
        data = data.convert_dtypes(dtype_backend=backend)
    design = build_design(FORMULA, data)
    expected = build_design(FORMULA, table().iloc[6:])
    assert design.n == 44
    np.testing.assert_array_equal(design.X, expected.X)
    np.testing.assert_array_equal(design.terms[1].codes, expected.terms[1].codes)


def test_polars_enums_keep_their_order_and_lazy_frames_are_refused():
    pl = pytest.importorskip("polars")
    frame = polars_frame().with_columns(pl.col("f").cast(pl.Enum(["c", "b", "a"])))
    names = build_design(parse("y ~ f"), frame).fixed_names
    assert names == ("Intercept", "f[T.b]", "f[T.a]")
    with pytest.raises(DataError, match="collect"):
        build_design(FORMULA, polars_frame().lazy())


def test_polars_integer_labels_with_gaps_stay_integers():
    pl = pytest.importorskip("polars")
    frame = polars_frame().with_columns(pl.when(pl.col("g") == 12).then(None).otherwise(pl.col("g")).alias("g"))
    levels = build_design(FORMULA, frame).terms[0].levels
    assert levels.tolist() == [10, 11, 13, 14, 15]
    assert pd.api.types.is_integer_dtype(levels.dtype)


def test_unknown_columns_and_close_matches():
    with pytest.raises(DataError, match="no column 'Y': did you mean 'y'"):
        build_design(parse("Y ~ x"), table())
    data = table().rename(columns={"x": "reaction"})
    with pytest.raises(DataError, match="did you mean 'reaction'"):
        build_design(parse("y ~ reacton"), data)
    with pytest.raises(DataError, match="no column 'zzz'; their columns are 'y', 'x'"):
        build_design(parse("y ~ (1 | zzz)"), table())


def test_duplicate_columns_matter_only_where_used():
    twice = pd.concat([table(), table()[["x"]]], axis=1)
    with pytest.raises(DataError, match=r"'x' occurs 2 times.*rename"):
        build_design(parse("y ~ x"), twice)
    assert build_design(parse("y ~ f"), twice).n == 50


def test_names_that_are_not_text():
    data = table().rename(columns={"x": 2024})
    with pytest.raises(DataError, match=r"'2024' of the formula is not named by text.*map\(str\)"):
        build_design(parse("y ~ `2024`"), data)
    assert build_design(parse("y ~ f"), data).n == 50


@pytest.mark.parametrize("data", [None, 3, "file.csv", [1, 2], np.zeros((3, 2))])
def test_what_is_no_table(data):
    with pytest.raises(DataError, match="pandas or polars DataFrame"):
        build_design(FORMULA, data)


def test_columns_of_different_length():
    with pytest.raises(DataError, match="differ in length"):
        build_design(parse("y ~ x"), {"y": [1, 2, 3], "x": [1, 2]})
    with pytest.raises(DataError, match="'x' has 0 dimensions"):
        build_design(parse("y ~ x"), {"y": [1, 2, 3], "x": 1})


@pytest.mark.parametrize(
    "values",
    [
        pd.date_range("2024-01-01", periods=50),
        pd.to_timedelta(np.arange(50), unit="D"),
        np.arange(50) * 1j,
        pd.Series([1, "a"] * 25, dtype=object),
    ],
    ids=["dates", "durations", "complex", "mixed"],
)
def test_columns_with_no_meaning_in_a_fixed_part(values):
    with pytest.raises(DataError, match=r"Column 'x' holds .* Convert it first"):
        build_design(parse("y ~ x"), table().assign(x=values))

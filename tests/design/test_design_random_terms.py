"""Random terms as codes, levels and columns."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslmm.covariance import FULL
from bayeslmm.design import build_design
from bayeslmm.errors import DataError
from bayeslmm.formula import parse


def table(n=60, seed=3):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "sex": rng.choice(["Male", "Female"], size=n),
            "g": rng.permutation(np.arange(n) % 7) + 300,
            "h": rng.choice(["b", "a", "c"], size=n),
        }
    )


def terms(text, data=None, **options):
    return build_design(parse(text), table() if data is None else data, **options).terms


@pytest.mark.parametrize(
    ("bar", "effects", "correlated"),
    [
        ("(1 | g)", ("Intercept",), True),
        ("(x | g)", ("Intercept", "x"), True),
        ("(x || g)", ("Intercept", "x"), False),
        ("(0 + x | g)", ("x",), True),
        ("(sex | g)", ("Intercept", "sex[T.Male]"), True),
        ("(0 + sex | g)", ("sex[Female]", "sex[Male]"), True),
        ("(sex || g)", ("Intercept", "sex[T.Male]"), False),
        ("(0 + C(h) || g)", ("C(h)[a]", "C(h)[b]", "C(h)[c]"), False),
        ("(1 + C(sex, Treatment('Male')) | g)", ("Intercept", "C(sex, Treatment('Male'))[T.Female]"), True),
        ("(x*sex | g)", ("Intercept", "x", "sex[T.Male]", "x:sex[T.Male]"), True),
        ("(poly(x, 2) | g)", ("Intercept", "poly(x, 2)[1]", "poly(x, 2)[2]"), True),
    ],
)
def test_effects_of_a_bar(bar, effects, correlated):
    (term,) = terms(f"y ~ x + {bar}")
    assert term.effects == effects
    assert (term.covariance is FULL) is correlated
    assert term.columns.shape == (60, len(effects))
    assert term.columns.flags.c_contiguous or effects == ("Intercept",)


def test_coding_within_a_bar_does_not_depend_on_the_fixed_part():
    assert terms("y ~ sex + (0 + sex | g)")[0].effects == terms("y ~ 1 + (0 + sex | g)")[0].effects


def test_levels_keep_labels_dtype_and_order():
    data = table()
    (term,) = terms("y ~ (1 | g)", data)
    assert term.levels.dtype == data["g"].dtype
    assert term.levels.tolist() == sorted(set(data["g"]))
    assert term.codes.dtype == np.int32
    np.testing.assert_array_equal(term.levels.to_numpy()[term.codes], data["g"])


def test_levels_of_a_category_keep_its_order_without_unused_ones():
    data = table()
    data["h"] = pd.Categorical(data["h"], categories=["z", "c", "a", "b"], ordered=True)
    (term,) = terms("y ~ (1 | h)", data)
    assert term.levels.tolist() == ["c", "a", "b"]
    np.testing.assert_array_equal(np.asarray(term.levels)[term.codes], np.asarray(data["h"]))


def test_integer_categories_keep_integer_labels():
    data = table().assign(g=lambda d: pd.Categorical(d["g"]))
    (term,) = terms("y ~ (1 | g)", data)
    assert pd.api.types.is_integer_dtype(term.levels.dtype)


def test_interactions_hold_the_combinations_that_occur():
    data = table()
    data = data[~((data["h"] == "a") & (data["g"] == 301))]
    (term,) = terms("y ~ (1 | h:g)", data)
    pairs = sorted(set(zip(data["h"], data["g"], strict=True)))
    assert term.levels.tolist() == [f"{h}:{g}" for h, g in pairs]
    assert "a:301" not in term.levels
    rows = [f"{h}:{g}" for h, g in zip(data["h"], data["g"], strict=True)]
    assert term.levels[term.codes].tolist() == rows


def test_nested_factors():
    names = [(term.name, term.n_levels) for term in terms("y ~ (1 | h/g)")]
    assert names == [("h", 3), ("h:g", len(set(zip(table()["h"], table()["g"], strict=True))))]


def test_labels_that_collide_after_joining():
    data = table(4).assign(a=["1:2", "1", "1", "q"], b=["3", "2:3", "4", "q"])
    with pytest.raises(DataError, match="'1:2:3'"):
        terms("y ~ 0 + (1 | a:b)", data)


def test_names_of_several_terms_on_one_factor():
    found = terms("y ~ (1 | g) + (0 + x | g) + (1 | h) + (0 + sex | g)")
    assert [term.name for term in found] == ["g", "g.1", "h", "g.2"]
    assert {term.factor for term in found} == {"g", "h"}
    data = table().assign(**{"g.1": table()["h"]})
    assert [term.name for term in terms("y ~ (1|g) + (0+x|g) + (1|`g.1`)", data)] == ["g", "g.2", "g.1"]


@pytest.mark.parametrize("name", ["chain", "draw", "fixed", "beta", "sigma"])
def test_reserved_grouping_names(name):
    with pytest.raises(DataError, match=f"{name}.*rename the column"):
        terms(f"y ~ (1 | {name})", table().rename(columns={"g": name}))
    assert terms(f"y ~ {name} + (1 | h)", table().rename(columns={"x": name}))


def test_centring_is_for_correlated_terms_that_span_the_constant():
    x = table()["x"].mean()
    correlated, diagonal, slope = terms("y ~ (x | g) + (x || h) + (0 + x | h)")
    np.testing.assert_allclose(correlated.centring.means, [0, x])
    assert not diagonal.centring.spans_constant
    assert not slope.centring.spans_constant


def test_centring_uses_the_weights():
    w = np.linspace(0.5, 2, 60)
    (term,) = terms("y ~ (x | g)", weights=w)
    np.testing.assert_allclose(term.centring.means[1], np.average(table()["x"], weights=w))


@pytest.mark.parametrize("labels", [[1.5, 0.5], [True, False], pd.to_datetime(["2024-02-01", "2024-01-01"])])
def test_other_labels(labels):
    data = table().assign(g=np.asarray(labels)[np.arange(60) % 2])
    (term,) = terms("y ~ (1 | g)", data)
    assert term.levels.tolist() == sorted(pd.Index(labels))


def test_labels_that_cannot_be_sorted():
    data = table(4).assign(g=[1, "a", (2,), None])
    data["g"] = pd.Series([1, "a", (2,), 3.5], dtype=object)
    with pytest.raises(DataError, match="'g' mixes labels"):
        terms("y ~ (1 | g)", data)


# Null characters and halves of surrogate pairs are refused: test_design_columns says so.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
LABELS = st.one_of(
    st.lists(st.integers(-(2**40), 2**40), min_size=3, max_size=40),
    st.lists(TEXTS, min_size=3, max_size=40),
    st.lists(st.floats(-1e15, 1e15), min_size=3, max_size=40),
    st.lists(st.booleans(), min_size=3, max_size=40),
)


@settings(max_examples=150, deadline=None)
@given(LABELS, st.sampled_from(["plain", "category", "object", "nullable", "arrow"]))
def test_codes_and_levels_reconstruct_the_labels(labels, kind):
    column = pd.Series(labels)
    if kind == "category":
        column = column.astype("category")
    elif kind == "object":
        column = column.astype(object)
    elif kind != "plain":
        column = column.convert_dtypes(dtype_backend="pyarrow" if kind == "arrow" else "numpy_nullable")
    data = pd.DataFrame({"y": np.arange(len(labels), dtype=float), "g": column})
    (term,) = terms("y ~ 1 + (1 | g)", data)
    assert np.asarray(term.levels, dtype=object)[term.codes].tolist() == labels
    assert len(term.levels) == len(set(labels))
    assert np.bincount(term.codes, minlength=term.n_levels).min() > 0


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.booleans()), min_size=3, max_size=40))
def test_interactions_reconstruct_their_labels(rows):
    data = pd.DataFrame(rows, columns=["a", "b", "c"]).assign(y=np.arange(len(rows), dtype=float))
    (term,) = terms("y ~ 1 + (1 | a:b:c)", data)
    assert term.levels[term.codes].tolist() == [f"{a}:{b}:{c}" for a, b, c in rows]
    assert term.levels.tolist() == [f"{a}:{b}:{c}" for a, b, c in sorted(set(rows))]


INSTEVAL_MEMORY = 200e6  # bytes above the data; an indicator matrix of 4,100 levels would take 2.4e9


def test_no_indicator_matrix_is_formed():
    # Rows, levels and columns as in the evaluation of 1,128 instructors by 2,972 students.
    rng = np.random.default_rng(5)
    n = 73_421
    data = pd.DataFrame(
        {
            "y": rng.integers(1, 6, n).astype(float),
            "s": pd.Categorical(rng.permutation(np.arange(n) % 2_972)),
            "d": pd.Categorical(rng.permutation(np.arange(n) % 1_128)),
            "dept": pd.Categorical(rng.integers(0, 14, n)),
            "service": pd.Categorical(rng.integers(0, 2, n)),
        }
    )
    formula = parse("y ~ 1 + dept * service + (1 | s) + (1 | d)")
    build_design(formula, data.head(100))
    tracemalloc.start()
    design = build_design(formula, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert design.X.shape == (n, 28)
    assert [term.n_levels for term in design.terms] == [2_972, 1_128]
    assert peak < INSTEVAL_MEMORY

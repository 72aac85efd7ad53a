"""Formulas put together at random build a design or are refused by name, never with another error."""

import warnings

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bayeslmm.design import build_design, new_rows
from bayeslmm.errors import BayeslmmError
from bayeslmm.formula import parse

CLOSE = 1e-9  # transforms are recomputed from what they remember

COLUMNS = [*["x", "z", "f", "k", "flag", "gap", "`my column`"] * 4, "big", "absent", "when"]
ATOMS = st.sampled_from(COLUMNS) | st.sampled_from(["1", "0"])
CALLS = st.builds(
    "{}({}{})".format,
    st.sampled_from(["log", "C", "poly", "scale", "bs", "cr", "I", "sqrt", "center", "Sum", "offset", "bart"]),
    st.sampled_from([*COLUMNS, "x + z", "x > z", "f == 'a'", "x / 0", "k * flag", "-x", "x ** 99"]),
    st.sampled_from([*[""] * 12, ", 2", ", df=4", ", Sum", ", Treatment('a')", ", Treatment(1)", ", levels=['a']"]),
)
SUMS = st.recursive(
    ATOMS | CALLS,
    lambda inner: (
        st.builds("{} {} {}".format, inner, st.sampled_from(["+", "-", "*", ":", "/"]), inner)
        | st.builds("({})".format, inner)
    ),
    max_leaves=4,
)
BARS = st.builds(
    "({} {} {})".format,
    SUMS,
    st.sampled_from(["|", "||"]),
    st.sampled_from([*["k", "f", "f:k", "f/k", "gap", "x", "when"] * 3, "sigma", "absent"]),
)
FORMULAS = st.builds(
    "{} ~ {}".format,
    st.sampled_from([*["y", "log(z)", "flag", "x + z"] * 4, "f", "one"]),
    st.lists(SUMS | BARS, min_size=1, max_size=3).map(" + ".join),
)


def table(n=30):
    rng = np.random.default_rng(12)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "z": rng.uniform(1, 2, size=n),
            "f": rng.choice(["a", "b", "c"], size=n),
            "k": rng.integers(0, 4, size=n),
            "flag": rng.random(n) < 0.5,
            "gap": np.where(np.arange(n) % 7 == 0, np.nan, np.arange(n) % 5),
            "big": 1e300 * rng.normal(size=n),
            "my column": rng.normal(size=n),
            "when": pd.date_range("2024-01-01", periods=n),
            "one": 1.0,
            "sigma": 1,
        }
    )


@settings(max_examples=400, deadline=None)
@example("y ~ bart(gap)")
@given(FORMULAS)
def test_every_formula_builds_or_is_refused(text):
    data = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            design = build_design(parse(text), data)
        except BayeslmmError:
            return
        # columns of a learner are its own business at new rows, so rows that lack one are not left out there
        again = new_rows(design, data.iloc[design.rows] if design.formula.learner else data, missing="drop")
    assert np.isfinite(design.X).all()
    assert design.X.shape == (design.n, design.p) == (design.n, len(design.fixed_names))
    np.testing.assert_allclose(again.X, design.X, rtol=CLOSE, atol=CLOSE)
    for term, twin in zip(design.terms, again.terms, strict=True):
        assert term.columns.shape == (design.n, len(term.effects))
        assert term.codes.min() >= 0 and term.codes.max() == term.n_levels - 1
        np.testing.assert_array_equal(term.codes, twin.codes)
        np.testing.assert_allclose(twin.columns, term.columns, rtol=CLOSE, atol=CLOSE)

"""A saved design is its formula and the columns used: building again gives the same bits."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design
from bayeslmm.formula import parse

TEXTS = [
    "y ~ 1 + x + (1 + x | g)",
    "log(z) ~ poly(x, 2)*f + C(k, Treatment(2)) + offset(o) + (f || g) + (1 | g:c)",
    "y ~ 0 + c + flag + I(2*x) + x + (1 | c/g)",
]


def table(n=50):
    rng = np.random.default_rng(11)
    data = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "z": rng.uniform(1, 2, size=n),
            "o": rng.normal(size=n),
            "f": rng.choice(["b", "a"], size=n),
            "k": rng.integers(0, 3, size=n),
            "flag": rng.random(n) < 0.5,
            "g": rng.integers(300, 306, size=n),
            "c": pd.Categorical(rng.choice(["u", "v", "w"], size=n), categories=["w", "never", "u", "v"]),
            "unused": "text",
        }
    )
    data.loc[[4, 9], "x"] = np.nan
    return data


def assert_same(design, other):
    assert design.fixed_names == other.fixed_names
    assert design.dropped_columns == other.dropped_columns
    assert dict(design.n_dropped) == dict(other.n_dropped)
    for name in ("y", "X", "weights", "offset", "rows"):
        np.testing.assert_array_equal(getattr(design, name), getattr(other, name))
    for term, twin in zip(design.terms, other.terms, strict=True):
        assert (term.name, term.effects) == (twin.name, twin.effects)
        pd.testing.assert_index_equal(term.levels, twin.levels)
        np.testing.assert_array_equal(term.codes, twin.codes)
        np.testing.assert_array_equal(term.columns, twin.columns)


def again(design, data):
    return build_design(parse(design.formula.text), data, weights=design.weights_column, offset=design.offset_column)


@pytest.mark.parametrize("text", TEXTS)
def test_from_the_columns_kept(text):
    design = build_design(parse(text), table(), weights=np.linspace(1, 2, 50), offset="o")
    assert "unused" not in design.data
    assert_same(again(design, design.data), design)


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("text", TEXTS)
def test_through_a_parquet_file(text, backend, tmp_path):
    data = table() if backend is None else table().convert_dtypes(dtype_backend=backend)
    design = build_design(parse(text), data, weights="z", offset=np.arange(50.0))
    design.data.to_parquet(tmp_path / "data.parquet")
    options = {} if backend is None else {"dtype_backend": backend}
    assert_same(again(design, pd.read_parquet(tmp_path / "data.parquet", **options)), design)

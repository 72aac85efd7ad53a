"""What large data must not cost: columns of ones, rows that were all kept, and rank by copies of the rows."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import held_columns, rank
from bayeslmm.design.build import build_design
from bayeslmm.design.centring import NARROW, find_centring
from bayeslmm.design.columns import as_codes
from bayeslmm.formula import parse


def frame(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "g": rng.integers(0, 9, n)})


def test_a_column_of_ones_and_rows_all_kept_take_no_memory() -> None:
    data = frame()
    design = build_design(parse("y ~ x + (1 | g)"), data)
    (term,) = design.terms
    assert term.columns.strides == (0, 0) and (term.columns == 1.0).all() and term.columns.shape == (200, 1)
    assert design.places is None
    np.testing.assert_array_equal(design.rows, np.arange(200))
    data.loc[3, "x"] = np.nan
    again = build_design(parse("y ~ x + (1 | g)"), data)
    np.testing.assert_array_equal(again.rows, np.delete(np.arange(200), 3))


def test_a_long_response_is_not_copied_and_later_changes_of_the_data_do_not_reach_it(monkeypatch) -> None:
    data = frame()
    before = data["y"].to_numpy(copy=True)
    assert not np.shares_memory(build_design(parse("y ~ x + (1 | g)"), data).y, data["y"].to_numpy())
    monkeypatch.setattr(held_columns, "LONG", 100)
    design = build_design(parse("y ~ x + (1 | g)"), data)
    protected = not data["y"].to_numpy().flags.writeable  # by copying on write, which pandas has from 3.0 on
    assert np.shares_memory(design.y, data["y"].to_numpy()) == protected
    data.loc[3, "y"] = 1e6
    data["y"] *= 2.0
    np.testing.assert_array_equal(design.y, before)
    np.testing.assert_array_equal(build_design(parse("log(y + 10) ~ x + (1 | g)"), frame()).y, np.log(before + 10))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("values", [[3, 1, 1, 7], [0, 100, 5, 5, 5], [-100, 100, 27, 27], [5]])
def test_codes_of_whole_numbers_are_those_of_hashing(dtype: type, values: list[int], monkeypatch) -> None:
    if min(values) < 0 and np.dtype(dtype).kind == "u":
        return
    column = pd.Series(np.array(values * 60, dtype=dtype))
    wanted, levels = pd.factorize(column, sort=True)
    codes, found = as_codes(column)
    assert codes.dtype == np.int32 and found.dtype == levels.dtype
    np.testing.assert_array_equal(codes, wanted)
    np.testing.assert_array_equal(found, levels)


def test_numbers_far_apart_are_hashed() -> None:
    column = pd.Series([10**15, -(10**15), 5, np.iinfo(np.int64).max])
    codes, levels = as_codes(column)
    np.testing.assert_array_equal(np.asarray(levels)[codes], column)


def test_one_pass_over_the_rows_decides_clear_cases_alone(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    n = 1000
    x, z = rng.normal(size=n) + 1e5, rng.normal(size=n)
    clear = np.column_stack([np.ones(n), x, z])
    doubtful = np.column_stack([np.ones(n), x, x + 1e-3 * z])
    dependent = np.column_stack([np.ones(n), x, 2 * x + 3])
    flat = np.column_stack([np.ones(n), x, np.full(n, 4.0)])
    monkeypatch.setattr(rank, "CHUNK_ROWS", 64)
    alone = x[:, None].copy()
    assert rank._clearly_independent(alone, centred=True)
    np.testing.assert_array_equal(alone[:, 0], x)
    assert rank._clearly_independent(clear, centred=True) and rank._clearly_independent(clear[:, 1:], centred=False)
    assert not any(rank._clearly_independent(X, centred=True) for X in (doubtful, dependent, flat))
    for X, kept in ((clear, [1, 1, 1]), (doubtful, [1, 1, 1]), (dependent, [1, 1, 0]), (flat, [1, 1, 0])):
        np.testing.assert_array_equal(rank.independent_columns(X, find_centring(X)), np.array(kept, dtype=bool))


def test_means_column_by_column_are_those_of_all() -> None:
    rng = np.random.default_rng(2)
    X = np.column_stack([np.ones(300), rng.normal(size=(300, NARROW + 2)) + 5])
    w = rng.uniform(0.5, 2.0, 300)
    for weights in (None, w):
        wide, narrow = find_centring(X, weights), find_centring(X[:, :4], weights)
        np.testing.assert_allclose(narrow.means, wide.means[:4], rtol=1e-13)
        assert narrow.means[0] == 0.0 and narrow.constant[0] == 1.0

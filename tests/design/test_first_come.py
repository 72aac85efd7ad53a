"""Numbers in the order of rows, and their levels sorted."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design.first_come import ROOM, FirstComeCoder


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "Int64"])
def test_codes_count_levels_as_they_come(dtype):
    coder = FirstComeCoder()
    assert coder.codes(pd.Series([7, 3, 7, 9], dtype=dtype)).tolist() == [0, 1, 0, 2]
    assert coder.codes(pd.Series([100, 3, 0], dtype=dtype)).tolist() == [3, 1, 4]
    assert coder.codes(pd.Series([], dtype=dtype)).tolist() == []
    assert coder.levels().tolist() == [0, 3, 7, 9, 100]
    assert coder.order().tolist() == [4, 1, 0, 2, 3]
    assert coder.levels().dtype == np.dtype(dtype.lower())
    assert coder.count == 5


def test_many_batches_that_ascend_and_descend():
    coder = FirstComeCoder()
    batches = [np.arange(40 * k, 40 * k + 60) for k in [5, 6, 7, 20, 3, -2, -30]]
    codes = np.concatenate([coder.codes(pd.Series(values)) for values in batches])
    values = np.concatenate(batches)
    expected, _ = pd.factorize(values)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(coder.levels(), np.unique(values))
    np.testing.assert_array_equal(pd.unique(values)[coder.order()], np.unique(values))


def test_merged_levels():
    first, second = FirstComeCoder(), FirstComeCoder()
    first.codes(pd.Series([5, 2, 8], dtype="int8"))
    second.codes(pd.Series([300, 8, 1, 5], dtype="int16"))
    assert first.merge(second).tolist() == [4, 2, 3, 0]  # by the codes there; new levels are numbered in their order
    assert first.levels().tolist() == [1, 2, 5, 8, 300]
    assert first.merge(FirstComeCoder()).tolist() == []


def test_what_no_table_holds_is_refused():
    assert FirstComeCoder().codes(pd.Series(["a"])) is None
    assert FirstComeCoder().codes(pd.Series([1.0])) is None
    assert FirstComeCoder().codes(pd.Series([0, ROOM])) is None
    assert FirstComeCoder().codes(pd.Series([-(2**63), 2**63 - 1])) is None
    coder = FirstComeCoder()
    assert coder.codes(pd.Series([0])) is not None
    assert coder.codes(pd.Series([2**40])) is None
    assert coder.levels().tolist() == [0]

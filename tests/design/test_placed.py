"""Whole numbers whose codes are their places in a range."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design.first_come import FirstComeCoder, numbered
from bayeslmm.design.placed import PlacedCoder

LONGEST = 1_000


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "Int64"])
def test_codes_are_places(dtype):
    coder = PlacedCoder(LONGEST)
    assert coder.codes(pd.Series([7, 3, 7, 9], dtype=dtype)).tolist() == [7, 3, 7, 9]  # zero is near
    assert coder.codes(pd.Series([100, 3, 0], dtype=dtype)).tolist() == [100, 3, 0]
    assert coder.codes(pd.Series([], dtype=dtype)).tolist() == []
    assert coder.levels().tolist() == coder.order().tolist() == [0, 3, 7, 9, 100]
    assert coder.levels().dtype == np.dtype(dtype.lower())
    assert coder.count > 100
    assert coder.packed().count == 101


@pytest.mark.parametrize(("first", "start"), [([500, 509], 490), ([-3, 6], -13), ([5, 90], 0), ([0, 1], 0)])
def test_range_has_room_below(first, start):
    coder = PlacedCoder(LONGEST)
    assert (coder.codes(pd.Series(first)) + start).tolist() == first
    assert coder.codes(pd.Series([start])).tolist() == [0]
    held = coder.count
    assert coder.codes(pd.Series([start - 1])) is None
    assert coder.codes(pd.Series([start + LONGEST])) is None
    assert coder.count == held
    assert coder.codes(pd.Series([start + LONGEST - 1])).tolist() == [LONGEST - 1]
    assert coder.levels().tolist() == [start, *first, start + LONGEST - 1] if start < first[0] else True


@pytest.mark.parametrize(
    "values", [["a"], [1.0], [0, LONGEST], [-(2**63), 2**63 - 1], [-(2**63), -(2**63) + 2 * LONGEST]]
)
def test_what_no_range_holds_is_refused(values):
    coder = PlacedCoder(LONGEST)
    assert coder.codes(pd.Series(values)) is None
    assert coder.count == 0


def test_least_and_largest_numbers():
    least, largest = -(2**63), 2**63 - 1
    assert PlacedCoder(LONGEST).codes(pd.Series([least, least + 2])).tolist() == [0, 2]
    assert PlacedCoder(LONGEST).codes(pd.Series([largest - 1, largest])).tolist() == [2, 3]


def test_numbers_beyond_the_range_get_new_codes():
    coder = PlacedCoder(LONGEST)
    codes = coder.codes(pd.Series([5, 2, 5]))
    other = coder.first_come()
    assert other.codes(pd.Series([5, 2])).tolist() == codes[:2].tolist()
    assert other.codes(pd.Series([-40, 5_000, 3])).tolist() == [other.count - 3, other.count - 2, other.count - 1]
    assert other.levels().tolist() == [-40, 2, 3, 5, 5_000]
    assert coder.levels().tolist() == [2, 5]


@pytest.mark.parametrize("kind", [FirstComeCoder, lambda: PlacedCoder(LONGEST)])
@pytest.mark.parametrize("other_kind", [FirstComeCoder, lambda: PlacedCoder(LONGEST)])
def test_codes_of_another_coder(kind, other_kind):
    first, second = kind(), other_kind()
    first.codes(pd.Series([5, 2, 8], dtype="int8"))
    codes = second.codes(pd.Series([300, 8, 1, 5], dtype="int16"))
    places = first.merge(second.packed())
    assert places[codes].tolist() == first.codes(pd.Series([300, 8, 1, 5])).tolist()
    assert first.levels().tolist() == [1, 2, 5, 8, 300]


def test_levels_in_their_order():
    assert numbered(np.array([2, 5, 90])).codes(pd.Series([90, 2, 5, 7])).tolist() == [2, 0, 1, 3]

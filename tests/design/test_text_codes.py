"""Texts in the order of rows, and their levels sorted."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from bayeslmm.design.first_come import FirstComeCoder
from bayeslmm.design.text_codes import TextCoder, is_text_column

TEXT = pd.Series(["a"]).dtype
ODD = ["", "a", "b", "ab", "ba", "aa", "é", "e\u0301", "\U0001f600", "a" * 300, "A", " a", "a "]


def _column(values):
    return pd.Series(values, dtype=TEXT)


def test_codes_count_levels_as_they_come():
    coder = TextCoder(TEXT)
    assert is_text_column(_column(["x"]))
    assert coder.codes(_column(["g", "c", "g", "i"])).tolist() == [0, 1, 0, 2]
    assert coder.codes(_column(["xx", "c", ""])).tolist() == [3, 1, 4]
    assert coder.codes(_column([])).tolist() == []
    assert list(coder.levels()) == ["", "c", "g", "i", "xx"]
    assert coder.order().tolist() == [4, 1, 0, 2, 3]
    assert coder.count == 5


@pytest.mark.parametrize("chunk", [1, 7, 1_000, 50_000])
def test_the_same_codes_as_pandas(chunk):
    rng = np.random.default_rng(chunk)
    values = _column(
        [*ODD, *(f"{ODD[k % 13]}{k}" for k in rng.integers(0, 4_000, 30 * min(chunk, 500)).tolist()), *ODD]
    )
    coder = TextCoder(TEXT)
    codes = [coder.codes(values.iloc[first : first + chunk]) for first in range(0, len(values), chunk)]
    expected, found = pd.factorize(values)
    np.testing.assert_array_equal(np.concatenate(codes), expected)
    levels = pd.Index(coder.levels())
    pd.testing.assert_index_equal(levels, pd.Index(found).sort_values())
    pd.testing.assert_index_equal(pd.Index(found)[coder.order()], levels)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_slices_and_types_of_arrow(kind):
    texts = pa.chunked_array([pa.array(["q", *ODD], pa.string()).cast(kind)[1:], pa.array(["z"], kind)])
    column = _column(texts.to_pandas())
    coder = TextCoder(TEXT)
    assert coder.codes(column.iloc[2:]).tolist() == list(range(len(ODD) - 1))
    assert coder.codes(column[column.str.len() == 2]).tolist() == [1, 2, 3, 5, 9, 10]


def test_texts_whose_hashes_agree_are_compared(monkeypatch):
    coder = TextCoder(TEXT)
    coder.codes(_column(["one", "other"]))
    for code in range(2):  # as if all bits of both hashes were those of the first
        coder._hashes[code] = coder._hashes[0]
    coder._slots[:] = 0
    coder._slots[int(coder._hashes[0]) % len(coder._slots)] = (int(coder._hashes[0]) >> 32 << 32) + 2
    assert coder.codes(_column(["one"])).tolist() == [2]  # it stands behind one of the same bits that is another text


def test_merged_levels():
    first, second = TextCoder(TEXT), TextCoder(TEXT)
    first.codes(_column(["e", "b", "h"]))
    second.codes(_column(["zz", "h", "a", "e"]))
    assert first.merge(second.packed()).tolist() == [3, 2, 4, 0]
    assert list(first.levels()) == ["a", "b", "e", "h", "zz"]
    assert first.merge(TextCoder(TEXT)).tolist() == []


def test_what_is_no_text_of_this_kind_is_refused():
    coder = TextCoder(TEXT)
    assert coder.codes(pd.Series([1])) is None
    assert coder.codes(_column(["a", None])) is None
    assert coder.codes(pd.Series(["a"], dtype=object)) is None
    numbers = FirstComeCoder()
    numbers.codes(pd.Series([1]))
    assert coder.merge(numbers) is None
    assert coder.count == 0


def test_bytes_that_are_no_text():
    coder = TextCoder(TEXT)
    wrong = pa.Array.from_buffers(
        pa.large_string(), 1, [*pa.array(["ab"], pa.large_string()).buffers()[:2], pa.py_buffer(b"\xff\xfe")]
    )
    coder.codes(_column(wrong.to_pandas()))
    with pytest.raises(UnicodeError):
        coder.levels()

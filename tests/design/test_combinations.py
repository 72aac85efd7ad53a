"""Levels of interactions found by number, and labels that wait until they are asked for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslmm.design import build_design, new_rows
from bayeslmm.design import row_labels as labels_module
from bayeslmm.design.combinations import FEW, CombinationCoder
from bayeslmm.design.row_labels import RowLabels
from bayeslmm.formula import parse

LARGE = 2**62
numbers = st.integers(0, LARGE) | st.integers(0, 12)


@settings(deadline=None)  # the first call compiles
@given(st.lists(numbers, min_size=1, max_size=60, unique=True), st.lists(numbers, max_size=60), st.integers(0, 5))
def test_places_are_those_of_a_dictionary(observed, others, repeats):
    observed = sorted(observed)
    place = {number: k for k, number in enumerate(observed)}
    asked = others + observed * repeats
    coder = CombinationCoder(np.array(observed, dtype=np.int64))
    expected = [place.get(number, -1) for number in asked]
    few = CombinationCoder(np.array(observed, dtype=np.int64)).codes(np.array(asked[:1], dtype=np.int64))
    assert few.tolist() == expected[:1]
    assert coder.codes(np.array(asked, dtype=np.int64)).tolist() == expected
    assert coder.codes(np.array(asked * (FEW + 1), dtype=np.int64)).tolist() == expected * (FEW + 1)


def test_runs_of_numbers_that_are_multiples_of_a_power_of_two_share_no_long_chain():
    observed = np.arange(0, 2**40, 2**20, dtype=np.int64)[: 2**15]
    asked = np.concatenate([observed, observed + 1])
    expected = np.concatenate([np.arange(len(observed)), np.full(len(observed), -1)])
    np.testing.assert_array_equal(CombinationCoder(observed).codes(asked), expected)


def nested(n=4_000):
    rng = np.random.default_rng(8)
    a = rng.integers(0, 30, n)
    return pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "a": a, "b": rng.integers(0, 9, n) + a})


@pytest.mark.parametrize("as_type", ["int64", "str", "category"])
def test_levels_of_nested_rows_are_those_of_their_texts(as_type):
    data = nested().astype({"a": as_type, "b": as_type})
    design = build_design(parse("y ~ x + (1 | a/b)"), data.iloc[:300])
    new = new_rows(design, data)
    texts = data["a"].astype(str) + ":" + data["b"].astype(str)
    expected = design.terms[1].levels.get_indexer(texts)
    assert (expected < 0).any() and (expected >= 0).any()
    np.testing.assert_array_equal(new.terms[1].codes, expected)
    assert new.new_labels[1].tolist() == texts.tolist()
    unknown = expected < 0
    assert new.new_labels[1][unknown].tolist() == texts[unknown].tolist()
    assert new.new_labels[1][5] == texts.iloc[5]
    assert new.new_labels[0][2:4].tolist() == data["a"].iloc[2:4].tolist()


def test_no_text_is_written_for_rows_of_known_levels(monkeypatch):
    data = nested(500)
    design = build_design(parse("y ~ x + (1 | a/b)"), data)

    def refuse(self, rows):
        raise AssertionError("labels were formed")

    monkeypatch.setattr(labels_module.RowLabels, "__getitem__", refuse)
    assert (new_rows(design, data).terms[1].codes == design.terms[1].codes).all()


def test_each_combination_is_written_once():
    class Counted(str):
        written = 0

        def __str__(self):
            Counted.written += 1
            return str.__str__(self)

    codes = np.array([0, 1, 0, 1] * 50, dtype=np.int32)
    found = pd.Index([Counted("u"), Counted("v")], dtype=object)
    labels = RowLabels([(codes, found), (codes, found)])
    assert labels[:].tolist() == ["u:u", "v:v", "u:u", "v:v"] * 50
    assert Counted.written == 4  # two labels in each of two columns

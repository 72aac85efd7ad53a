"""Rows that are read once give the sums of two passes, whatever order their levels come in."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.rows import Rows
from bayeslmm.rows.frames import FrameRows
from bayeslmm.rows.source import add_part
from bayeslmm.streams import one_reading

SAME = 1e-9  # relative; sums in another order differ in the last digits, 1e-13 or so
THETA = {"y ~ x + (1 | g)": [0.7], "y ~ x + I(x**2) + (x | g)": [0.7, 0.1, 0.4], "y ~ 0 + x + (0 + x | g)": [0.6]}


class Watched(Rows):
    """Frames one after another, counted, and added up apart where `apart` says so."""

    def __init__(self, frames, apart=False):
        self.frames, self.apart, self.read = [FrameRows(frame) for frame in frames], apart, 0

    @property
    def columns(self):
        return self.frames[0].columns

    @property
    def parts(self):
        found = []
        for rows in self.frames:
            self.read += 1
            found += rows.parts
        return found

    def fold(self, start, columns, chunk_rows):
        totals = []
        for part in self.parts:
            if self.apart or not totals:
                totals.append(start())
            add_part(totals[-1], part, columns, chunk_rows)
        for other in totals[1:]:
            totals[0].merge(other.packed())
        return totals[0]


def _frame(n=600, seed=0):
    rng = np.random.default_rng(seed)
    g = 1_000 - 7 * (np.arange(n) // 5) + rng.integers(0, 3, n)  # descends, below zero in the end
    x = rng.normal(size=n) + 50
    return pd.DataFrame(
        {"y": 0.1 * x + rng.normal(size=n) + 0.01 * (g % 11), "x": x, "g": g, "w": rng.uniform(1, 2, n)}
    )


@pytest.mark.parametrize("formula", THETA)
@pytest.mark.parametrize("chunk_rows", [1, 13, 1_000])
@pytest.mark.parametrize("apart", [False, True])
def test_same_as_in_memory(formula, chunk_rows, apart):
    frame = _frame()
    rows = Watched([frame.iloc[400:], frame.iloc[:250], frame.iloc[250:400]], apart)
    summed = blm.Model(formula, rows, chunk_rows=chunk_rows, weights="w")
    assert rows.read == 6  # three parts for the names and means of a first batch, and three that are added up
    whole = blm.Model(formula, frame, weights="w")
    assert summed.design.terms[0].levels.equals(whole.design.terms[0].levels)
    for method in ("ml", "reml"):
        expected = whole.objective(THETA[formula], method)
        assert summed.objective(THETA[formula], method) == pytest.approx(expected, rel=SAME)


@pytest.mark.parametrize("places", [0, 10, 300, 2_000, 50_000])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("spread", [1, 20])
def test_levels_by_places_and_as_they_come(places, apart, spread, monkeypatch):
    """From levels that are all numbered as they come, over ranges that turn out too long, to ranges mostly empty."""
    frame = _frame().sort_values("x")
    frame["g"] *= spread
    monkeypatch.setattr(one_reading, "PLACED_BYTES", places * 3 * 8)  # of a random intercept and one fixed column
    rows = Watched([frame.iloc[:10], frame.iloc[10:300], frame.iloc[300:]], apart)
    summed, whole = blm.Model("y ~ x + (1 | g)", rows, chunk_rows=40), blm.Model("y ~ x + (1 | g)", frame)
    assert rows.read == 6
    assert summed.design.terms[0].levels.equals(whole.design.terms[0].levels)
    assert summed.objective([0.7]) == pytest.approx(whole.objective([0.7]), rel=SAME)


def test_levels_of_rows_left_out_are_none():
    frame = _frame()
    frame.loc[frame["g"] > 950, "y"] = np.nan
    rows = Watched([frame.iloc[:300], frame.iloc[300:]])
    summed, whole = blm.Model("y ~ x + (1 | g)", rows, chunk_rows=50), blm.Model("y ~ x + (1 | g)", frame)
    assert rows.read == 4
    assert summed.design.terms[0].levels.equals(whole.design.terms[0].levels)
    assert summed.design.n_dropped == whole.design.n_dropped
    assert summed.objective([0.7]) == pytest.approx(whole.objective([0.7]), rel=SAME)


def test_without_groups():
    frame = _frame()
    rows = Watched([frame.iloc[:300], frame.iloc[300:]], apart=True)
    summed, whole = blm.Model("y ~ x", rows, chunk_rows=50), blm.Model("y ~ x", frame)
    assert rows.read == 4
    assert summed.fit("ml").objective == pytest.approx(whole.fit("ml").objective, rel=SAME)


@pytest.mark.parametrize(
    ("formula", "changed"),
    [
        ("y ~ x + (1 | g)", {"g": lambda g: "p" + g.astype(str)}),  # texts
        ("y ~ x + (1 | g)", {"g": lambda g: g * 10**9}),  # too far apart for a table
        ("y ~ x + (1 | g)", {"g": lambda g: g.astype(float)}),
        ("y ~ scale(x) + (1 | g)", {}),
        ("y ~ I(x > 50) + (1 | g)", {}),
        ("y ~ x + (1 | h/g)", {"h": lambda _: 1}),
    ],
)
def test_what_must_be_known_first_takes_two_passes(formula, changed):
    frame = _frame()
    frame = frame.assign(**{name: change(frame["g"]) for name, change in changed.items()})
    rows = Watched([frame.iloc[:300], frame.iloc[300:]])
    summed, whole = blm.Model(formula, rows, chunk_rows=50), blm.Model(formula, frame)
    assert rows.read >= 6
    theta = [0.7] * whole.kernel.n_theta
    assert summed.objective(theta) == pytest.approx(whole.objective(theta), rel=SAME)


@pytest.mark.parametrize("apart", [False, True])
def test_labels_of_a_later_part_that_are_no_whole_numbers(apart):
    frame = _frame()
    later = frame.iloc[300:].assign(g=frame["g"].iloc[300:] + 0.5)
    summed = blm.Model("y ~ x + (1 | g)", Watched([frame.iloc[:300], later], apart), chunk_rows=50)
    whole = blm.Model("y ~ x + (1 | g)", pd.concat([frame.iloc[:300], later]))
    assert summed.design.terms[0].levels.tolist() == whole.design.terms[0].levels.tolist()
    assert summed.objective([0.7]) == pytest.approx(whole.objective([0.7]), rel=SAME)


def test_a_column_of_a_later_part_that_holds_labels():
    frame = _frame()
    later = frame.iloc[300:].assign(x=frame["x"].iloc[300:].astype(str))
    with pytest.raises(blm.DataError, match="Column 'x' holds labels in one batch and numbers in another"):
        blm.Model("y ~ x + (1 | g)", Watched([frame.iloc[:300], later]), chunk_rows=50)

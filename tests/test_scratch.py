"""Memory that batches share one after another, and that copies leave behind."""

import pickle
import tracemalloc
from copy import deepcopy

import numpy as np
import pandas as pd

from bayeslmm.formula import parse
from bayeslmm.rows.frames import FrameRows
from bayeslmm.scratch import Scratch
from bayeslmm.streams.building import make_plan
from bayeslmm.streams.one_reading import sum_in_one_reading

ROWS = 50_000
A_COLUMN = 8 * ROWS  # bytes


def test_memory_is_used_again():
    scratch = Scratch(np.int32)
    first = scratch.array(4, 3)
    assert (first.shape, first.dtype) == ((4, 3), np.dtype(np.int32))
    assert scratch.array(2, 2).base is first.base
    assert scratch.array(13).shape == (13,)


def test_copies_begin_without_memory():
    scratch = Scratch()
    scratch.array(100_000)
    for other in (pickle.loads(pickle.dumps(scratch)), deepcopy(scratch)):
        assert (other._held.size, other._held.dtype) == (0, np.dtype(np.float64))
    assert len(pickle.dumps(scratch)) < 1_000


def test_a_batch_after_the_first_asks_for_hardly_any_memory():
    """Of columns that are numbers already no copy is made but into memory that is there."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": rng.normal(size=ROWS), "x": rng.normal(size=ROWS), "g": np.arange(ROWS) % 70})
    rows, peaks = _Traced(frame), []
    rows.peaks = peaks
    formula = parse("y ~ x + (1 | g)")
    plan = make_plan(formula, rows.columns, None, None, None, "drop")
    assert sum_in_one_reading(plan, rows, ROWS) is not None
    assert len(peaks) == 4
    assert max(peaks[1:]) < A_COLUMN < peaks[0]


class _Traced(FrameRows):
    """The same rows four times; notes how much memory adding each took at most."""

    peaks: list[int]

    def fold(self, start, columns, chunk_rows):
        total = start()
        tracemalloc.start()
        try:
            for _ in range(4):
                for frame in self.parts[0].batches(columns, chunk_rows):
                    tracemalloc.reset_peak()
                    before = tracemalloc.get_traced_memory()[0]
                    total.add(frame, "")
                    self.peaks.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
        return total

"""A Dask frame gives the model of the frame however it is made; each worker reads its share once."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bayeslmm as blm
from bayeslmm.design.first_come import FirstComeCoder
from bayeslmm.rows import dask_frame, open_rows

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")

SAME = 1e-9  # relative; sums in another order differ in the last digits, 1e-13 or so
FORMULA = "y ~ x + (1 | g)"
THETA = [0.7]

pytestmark = pytest.mark.filterwarnings("ignore:.*:Warning:dask")


@pytest.fixture(autouse=True)
def _in_this_process():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    n = 400
    g = rng.integers(0, 30, n) * 3 - 20
    x = rng.normal(size=n) + 50
    return pd.DataFrame(
        {"y": 0.3 * x + 0.1 * g + rng.normal(size=n), "x": x, "g": g, "t": "p" + pd.Series(g % 5).astype(str)}
    )


@pytest.fixture
def folder(tmp_path, frame):
    for k in range(3):
        table = pa.Table.from_pandas(frame.iloc[k * 120 : k * 120 + (120 if k < 2 else 200)], preserve_index=False)
        pq.write_table(table, tmp_path / f"{k}.parquet", row_group_size=50)
    return tmp_path


def _agrees(rows, frame, formula=FORMULA, **options):
    model, whole = blm.Model(formula, rows, **options), blm.Model(formula, frame)
    assert model.objective(THETA) == pytest.approx(whole.objective(THETA), rel=SAME)
    assert model.design.n == whole.design.n
    assert model.design.terms[0].levels.tolist() == whole.design.terms[0].levels.tolist()
    return model


@pytest.mark.parametrize("options", [{}, {"filesystem": "arrow"}, {"blocksize": 2_000, "split_row_groups": True}])
@pytest.mark.parametrize("formula", [FORMULA, "y ~ scale(x) + t + (1 | g)", "y ~ x + (1 | t)"])
def test_parquet_files_are_read_as_they_are(folder, frame, options, formula):
    rows = dd.read_parquet(folder, **options)
    assert [part.name[-9:] for part in open_rows(rows).parts] == ["0.parquet", "1.parquet", "2.parquet"]
    _agrees(rows, frame, formula, chunk_rows=30)
    _agrees(dd.read_parquet(folder / "0.parquet"), frame.iloc[:120], formula, chunk_rows=30)


def test_a_file_is_shared_by_its_row_groups(folder):
    rows = open_rows(str(folder / "2.parquet"))
    pieces = rows.pieces(3)
    read = [pd.concat(piece.batches(["x"], 30)) for piece in pieces]
    assert [len(part) for part in read] == [50, 50, 60]
    assert [part.index[0] for part in read] == [0, 50, 100]  # rows are numbered as in the whole file
    pd.testing.assert_frame_equal(pd.concat(read), pd.concat(rows.parts[0].batches(["x"], 1_000)))
    assert len(rows.pieces(1)) == 1
    assert len(open_rows(str(folder)).pieces(3)) == 3


def test_rows_are_named_by_file(folder, frame):
    bad = frame.iloc[240:].reset_index(drop=True)
    bad.loc[130, "x"] = np.inf
    pq.write_table(pa.Table.from_pandas(bad), folder / "2.parquet", row_group_size=50)
    with pytest.raises(blm.DataError, match=r"2\.parquet: Column 'x' is infinite in row 130"):
        blm.Model(FORMULA, dd.read_parquet(folder), chunk_rows=20)


SWAPPED = {"x": "y", "y": "x"}
CHANGED = {
    "filtered": (lambda rows: rows[rows["x"] > 50], lambda frame: frame[frame["x"] > 50]),
    "assigned": (lambda rows: rows.assign(x=rows["x"] ** 2), lambda frame: frame.assign(x=frame["x"] ** 2)),
    "renamed": (lambda rows: rows.rename(columns=SWAPPED), lambda frame: frame.rename(columns=SWAPPED)),
    "one partition": (lambda rows: rows.partitions[1], lambda frame: frame.iloc[120:240]),
    "sorted": (lambda rows: rows.sort_values("x", ascending=False), lambda frame: frame),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED)
def test_frames_that_are_more_than_files(folder, frame, name):
    change, same = CHANGED[name]
    _agrees(change(dd.read_parquet(folder)), same(frame), chunk_rows=30)
    filtered = dd.read_parquet(folder, filters=[("g", ">", 10)])
    _agrees(filtered, frame[frame["g"] > 10])


def test_partitions_are_computed_once_for_each_reading(frame):
    computed = []

    def watched(part):
        computed.append(len(part))
        return part

    rows = dd.from_pandas(frame, npartitions=6).map_partitions(watched, meta=frame.iloc[:0])
    computed.clear()
    _agrees(rows, frame, chunk_rows=30)
    assert len(computed) == 7  # the first for its first rows as well
    assert sum(computed) - computed[0] == len(frame)


@pytest.mark.parametrize("formula", [FORMULA, "y ~ x + t + (1 | g)", "y ~ x + (1 | t)"])
def test_partitions_that_depend_on_one_another(frame, formula):
    rows = dd.from_pandas(frame, npartitions=5)
    shuffled = rows.shuffle("g", npartitions=4)
    _agrees(shuffled, frame, formula, chunk_rows=30)
    with_mean = rows.assign(x=rows["x"] - rows["x"].mean())
    _agrees(with_mean, frame.assign(x=frame["x"] - frame["x"].mean()), formula)
    _agrees(rows.persist(), frame, formula)


def test_codes_travel_without_room_for_more(frame):
    coder = FirstComeCoder()
    for k in range(0, 400, 30):
        coder.codes(frame["g"].iloc[k : k + 30])
    packed = coder.packed()
    np.testing.assert_array_equal(packed.levels(), coder.levels())
    np.testing.assert_array_equal(packed.order(), coder.order())
    assert len(packed._table) == frame["g"].max() - frame["g"].min() + 1
    other = FirstComeCoder()
    other.codes(pd.Series([500, int(frame["g"].iloc[0])]))
    places = other.merge(packed)
    assert places[coder.codes(frame["g"].iloc[:1])[0]] == 1  # met second
    assert other.count == coder.count + 1


def test_workers_that_die_again_and_again(frame, monkeypatch):
    class KilledWorker(Exception):  # noqa: N818 -- the name that Dask's has
        pass

    class Dying:
        def compute(self):
            raise KilledWorker("task-1")

    monkeypatch.setattr(dask_frame, "merged", lambda _: Dying())
    with pytest.raises(blm.DataError, match="for want of memory: give each worker more"):
        blm.Model("y ~ x + (1 | g)", dd.from_pandas(frame, npartitions=2))

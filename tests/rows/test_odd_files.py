"""Files as other tools write them, and what is wrong with some: the model of the frame, or an error that says where."""

import copy
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import bayeslmm as blm

FORMULA = "y ~ x + (1 | g)"
THETA = [0.7]
SAME = 1e-9  # relative; sums in another order differ in the last digits, 1e-13 or so


def _frame(seed: int, n: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, x = rng.integers(0, 9, n), rng.normal(size=n).round(2)
    return pd.DataFrame({"y": 0.5 * x + 0.3 * g + rng.normal(size=n), "x": x, "g": g, "t": rng.choice(["a", "b"], n)})


@pytest.fixture
def frames():
    return [_frame(seed) for seed in range(3)]


@pytest.fixture
def frame(frames):
    return pd.concat(frames, ignore_index=True)


def _write(folder, *tables):
    for k, table in enumerate(tables):
        whole = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
        pq.write_table(whole, folder / f"{k}.parquet")
    return folder


def _agrees(rows, frame, formula=FORMULA, **options):
    model, whole = blm.Model(formula, rows, **options), blm.Model(formula, frame)
    assert model.objective(THETA) == pytest.approx(whole.objective(THETA), rel=SAME)
    assert model.design.n == whole.design.n
    assert model.design.terms[0].levels.tolist() == whole.design.terms[0].levels.tolist()


def _with(frame, name, values):
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.set_column(table.schema.get_field_index(name), name, values)


def test_keys_of_folders_that_the_files_hold_as_well(tmp_path, frames, frame):
    for k, part in frame.groupby("g"):
        (tmp_path / f"g={k}").mkdir()
        part.to_parquet(tmp_path / f"g={k}" / "0.parquet", index=False)
    _agrees(tmp_path, frame)


def test_files_that_other_tools_hide_are_no_data(tmp_path, frames, frame):
    _write(tmp_path, *frames)
    (tmp_path / "._0.parquet").write_text("of a Macintosh")
    (tmp_path / "_temporary").mkdir()
    frames[0].to_parquet(tmp_path / "_temporary" / "0.parquet", index=False)
    (tmp_path / "2.parquet").rename(tmp_path / "2.PQ")
    _agrees(tmp_path, frame)


def test_paths_that_are_no_patterns(tmp_path, frames, monkeypatch):
    folder = tmp_path / "[1]"
    folder.mkdir()
    _write(folder, frames[0])
    _agrees(folder / "0.parquet", frames[0])
    monkeypatch.setenv("HOME", str(tmp_path))
    _agrees("~/[[]1]/*.parquet", frames[0])
    for path, said in (("", "The path of the rows is empty"), ("s3://bucket/rows", r"pyarrow\.dataset\.dataset\('s3:")):
        with pytest.raises(blm.DataError, match=said):
            blm.Model(FORMULA, path)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_empty_file_may_have_other_types(tmp_path, frames, frame, place):
    parts = [*frames]
    parts.insert(place, pd.DataFrame(columns=["y", "x", "g", "t"], dtype=object))
    _agrees(_write(tmp_path, *parts), frame)
    _agrees(tmp_path, frame, "y ~ x + (1 | t)")


def test_two_columns_of_one_name(tmp_path, frames):
    table = pa.Table.from_pandas(frames[0], preserve_index=False)
    twice = pa.Table.from_arrays([*table.columns, table["x"]], names=["y", "x", "g", "t", "x"])
    with pytest.raises(blm.DataError, match=r"0\.parquet has 2 columns of the name 'x': rename or drop all but one"):
        blm.Model(FORMULA, _write(tmp_path, twice))
    with pytest.raises(blm.DataError, match=r"1\.parquet has 2 columns of the name 'x': rename or drop all but one"):
        blm.Model(FORMULA, _write(tmp_path, table, twice))


@pytest.mark.parametrize("place", [0, 1])
def test_text_that_is_called_parquet(tmp_path, frames, place):
    _write(tmp_path, *frames)
    (tmp_path / f"{place}.parquet").write_text("y,x,g,t\n1,2,3,a\n")
    with pytest.raises(blm.DataError, match=rf"{place}\.parquet is no Parquet file, whatever its name says"):
        blm.Model(FORMULA, tmp_path)


def test_times_with_and_without_a_zone(tmp_path, frames):
    days = [pd.Timestamp("2020-01-01") + pd.to_timedelta(one["g"], unit="D") for one in frames]
    tables = [frames[0].assign(g=days[0]), frames[1].assign(g=days[1].dt.tz_localize("UTC"))]
    with pytest.raises(blm.DataError, match=r"1\.parquet: column 'g' holds times with a time zone and holds dates"):
        blm.Model(FORMULA, _write(tmp_path, *tables))


COLUMNS = {
    "dictionary": pa.array(["b", "a", None] * 30).dictionary_encode(),
    "whole numbers": pa.array([3, 1, None] * 30, pa.int16()),
    "decimals": pa.array([3, 1, None] * 30).cast(pa.decimal128(21, 2)),
    "truth values": pa.array([True, False, None] * 30),
    "dates": pa.array([3, 1, None] * 30, pa.int32()).cast(pa.date32()),
    "times": pa.array([3, 1, None] * 30).cast(pa.timestamp("s")),
    "texts": pa.array(["b", "a", None] * 30, pa.large_string()),
    "numbers": pa.array([0.5, 1.5, None] * 30, pa.float32()),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_batch_of_a_file_counts(tmp_path, frames, kind):
    table = _with(frames[0], "g", COLUMNS[kind])
    for rows in (_write(tmp_path, table), table, lambda: table.to_batches(25)):
        for chunk_rows in (7, 1_000):
            design = blm.Model(FORMULA, rows, chunk_rows=chunk_rows).design
            assert (design.n, len(design.terms[0].levels)) == (60, 2)  # every third row has no level


def test_labels_of_half_precision(frames):
    frame = frames[0].assign(g=(frames[0]["g"] / 2).astype(np.float16))
    _agrees(frame, frame, chunk_rows=25)


def test_lists_are_no_labels(tmp_path, frames):
    lists = pa.array([[int(g)] for g in frames[0]["g"]])
    with pytest.raises(blm.DataError, match=r"Column 'g' holds a ndarray in row 0, which is no label"):
        blm.Model(FORMULA, _write(tmp_path, _with(frames[0], "g", lists)))


def test_bytes_read_as_text_are_no_labels(frames):
    frame = frames[0].assign(t=pd.Series(["caf\udce9", *["b"] * 89], dtype=object))
    for options in ({}, {"chunk_rows": 20}):
        with pytest.raises(blm.DataError, match="which is no text but bytes read as one"):
            blm.Model("y ~ x + (1 | t)", frame, **options)


def test_lists_of_files_and_pieces_of_arrow(tmp_path, frames, frame):
    _write(tmp_path, *frames)
    _agrees([tmp_path / "2.parquet", str(tmp_path / "[01].parquet")], frame)
    _agrees(pa.Table.from_pandas(frame).combine_chunks().to_batches()[0], frame)
    chosen = ds.dataset(str(tmp_path)).filter(pc.field("x") > 0)
    _agrees(chosen, frame[frame["x"] > 0], chunk_rows=20)


def test_queries_that_fail(frame):
    polars = pytest.importorskip("polars")
    rows = polars.from_pandas(frame)
    with pytest.raises(blm.DataError, match=r"the LazyFrame cannot be read: .*Check the query"):
        blm.Model(FORMULA, rows.lazy().with_columns(polars.col("t").cast(polars.Int64).alias("x")))
    with pytest.raises(blm.DataError, match=r"the LazyFrame cannot be read: .*Check the query"):
        blm.Model(FORMULA, rows.lazy().select("absent"))
    with pytest.raises(blm.DataError, match=r"LazyFrame: end it with \.collect\(\)"):
        blm.Model(FORMULA, lambda: [rows.lazy()])


@pytest.mark.parametrize("kind", ["Int128", "UInt128"])
def test_whole_numbers_of_128_bits(frame, kind):
    polars = pytest.importorskip("polars")
    wide = polars.from_pandas(frame).with_columns(polars.col("g").cast(getattr(polars, kind)))
    for rows in (wide, wide.lazy()):
        _agrees(rows, frame)
    beyond = wide.with_columns((polars.col("g") * 2**70).alias("g"))
    assert blm.Model(FORMULA, beyond).design.terms[0].levels.dtype == float


def test_a_connection_that_was_closed(frame):
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register("rows", frame)
    relation = connection.sql("select * from rows")
    connection.close()
    with pytest.raises(blm.DataError, match="Keep its connection open"):
        blm.Model(FORMULA, relation)


def test_readers_are_closed(frame):
    closed = []

    class Reader(list):
        def close(self):
            closed.append(1)

    _agrees(lambda: Reader([frame[:100], frame[100:]]), frame)
    assert len(closed) == 4  # for the names, the levels, the first rows and the sums


def test_predictions_read_an_iterator(frame):
    fit = blm.Model(FORMULA, frame, chunk_rows=50).fit("reml")
    whole = fit.predict(frame)
    batches = list(fit.predict(frame[k : k + 40] for k in range(0, len(frame), 40)))
    assert [len(batch) for batch in batches] == [40] * 6 + [30]
    np.testing.assert_allclose(np.concatenate(batches), whole, rtol=SAME)
    assert list(fit.predict(iter([]))) == []
    with pytest.raises(blm.DataError, match="There is no file"):  # at once, not with the first batch
        fit.predict("absent.parquet")


def test_predictions_name_the_file(tmp_path, frames):
    _write(tmp_path, *frames[:2], frames[2].assign(g=77))
    fit = blm.Model(FORMULA, frames[0]).fit("ml")
    with pytest.raises(blm.DataError, match=r"2\.parquet: Row 0 has the level 77 of 'g'"):
        list(fit.predict(tmp_path))


def test_models_of_streams_are_copied(frame):
    model = blm.Model(FORMULA, frame, chunk_rows=50)
    fit = model.fit("reml")
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.objective(THETA) == model.objective(THETA)
    pd.testing.assert_series_equal(pickle.loads(pickle.dumps(fit)).fixef(), fit.fixef())
    with pytest.raises(blm.RowsError):
        _ = pickle.loads(pickle.dumps(model)).design.y

"""Every source gives the same model; what is wrong with one is said with its file and column."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import bayeslmm as blm

FORMULA = "Reaction ~ Days + (1 | Subject)"
THETA = [0.9]


@pytest.fixture
def frame() -> pd.DataFrame:
    return blm.load_dataset("sleepstudy").astype({"Subject": int})


@pytest.fixture
def folder(tmp_path, frame):
    place = tmp_path / "rows"
    place.mkdir()
    for k in range(3):
        frame.iloc[k * 60 : (k + 1) * 60].to_parquet(place / f"part-{k}.parquet")
    return place


def _agrees(source, frame, **options):
    model = blm.Model(FORMULA, source, **options)
    assert model.objective(THETA) == pytest.approx(blm.Model(FORMULA, frame).objective(THETA), rel=1e-9)
    assert model.design.terms[0].levels.tolist() == sorted(frame["Subject"].unique())
    return model


def test_parquet(folder, frame):
    for source in (str(folder), folder, folder / "*.parquet", str(folder / "part-?.parquet")):
        _agrees(source, frame, chunk_rows=25)
    _agrees(folder / "part-1.parquet", frame.iloc[60:120])


def test_arrow(folder, frame):
    _agrees(pa.Table.from_pandas(frame), frame)
    _agrees(ds.dataset(str(folder)), frame)


def test_polars(folder, frame):
    polars = pytest.importorskip("polars")
    _agrees(polars.scan_parquet(str(folder / "*.parquet")), frame, chunk_rows=50)
    _agrees(polars.from_pandas(frame), frame, chunk_rows=50)


def test_duckdb(folder, frame):
    duckdb = pytest.importorskip("duckdb")
    _agrees(duckdb.sql(f"select * from '{folder}/*.parquet'"), frame, chunk_rows=50)


def test_function(frame):
    _agrees(lambda: (frame.iloc[k : k + 70] for k in range(0, 180, 70)), frame, chunk_rows=50)
    with pytest.raises(blm.DataError, match="can be read only once"):
        blm.Model(FORMULA, iter([frame]))


def test_labels_of_text_are_sorted(folder, frame):
    named = frame.assign(Subject="p" + frame["Subject"].astype(str))
    for k, order in enumerate((2, 0, 1)):
        named.iloc[order * 60 : (order + 1) * 60].to_parquet(folder / f"part-{k}.parquet")
    model = blm.Model(FORMULA, folder)
    assert model.design.terms[0].levels.tolist() == sorted(named["Subject"].unique())
    assert model.objective(THETA) == pytest.approx(blm.Model(FORMULA, frame).objective(THETA), rel=1e-9)


def test_categories_that_all_files_declare_keep_their_order(tmp_path):
    frame = blm.load_dataset("ratpup")
    for k in range(2):
        frame.iloc[k::2].to_parquet(tmp_path / f"{k}.parquet")
    whole = blm.Model("weight ~ treatment + sex + (1 | litter)", frame)
    assert blm.Model("weight ~ treatment + sex + (1 | litter)", tmp_path).design.fixed_names == whole.design.fixed_names


def test_partitions_of_a_folder_are_a_column(tmp_path, frame):
    pq.write_to_dataset(pa.Table.from_pandas(frame), tmp_path / "hive", partition_cols=["Subject"])
    _agrees(tmp_path / "hive", frame)


def test_integers_with_gaps(tmp_path, frame):
    gaps = frame.astype({"Subject": "Int64"})
    gaps.loc[100, "Subject"] = pd.NA
    gaps.to_parquet(tmp_path / "gaps.parquet")
    model = blm.Model(FORMULA, tmp_path / "gaps.parquet", chunk_rows=60)
    assert model.design.n_dropped == {"missing": 1}
    assert model.design.terms[0].levels.tolist() == sorted(frame["Subject"].unique())


def test_no_rows_no_file_no_parquet(tmp_path, frame):
    with pytest.raises(blm.DataError, match="There is no file"):
        blm.Model(FORMULA, tmp_path / "absent.parquet")
    with pytest.raises(blm.DataError, match=r"holds no \.parquet file"):
        blm.Model(FORMULA, tmp_path)
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(blm.DataError, match=r"is not a \.parquet file.*read_csv"):
        blm.Model(FORMULA, tmp_path / "rows.csv")
    frame.iloc[:0].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(blm.DataError, match="no rows"):
        blm.Model(FORMULA, tmp_path / "empty.parquet")


def test_columns_that_change_between_files(folder, frame):
    frame.rename(columns={"Days": "days"}).iloc[120:].to_parquet(folder / "part-2.parquet")
    with pytest.raises(blm.DataError, match=r"part-2\.parquet has no column 'Days'"):
        blm.Model(FORMULA, folder)
    frame.assign(Days=frame["Days"].astype(str)).iloc[120:].to_parquet(folder / "part-2.parquet")
    with pytest.raises(blm.DataError, match=r"part-2\.parquet: column 'Days' holds text and holds numbers"):
        blm.Model(FORMULA, folder)


def test_infinite_values_are_named_with_their_file(folder, frame):
    bad = frame.iloc[60:120].reset_index(drop=True)
    bad["Days"] = bad["Days"].where(bad.index != 4, np.inf)
    bad.to_parquet(folder / "part-1.parquet")
    with pytest.raises(blm.DataError, match=r"part-1\.parquet: Column 'Days' is infinite in row 4"):
        blm.Model(FORMULA, folder, chunk_rows=3)


def test_data_that_end_early(folder):
    path = folder / "part-1.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(blm.DataError, match=r"part-1\.parquet cannot be read"):
        blm.Model(FORMULA, folder)


def test_rows_that_change_between_passes(frame):
    calls = []

    def shrinking():
        calls.append(1)
        yield frame if len(calls) < 3 else frame.iloc[:170]

    with pytest.raises(blm.DataError, match="180 rows in the first pass and 170 in the second"):
        blm.Model(FORMULA, shrinking)
    calls.clear()

    def renamed():
        calls.append(1)
        yield frame if len(calls) < 3 else frame.assign(Subject=frame["Subject"] + 1)

    with pytest.raises(blm.DataError, match=r"Column 'Subject' has the level .* which the first pass did not meet"):
        blm.Model(FORMULA, renamed)


def test_options(frame):
    with pytest.raises(blm.OptionError, match="chunk_rows=0"):
        blm.Model(FORMULA, frame, chunk_rows=0)
    assert blm.Model(FORMULA, frame, chunk_rows=np.int64(50)).design.n == len(frame)
    with pytest.raises(blm.OptionError, match="is the name of a column"):
        blm.Model(FORMULA, frame, chunk_rows=50, weights=np.ones(180))
    with pytest.raises(blm.OptionError, match="needs every row at every step"):
        blm.Model("Days ~ 1 + (1 | Subject)", frame, chunk_rows=50, family="poisson")
    with pytest.raises(blm.DataError, match="did you mean 'Days'"):
        blm.Model("Reaction ~ days + (1 | Subject)", frame, chunk_rows=50)
    with pytest.raises(blm.ModelError, match="is constant"):
        blm.Model("y ~ Days + (1 | Subject)", frame.assign(y=1.0), chunk_rows=50)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"Days": None}, "'Days' holds nothing but missing values and holds numbers in the first file"),
        ({"Days": True}, "'Days' holds truth values and holds numbers in the first file"),
        ({"Days": pd.Timestamp("2020-01-01")}, "'Days' holds dates and holds numbers in the first file"),
        ({"Subject": "308"}, "'Subject' holds text and holds numbers in the first file"),
    ],
)
def test_types_that_change_between_files(folder, frame, second, said):
    frame.iloc[120:].assign(**second).to_parquet(folder / "part-2.parquet")
    with pytest.raises(blm.DataError, match=rf"part-2\.parquet: column {said}: write all files with the same types"):
        blm.Model(FORMULA, folder)


def test_days_and_times(folder, frame):
    days = frame.assign(Subject=pd.Timestamp("2020-01-01").date())
    days.iloc[:120].to_parquet(folder / "part-1.parquet")
    days.iloc[120:].assign(Subject=pd.Timestamp("2020-01-01")).to_parquet(folder / "part-2.parquet")
    with pytest.raises(blm.DataError, match=r"part-\d\.parquet: column 'Subject' holds \w+ and holds \w+ in the first"):
        blm.Model(FORMULA, folder)


def test_a_first_file_with_a_fault_is_named(folder, frame):
    frame.iloc[:60].assign(Days=[[1.0]] * 60).to_parquet(folder / "part-0.parquet")
    (folder / "part-1.parquet").unlink()
    (folder / "part-2.parquet").unlink()
    with pytest.raises(blm.DataError, match=r"part-0\.parquet: Column 'Days' holds mixed values"):
        blm.Model(FORMULA, folder)


def test_a_file_that_is_gone_in_the_second_pass(folder, frame, monkeypatch):
    from bayeslmm.rows import parquet

    named = frame.assign(Subject="p" + frame["Subject"].astype(str))
    named.iloc[:60].to_parquet(folder / "part-0.parquet")
    named.iloc[60:120].to_parquet(folder / "part-1.parquet")
    named.iloc[120:].to_parquet(folder / "part-2.parquet")
    read, whole = [], parquet.ParquetFile.batches

    def batches(self, columns, chunk_rows):
        read.append(self.name)
        if len(read) > 4 and (folder / "part-2.parquet").exists():  # a first batch, and one pass
            (folder / "part-2.parquet").unlink()
        return whole(self, columns, chunk_rows)

    monkeypatch.setattr(parquet.ParquetFile, "batches", batches)
    with pytest.raises(blm.DataError, match=r"part-2\.parquet is there no longer: keep the files as they are"):
        blm.Model(FORMULA, folder)


def test_damaged_pages_with_checksums(tmp_path, frame):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(frame), path, write_page_checksum=True, compression="none")
    held = bytearray(path.read_bytes())
    first = pq.read_metadata(path).row_group(0).column(0)
    end = (first.dictionary_page_offset or first.data_page_offset) + first.total_compressed_size
    held[end - 4 : end] = bytes(255 - byte for byte in held[end - 4 : end])
    path.write_bytes(held)
    with pytest.raises(blm.DataError, match=r"rows\.parquet cannot be read.*(?i:checksum|crc)"):
        blm.Model(FORMULA, path)


@pytest.mark.parametrize("given", [None, 3, pd.DataFrame({"Reaction": [1.0]}), pa.table({"Reaction": [1.0]})])
def test_functions_that_yield_nothing(given):
    with pytest.raises(blm.DataError, match=rf"The function returned a {type(given).__name__}: it must yield frames"):
        blm.Model(FORMULA, lambda: given)


def test_batches_that_are_no_frames(frame):
    for batches in ([3], [frame, 3]):
        with pytest.raises(blm.DataError, match="A batch is a pandas or polars frame or an Arrow table, not a int"):
            blm.Model(FORMULA, lambda batches=batches: batches)
    spent = iter([frame.iloc[:50], frame.iloc[50:100], frame.iloc[100:]])
    with pytest.raises(blm.DataError, match=r"none the second time: .* a function must start anew"):
        blm.Model(FORMULA, lambda: spent)


def test_labels_beyond_signed_numbers(tmp_path, frame):
    large = frame.assign(Subject=frame["Subject"].to_numpy().astype(np.uint64) + np.uint64(2**63))
    large.to_parquet(tmp_path / "large.parquet")
    model = blm.Model(FORMULA, tmp_path / "large.parquet", chunk_rows=50)
    assert model.design.terms[0].levels.tolist() == sorted(large["Subject"].unique())
    assert model.objective(THETA) == pytest.approx(blm.Model(FORMULA, frame).objective(THETA), rel=1e-9)

"""CSV and Parquet files: what is read, and what is refused instead of guessed."""

import gzip

import pandas as pd
import pytest

from bayeslmm.datasets import is_table, read_table
from bayeslmm.errors import MissingDependencyError, ModelFileError

PLAIN = "g,x,y\na,1,0.5\nb,2,1.5\n"
EXPECTED = pd.DataFrame({"g": ["a", "b"], "x": [1, 2], "y": [0.5, 1.5]})


def write(folder, content, name="data.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


@pytest.mark.parametrize(
    "content",
    [PLAIN, "\ufeff" + PLAIN, PLAIN.replace("\n", "\r\n"), PLAIN.replace("a,", '"a",')],
    ids=["plain", "byte order mark", "carriage returns", "quoted"],
)
def test_csv_spellings(tmp_path, content):
    pd.testing.assert_frame_equal(read_table(write(tmp_path, content)), EXPECTED)


def test_compressed_csv(tmp_path):
    path = write(tmp_path, gzip.compress(PLAIN.encode()), name="data.csv.gz")
    pd.testing.assert_frame_equal(read_table(path), EXPECTED)


def test_parquet_keeps_categories_and_drops_the_index(tmp_path):
    frame = EXPECTED.assign(g=pd.Categorical(["a", "b"], categories=["b", "a"]))
    path = tmp_path / "data.parquet"
    frame.set_axis([7, 8]).to_parquet(path)
    pd.testing.assert_frame_equal(read_table(path), frame)


def test_words_are_levels_and_blanks_are_missing(tmp_path):
    frame = read_table(write(tmp_path, "g,x\nNone,1\nnull,\n,3\nNA,4\n"))
    assert frame["g"].tolist()[:2] == ["None", "null"]
    assert frame["g"].isna().tolist() == [False, False, True, True]
    assert frame["x"].isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("g;x;y\na;1;2\n", "semicolons"),
        ("g\tx\na\t1\n", "tabs"),
        ("g,x,x\na,1,2\n", "two columns are named 'x'"),
        (
            "g,x\na,1,2\n",
            "line 2 has 3 fields, but the first line names 2 columns: put texts that hold commas in double",
        ),
        ("g,x\na,1\n'b\n',2\na,1,2\n", "line 5 has 3 fields"),
        ("# of May\ng,x\na,1\n", "line 2 has 2 fields, but the first line names 1 column: .* remove lines before"),
        ('g,x\na,1\n"b,2\na,1\n', "quotes do not match from line 3 on"),
        ('"g,x\n' + "a,1\n" * 50_000, "quotes do not match from line 1 on"),
        ("g,x\na,1\nb\0,2\n", "line 3 holds a null character"),
        (b"g,x\na,1\n\xe9t\xe9,1\n", "line 3 is not UTF-8"),
        ("g,x\na,1\n".encode("utf-16"), "line 1 is not UTF-8"),
    ],
    ids=[
        "empty",
        "semicolons",
        "tabs",
        "duplicate",
        "long row",
        "long row after a quoted line",
        "comment",
        "open quote",
        "open quote at the start",
        "null",
        "latin-1",
        "utf-16",
    ],
)
def test_refused_csv(tmp_path, content, said):
    path = write(tmp_path, content)
    with pytest.raises(ModelFileError, match=said) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_semicolons_show_the_columns_found(tmp_path):
    with pytest.raises(ModelFileError, match="Columns found: g;x;y"):
        read_table(write(tmp_path, "g;x;y\na;1;2\n"))


@pytest.mark.parametrize("name", ["data.parquet", "data.csv.gz"])
def test_a_file_that_is_not_what_its_name_says(tmp_path, name):
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_table(write(tmp_path, PLAIN, name=name))


def test_a_truncated_compressed_file(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_table(write(tmp_path, gzip.compress(PLAIN.encode())[:-9], name="data.csv.gz"))


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"nowhere\.csv: there is no such file"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(ModelFileError, match="there is no such file"):
        read_table(tmp_path)


def test_separators_are_for_texts(tmp_path):
    EXPECTED.to_parquet(tmp_path / "data.parquet")
    with pytest.raises(ModelFileError, match="are for CSV files; leave them out"):
        read_table(tmp_path / "data.parquet", separator=";")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", True),
        ("a.CSV.GZ", True),
        ("a.parquet", True),
        ("a.xlsx", True),
        ("a.tsv", True),
        ("a.xls", False),
        ("csv", False),
    ],
)
def test_is_table(name, expected):
    assert is_table(name) is expected


def test_other_separators_and_decimal_commas(tmp_path):
    path = write(tmp_path, "g;x\na;1,5\nb;-2\n")
    assert read_table(path, separator=";", decimal=",")["x"].tolist() == [1.5, -2.0]
    path = write(tmp_path, "g\tx\na\t1.5\n", name="data.tsv")
    assert read_table(path)["x"].tolist() == [1.5]
    with pytest.raises(ModelFileError, match=r"separated by commas, not by tabs.*--separator"):
        read_table(write(tmp_path, "g,x\na,1.5\n", name="data.tsv"))


def test_excel_files_name_what_they_need(tmp_path, monkeypatch):
    path = write(tmp_path, b"no workbook", name="data.xlsx")

    def missing(*_, **__):
        raise ImportError("Missing optional dependency 'openpyxl'.")

    monkeypatch.setattr(pd, "read_excel", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install openpyxl, or save the table as CSV"):
        read_table(path)


def test_two_columns_of_one_name_in_an_excel_file(tmp_path, monkeypatch):
    """pandas would call the second ``x.1``."""
    sheet = pd.DataFrame([["g", "x", "x"], ["a", 1, 2]])
    monkeypatch.setattr(pd, "read_excel", lambda *_, header=0, **__: sheet if header is None else EXPECTED)
    with pytest.raises(ModelFileError, match="two columns are named 'x'"):
        read_table(write(tmp_path, b"", name="data.xlsx"))


def test_a_sheet_of_an_excel_file(tmp_path):
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"g": ["None", "b"], "x": [1.5, float("nan")]})
    frame.to_excel(tmp_path / "data.xlsx", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "data.xlsx"), frame)

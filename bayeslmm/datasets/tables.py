"""Tables in files: CSV, TSV, Parquet and Excel, read without guessing in silence."""

import csv
import gzip
import io
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.errors import MissingDependencyError, ModelFileError

_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".xlsx")
ENDINGS_SAID = ".csv, .tsv (or either with .gz), .parquet or .xlsx"
# What counts as a missing value in a CSV file. pandas' own list also takes the words None and null, which are
# perfectly good levels of a treatment.
_NA_VALUES = ["", "NA", "NaN", "nan"]
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def is_table(name: str) -> bool:
    """Say whether a file name ends as the tables read here do."""
    return name.lower().endswith(_ENDINGS)


def read_table(path: Path, *, separator: str | None = None, decimal: str = ".") -> pd.DataFrame:
    """Read a data frame from a CSV, TSV, Parquet or Excel file.

    CSV files are UTF-8, with or without a byte order mark; the first line names the columns. Empty cells and NA, NaN,
    nan are missing values. Of an Excel file the first sheet is read.

    Parameters
    ----------
    path : pathlib.Path
        A file whose name ends in .csv, .tsv (or either with .gz), .parquet or .xlsx.
    separator
        What separates the columns of a text; None means commas, and tabs in .tsv files.
    decimal
        The decimal point of a text, "." or ",".

    Returns
    -------
    pandas.DataFrame
        One row per line, numbered from 0.

    Raises
    ------
    ModelFileError
        If the file cannot be read, is not what its name says, or its columns are not named once each.
    MissingDependencyError
        If an Excel file is to be read without openpyxl.
    """
    name = path.name.lower()
    if not path.is_file():
        raise ModelFileError(f"{path}: there is no such file.")
    if name.endswith((".parquet", ".xlsx")) and (separator is not None or decimal != "."):
        raise ModelFileError(f"{path}: separators and decimal points are for CSV files; leave them out.")
    try:
        if name.endswith(".parquet"):
            return pd.read_parquet(path).reset_index(drop=True)
        if name.endswith(".xlsx"):
            return _read_excel(path)
        usual = "\t" if name.endswith((".tsv", ".tsv.gz")) else ","
        return _read_csv(path, usual if separator is None else separator, decimal)
    except (ModelFileError, MissingDependencyError):
        raise
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ModelFileError(f"{path}: line {line} is not UTF-8 text. Save the file as UTF-8.") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:  # pandas' and pyarrow's parsing errors are ValueErrors
        said = " ".join(str(error).split()).rstrip(".")
        raise ModelFileError(
            f"{path}: the data cannot be read ({said}). Check that the file is whole and is what its name says."
        ) from None


def _read_excel(path: Path) -> pd.DataFrame:
    try:
        header = pd.read_excel(path, header=None, nrows=1, dtype=object)
        frame = pd.read_excel(path, keep_default_na=False, na_values=_NA_VALUES)
    except ImportError:
        raise MissingDependencyError(
            f"{path}: Excel files are read by openpyxl: pip install openpyxl, or save the table as CSV."
        ) from None
    except (KeyError, zipfile.BadZipFile):
        raise ModelFileError(f"{path}: the data cannot be read: it is no Excel workbook.") from None
    _check_header(path, [str(name) for name in header.iloc[0].dropna()] if len(header) else [], "")
    frame.columns = [str(column) for column in frame.columns]
    return frame


def _read_csv(path: Path, separator: str, decimal: str) -> pd.DataFrame:
    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        raw = gzip.decompress(raw)
    text = raw.decode("utf-8-sig")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ModelFileError(f"{path}: line {line} holds a null character, which is no text. Save the file as UTF-8.")
    try:
        _check_header(path, next(_rows(text, separator), []), separator)
        with warnings.catch_warnings():
            # A row longer than the header is only a warning in pandas, which then cuts the row.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO(text),
                sep=separator,
                decimal=decimal,
                index_col=False,
                keep_default_na=False,
                na_values=_NA_VALUES,
                low_memory=False,
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        said = _wrong_row(text, separator) or f"the data cannot be read ({error})."
        raise ModelFileError(f"{path}: {said}") from None


def _rows(text: str, separator: str) -> Any:
    """Return csv's reader of a text; it knows the line it has come to."""
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def _wrong_row(text: str, separator: str) -> str:
    """Say in which line of a CSV text a row is longer than the first, or a quotation begins that has no end."""
    rows, width, line = _rows(text, separator), 0, 0
    try:
        for row in rows:
            width = width or len(row)
            if len(row) > width:
                return (
                    f"line {rows.line_num} has {len(row)} fields, but the first line names {width} "
                    f"column{'s' if width > 1 else ''}: put texts that hold {_SEPARATORS.get(separator, separator)} in "
                    "double quotes, and remove lines before the names of the columns."
                )
            line = rows.line_num
    except csv.Error:
        return f'the double quotes do not match from line {line + 1} on: close them, and write "" for one in a text.'
    return ""


def _check_header(path: Path, header: list[str], used: str) -> None:
    if not header:
        raise ModelFileError(f"{path}: the file is empty. Its first line must name the columns.")
    found = f"Columns found: {', '.join(header)}."
    if len(header) == 1:
        for separator, word in _SEPARATORS.items():
            if separator != used and separator in header[0]:
                raise ModelFileError(
                    f"{path}: the columns seem separated by {word}, not by {_SEPARATORS.get(used, repr(used))}; say so "
                    f"(separator = {separator!r} under [csv] in a model file, --separator on the command line). {found}"
                )
    for name in header:
        if name and header.count(name) > 1:
            raise ModelFileError(f"{path}: two columns are named '{name}'. Rename one. {found}")

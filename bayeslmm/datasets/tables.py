"""Tables in files: CSV and Parquet, read without guessing in silence."""

import csv
import gzip
import io
import warnings
from pathlib import Path

import pandas as pd

from bayeslmm.errors import ModelFileError

_ENDINGS = (".csv", ".csv.gz", ".parquet")
# What counts as a missing value in a CSV file. pandas' own list also takes the words None and null, which are
# perfectly good levels of a treatment.
_NA_VALUES = ["", "NA", "NaN", "nan"]
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def is_table(name: str) -> bool:
    """Say whether a file name ends as the tables read here do: .csv, .csv.gz or .parquet."""
    return name.lower().endswith(_ENDINGS)


def read_table(path: Path) -> pd.DataFrame:
    """Read a data frame from a CSV or Parquet file.

    CSV files are UTF-8, with or without a byte order mark, separated by commas; the first line names the
    columns. Empty cells and NA, NaN, nan are missing values.

    Parameters
    ----------
    path : pathlib.Path
        A file whose name ends in .csv, .csv.gz or .parquet.

    Returns
    -------
    pandas.DataFrame
        One row per line, numbered from 0.

    Raises
    ------
    ModelFileError
        If the file cannot be read, is not what its name says, or its columns are not named once each.
    """
    try:
        if path.name.lower().endswith(".parquet"):
            return pd.read_parquet(path).reset_index(drop=True)
        return _read_csv(path)
    except ModelFileError:
        raise
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{path}: not UTF-8 text (byte {error.start}). Save the file as UTF-8.") from None
    except (OSError, EOFError) as error:
        raise ModelFileError(f"{path}: the data cannot be read ({error}).") from None
    except (ValueError, Warning) as error:  # pandas' and pyarrow's parsing errors are ValueErrors
        said = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise ModelFileError(f"{path}: the data cannot be read: {said}") from None


def _read_csv(path: Path) -> pd.DataFrame:
    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        raw = gzip.decompress(raw)
    text = raw.decode("utf-8-sig")
    _check_header(path, next(csv.reader(io.StringIO(text, newline="")), []))
    with warnings.catch_warnings():
        # A row longer than the header is only a warning in pandas, which then cuts the row.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            io.StringIO(text), index_col=False, keep_default_na=False, na_values=_NA_VALUES, low_memory=False
        )


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise ModelFileError(f"{path}: the file is empty. Its first line must name the columns.")
    found = f"Columns found: {', '.join(header)}."
    if len(header) == 1:
        for separator, word in _OTHER_SEPARATORS.items():
            if separator in header[0]:
                raise ModelFileError(f"{path}: the columns seem separated by {word}; use commas. {found}")
    for name in header:
        if name and header.count(name) > 1:
            raise ModelFileError(f"{path}: two columns are named '{name}'. Rename one. {found}")

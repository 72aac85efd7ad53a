"""The data of a model file: a table or rows in batches, from nowhere but the file's own folder."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import pandas as pd

from bayeslmm.datasets import DATASET_NAMES, is_table, load_dataset, read_table
from bayeslmm.errors import ModelFileError, counted
from bayeslmm.model_files.checks import unknown_name
from bayeslmm.model_files.model_file import Level, ModelFile

if TYPE_CHECKING:
    from bayeslmm.rows import Rows


def read_data(model_file: ModelFile) -> "pd.DataFrame | Rows":
    """Load the data a model file names, its categories applied, or open Parquet files that are read in batches.

    Parameters
    ----------
    model_file : ModelFile
        What :func:`~bayeslmm.model_files.read_model_file` returned.

    Returns
    -------
    pandas.DataFrame or Rows
        Columns named in ``categories`` are unordered categoricals with those levels in that order. Rows of a folder,
        and of a Parquet file where ``chunk_rows`` is given.

    Raises
    ------
    ModelFileError
        If the file is missing, unreadable or outside the model file's folder, a column is absent, or levels
        and data do not match.
    """
    shipped = model_file.data in DATASET_NAMES
    path = Path() if shipped else _inside(model_file)
    if not shipped and (path.is_dir() or (model_file.chunk_rows and path.suffix.lower() == ".parquet")):
        return _stream(model_file, path)
    frame = load_dataset(model_file.data) if shipped else read_table(path, **model_file.csv)
    for column, levels in model_file.categories.items():
        where = f"{model_file.path}: 'categories.{column}'"
        if column not in frame.columns:
            raise ModelFileError(f"{where}: {unknown_name('column', column, [str(c) for c in frame.columns])}")
        frame[column] = _as_category(frame[column], levels, where)
    return frame


def _stream(model_file: ModelFile, path: Path) -> "Rows":
    from bayeslmm.rows import open_rows

    folder = model_file.path.parent.resolve()
    if outside := [p for p in path.rglob("*") if not p.resolve().is_relative_to(folder)]:
        raise ModelFileError(f"{outside[0]} leads out of the model file's folder: copy the file there.")
    for column, levels in model_file.categories.items():
        raise ModelFileError(
            f"{model_file.path}: 'categories.{column}': rows that are read in batches take their levels from the "
            f"formula: write C({column}, levels={list(levels)}) there."
        )
    return open_rows(path)


def _inside(model_file: ModelFile) -> Path:
    """Return the data file's path, refusing to leave the model file's folder."""
    name = model_file.data
    where = f"{model_file.path}: 'data' is '{name}'"
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in parts:
        raise ModelFileError(f"{where}: give a path relative to the model file, without '..'.")
    folder = model_file.path.parent.resolve()
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of symbolic links, a null character
        raise ModelFileError(f"{where}, which is no usable path ({error}).") from None
    if not path.is_relative_to(folder):
        raise ModelFileError(f"{where}, which leads out of the model file's folder ({path}): copy the file there.")
    holds_rows = path.is_dir() and (path.suffix.lower() == ".parquet" or not is_table(path.name))
    if not path.is_file() and not holds_rows:
        raise ModelFileError(f"{where}: there is no such file in {folder}.")
    return path


def _as_category(values: pd.Series, levels: Sequence[Level], where: str) -> pd.Series:
    """Turn a column into a categorical with the given levels, which must be exactly the values found."""
    plain = values.astype(object)
    present = values.notna()
    # Python counts True as equal to 1: levels of true and false fit a column of truth values and no other.
    truths = {isinstance(value, bool) for value in (*levels, *plain[present].unique())}
    unlisted = (present & ~plain.isin(list(levels))).to_numpy()
    if unlisted.any() or len(truths) > 1:
        row = int(unlisted.argmax())
        raise ModelFileError(
            f"{where} is {list(levels)}, which does not cover the column: row {row} (counted from 0) holds "
            f"{plain.iloc[row]!r}. Values in {counted(int(unlisted.sum()), 'row')} are not listed."
        )
    absent = [level for level in levels if not (plain == level).any()]
    if absent:
        raise ModelFileError(
            f"{where} lists {absent[0]!r}, which the column never holds. Remove it, or check its spelling."
        )
    category = pd.Categorical(plain, dtype=pd.CategoricalDtype(list(levels)))
    return pd.Series(category, index=values.index, name=values.name)

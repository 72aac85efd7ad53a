"""Parquet files by their paths: which there are, and what is wrong with them together."""

from collections.abc import Sequence
from pathlib import Path

from bayeslmm.errors import BayeslmmError, DataError
from bayeslmm.rows.parquet import ParquetRows, check_once, unreadable_file
from bayeslmm.rows.source import unreadable

GLOB = "*?["
SUFFIXES = (".parquet", ".pq")


def parquet_rows(path: str | Path | Sequence[str | Path]) -> ParquetRows:
    """Return the rows of a Parquet file, of all files of a folder, of those a pattern matches, or of several of these.

    Raises
    ------
    DataError
        If there is no such file, or it is not Parquet.
    """
    if isinstance(path, str | Path):
        return files_rows(_files(_local(path)), str(path))
    return files_rows([file for one in path for file in _files(_local(one))], "The files")


def files_rows(files: Sequence[str], name: str) -> ParquetRows:
    """Return the rows of Parquet files, which messages call `name` together.

    Raises
    ------
    DataError
        If they are not Parquet.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    try:
        return ParquetRows(ds.dataset(list(files), format="parquet", partitioning=_partitioning(files)))
    except (pa.ArrowException, OSError) as error:
        raise _wrong_files(files, name, error) from error


def _partitioning(files: Sequence[str]) -> str | None:
    """Return whether ``key=value`` folders are columns: not where the files hold the keys themselves."""
    from pyarrow import parquet as pq

    keys = {part.split("=")[0] for part in Path(files[0]).parts[:-1] if "=" in part}
    return "hive" if keys.isdisjoint(pq.read_schema(files[0]).names if keys else ()) else None


def _wrong_files(files: Sequence[str], name: str, error: Exception) -> BayeslmmError:
    import pyarrow as pa
    from pyarrow import parquet as pq

    try:
        names = pq.read_schema(files[0]).names
    except (pa.ArrowException, OSError) as unread:
        return unreadable_file(files[0], unread)
    try:
        for column in names:
            check_once(files[0], column, names)
    except DataError as twice:
        return twice
    return unreadable(name, error)


def _local(path: str | Path) -> Path:
    if not str(path).strip():
        raise DataError("The path of the rows is empty: give a Parquet file, a folder or a pattern.")
    if "://" in str(path):
        raise DataError(f"{path} is no path on this machine: pass pyarrow.dataset.dataset({str(path)!r}).")
    return Path(path).expanduser()


def _files(path: Path) -> list[str]:
    if path.is_file():
        found = [path]
        what = ""
    elif path.is_dir():
        found = sorted(p for p in path.rglob("*") if _is_data(p, path))
        what = f"The folder {path} holds no .parquet file"
    elif any(sign in str(path) for sign in GLOB):
        anchor = Path(path.anchor) if path.is_absolute() else Path()
        found = sorted(p for p in anchor.glob(str(path.relative_to(path.anchor))) if p.is_file())
        what = f"No file matches {path}"
    else:
        found = []
        what = f"There is no file {path}"
    if not found:
        raise DataError(f"{what}: check the path.")
    if wrong := [p for p in found if p.suffix.lower() not in SUFFIXES]:
        raise DataError(
            f"{wrong[0]} is not a .parquet file: rows are streamed from Parquet; read other files with pandas, or pass "
            "a function that yields frames, such as lambda: pandas.read_csv(path, chunksize=100_000)."
        )
    return [str(p) for p in found]


def _is_data(path: Path, folder: Path) -> bool:
    """Whether a file is one of a folder's data: what other tools hide, or have not finished, begins with . or _."""
    hidden = any(name.startswith((".", "_")) and "=" not in name for name in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()

"""Where a report goes: written beside its place and renamed, so that it is whole or not there."""

from pathlib import Path

from bayeslmm.errors import StorageError
from bayeslmm.files import whole_file
from bayeslmm.report.page import GENERATOR

SUFFIXES = (".html", ".htm")
HEAD = 500  # bytes in which a report says that it is one


def check_place(path: Path) -> None:
    """Refuse a place where a report cannot go, before it is made.

    Raises
    ------
    StorageError
        If the name is not that of an HTML file, the folder is missing, or another file is there already.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise StorageError(f"A report is an HTML page; {path} does not end in .html.")
    if not path.parent.is_dir():
        raise StorageError(f"{path} cannot be written: there is no folder {path.parent}.")
    taken = path.is_symlink() or path.exists()
    if taken and (path.is_symlink() or not path.is_file() or not _is_report(path)):
        raise StorageError(f"{path} is there already and is no report of {GENERATOR}; choose another name.")


def write_page(html: str, path: Path) -> Path:
    """Write a page to its place, completely or not at all; an earlier report there is replaced.

    Parameters
    ----------
    html
        The document.
    path
        The file.

    Returns
    -------
    pathlib.Path
        The file, as an absolute path.

    Raises
    ------
    StorageError
        If the place cannot be written to, or holds something that is no report.
    """
    path = path.absolute()
    check_place(path)
    # A label may hold half of a surrogate pair, which no encoding can write; a browser shows its place.
    content = html.encode("utf-8", errors="xmlcharrefreplace")
    try:
        with whole_file(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def _is_report(path: Path) -> bool:
    with path.open("rb") as stream:
        return f'<meta name="generator" content="{GENERATOR}">'.encode() in stream.read(HEAD)

"""Files and folders that are there whole or not at all: written beside their place, then renamed."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED, FORMER = ".partial", ".former"
STALE = 7 * 24 * 3600.0  # seconds after which an unfinished file is one that a killed process left behind


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give an empty file beside `path` to write to, and put it there once the block ends without an error.

    Parameters
    ----------
    path
        The place, in a folder that exists; a file that is there already is replaced.

    Yields
    ------
    pathlib.Path
        The file to write; it has the suffix of `path`, as some writers add their own otherwise.

    Raises
    ------
    OSError
        If the place cannot be written to; then what was there before is untouched.
    """
    _clear_stale(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED + path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Give a new folder beside `folder` to fill, and put it there once the block ends without an error.

    Any exception, Ctrl-C included, removes the new folder and leaves what was there before untouched.

    Parameters
    ----------
    folder
        The place, in a folder that exists.
    check
        Raises where the place cannot be taken. Called when the block ends: the place may have been taken meanwhile.
        A folder that it lets pass is replaced.

    Yields
    ------
    pathlib.Path
        The folder to fill.

    Raises
    ------
    OSError
        If the place cannot be written to.
    """
    _clear_stale(folder)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=UNFINISHED, dir=folder.parent))
    former = partial.with_suffix(FORMER)
    try:
        yield partial
        check()
        partial.chmod(0o777 & ~_umask())
        if folder.exists():
            folder.rename(former)
        try:
            partial.rename(folder)
        except BaseException:
            if former.exists():
                former.rename(folder)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(former, ignore_errors=True)


def _clear_stale(place: Path) -> None:
    """Remove what killed processes left unfinished beside a place, long ago."""
    before = time.time() - STALE
    prefix = f".{place.name}."
    for left in place.parent.iterdir() if place.parent.is_dir() else ():
        if not left.name.startswith(prefix) or UNFINISHED not in left.name.removeprefix(prefix):
            continue
        try:
            if left.lstat().st_mtime >= before:
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()
        except OSError:
            continue  # another process cleared it, or it is not ours to clear


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

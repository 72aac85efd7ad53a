"""Result folders: written beside their place and renamed, so that they are complete or not there at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayeslmm.errors import StorageError
from bayeslmm.files import whole_folder

SUMMARY_FILE = "summary.txt"
REPORT_FILE = "report.html"
# Every saved fit is a folder with this file in it.
FIT_FILE = "fit.json"


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Refuse a place where a result folder cannot be written, before any time goes into fitting.

    Parameters
    ----------
    folder : pathlib.Path
        Where the results are to go.
    overwrite : bool
        Whether an earlier result folder may be replaced.

    Raises
    ------
    StorageError
        If something is there already that may not be replaced, or the place cannot be written to.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise StorageError(
            f"{folder} is there and is not a folder. Move it away, or choose another place with --output."
        )
    if folder.exists():
        if not overwrite:
            raise StorageError(
                f"{folder} is there already. Give --overwrite to replace it, or --output for another place."
            )
        strangers = [entry.name for entry in sorted(folder.iterdir()) if not _is_ours(entry)]
        if strangers:
            raise StorageError(
                f"{folder} holds '{strangers[0]}', which is not a result of bayeslmm, and is not replaced. "
                "Move it away, or choose another place with --output."
            )
    ancestor = folder.absolute().parent
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK | os.X_OK):
        raise StorageError(f"{folder} cannot be made: {ancestor} is not a folder one can write to.")


@contextmanager
def written_whole(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a new folder to fill, and put it in its place once the block ends without an error.

    The folder lies beside its final place, so that putting it there is a rename. Any exception, Ctrl-C
    included, removes it and leaves what was there before untouched.

    Parameters
    ----------
    folder : pathlib.Path
        The final place.
    overwrite : bool
        Whether an earlier result folder may be replaced.

    Yields
    ------
    pathlib.Path
        The folder to fill.

    Raises
    ------
    StorageError
        As :func:`check_target`, again when the block ends: the place may have been taken meanwhile.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(folder, lambda: check_target(folder, overwrite=overwrite)) as partial:
        yield partial


def saved_fits(folder: Path) -> list[Path]:
    """List the saved fits at a place: the folder itself, or those a result folder holds.

    Raises
    ------
    StorageError
        If there are none.
    """
    if (folder / FIT_FILE).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{FIT_FILE}"))
    if not found:
        raise StorageError(f"{folder} holds no saved fit: no {FIT_FILE} in it or in a folder below it.")
    return found


def _is_ours(entry: Path) -> bool:
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return (entry / FIT_FILE).is_file()
    return entry.name in (SUMMARY_FILE, REPORT_FILE) or entry.suffix == ".png"

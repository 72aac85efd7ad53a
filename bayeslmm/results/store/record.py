"""The main file of a stored folder: JSON with numbers that JSON lacks, and the checksums of the files beside it.

A checksum tells damage: a disk, a transfer, an editor. It protects from nobody who writes it anew.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bayeslmm.errors import StorageError

CHECKSUMS = "sha256"
LARGEST = 2**31  # bytes of a record


def write_record(record: Mapping[str, Any], path: Path) -> None:
    """Write a record as JSON.

    Raises
    ------
    StorageError
        If it holds something that JSON cannot.
    """
    try:
        text = json.dumps(to_json(record), indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StorageError(f"{path.name} cannot hold something that is neither number, text nor list.") from error
    path.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    StorageError
        If it cannot be read.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise StorageError(f"{path} is larger than {LARGEST:,} bytes, which no record is.")
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path} cannot be read: {error}.") from error


def to_json(value: Any) -> Any:
    """Return a value with numpy's scalars and arrays as plain numbers, and non-finite numbers as texts."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": repr(value)}
    return value


def from_json(value: Any) -> Any:
    """Undo :func:`to_json` for non-finite numbers."""
    if isinstance(value, dict):
        if set(value) == {"number"} and isinstance(value["number"], str) and value["number"] in ("nan", "inf", "-inf"):
            return float(value["number"])
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder by name."""
    return {path.name: _checksum(path) for path in sorted(folder.iterdir())}


def check_files(folder: Path, kept: Mapping[str, Any], names: Iterable[str]) -> None:
    """Compare files with their checksums, before any library parses them.

    Raises
    ------
    StorageError
        At the first file that is missing or has changed.
    """
    for name in names:
        path = folder / name
        if not path.is_file():
            raise StorageError(f"{folder} is incomplete: {name} is missing.")
        if kept.get(name) != _checksum(path):
            raise StorageError(f"{path} has changed since it was saved; take a copy from elsewhere, or fit again.")


def seal(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record's own values, its checksum of itself left out."""
    text = json.dumps(to_json(record), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error

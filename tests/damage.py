"""Damaged copies of stored folders: they are refused with a StorageError, or whole."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bayeslmm import StorageError

STRANGE = (
    None, True, "", "x", "\ud800", -1, 0, 7, 2**40, 10**30, 10**12, 1e308, 0.5, [], {}, [[]], ["a"], [None], {"a": 1},
    {"number": "nan"}, {"number": []}, [2**70], "a" * 1000,
)  # fmt: skip
FLIPS, CUTS = 12, 8  # places of a file whose bits are inverted, and where it is cut off


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path to every value of a record, of lists the first and the last."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for position in sorted({0, len(value) - 1}) if value else ():
            yield from places(value[position], (*path, position))


def altered_records(record: Any, rng: np.random.Generator, each: int) -> Iterator[tuple[str, Any]]:
    """Give copies of a record with one value left out, or replaced by each of some strange ones."""
    for path in places(record):
        for choice in [None, *rng.choice(len(STRANGE), each, replace=False)]:
            copy = json.loads(json.dumps(record))
            holder = copy
            for key in path[:-1]:
                holder = holder[key]
            if choice is None:
                del holder[path[-1]]
            else:
                holder[path[-1]] = STRANGE[choice]
            yield f"{path} {'left out' if choice is None else STRANGE[choice]!r:.40}", copy


def damaged_bytes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Give copies of a file cut off at several places, and with a byte inverted at several others."""
    for cut in np.linspace(0, len(content) - 1, CUTS).astype(int):
        yield f"cut at {cut}", content[:cut]
    for place in np.linspace(0, len(content) - 1, FLIPS).astype(int):
        yield f"inverted at {place}", content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def refused(read: Callable[[Path], Any], folder: Path) -> str | None:
    """Return the message of the StorageError; None where a folder is read after all. Any other error goes through."""
    try:
        read(folder)
    except StorageError as error:
        return str(error)
    return None


def each_damaged_file(folder: Path, copy: Path, record: str) -> Iterator[tuple[str, bool]]:
    """Put every damaged file into a copy of a folder in turn, saying which, and whether it is the record."""
    shutil.copytree(folder, copy)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for what, damaged in damaged_bytes(content):
            (copy / path.name).write_bytes(damaged)
            yield f"{path.name} {what}", path.name == record
        (copy / path.name).unlink()
        yield f"{path.name} removed", path.name == record
        (copy / path.name).write_bytes(content)

"""Finished chains on disk, so that an interrupted run can be resumed.

A folder holds ``run.json``, the facts that make two runs the same, and one ``chain_k.npz`` per finished chain,
written beside and renamed: a chain is there whole or not at all. Arrays are read without pickle.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayeslmm.errors import StorageError
from bayeslmm.files import whole_file
from bayeslmm.inference.nuts.chain import Chain
from bayeslmm.types import Array


class ChainStore:
    """The chains of one run.

    Parameters
    ----------
    folder
        Made if it does not exist.
    facts
        What makes the run: seed, draws, tune, chains, target_accept, and a digest of data and priors.

    Raises
    ------
    StorageError
        If the folder holds another run, or something else.
    """

    def __init__(self, folder: str | Path, facts: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.facts = dict(facts)
        found = read_facts(self.folder)
        if found is None:
            self._begin()
            return
        different = [name for name in self.facts if found.get(name) != self.facts[name]]
        if different:
            name = different[0]
            raise StorageError(
                f"{self.folder} holds a run with another {name} ({found.get(name)!r}, not {self.facts[name]!r}). "
                "Resume with the options, data and priors it was begun with, or choose another folder."
            )

    def _begin(self) -> None:
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise StorageError(f"{self.folder} is not empty and holds no run to resume. Choose another folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        _replace(self.folder / "run.json", json.dumps(self.facts, indent=1).encode())

    def load(self, k: int) -> Chain | None:
        """Return chain k if it was finished."""
        path = self._path(k)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                stats = {name[5:]: arrays[name] for name in arrays.files if name.startswith("stat_")}
                counts = [int(arrays[name]) for name in ("failures", "evaluations")]
                return Chain(arrays["x"], stats, *counts)
        except (OSError, ValueError, KeyError) as error:
            raise StorageError(f"{path} cannot be read: delete that file to run the chain again.") from error

    def save(self, k: int, chain: Chain) -> None:
        """Keep a finished chain."""
        buffer = io.BytesIO()
        stats: dict[str, Any] = {f"stat_{name}": values for name, values in chain.stats.items()}
        np.savez(buffer, x=chain.x, failures=chain.failures, evaluations=chain.evaluations, **stats)
        _replace(self._path(k), buffer.getvalue())

    def _path(self, k: int) -> Path:
        return self.folder / f"chain_{k}.npz"


def read_facts(folder: str | Path) -> dict[str, Any] | None:
    """Return the facts of the run in a folder, None if there is none.

    Raises
    ------
    StorageError
        If ``run.json`` cannot be read.
    """
    path = Path(folder) / "run.json"
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: it is no record of a run, or is damaged.") from error
    if not isinstance(facts, dict):
        raise StorageError(f"{path} holds no facts of a run.")
    return facts


def digest(arrays: Sequence[Array], texts: Sequence[str]) -> str:
    """Return a checksum of arrays and texts."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    for text in texts:
        found.update(text.encode())
    return found.hexdigest()


def _replace(path: Path, content: bytes) -> None:
    with whole_file(path) as beside:
        beside.write_bytes(content)

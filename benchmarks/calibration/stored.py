"""Results of long runs on disk, so that an interrupted report goes on where it stopped."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.files import whole_file
from bayeslmm.validation.calibration import Calibration


def file_stem(*parts: str) -> str:
    """Return a file name for a study and a method."""
    kept = "".join(c if c.isalnum() else " " for c in " ".join(parts).lower())
    return "_".join(kept.split())


def stored_calibration(path: Path, run: Callable[[], Calibration]) -> Calibration:
    """Return the calibration kept in a file, or run it and keep it there.

    Parameters
    ----------
    path
        An ``.npz`` file of plain arrays.
    run
        Does the work.
    """
    if path.exists():
        return read_calibration(path)
    found = run()
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        np.savez_compressed(
            beside,
            study=found.study,
            method=found.method,
            names=np.array(found.names),
            ranks=found.ranks.astype(np.int16),
            n_draws=found.n_draws,
            replaced=found.replaced,
        )
    return found


def read_calibration(path: Path) -> Calibration:
    """Return the calibration kept in a file."""
    with np.load(path, allow_pickle=False) as kept:
        return Calibration(
            study=str(kept["study"]),
            method=str(kept["method"]),
            names=tuple(kept["names"].tolist()),
            ranks=kept["ranks"].astype(np.int64),
            n_draws=int(kept["n_draws"]),
            replaced=int(kept["replaced"]),
        )


def stored_table(path: Path, run: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table kept in a CSV file, or make it and keep it there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        table = run()
        with whole_file(path) as beside:
            table.to_csv(beside, index=False, float_format="%.6g")
    return pd.read_csv(path, keep_default_na=False, na_values=[""])

"""Results of long runs on disk, so that an interrupted report goes on where it stopped."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bayeslmm.validation.calibration import Calibration


def stored_calibration(folder: Path, run: Callable[[], Calibration], study: str, method: str) -> Calibration:
    """Return a calibration from the folder, or run it and keep it there.

    Parameters
    ----------
    folder
        Where results are kept.
    run
        Does the work.
    study, method
        Name the file.
    """
    path = folder / f"{study}-{method}.npz".replace(" ", "_").replace(",", "")
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            return Calibration(
                study=str(kept["study"]),
                method=str(kept["method"]),
                names=tuple(kept["names"].tolist()),
                ranks=kept["ranks"].astype(np.int64),
                n_draws=int(kept["n_draws"]),
                replaced=int(kept["replaced"]),
            )
    found = run()
    folder.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"unfinished-{path.name}")  # read only under its final name, which it gets when whole
    np.savez_compressed(
        beside,
        study=found.study,
        method=found.method,
        names=np.array(found.names),
        ranks=found.ranks.astype(np.int16),
        n_draws=found.n_draws,
        replaced=found.replaced,
    )
    beside.replace(path)
    return found

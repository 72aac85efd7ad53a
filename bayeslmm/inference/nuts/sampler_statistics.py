"""Statistics of a draw: what each sampler calls them, and their one name here, which is arviz's."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Names in nutpie and in PyMC, and what arviz calls them.
STATISTICS = {
    "diverging": "diverging",
    "energy": "energy",
    "depth": "tree_depth",
    "tree_depth": "tree_depth",
    "n_steps": "n_steps",
    "mean_tree_accept": "acceptance_rate",
    "acceptance_rate": "acceptance_rate",
    "logp": "lp",
    "lp": "lp",
    "step_size": "step_size",
    "maxdepth_reached": "reached_max_treedepth",
    "reached_max_treedepth": "reached_max_treedepth",
}


def read_statistics(found: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return a trace's statistics by arviz's names, each of shape (chains, draws); others are left out.

    Parameters
    ----------
    found
        The sample_stats of a trace of nutpie or of PyMC.
    """
    return {name: np.asarray(found[key]) for key, name in STATISTICS.items() if key in found}

"""Tables of posterior summaries."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.results.coefficient_tests import check_level
from bayeslmm.results.diagnostics import Diagnostics
from bayeslmm.results.summary import aligned


def describe(draws: NDArray[np.floating], index: pd.Index, level: float, found: Diagnostics) -> pd.DataFrame:
    """Return mean, sd, limits and diagnostics of K parameters, draws of shape (chains, draws, K)."""
    check_level(level)
    tails = [0.5 - level / 2, 0.5 + level / 2]
    limits = np.quantile(draws, tails, axis=(0, 1)) if draws.size else np.empty((2, 0))
    columns = {
        "mean": np.mean(draws, axis=(0, 1), dtype=float),
        "sd": np.std(draws, axis=(0, 1), ddof=1, dtype=float),
        "lower": limits[0],
        "upper": limits[1],
        "ess_bulk": found.ess_bulk,
        "ess_tail": found.ess_tail,
        "rhat": found.rhat,
    }
    return pd.DataFrame(columns, index=index)


def printed(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return the texts of a table of posterior summaries, each row with the decimals its sd calls for."""
    names = {
        "mean": "Mean",
        "sd": "SD",
        "lower": f"{50 - 50 * level:g}%",
        "upper": f"{50 + 50 * level:g}%",
    }
    rows = [aligned(row, [row[1]]) for row in table[list(names)].to_numpy()]
    texts = pd.DataFrame(rows, index=table.index, columns=list(names.values()))
    for name, label in (("ess_bulk", "ESS bulk"), ("ess_tail", "ESS tail")):
        texts[label] = ["" if np.isnan(value) else f"{value:.0f}" for value in table[name]]
    texts["R-hat"] = ["" if np.isnan(value) else f"{value:.3f}" for value in table["rhat"]]
    return texts


def within(effect: str | None, other: str | None) -> str:
    """Return the name of a covariance parameter within its group: ``"sd(Days)"``."""
    if effect is None:
        return "sd"
    return f"sd({effect})" if other is None else f"cor({effect}, {other})"

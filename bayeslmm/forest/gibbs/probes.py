"""Points at which the convergence of f is watched."""

from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.design import Design
from bayeslmm.likelihood.new_response import Array

N_PROBES = 20


def probe_points(features: Any, seed: int | None) -> Any:
    """Return points at which f is watched: each column's values drawn apart, so no rows of the fit."""
    rng = np.random.default_rng(seed if seed is not None else 0)
    picks = rng.integers(len(features), size=(N_PROBES, features.shape[1]))
    if not isinstance(features, pd.DataFrame):
        return np.column_stack([features[picks[:, j], j] for j in range(features.shape[1])])
    columns = {name: features[name].iloc[picks[:, j]].array for j, name in enumerate(features.columns)}
    return pd.DataFrame(columns)


def linear_at_means(design: Design, beta: Array) -> float:
    """Return the linear part at the means of its columns: with f it is identified, apart it need not be."""
    return float(design.X.mean(axis=0) @ beta) if design.p else 0.0

"""Data of the forest tests: the rat pups as the source page codes them, and Friedman's function in groups."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm import load_dataset

PAGE = json.loads(Path(__file__).with_name("merf_rat_pups.json").read_text())
SIGMA = np.array([[2.25, 0.75], [0.75, 1.0]])  # covariance of intercepts and slopes in `friedman`
SIGMA2 = 2.25


def rat_pups():
    """Columns litsize, treatment (0, 1, 2), sex (0, 1), litter, and the weight."""
    data = load_dataset("ratpup")
    X = data[["litsize"]].assign(
        treatment=data["treatment"].map(PAGE["columns"]["treatment"]).astype(int),
        sex=data["sex"].map(PAGE["columns"]["sex"]).astype(int),
        litter=data["litter"],
    )
    return X, data["weight"]


def friedman(seed, *, n_groups=200, size=20, constant=()):
    """Two samples of the same groups, with f and the true b: columns x1..x10, z, g, y, f."""
    rng = np.random.default_rng(seed)
    b = rng.standard_normal((n_groups, 2)) @ np.linalg.cholesky(SIGMA).T
    by_group = rng.random((n_groups, 10))
    frames = []
    for _ in range(2):
        g = np.repeat(np.arange(n_groups), size)
        X, z = rng.random((len(g), 10)), rng.standard_normal(len(g))
        for column in constant:
            X[:, column] = by_group[g, column]
        f = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
        y = f + b[g, 0] + b[g, 1] * z + np.sqrt(SIGMA2) * rng.standard_normal(len(g))
        frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(1, 11)])
        frames.append(frame.assign(z=z, g=g, y=y, f=f))
    return frames[0], frames[1], b


FRIEDMAN_COLUMNS = [*(f"x{i}" for i in range(1, 11)), "z", "g"]

"""Posteriors over the sparse factor: few points, since each takes a factorisation, and those of the dense matrix."""

import numpy as np
import pandas as pd

import bayeslmm as blm
from bayeslmm.likelihood import crossproducts
from bayeslmm.likelihood.iterative import choice


def jobs() -> pd.DataFrame:
    """Workers who move between neighbouring firms."""
    rng = np.random.default_rng(5)
    workers, firms, years = 600, 80, 4
    worker = np.repeat(np.arange(workers), years)
    firm = (rng.integers(0, firms, workers)[worker] + rng.integers(0, 2, len(worker))) % firms
    x = rng.normal(size=len(worker))
    y = (
        1
        + 0.5 * x
        + rng.normal(size=workers)[worker]
        + 0.6 * rng.normal(size=firms)[firm]
        + rng.normal(size=len(worker))
    )
    return pd.DataFrame({"y": y, "x": x, "worker": worker, "firm": firm})


def test_few_points_over_the_sparse_factor(monkeypatch) -> None:
    formula, data = "y ~ x + (1 | worker) + (1 | firm)", jobs()
    dense = blm.Model(formula, data).fit("importance", draws=500, seed=1)
    monkeypatch.setattr(crossproducts, "LARGEST_DENSE", 10)
    monkeypatch.setattr(choice, "LARGEST_DENSE", 10)
    model = blm.Model(formula, data)
    assert model.kernel.products.sparse is not None
    fit = model.fit("importance", draws=500, seed=2)
    assert "probes" not in fit.info and fit.info["points"] <= 256  # against 1,024 of small dense matrices
    for one, two in zip((*fit.draws.sd, *fit.draws.effects), (*dense.draws.sd, *dense.draws.effects), strict=True):
        first, second = (values.reshape(2000, -1) for values in (one, two))
        assert np.max(np.abs(first.mean(axis=0) - second.mean(axis=0)) / second.std(axis=0)) < 5 * np.sqrt(2 / 400)

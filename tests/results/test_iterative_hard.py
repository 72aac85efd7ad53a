"""Hard cases of the solver without a factor: weak and strong signals, unbalanced and unconnected levels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.inference.optimum import average_information
from bayeslmm.inference.optimum.average_information import maximise_iteratively
from bayeslmm.likelihood.iterative.evaluation import rademacher

SEEDS = 20  # sets of probes
FEW = 0.05  # of a standard error, that estimates may be off


def frame(kind: str) -> pd.DataFrame:
    """Simulate 4,000 rows of 200 by 150 levels."""
    rng = np.random.default_rng(11)
    n, a_levels, b_levels = 4000, 200, 150
    a, b, c = rng.integers(0, a_levels, n), rng.integers(0, b_levels, n), rng.integers(0, 30, n)
    if kind == "unbalanced":
        a[: n // 2] = 0
        b[n // 4 : 3 * n // 4] = 0
    if kind == "unconnected":  # four groups of levels that never meet
        group = rng.integers(0, 4, n)
        a, b = 4 * (a // 4) + group, 4 * (b // 4) + group
        b_levels += 2
    x, w = rng.normal(size=n), rng.uniform(0.5, 2.0, n)
    effects = [rng.normal(size=j) for j in (a_levels, b_levels, 30)]
    slopes = rng.normal(size=a_levels)
    strength = 100.0 if kind == "strong" else 1.0  # a ratio of variances of 10,000
    y = 1 + 0.5 * x + strength * (effects[0][a] + (0.0 if kind == "zero" else 0.7) * effects[1][b])
    y += rng.normal(size=n) / np.sqrt(w if kind == "weighted" else 1.0)
    if kind in ("slopes", "weighted"):
        y += 0.5 * slopes[a] * x
    if kind == "three":
        y += 0.4 * effects[2][c]
    return pd.DataFrame({"y": y, "x": x, "w": w, "o": 0.3 * x, "a": a, "b": b, "c": c})


PLAIN = "y ~ x + (1 | a) + (1 | b)"
CASES = {
    "strong": (PLAIN, {}, "reml"),
    "zero": (PLAIN, {}, "reml"),
    "unbalanced": (PLAIN, {}, "reml"),
    "unconnected": (PLAIN, {}, "ml"),
    "slopes": ("y ~ x + (x | a) + (1 | b)", {}, "reml"),
    "three": ("y ~ x + (1 | a) + (1 | b) + (1 | c)", {}, "ml"),
    "weighted": ("y ~ x + (x | a) + (1 | b)", {"weights": "w", "offset": "o", "sigma": 1.0}, "reml"),
}


def free_entries(model: blm.Model, lambdas: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([f[s.free_entries] for f, s in zip(lambdas, model.kernel.shapes, strict=True)])


@pytest.mark.parametrize("kind", list(CASES))
def test_stated_errors_are_those_of_other_probes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit with sets of probes of their own and compare the spread about the exact fit with the errors stated."""
    formula, arguments, method = CASES[kind]
    model = blm.Model(formula, frame(kind), **arguments)
    exact = model.fit(method)
    wanted = free_entries(model, model.kernel.lambdas(exact.theta))
    misses, objectives = [], []
    for seed in range(SEEDS):
        monkeypatch.setattr(
            average_information,
            "rademacher",
            lambda q, count, first=0, seed=seed: rademacher(q, count, 1000 * seed + first),
        )
        found = maximise_iteratively(model.kernel, method, sigma=model.spec.sigma)
        assert found.maximum.code == exact.status.code
        made, statistical = np.sqrt(np.diag(found.theta_error)), np.sqrt(np.diag(found.theta_cov))
        known = statistical > 0
        difference = free_entries(model, found.lambdas) - wanted
        assert (np.abs(difference[known]) < FEW * statistical[known] + 4 * made[known]).all()
        misses.append((difference / np.where(known, made, np.inf))[known])
        at_estimate = model.objective(found.maximum.theta, method)
        objectives.append((found.maximum.objective - at_estimate) / found.objective_error)
    # t statistics of 14 degrees of freedom have a root mean square of 1.08
    assert 0.6 < np.sqrt(np.mean(np.square(objectives))) < 1.6
    assert 0.6 < np.sqrt(np.mean(np.square(misses))) < 1.6

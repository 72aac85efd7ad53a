"""REML of two large crossed factors by conjugate gradients against the factor: processor time and estimates."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

import bayeslmm
from benchmarks.row import Outcome, Settings

FORMULA = "y ~ 1 + x + (1 | user) + (1 | item)"
ROWS, USERS, ITEMS = 800_000, 10_000, 4_900
SDS = (0.45, 0.5, 0.86)


def ratings(rows: int, users: int, items: int) -> pd.DataFrame:
    """Simulate ratings: some users rate, and some items are rated, far more often than others."""
    rng = np.random.default_rng(1)
    activity, popularity = rng.gamma(0.5, size=users) + 0.02, rng.gamma(0.25, size=items) + 0.002
    user = rng.choice(users, rows, p=activity / activity.sum())
    item = rng.choice(items, rows, p=popularity / popularity.sum())
    x = rng.normal(size=rows)
    effects = (SDS[0] * rng.normal(size=users))[user] + (SDS[1] * rng.normal(size=items))[item]
    y = 3.5 + 0.1 * x + effects + SDS[2] * rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "user": user.astype(np.int32), "item": item.astype(np.int32)})


@dataclass(frozen=True)
class IterativeCrossed:
    name: str = "crossed ratings, iterative"

    def run(self, settings: Settings) -> list[Outcome]:
        """Fit once by each solver: what differs is minutes, not a share."""
        sizes = (40_000, 1_000, 490) if settings.quick else (ROWS, USERS, ITEMS)
        model = bayeslmm.Model(FORMULA, ratings(*sizes))
        bayeslmm.Model(FORMULA, ratings(2_000, 50, 40)).fit("reml", solver="iterative")  # compiles
        _ = model.products_kernel  # the sums are the same for both
        with threadpool_limits(1, "blas"):
            ours, fit = processor_seconds(lambda: model.fit("reml", solver="iterative"))
            theirs, exact = processor_seconds(lambda: model.fit("reml", solver="exact"))
        moved = np.array([fit.varcorr()["sd"], exact.varcorr()["sd"]], dtype=float)
        # standard errors of sds are about sd / sqrt(2 J) of the levels, or rows, that they come from
        errors = moved[1] / np.sqrt(2.0 * np.array([sizes[1], sizes[2], sizes[0]]))
        detail = {
            "meaning": "processor seconds of one fit each, without the sums",
            "largest difference of sds in standard errors": float(np.max(np.abs(moved[0] - moved[1]) / errors)),
        }
        bar = None if settings.quick else 10.0
        return [Outcome(self.name, "the factor", ours, theirs, theirs / ours, bar, repeats=1, detail=detail)]


def processor_seconds(call: Callable[[], object]) -> tuple[float, "bayeslmm.PointFit"]:
    """Return the processor time of a fit, and the fit."""
    started = time.process_time()
    fit = cast("bayeslmm.PointFit", call())
    return time.process_time() - started, fit


ROW = IterativeCrossed()

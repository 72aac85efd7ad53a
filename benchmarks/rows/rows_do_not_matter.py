"""Evaluation time with a hundred times the rows in the same groups."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

import bayeslmm
from benchmarks.pairing import paired_calls
from benchmarks.row import Outcome, Settings

FORMULA = "y ~ 1 + x + (1 + x | a) + (1 | b)"


def simulate(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"x": rng.normal(size=n), "a": np.arange(n) % 200, "b": np.arange(n) // 200 % 50})
    y = rng.normal(size=n) + rng.normal(size=200)[frame["a"]] * frame["x"] + rng.normal(size=50)[frame["b"]]
    return frame.assign(y=y)


@dataclass(frozen=True)
class Growth:
    name: str = "100 times the rows, same groups: one evaluation with gradient"

    def run(self, settings: Settings) -> list[Outcome]:
        most = 100_000 if settings.quick else 1_000_000
        small, large = (bayeslmm.Model(FORMULA, simulate(n)).kernel for n in (10_000, most))
        theta = [1.0, 0.1, 1.0, 1.0]
        repeats = max(50, settings.repeats)
        found = paired_calls(lambda: small.gradient(theta), lambda: large.gradient(theta), repeats)
        return [
            Outcome(
                self.name, "10,000 rows", found.theirs, found.ours, found.ratio, 1.1, at_most=True, repeats=repeats,
                detail={"meaning": "time with many rows / time with few"},
            )
        ]  # fmt: skip


ROW = Growth()

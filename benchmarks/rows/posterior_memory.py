"""What a posterior of InstEval, 4,000 draws of 4,128 coefficients or fewer, adds to the peak memory of a process."""

from dataclasses import dataclass
from typing import Any

from benchmarks.posterior import measure
from benchmarks.row import Outcome, Settings

CASES: dict[str, dict[str, Any]] = {
    "all effects": {},
    "all effects in float32": {"precision": "float32"},
    "effects of d only": {"store": ["d"]},
    "no effects": {"store": []},
}


@dataclass(frozen=True)
class Memory:
    name: str = "InstEval, memory added by 4,000 draws, importance"

    def run(self, settings: Settings) -> list[Outcome]:
        outcomes = []
        size = {"rows": 2000, "draws": 100} if settings.quick else {"draws": 1000}
        for label, options in CASES.items():
            found = measure("insteval memory", chains=4, **size, **options)
            added = found["idata"] - found["before"]
            detail = {"meaning": "MiB added to the peak, data frame to idata", "version": "the data loaded", **found}
            outcomes.append(
                Outcome(
                    f"{self.name}: {label}", "the data loaded", added, found["before"], added, unit="MiB", repeats=1,
                    at_most=True, detail=detail,
                )
            )  # fmt: skip
        return outcomes


ROW = Memory()

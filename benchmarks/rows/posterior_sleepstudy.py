"""Seconds per effective draw of sleepstudy's worst parameter, compilation included, against bambi with nutpie.

Every run is a process of its own with everything imported: nothing is compiled yet, except what our kernel left in
its cache on disk. bambi's model has independent intercepts and slopes, which is what it can express.
"""

import statistics
from dataclasses import dataclass

from benchmarks.posterior import measure
from benchmarks.row import Outcome, Settings

BARS = {"nuts": 5.0, "importance": 50.0}


@dataclass(frozen=True)
class Sleepstudy:
    name: str = "sleepstudy, seconds per effective draw, compilation included"

    def run(self, settings: Settings) -> list[Outcome]:
        short = {"draws": 100} if settings.quick else {}
        outcomes = []
        try:
            measure("sleepstudy bambi", draws=10, tune=10, chains=1)
        except RuntimeError as error:
            return [Outcome(self.name, "bambi", None, None, None, detail={"missing": str(error)[-200:]})]
        repeats = min(settings.repeats, 3)
        pairs = []
        for _ in range(repeats):
            ours = {method: measure("sleepstudy", method=method, **short) for method in BARS}
            pairs.append((ours, measure("sleepstudy bambi", chains=4, **short)))
        for method, bar in BARS.items():
            own = [ours[method]["seconds"] / ours[method]["effective"] for ours, _ in pairs]
            theirs = [bambi["seconds"] / bambi["effective"] for _, bambi in pairs]
            ratios = [b / a for a, b in zip(own, theirs, strict=True)]
            processor = [
                (bambi["cpu"] / bambi["effective"]) / (ours[method]["cpu"] / ours[method]["effective"])
                for ours, bambi in pairs
            ]
            detail = {
                "version": pairs[0][1]["version"],
                "ratios": ratios,
                "processor": statistics.median(processor),
                "runs": [{"ours": ours[method], "bambi": bambi} for ours, bambi in pairs],
            }
            outcomes.append(
                Outcome(
                    f"{self.name}: {method}", "bambi with nutpie", statistics.median(own), statistics.median(theirs),
                    statistics.median(ratios), None if settings.quick else bar, repeats=repeats, detail=detail,
                )
            )  # fmt: skip
        return outcomes


ROW = Sleepstudy()

"""Seconds per effective draw of verbagg's worst standard deviation or coefficient, against bambi with nutpie.

Compilation is counted; every run is a process of its own with everything imported. One run of bambi takes minutes, so
there is one pair.
"""

from dataclasses import dataclass

from benchmarks.posterior import measure
from benchmarks.row import Outcome, Settings

BARS = {"nuts": 30.0, "importance": None}


@dataclass(frozen=True)
class VerbalAggressionPosterior:
    name: str = "verbagg `(1|id) + (1|item)`, seconds per effective draw, compilation included"

    def run(self, settings: Settings) -> list[Outcome]:
        short = {"draws": 50, "tune": 50, "chains": 2} if settings.quick else {}
        try:
            bambi = measure("verbagg bambi", **({"draws": 50, "tune": 50, "chains": 2} if settings.quick else {}))
        except RuntimeError as error:
            return [Outcome(self.name, "bambi", None, None, None, detail={"missing": str(error)[-200:]})]
        outcomes = []
        for method, bar in BARS.items():
            ours = measure("verbagg", method=method, **short)
            own, theirs = ours["seconds"] / ours["effective"], bambi["seconds"] / bambi["effective"]
            processor = (bambi["cpu"] / bambi["effective"]) / (ours["cpu"] / ours["effective"])
            detail = {"version": bambi["version"], "processor": processor, "ours": ours, "bambi": bambi}
            outcomes.append(
                Outcome(
                    f"{self.name}: {method}", "bambi with nutpie", own, theirs, theirs / own,
                    None if settings.quick else bar, repeats=1, detail=detail,
                )
            )  # fmt: skip
        return outcomes


ROW = VerbalAggressionPosterior()

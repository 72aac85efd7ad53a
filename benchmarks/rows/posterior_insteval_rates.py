"""Seconds per effective draw of InstEval's sds and sigma, against the explicit model under nutpie, same priors.

Seconds are processor time, warm-up and everything else included: chains of the explicit model run one to a core, and
so do ours. Both runs are short, with as many draws as steps of warm-up; the explicit model's smallest effective size
is that of 500 draws and uncertain by about a fifth.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks.posterior import measure
from benchmarks.row import Outcome, Settings

QUICK: dict[str, Any] = {"rows": 2000}
EXPLICIT: dict[str, Any] = {"draws": 500, "tune": 500}
RUNS: dict[str, tuple[float, dict[str, Any]]] = {
    "nuts": (10.0, {"draws": 200, "tune": 200, "chains": 2}),
    "importance": (100.0, {"draws": 500, "chains": 4}),
}


@dataclass(frozen=True)
class Rates:
    name: str = "InstEval, processor seconds per effective draw of sds and sigma"

    def run(self, settings: Settings) -> list[Outcome]:
        extra = QUICK if settings.quick else {}
        short = {"draws": 50, "tune": 50} if settings.quick else EXPLICIT
        explicit = measure("insteval explicit", **short, **extra)
        theirs = explicit["cpu"] / explicit["scales"]
        after = theirs * explicit["steps"] / (explicit["steps"] + explicit["warm-up steps"])
        outcomes = []
        for method, (bar, options) in RUNS.items():
            given = {
                **options,
                **({"draws": 50} | ({"tune": 50} if method == "nuts" else {}) if settings.quick else {}),
            }
            found = measure("insteval", method=method, **given, **extra)
            ours = found["cpu"] / found["scales"]
            detail = {
                "explicit": explicit,
                "found": found,
                "ratio to the explicit model's draws alone": after / ours,
                "version": "explicit, nutpie",
            }
            outcomes.append(
                Outcome(
                    f"{self.name}: {method}", "explicit model under nutpie", ours, theirs, theirs / ours,
                    None if settings.quick else bar, repeats=1, detail=detail,
                )
            )  # fmt: skip
        return outcomes


ROW = Rates()

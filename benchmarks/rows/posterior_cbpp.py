"""From the start of a new process to the printed posterior of cbpp by NUTS, caches warm.

Modules are kept as bytecode, as pip keeps those of an installed package: else Python compiles them at every start.
"""

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.row import Outcome, Settings

ALLOWED = 4.0  # seconds
SCRIPT = """
import bayeslmm
data = bayeslmm.load_dataset("cbpp")
formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
print(bayeslmm.Model(formula, data, family="binomial").fit(seed=1, progressbar=False).summary())
"""


def seconds_to_print() -> float:
    """Return seconds until a process has printed the fit and ended."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, env=kept)
    return time.perf_counter() - started


@dataclass(frozen=True)
class Herds:
    name: str = "cbpp, new process to the printed posterior: nuts"

    def run(self, settings: Settings) -> list[Outcome]:
        seconds_to_print()
        runs = [seconds_to_print() for _ in range(settings.repeats)]
        median = statistics.median(runs)
        detail = {"meaning": "seconds allowed / seconds", "runs": runs}
        return [
            Outcome(
                self.name, "the time allowed", median, ALLOWED, ALLOWED / median, None if settings.quick else 1.0,
                repeats=settings.repeats, detail=detail,
            )
        ]  # fmt: skip


ROW = Herds()

"""From the start of a new process to the printed posterior of sleepstudy, caches warm."""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.row import Outcome, Settings

MODEL = Path(__file__).parents[2] / "models" / "sleepstudy.toml"
ALLOWED = {"nuts": 10.0, "importance": 5.0}
LAST_LINE = "Sampled with seed"


def seconds_to_print(method: str) -> tuple[float, float]:
    """Return seconds until the last line of the printed fit, and until the end, pictures drawn."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bayeslmm", "fit", str(MODEL), "--method", method]
        started = time.perf_counter()
        with subprocess.Popen(
            [*command, "--output", f"{folder}/result"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            printed = None
            for line in process.stdout or ():
                if line.startswith(LAST_LINE):
                    printed = time.perf_counter() - started
        if process.returncode or printed is None:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode} and printed no fit")
        return printed, time.perf_counter() - started


@dataclass(frozen=True)
class CommandLine:
    name: str = "sleepstudy, new process to the printed posterior"

    def run(self, settings: Settings) -> list[Outcome]:
        outcomes = []
        for method, allowed in ALLOWED.items():
            seconds_to_print(method)
            runs = [seconds_to_print(method) for _ in range(settings.repeats)]
            printed = statistics.median(run[0] for run in runs)
            detail = {"meaning": "seconds allowed / seconds", "runs": runs}
            outcomes.append(
                Outcome(
                    f"{self.name}: {method}", "the time allowed", printed, allowed, allowed / printed, 1.0,
                    repeats=settings.repeats, detail=detail,
                )
            )  # fmt: skip
        return outcomes


ROW = CommandLine()

"""ML of 100,000 groups of five Poisson counts: seconds, and what the fit adds to memory as groups are added."""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.row import Outcome, Settings

ALLOWED = 3.0  # seconds
SIZES = (25_000, 50_000, 100_000)
LINEAR = 1.1  # bytes per row of the most rows over those of half as many
SCRIPT = """
import gc, json, time
from pathlib import Path
import numpy as np, pandas as pd
import bayeslmm

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

def counts(groups):
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(groups), 5), rng.normal(size=5 * groups)
    y = rng.poisson(np.exp(0.5 + 0.3 * x + 0.6 * rng.normal(size=groups)[g]))
    return pd.DataFrame({{"y": y, "x": x, "g": g}})

def fit(data):
    return bayeslmm.Model("y ~ x + (1 | g)", data, family="poisson").fit("ml")

fit(counts(200))
data = counts({groups})
gc.collect()
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
started = time.perf_counter()
found = fit(data)
seconds = time.perf_counter() - started
print(json.dumps({{"seconds": seconds, "added": status("VmHWM") - before, "sd": float(found.varcorr()["sd"].iloc[0])}}))
"""


def measure(groups: int) -> dict[str, float]:
    """Return seconds, MiB added and the estimate, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(groups=groups)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Counts:
    name: str = "Poisson counts in groups of 5, ML"

    def run(self, settings: Settings) -> list[Outcome]:
        if not Path("/proc/self/clear_refs").exists():
            missing = {"missing": "the system does not tell a process's memory in /proc"}
            return [Outcome(self.name, "the time allowed", None, None, None, 1.0, detail=missing)]
        sizes = tuple(size // 50 for size in SIZES) if settings.quick else SIZES
        runs = {size: [measure(size) for _ in range(settings.repeats)] for size in sizes}
        most, half = sizes[-1], sizes[-2]
        seconds = statistics.median(run["seconds"] for run in runs[most])
        added = {size: statistics.median(run["added"] for run in found) for size, found in runs.items()}
        growth = added[most] / (2.0 * added[half])
        detail = {"added MiB": added, "seconds": {size: [r["seconds"] for r in found] for size, found in runs.items()}}
        bars = (None, None) if settings.quick else (1.0, LINEAR)
        return [
            Outcome(
                f"{self.name}: {most:,} groups", "the time allowed", seconds, ALLOWED, ALLOWED / seconds, bars[0],
                repeats=settings.repeats, detail=detail,
            ),
            Outcome(
                f"{self.name}: memory per row, {most:,} groups against {half:,}", f"{half:,} groups", added[most],
                added[half], growth, bars[1], at_most=True, repeats=settings.repeats, unit="MiB",
                detail={"meaning": "MiB added; ratio per row", "added MiB": added},
            ),
        ]  # fmt: skip


ROW = Counts()

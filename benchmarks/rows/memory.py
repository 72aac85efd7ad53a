"""What fitting InstEval adds to the peak memory of a process."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.row import Outcome, Settings
from benchmarks.rows.insteval_crossed import FORMULA

SCRIPT = """
import gc, json
from pathlib import Path
import bayeslmm

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

table = {{"y": [0.0, 1.0, 3.0, 2.5, 0.5, 1.0], "x": [0.0, 2.0, 1.0, 3.0, 1.0, 1.0],
         "a": [1, 2, 1, 2, 1, 2], "b": [1, 1, 2, 2, 1, 2]}}
bayeslmm.Model("y ~ 1 + x + (1|a) + (1|b)", table).fit("reml")
data = bayeslmm.load_dataset("insteval")
gc.collect()
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
fit = bayeslmm.Model({formula!r}, data).fit("reml")
print(json.dumps({{"before": before, "after": status("VmHWM")}}))
"""


@dataclass(frozen=True)
class Memory:
    name: str = "InstEval, memory added by design and fit"

    def run(self, settings: Settings) -> list[Outcome]:
        if not Path("/proc/self/clear_refs").exists():
            missing = {"missing": "the system does not tell a process's memory in /proc"}
            return [Outcome(self.name, "the data loaded", None, None, None, 250.0, detail=missing)]
        script = SCRIPT.format(formula=FORMULA)
        answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
        found = json.loads(answer.splitlines()[-1])
        added = found["after"] - found["before"]
        return [
            Outcome(
                self.name, "the data loaded", added, found["before"], added, 250.0, at_most=True, repeats=1, unit="MiB",
                detail={"meaning": "MiB added to the peak"},
            )
        ]  # fmt: skip


ROW = Memory()

"""lme4 in an R process of its own, started once and fitting on demand: its start-up is not counted."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.peers.peer import Problem, Timing, UnavailableError

SERVER = Path(__file__).with_name("lme4_server.R")


class Lme4:
    """lmer with its defaults; `check=False` leaves out its check of convergence by finite differences."""

    def __init__(self, problem: Problem, *, check: bool = True) -> None:
        if shutil.which("Rscript") is None:
            raise UnavailableError("Rscript is not on the path")
        self.folder = tempfile.TemporaryDirectory()
        table = Path(self.folder.name) / "data.csv"
        problem.data.to_csv(table, index=False)
        categories = ",".join(problem.categories)
        self.process = subprocess.Popen(
            ["Rscript", str(SERVER), str(table), problem.formula, problem.method, categories,
             "check" if check else "nocheck"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            self.version = self._answer()["version"]
        except UnavailableError:
            self.close()
            raise

    def fit(self) -> Timing:
        self.process.stdin.write("fit\n")
        self.process.stdin.flush()
        answer = self._answer()
        return Timing(answer["seconds"], answer["processor"], answer["objective"])

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise UnavailableError(f"lme4 in R does not run: {self.process.stderr.read().strip()[-300:]}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        self.folder.cleanup()

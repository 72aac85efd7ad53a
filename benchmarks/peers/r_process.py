"""An R process of its own, started once and fitting on demand: its start-up is not counted."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.peers.peer import Problem, Timing, UnavailableError


class RProcess:
    """A script of this folder that fits one model each time a line arrives on its standard input.

    Parameters
    ----------
    script
        Its file.
    problem
        The model; the script is given its rows as a CSV file, formula, method and categories, then `arguments`.

    Raises
    ------
    UnavailableError
        If R or a package is missing.
    """

    def __init__(self, script: str, problem: Problem, *arguments: str) -> None:
        if shutil.which("Rscript") is None:
            raise UnavailableError("Rscript is not on the path")
        self.script, self.folder = script, tempfile.TemporaryDirectory()
        table = Path(self.folder.name) / "data.csv"
        problem.data.to_csv(table, index=False)
        command = ["Rscript", str(Path(__file__).with_name(script)), str(table), problem.formula, problem.method]
        self.process = subprocess.Popen(
            [*command, ",".join(problem.categories), *arguments],
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
            raise UnavailableError(f"{self.script} does not run in R: {self.process.stderr.read().strip()[-300:]}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        self.folder.cleanup()

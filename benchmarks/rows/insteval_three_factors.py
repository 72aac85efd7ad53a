"""InstEval with departments as a third random factor."""

from bayeslmm.datasets import load_dataset
from benchmarks.peers import Problem
from benchmarks.row import FitRow

FORMULA = "y ~ 1 + service + (1 | s) + (1 | d) + (1 | dept)"


def problems(quick: bool) -> dict[str, Problem]:
    data = load_dataset("insteval")
    if quick:
        data = data[:5000].copy()
    return {"REML": Problem(data, FORMULA, "reml", ("s", "d", "dept", "service"))}


ROW = FitRow("InstEval `service + (1|s) + (1|d) + (1|dept)`", problems, {"lme4": 12.0, "lme4 unchecked": None})

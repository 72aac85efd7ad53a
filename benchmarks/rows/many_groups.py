"""Very many small groups, random intercept."""

from benchmarks.peers import Problem
from benchmarks.row import FitRow
from benchmarks.simulate import groups

FORMULA = "y ~ 1 + x1 + x2 + x3 + x4 + x5 + x6 + (1 | g)"


def problems(quick: bool) -> dict[str, Problem]:
    return {"": Problem(groups(2_000 if quick else 125_000, 4, 6), FORMULA, "reml", ("g",))}


ROW = FitRow("125,000 groups of 4, 6 columns, `(1|g)`", problems, {"lme4": None, "statsmodels": 100.0})

"""The largest number of groups statsmodels still fits in seconds."""

from benchmarks.peers import Problem
from benchmarks.row import FitRow
from benchmarks.simulate import groups


def problems(quick: bool) -> dict[str, Problem]:
    return {"": Problem(groups(1_000 if quick else 20_000, 4, 1), "y ~ 1 + x1 + (1 | g)", "reml", ("g",))}


ROW = FitRow("20,000 groups of 4, 1 column, `(1|g)`", problems, {"lme4": None, "statsmodels": 100.0})

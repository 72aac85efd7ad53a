"""Many groups with correlated intercept and two slopes."""

from benchmarks.peers import Problem
from benchmarks.row import FitRow
from benchmarks.simulate import groups


def problems(quick: bool) -> dict[str, Problem]:
    data = groups(1_000 if quick else 50_000, 10, 2, 2)
    return {"": Problem(data, "y ~ 1 + x1 + x2 + (1 + x1 + x2 | g)", "reml", ("g",))}


ROW = FitRow("50,000 groups of 10, `(1 + x1 + x2 | g)`", problems, {"lme4": 5.0})

"""A maximal model: two crossed factors, intercept and three correlated slopes each, 20 covariance parameters."""

from benchmarks.peers import Problem
from benchmarks.row import FitRow
from benchmarks.simulate import maximal

FORMULA = "y ~ 1 + x1 + x2 + x3 + (1 + x1 + x2 + x3 | subject) + (1 + x1 + x2 + x3 | item)"


def problems(quick: bool) -> dict[str, Problem]:
    data = maximal(20, 12, 200) if quick else maximal(60, 32, 1_800)
    return {"": Problem(data, FORMULA, "reml", ("subject", "item"))}


ROW = FitRow("maximal crossed, 20 covariance parameters", problems, {"lme4": 10.0})

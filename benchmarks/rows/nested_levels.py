"""Nested factors of the size of Chem97: 30,000 rows, 2,500 levels."""

from benchmarks.peers import Problem
from benchmarks.row import FitRow
from benchmarks.simulate import nested


def problems(quick: bool) -> dict[str, Problem]:
    data = nested(3_000, 13, 240) if quick else nested(30_000, 130, 2_400)
    return {"": Problem(data, "y ~ 1 + x + (1 | a/b)", "reml", ("a", "b"))}


ROW = FitRow("nested `(1 | a/b)`, 30,000 rows, 2,500 levels", problems, {"lme4": 1.0})

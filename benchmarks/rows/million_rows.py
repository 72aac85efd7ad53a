"""A million rows of one grouping factor, against the Rust programs."""

from benchmarks.peers import Problem
from benchmarks.row import FitRow
from benchmarks.simulate import groups


def problems(quick: bool) -> dict[str, Problem]:
    data = groups(500 if quick else 10_000, 100, 1, 1)
    return {
        "`(1|g)`": Problem(data, "y ~ 1 + x1 + (1 | g)", "reml", ("g",)),
        "`(1+x1|g)`": Problem(data, "y ~ 1 + x1 + (1 + x1 | g)", "reml", ("g",)),
    }


ROW = FitRow("a million rows, 10,000 groups", problems, {"mixedlm-rs": 1.0, "mixedlm": 1.0})

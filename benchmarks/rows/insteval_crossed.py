"""InstEval: 73,421 ratings, students crossed with instructors."""

from bayeslmm.datasets import load_dataset
from benchmarks.peers import Problem
from benchmarks.row import FitRow

FORMULA = "y ~ 1 + dept * service + (1 | s) + (1 | d)"
CATEGORIES = ("s", "d", "dept", "service")


def problems(quick: bool) -> dict[str, Problem]:
    data = load_dataset("insteval")
    if quick:
        data = data[:5000].copy()
    return {method.upper(): Problem(data, FORMULA, method, CATEGORIES) for method in ("ml", "reml")}


ROW = FitRow(
    "InstEval `dept * service + (1|s) + (1|d)`", problems, {"lme4": 12.0, "lme4 unchecked": None, "gpboost": 4.0}
)

"""bayeslmm itself, in this process, caches warm."""

import bayeslmm
from benchmarks.peers.peer import Problem, Stopwatch, Timing


class Ours:
    version = f"bayeslmm {bayeslmm.__version__}"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def fit(self) -> Timing:
        watch = Stopwatch()
        problem = self.problem
        fit = bayeslmm.Model(problem.formula, problem.data, family=problem.family).fit(problem.method)
        return watch.read(fit.objective)

    def close(self) -> None:
        pass

"""bayeslmm itself, in this process, caches warm."""

import bayeslmm
from benchmarks.peers.peer import Problem, Stopwatch, Timing


class Ours:
    version = f"bayeslmm {bayeslmm.__version__}"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def fit(self) -> Timing:
        watch = Stopwatch()
        fit = bayeslmm.Model(self.problem.formula, self.problem.data).fit(self.problem.method)
        return watch.read(fit.objective)

    def close(self) -> None:
        pass

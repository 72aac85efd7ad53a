"""bayeslmm itself, in this process, caches warm."""

import time

import bayeslmm
from benchmarks.peers.peer import Problem, Timing


class Ours:
    version = f"bayeslmm {bayeslmm.__version__}"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def fit(self) -> Timing:
        started = time.perf_counter()
        fit = bayeslmm.Model(self.problem.formula, self.problem.data).fit(self.problem.method)
        return Timing(time.perf_counter() - started, fit.objective)

    def close(self) -> None:
        pass

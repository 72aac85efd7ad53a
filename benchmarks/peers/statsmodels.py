"""statsmodels' MixedLM: one grouping factor."""

import re

from benchmarks.peers.peer import Problem, Stopwatch, Timing, UnavailableError


class Statsmodels:
    def __init__(self, problem: Problem) -> None:
        try:
            import statsmodels
            import statsmodels.formula.api
        except ImportError as error:
            raise UnavailableError("statsmodels is not installed") from error
        self.version = f"statsmodels {statsmodels.__version__}"
        self.problem = problem
        (random,) = re.findall(r"\(([^()|]*)\|([^()|]*)\)", problem.formula)
        self.random, self.group = (part.strip() for part in random)
        self.fixed = re.sub(r"\s*\+\s*\([^()]*\)", "", problem.formula)

    def fit(self) -> Timing:
        import statsmodels.formula.api as smf

        watch = Stopwatch()
        model = smf.mixedlm(self.fixed, self.problem.data, groups=self.group, re_formula=self.random)
        fit = model.fit(reml=self.problem.method == "reml")
        return watch.read(-2.0 * float(fit.llf))

    def close(self) -> None:
        pass

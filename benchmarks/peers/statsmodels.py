"""statsmodels' MixedLM: one grouping factor."""

import re

from benchmarks.peers.peer import Problem, Stopwatch, Timing, UnavailableError


def single_term(formula: str) -> tuple[str, str, str]:
    """Return the fixed part of a formula with one random term, the term's columns and its grouping factor."""
    ((random, group),) = re.findall(r"\(([^()|]*)\|([^()|]*)\)", formula)
    return re.sub(r"\s*\+\s*\([^()]*\)", "", formula), random.strip(), group.strip()


class Statsmodels:
    def __init__(self, problem: Problem) -> None:
        try:
            import statsmodels
            import statsmodels.formula.api
        except ImportError as error:
            raise UnavailableError("statsmodels is not installed") from error
        self.version = f"statsmodels {statsmodels.__version__}"
        self.problem = problem
        self.fixed, self.random, self.group = single_term(problem.formula)

    def fit(self) -> Timing:
        import statsmodels.formula.api as smf

        watch = Stopwatch()
        model = smf.mixedlm(self.fixed, self.problem.data, groups=self.group, re_formula=self.random)
        fit = model.fit(reml=self.problem.method == "reml")
        return watch.read(-2.0 * float(fit.llf))

    def close(self) -> None:
        pass

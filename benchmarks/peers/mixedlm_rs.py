"""mixedlm-rs: lme4's criterion in Rust behind statsmodels' names; one grouping factor."""

from benchmarks.peers.peer import Problem, Stopwatch, Timing, UnavailableError
from benchmarks.peers.statsmodels import single_term


class MixedLMRust:
    def __init__(self, problem: Problem) -> None:
        try:
            import mixedlm_rs
        except ImportError as error:
            raise UnavailableError("mixedlm-rs is not installed") from error
        self.version = f"mixedlm-rs {mixedlm_rs.__version__}"
        self.problem = problem
        self.fixed, self.random, self.group = single_term(problem.formula)

    def fit(self) -> Timing:
        from mixedlm_rs import MixedLM

        watch = Stopwatch()
        model = MixedLM.from_formula(self.fixed, self.problem.data, groups=self.group, re_formula=self.random)
        fit = model.fit(reml=self.problem.method == "reml")
        return watch.read(-2.0 * float(fit.llf))

    def close(self) -> None:
        pass

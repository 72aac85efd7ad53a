"""mixedlm, a Rust program: lmer, and glmer by maximum likelihood."""

from benchmarks.peers.peer import Problem, Stopwatch, Timing, UnavailableError

FAMILIES = {"bernoulli": "Binomial", "poisson": "Poisson"}


class MixedLM:
    def __init__(self, problem: Problem) -> None:
        try:
            import mixedlm
        except ImportError as error:
            raise UnavailableError("mixedlm is not installed") from error
        if problem.family not in (*FAMILIES, "gaussian"):
            raise UnavailableError(f"{problem.family} is not tried")
        self.version = f"mixedlm {mixedlm.__version__}"
        self.problem = problem

    def fit(self) -> Timing:
        import mixedlm

        formula, data = self.problem.formula, self.problem.data
        watch = Stopwatch()
        if self.problem.family == "gaussian":
            fit = mixedlm.lmer(formula, data, REML=self.problem.method == "reml")
        else:
            fit = mixedlm.glmer(formula, data, family=getattr(mixedlm.families, FAMILIES[self.problem.family])())
        return watch.read(-2.0 * float(fit.logLik().value))

    def close(self) -> None:
        pass

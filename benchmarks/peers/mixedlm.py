"""mixedlm's glmer: a Rust program, maximum likelihood only."""

from benchmarks.peers.peer import Problem, Stopwatch, Timing, UnavailableError

FAMILIES = {"bernoulli": "Binomial", "poisson": "Poisson"}


class MixedLM:
    def __init__(self, problem: Problem) -> None:
        try:
            import mixedlm
        except ImportError as error:
            raise UnavailableError("mixedlm is not installed") from error
        if problem.family not in FAMILIES:
            raise UnavailableError(f"{problem.family} is not tried")
        self.version = f"mixedlm {mixedlm.__version__}"
        self.problem = problem

    def fit(self) -> Timing:
        import mixedlm

        family = getattr(mixedlm.families, FAMILIES[self.problem.family])()
        watch = Stopwatch()
        fit = mixedlm.glmer(self.problem.formula, self.problem.data, family=family)
        return watch.read(-2.0 * float(fit.logLik().value))

    def close(self) -> None:
        pass

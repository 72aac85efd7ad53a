"""The posterior of InstEval by importance sampling, 2,000 draws of every coefficient, against lme4's ML fit."""

from dataclasses import dataclass
from typing import Any

from benchmarks.pairing import paired
from benchmarks.peers import PEERS, Problem, UnavailableError
from benchmarks.peers.peer import Stopwatch, Timing
from benchmarks.posterior import INSTEVAL, SEED, effective, insteval
from benchmarks.row import Outcome, Settings

CATEGORIES = ("s", "d", "dept", "service")
QUICK_ROWS = 5000


class Importance:
    """Data frame to idata."""

    version = "importance sampling"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.draws: Any = None

    def fit(self) -> Timing:
        import bayeslmm

        watch = Stopwatch()
        model = bayeslmm.Model(self.problem.formula, self.problem.data)
        fit = model.fit("importance", draws=500, chains=4, seed=SEED, progressbar=False)
        _ = fit.idata
        self.draws = fit.draws
        return watch.read(None)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Posterior:
    name: str = "InstEval, posterior by importance sampling against the ML fit"

    def run(self, settings: Settings) -> list[Outcome]:
        problem = Problem(insteval(QUICK_ROWS if settings.quick else None), INSTEVAL, "ml", CATEGORIES)
        bar = None if settings.quick else 1.0
        try:
            lme4 = PEERS["lme4"](problem)
        except UnavailableError as error:
            return [Outcome(self.name, "lme4", None, None, None, bar, detail={"missing": str(error)})]
        ours = Importance(problem)
        try:
            found = paired(ours, lme4, settings.repeats)
        finally:
            lme4.close()
        info = ours.draws.info
        detail = {
            "version": lme4.version,
            "ratios": found.ratios,
            "processor": found.processor_ratio,
            "smallest effective sizes": effective(ours.draws),
            "k_hat": info.get("k_hat"),
            "effective size": info.get("effective_size"),
            "points": info.get("points"),
        }
        return [
            Outcome(
                self.name, "lme4", found.ours, found.theirs, found.ratio, bar, repeats=settings.repeats, detail=detail
            )
        ]  # fmt: skip


ROW = Posterior()

"""Posteriors of models that are singular at their optimum: 20 and 72 covariance parameters of two crossed factors.

lme4 needs minutes for the first one's ML fit: it is given up once it has taken `LIMIT` times as long as our posterior.
"""

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import Problem, UnavailableError
from benchmarks.peers.lme4 import Lme4
from benchmarks.posterior import SEED, effective
from benchmarks.row import Outcome, Settings
from benchmarks.simulate import factorial

SECONDS = 60.0  # for the maximal design of 72 parameters
TARGET = 400.0  # effective draws of the worst parameter
LIMIT = 2.0
TWENTY = {"subjects": 61, "items": 480, "rows": 28_710, "interactions": False}
SEVENTY_TWO = {"subjects": 56, "items": 32, "rows": 1_790, "interactions": True}
QUICK = {"subjects": 20, "items": 12, "rows": 220, "interactions": False}


@dataclass(frozen=True)
class HardPosteriors:
    name: str = "posterior of a singular model"

    def run(self, settings: Settings) -> list[Outcome]:
        return [self._against_lme4(settings), self._maximal(settings)]

    def _against_lme4(self, settings: Settings) -> Outcome:
        data, formula = factorial(**(QUICK if settings.quick else TWENTY))
        name, bar = f"{self.name}, 20 parameters", None if settings.quick else 1.0
        problem = Problem(data, formula, "ml", ("subject", "item"))
        ours, detail = _posterior(data, formula, 300)
        needed = _seconds_to_target(ours, detail)
        try:
            lme4 = Lme4(problem, limit=LIMIT * needed)
        except UnavailableError as error:
            return Outcome(name, "lme4's ML fit", None, None, None, bar, detail={"missing": str(error)})
        try:
            theirs = lme4.fit()
        finally:
            lme4.close()
        against = "lme4's ML fit" + ("" if theirs.objective is not None else ", given up")
        return Outcome(
            name, against, needed, theirs.processor, theirs.processor / needed, bar, repeats=1,
            detail={**detail, "lme4's objective": theirs.objective},
        )  # fmt: skip

    def _maximal(self, settings: Settings) -> Outcome:
        data, formula = factorial(**(QUICK if settings.quick else SEVENTY_TWO))
        ours, detail = _posterior(data, formula, 250)
        needed = _seconds_to_target(ours, detail)
        name, limit = f"{self.name}, 72 parameters, seconds", None if settings.quick else SECONDS
        return Outcome(name, "a minute", needed, SECONDS, needed, limit, at_most=True, repeats=1, detail=detail)


def _seconds_to_target(seconds: float, detail: dict[str, Any]) -> float:
    """Return the seconds of a run, and more in proportion where its worst parameter is short of the target."""
    found = [*detail["effective"].values(), detail.get("effective_size_worst", TARGET)]
    return seconds * max(1.0, TARGET / min(found))


def _posterior(data: Any, formula: str, draws: int) -> tuple[float, dict[str, Any]]:
    """Return the processor seconds from data frame to draws, and what the draws are worth."""
    import bayeslmm

    small, small_formula = factorial(**QUICK)
    bayeslmm.Model(small_formula, small).fit("importance", draws=10, seed=SEED, progressbar=False)  # compiles
    started = time.process_time()
    fit = bayeslmm.Model(formula, data).fit("importance", draws=draws, chains=4, seed=SEED, progressbar=False)
    seconds = time.process_time() - started
    facts = {k: v for k, v in fit.info.items() if isinstance(v, int | float | str)}
    return seconds, {"meaning": "processor seconds", "effective": effective(fit.draws), **facts}


ROW = HardPosteriors()

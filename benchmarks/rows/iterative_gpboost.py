"""ML of two large crossed factors by conjugate gradients, ours and GPBoost's: processor time and estimates."""

from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

import bayeslmm
from benchmarks.peers import PEERS, Problem, UnavailableError
from benchmarks.row import Outcome, Settings
from benchmarks.rows.iterative_crossed import FORMULA, processor_seconds, ratings

ROWS, USERS, ITEMS = 1_000_000, 10_000, 5_000


@dataclass(frozen=True)
class IterativeGPBoost:
    name: str = "crossed ratings, both iterative"

    def run(self, settings: Settings) -> list[Outcome]:
        """Fit once by each, data frame to fitted object."""
        bar = None if settings.quick else 10.0
        sizes = (40_000, 1_000, 500) if settings.quick else (ROWS, USERS, ITEMS)
        data = ratings(*sizes)
        try:
            peer = PEERS["gpboost iterative"](Problem(data, FORMULA, "ml"))
        except UnavailableError as error:
            return [Outcome(self.name, "gpboost iterative", None, None, None, bar, detail={"missing": str(error)})]
        bayeslmm.Model(FORMULA, ratings(2_000, 50, 40)).fit("ml", solver="iterative")  # compiles
        with threadpool_limits(1):
            ours, fit = processor_seconds(lambda: bayeslmm.Model(FORMULA, data).fit("ml", solver="iterative"))
            theirs = peer.fit()
        detail = {
            "meaning": "processor seconds of one fit each, with the sums",
            "version": peer.version,
            "objective": fit.objective,
            "Monte Carlo error of it": float(np.asarray(fit.monte_carlo["objective"])),
            "objective of the peer": theirs.objective,
        }
        ratio = theirs.processor / ours
        return [Outcome(self.name, "gpboost iterative", ours, theirs.processor, ratio, bar, repeats=1, detail=detail)]


ROW = IterativeGPBoost()

"""One evaluation of InstEval's objective against LAPACK's Cholesky factorisation of its trailing matrix."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf
from threadpoolctl import threadpool_limits

import bayeslmm
from benchmarks.pairing import paired_calls
from benchmarks.row import Outcome, Settings
from benchmarks.rows.insteval_crossed import FORMULA

THETA = [0.276, 0.435]  # near the optimum


@dataclass(frozen=True)
class Evaluation:
    name: str = "InstEval, one evaluation"

    def run(self, settings: Settings) -> list[Outcome]:
        kernel = bayeslmm.Model(FORMULA, bayeslmm.load_dataset("insteval")).kernel
        rng = np.random.default_rng(0)
        order = kernel.products.order
        rows = rng.normal(size=(order + 10, order))
        matrix = np.asfortranarray(rows.T @ rows)
        repeats = max(15, settings.repeats)

        def factor() -> None:
            dpotrf(matrix, lower=1, clean=0, overwrite_a=0)

        outcomes = []
        with threadpool_limits(1, "blas"):
            for what, bar, call in (
                ("objective", 1.5, lambda: kernel.objective(THETA, "reml")),
                ("objective and gradient", 5.0, lambda: kernel.gradient(THETA, "reml")),
            ):
                found = paired_calls(factor, call, repeats)
                outcomes.append(
                    Outcome(
                        f"{self.name}: {what}", f"dpotrf of order {order:,}", found.theirs, found.ours, found.ratio,
                        bar, at_most=True, repeats=repeats, detail={"meaning": "our time / dpotrf's"},
                    )
                )  # fmt: skip
        return outcomes


ROW = Evaluation()

"""A point fit whose equations were solved by conjugate gradients."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bayeslmm.errors import OptionError, is_word
from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.iterative.coefficients import effect_variances, prediction_variance, rows_of_kernel
from bayeslmm.likelihood.iterative.solved_rows import SolvedRows
from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.results import coefficient_tests, effects
from bayeslmm.results.fit import factored
from bayeslmm.results.leave_one_out import data_rows
from bayeslmm.results.point import PointFit
from bayeslmm.results.prediction import Request, known_codes, normal_limits
from bayeslmm.results.tables import block_table
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.inference.optimum.average_information import IterativeMaximum

MOST_INTERVALS = 10_000  # rows whose intervals are computed at once: each takes a solve


@dataclass(frozen=True, eq=False, repr=False)
class IterativeFit(PointFit):
    """A fit by ``solver="iterative"``.

    Coefficients and random effects given the covariance parameters are exact; the determinant and the traces are
    estimated by probes, with the errors of `monte_carlo`. What needs the model's factor makes it, where memory allows.

    Attributes
    ----------
    found
        What the search found, with its Monte Carlo errors.
    """

    found: "IterativeMaximum" = field(kw_only=True)

    @property
    def blocks(self) -> pd.DataFrame:
        """The blocks of the equations; the trailing one is solved without a factor."""
        kernel = self.model_kernel
        assert kernel is not None
        n_pairs = sum(len(pairs.starts) for pairs in kernel.products.lead_pairs)
        return block_table(without_factor(kernel.blocks, kernel.products.n_trailing, n_pairs))

    @cached_property
    def kernel(self) -> Kernel:
        """The likelihood, whose factor is about to be asked for.

        Raises
        ------
        UnavailableError
            If the factor does not fit into memory.
        """
        assert self.model_kernel is not None
        return factored(self.model_kernel)

    @property
    def monte_carlo(self) -> pd.Series:
        """How far the probes are to be trusted.

        ``probes``, their number; ``parameters``, the largest Monte Carlo error of a covariance parameter in its
        standard errors; ``objective``, the Monte Carlo standard error of the objective; ``iterations`` of conjugate
        gradients.
        """
        return pd.Series(
            {
                "probes": float(self.found.n_probes),
                "parameters": self.found.largest_error,
                "objective": self.found.objective_error,
                "iterations": float(self.found.evaluation.iterations),
            },
            name="monte carlo",
        )

    def ranef_sd(self, *, coefficients: Literal["known", "estimated"] = "known") -> dict[str, pd.DataFrame]:
        """Return standard deviations of the random effects given θ and σ, by probes: right to a few percent.

        Parameters
        ----------
        coefficients
            "known" or "estimated", as for every point fit.

        Raises
        ------
        OptionError
            If `coefficients` is neither.
        """
        if not is_word(coefficients, ("known", "estimated")):
            raise OptionError(f"coefficients={coefficients!r} is unknown; use 'known' or 'estimated'.")
        covariances = self._known_covariances if coefficients == "known" else self._prediction_covariances
        sds = [np.sqrt(np.maximum(np.diagonal(cov, axis1=1, axis2=2), 0.0)) for cov in covariances]
        return effects.effect_frames(self.design.terms, sds)

    def leverage(self) -> pd.Series:
        """Return the leverage of every row, as every point fit does, by probes: right to a few percent or better."""
        assert self.model_kernel is not None
        kernel, p = self.model_kernel, self.model_kernel.p
        flat = NormalPrior(np.zeros((p, p)), np.zeros(p), 0.0, 0)
        _, rows, _ = SolvedRows(kernel, data_rows(self)).parts(self.found.lambdas, flat)
        return pd.Series(rows.leverage + np.sum(rows.fixed**2, axis=1), index=self.design.index, name="leverage")

    def _covariances(self, *, estimated: bool) -> list[Array]:
        assert self.model_kernel is not None
        return effect_variances(self.model_kernel, self.found.evaluation.solved, self.sigma, estimated=estimated)

    @cached_property
    def _known_covariances(self) -> list[Array]:
        return self._covariances(estimated=False)

    @cached_property
    def _prediction_covariances(self) -> list[Array]:
        return self._covariances(estimated=True)

    @cached_property
    def _errors(self) -> coefficient_tests.ErrorsOfFit:
        return coefficient_tests.NormalErrorsOfFit(self)

    def _limits(self, request: Request, mean: Array) -> tuple[Array, Array]:
        assert self.model_kernel is not None
        rows = request.rows
        if len(mean) > MOST_INTERVALS:
            raise OptionError(
                f'Intervals of {len(mean):,} rows take as many solves after solver="iterative": ask for at most '
                f"{MOST_INTERVALS:,} rows at a time."
            )
        columns = [t.columns for t in request.terms]
        wanted = rows_of_kernel(self.model_kernel, known_codes(request), columns, rows.X)
        variance = prediction_variance(self.found.evaluation.solved, wanted)
        return normal_limits(request, variance, self._factors, self.sigma, mean)

    def _facts(self) -> list[tuple[str, str]]:
        errors = self.monte_carlo
        solver = (
            f"conjugate gradients, {self.found.n_probes} probes; Monte Carlo error of covariance parameters "
            f"{errors['parameters']:.2g} of their standard errors, of the criterion {errors['objective']:.2g}"
        )
        return [*super()._facts(), ("Solver", solver)]


def without_factor(blocks: Sequence[dict[str, Any]], n_trailing: int, n_pairs: int) -> list[dict[str, Any]]:
    """Return the description of a factor's blocks with the trailing ones as they are solved without it."""
    kept = [block for block in blocks if block["kind"] in ("diagonal", "block-diagonal")]
    first = blocks[len(kept)]
    return [
        *kept,
        {**first, "kind": "pairs", "elements": n_pairs},
        {**blocks[-1], "kind": "iterative", "order": n_trailing, "density": 0.0, "elements": 0},
    ]

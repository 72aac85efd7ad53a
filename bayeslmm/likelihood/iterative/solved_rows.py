"""What the other rows say of a row in large crossed factors, without a factor; see `bayeslmm.likelihood.left_out`."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from bayeslmm.likelihood.iterative.coefficients import effects_by_term
from bayeslmm.likelihood.iterative.eliminated import Eliminated, PairedProducts
from bayeslmm.likelihood.iterative.evaluation import EXACT, SHARED, SolvedSystem, rademacher, solve_system, turned
from bayeslmm.likelihood.iterative.row_leverages import PairedRows, RowProbes
from bayeslmm.likelihood.iterative.solved_factor import Determinant, SolvedFactor
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.left_out import DataRows, RowParts
from bayeslmm.likelihood.normal_prior import FixedPosterior, NormalPrior, fixed_posterior
from bayeslmm.likelihood.prediction_error import PredictorRows
from bayeslmm.types import Array

PROBES = 32


class SolvedRows:
    """The rows of a fit, told of by solves and probes, the same probes at every point.

    Parameters
    ----------
    kernel
        The likelihood, with crossed factors.
    data
        Its rows.
    n_probes
        Number of probes of the leverages.
    """

    def __init__(self, kernel: Kernel, data: DataRows, n_probes: int = PROBES) -> None:
        self.kernel, self.data = kernel, data
        self.paired = PairedProducts.of(kernel.products)
        self.rows = PairedRows.of(self.paired, kernel, data)
        self.signs = rademacher(kernel.products.n_trailing, n_probes)

    @cached_property
    def X(self) -> Array:
        """The kernel's fixed columns, (n, p)."""
        return self.kernel.fixed.apply(self.data.X) if self.kernel.p else self.data.X

    def parts(self, lambdas: Sequence[Array], prior: NormalPrior) -> tuple[FixedPosterior, RowParts, RowProbes]:
        """Return the coefficients at one point, the rows there, and the probes behind their leverages.

        Parameters
        ----------
        lambdas
            The kernel's lambda of each term.
        prior
            The prior of the kernel's coefficients.
        """
        system = solve_system(Eliminated(self.paired, [turned(f) for f in lambdas]), self.signs, SHARED, EXACT)
        nothing = np.zeros(1)  # the determinant is not asked for
        posterior = fixed_posterior(SolvedFactor(system.solved, Determinant(nothing, nothing)), prior)
        root = self.data.root_weights
        residual, fixed = self._regression(system, posterior)
        probes = RowProbes(system, self.signs, self.rows)
        rows = PredictorRows((), (), np.zeros((len(root), 0)))
        with np.errstate(divide="ignore"):
            logs = 2.0 * np.log(root)
        return posterior, RowParts(residual, fixed, probes.leverages.value, rows, logs), probes

    def _regression(self, system: SolvedSystem, posterior: FixedPosterior) -> tuple[Array, Array]:
        """Return residuals at the least-squares estimate (n,) and T (n, p), both times the roots of the weights."""
        root, estimate, solved = self.data.root_weights, posterior.estimate, system.solved
        effects = effects_by_term(self.paired, solved.lead, solved.trailing)
        explained = np.vstack([rows.values(effects) for _, rows in self.rows.batches()])
        fixed = self.X * root[:, None] - explained[:, :-1]
        residual = (self.data.y - self.kernel.y_mean) * root - explained[:, -1] - fixed @ estimate
        return residual, fixed @ posterior.root

"""What a factor says of the coefficients, found by conjugate gradients and probes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.iterative.eliminated import Eliminated, PairedProducts
from bayeslmm.likelihood.iterative.evaluation import Solved, solve_system, turned
from bayeslmm.types import Array

# of solves; the determinant errs by the square
OF_PROBES, OF_RESPONSE = 1e-3, 1e-7


@dataclass(frozen=True, slots=True)
class Determinant:
    """log|Omega| by m probes.

    Attributes
    ----------
    by_probe
        Each probe's estimate, (m,).
    shares
        What to multiply each probe's deviation by for its part of the mean's error, (m,).
    """

    by_probe: Array
    shares: Array

    @property
    def mean(self) -> float:
        """The estimate."""
        return float(self.by_probe.mean())

    def difference_error(self, other: "Determinant") -> float:
        """Return the standard error of the difference from an estimate by the same probes at another point.

        What both have in common cancels.
        """
        difference = self.by_probe - other.by_probe
        return float(np.linalg.norm(self.shares * (difference - difference.mean())))


@dataclass(frozen=True, slots=True)
class SolvedFactor:
    """The equations of the coefficients at one point, the random effects eliminated without a factor.

    Attributes
    ----------
    solved
        X and y solved.
    determinant
        log|Omega| by probes.
    """

    solved: Solved
    determinant: Determinant

    @property
    def products(self) -> CrossProducts:
        """The cross-products."""
        return self.solved.eliminated.paired.products

    @property
    def order(self) -> int:
        """Order of the equations that are left to LAPACK: X and y."""
        return self.products.n_fixed + 1

    @property
    def log_det(self) -> float:
        """Estimate of log|Omega|."""
        return self.determinant.mean

    @property
    def r_squared(self) -> float:
        """The penalised residual sum of squares at its minimum."""
        return self.solved.r_squared

    @property
    def beta(self) -> Array:
        """Generalised least-squares estimate, shape (p,)."""
        return self.solved.beta

    @property
    def R_X(self) -> Array:
        """Lower Cholesky factor of the cross-products of X with Z eliminated, shape (p, p)."""
        return np.asarray(np.linalg.cholesky(self.solved.precision))

    @property
    def log_det_X(self) -> float:
        """Logarithm of |R_X|², in the kernel's columns."""
        return 2.0 * float(np.sum(np.log(np.diag(self.R_X))))


def solve_factor(
    paired: PairedProducts, lambdas: Sequence[Array], signs: Array, determinant: Determinant | None = None
) -> SolvedFactor:
    """Solve the equations at one point.

    Parameters
    ----------
    paired
        Cross-products.
    lambdas
        The kernel's lambda of each term.
    signs
        Probes, (q_T, m).
    determinant
        log|Omega| there if it is known, so that the probes need not be solved.

    Raises
    ------
    FittingError
        If the equations cannot be solved.
    """
    eliminated = Eliminated(paired, [turned(f) for f in lambdas])
    found = solve_system(eliminated, signs if determinant is None else signs[:, :0], OF_PROBES, OF_RESPONSE)
    if determinant is None:
        probed = found.probe(signs, derivatives=False)
        determinant = Determinant(probed.log_dets, probed.shares)
    return SolvedFactor(found.solved, determinant)

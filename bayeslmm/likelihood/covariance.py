r"""Relative covariance factors: theta, lambda, standard deviations and correlations.

The random effects of term k have covariance :math:`\Sigma_k = \sigma^2 \lambda_k \lambda_k^\top`, with
:math:`\lambda_k` lower triangular (S x S), or diagonal for an uncorrelated term. theta holds the free entries of
all :math:`\lambda_k`, terms in formula order, each column by column (Bates et al. 2015, section 2).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bayeslmm.errors import OptionError
from bayeslmm.types import Array


class TermShape(NamedTuple):
    """J levels, S columns, and whether the S effects are correlated."""

    n_levels: int
    n_columns: int
    correlated: bool

    @property
    def n_theta(self) -> int:
        """Free entries of lambda: S(S + 1)/2, or S for a diagonal one."""
        size = self.n_columns
        return size * (size + 1) // 2 if self.correlated else size

    @property
    def n_effects(self) -> int:
        """J S, the number of random effects."""
        return self.n_levels * self.n_columns


def free_entries(shape: TermShape) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of lambda's free entries, column by column."""
    if not shape.correlated:
        diagonal = np.arange(shape.n_columns)
        return diagonal, diagonal
    columns, rows = np.triu_indices(shape.n_columns)
    return rows, columns


def count_theta(shapes: Sequence[TermShape]) -> int:
    """Return the length of theta."""
    return sum(shape.n_theta for shape in shapes)


def factors_from_theta(theta: ArrayLike, shapes: Sequence[TermShape]) -> list[Array]:
    """Return one lambda (S, S) per term.

    Raises
    ------
    OptionError
        If theta is not a finite vector of the right length.
    """
    values = np.atleast_1d(np.asarray(theta, dtype=float))
    if values.shape != (count_theta(shapes),):
        raise OptionError(f"theta has shape {values.shape}; this model has {count_theta(shapes)} entries.")
    if not np.isfinite(values).all():
        raise OptionError("theta must be finite.")
    factors = []
    start = 0
    for shape in shapes:
        factor = np.zeros((shape.n_columns, shape.n_columns))
        factor[free_entries(shape)] = values[start : start + shape.n_theta]
        factors.append(factor)
        start += shape.n_theta
    return factors


def theta_from_factors(factors: Sequence[Array], shapes: Sequence[TermShape]) -> Array:
    """Return the free entries of the factors as one vector."""
    if not factors:
        return np.zeros(0)
    return np.concatenate([f[free_entries(s)] for f, s in zip(factors, shapes, strict=True)])


def lower_factor(factor: Array) -> Array:
    """Return the lower triangular L with ``L @ L.T == factor @ factor.T`` and a non-negative diagonal.

    From a QR decomposition, so that a singular covariance is no obstacle.
    """
    r = np.asarray(np.linalg.qr(factor.T, mode="r"))
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)
    return np.asarray(r * signs[:, None]).T


def positive_diagonal(factor: Array) -> Array:
    """Flip the signs of columns so that the diagonal is non-negative; the covariance stays."""
    return factor * np.where(np.diag(factor) < 0, -1.0, 1.0)


def sds_and_correlations(factor: Array, sigma: Array | float = 1.0) -> tuple[Array, Array]:
    """Return standard deviations (..., S) and correlations (..., S, S) of ``sigma**2 * factor @ factor.T``.

    Correlations with an effect of zero variance are NaN. `sigma` has the leading dimensions of `factor`, (..., S, S).
    """
    relative = np.sqrt(np.einsum("...ij,...ij->...i", factor, factor))
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = factor / relative[..., None]
        correlations = np.clip(rows @ np.swapaxes(rows, -1, -2), -1.0, 1.0)
    diagonal = np.arange(factor.shape[-1])
    correlations[..., diagonal, diagonal] = 1.0
    return np.asarray(sigma)[..., None] * relative, correlations

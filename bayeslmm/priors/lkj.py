r"""The LKJ prior of a correlation matrix.

.. math:: p(R) = \det(R)^{\eta - 1} / c_S(\eta)

In terms of the partial correlations :math:`z_{ij}` (row i, column j < i, given the columns before j) the
factors are independent, :math:`p(z_{ij}) \propto (1 - z_{ij}^2)^{\eta + (S - 1 - j)/2 - 1}` with j counted
from one, and

.. math:: L_{ij} = z_{ij} \prod_{k<j} \sqrt{1 - z_{ik}^2}, \qquad R = L L^\top .

Source: Lewandowski, Kurowicka and Joe (2009), Journal of Multivariate Analysis 100, 1989-2001.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln

from bayeslmm.priors.prior import Array, Distribution


@dataclass(frozen=True, slots=True)
class LKJ(Distribution):
    """LKJ distribution with shape `eta`: uniform over correlations at 1, near independence when large."""

    eta: float = 1.0

    def _check(self) -> None:
        self._require_positive("eta")

    def logpdf(self, correlation: ArrayLike) -> Array:
        """Return the log density at matrices of shape (..., S, S); -inf where not positive definite."""
        matrix = np.asarray(correlation, float)
        sign, log_det = np.linalg.slogdet(matrix)
        positive = (sign > 0) & (np.linalg.eigvalsh(matrix)[..., 0] > 0)
        constant = self.log_normaliser(matrix.shape[-1])
        return np.where(positive, (self.eta - 1) * np.where(positive, log_det, 0.0) - constant, -math.inf)

    def dlogpdf(self, correlation: ArrayLike) -> Array:
        r"""Return the derivative by each :math:`r_{ij} = r_{ji}`, shape (..., S, S) with zero diagonal."""
        matrix = np.asarray(correlation, float)
        size = matrix.shape[-1]
        return 2 * (self.eta - 1) * np.linalg.inv(matrix) * (1 - np.eye(size))

    def log_normaliser(self, size: int) -> float:
        """Return log c_S(eta), the logarithm of the integral of det(R)^(eta - 1) over S x S correlations."""
        total = 0.0
        for column in range(1, size):
            below = size - column
            shape = self.eta + (below - 1) / 2
            total += below * ((2 * shape - 1) * math.log(2) + float(betaln(shape, shape)))
        return total

    def sample(self, rng: np.random.Generator, size: int, draws: int | None = None) -> Array:
        """Draw correlation matrices, shape (S, S), or (draws, S, S).

        Parameters
        ----------
        rng
            Source of randomness.
        size
            S, the order of the matrix.
        draws
            Number of matrices; None for one without a leading dimension.
        """
        count = 1 if draws is None else draws
        partial = np.zeros((count, size, size))
        for column in range(size - 1):
            shape = self.eta + (size - 2 - column) / 2
            below = size - 1 - column
            partial[:, column + 1 :, column] = 2 * rng.beta(shape, shape, (count, below)) - 1
        factor = cholesky_from_partial(partial)
        correlation = factor @ factor.swapaxes(-1, -2)
        correlation[:, np.arange(size), np.arange(size)] = 1.0
        return correlation[0] if draws is None else correlation


def cholesky_from_partial(partial: Array) -> Array:
    """Return the Cholesky factor of the correlation matrix with these partial correlations.

    Parameters
    ----------
    partial
        z, shape (..., S, S), read below the diagonal only.
    """
    size = partial.shape[-1]
    factor = np.zeros_like(partial)
    left = np.ones(partial.shape[:-1])  # what the columns so far leave of each row's unit length
    for column in range(size):
        below = slice(column + 1, None)
        factor[..., column, column] = left[..., column]
        factor[..., below, column] = partial[..., below, column] * left[..., below]
        left[..., below] *= np.sqrt(1 - partial[..., below, column] ** 2)
    return factor

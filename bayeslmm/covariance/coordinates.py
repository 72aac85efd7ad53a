r"""Unconstrained coordinates of a relative covariance factor.

A term with S effects has :math:`\log t_a`, t = sd/sigma, and, if they are correlated,
:math:`z_{ij} = \mathrm{atanh}\,r_{ij}` of the partial correlations (column by column below the diagonal):

.. math:: F = \mathrm{diag}(t)\,L, \qquad L_{ij} = r_{ij} w_{ij}, \quad L_{ii} = w_{ii}, \quad
          w_{ij} = \prod_{k<j}\sqrt{1 - r_{ik}^2} .

The covariance is :math:`\sigma^2 F F^\top`, on the columns the term's priors speak of.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class TermPoint:
    """One term at one point, or at many.

    Attributes
    ----------
    ratios
        t, shape (..., S).
    partial
        Partial correlations below the diagonal, shape (..., S, S).
    lower
        L, the Cholesky factor of the correlation matrix, shape (..., S, S).
    """

    ratios: Array
    partial: Array
    lower: Array

    @property
    def factor(self) -> Array:
        """F = diag(t) L, shape (..., S, S)."""
        return self.ratios[..., None] * self.lower


@cache
def below_diagonal(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows and the columns of the places below the diagonal, column by column; not to be written to."""
    columns, rows = np.triu_indices(size, 1)
    for places in (rows, columns):
        places.setflags(write=False)
    return rows, columns


def unpack(phi: Array, size: int, *, partial_correlations: bool) -> TermPoint:
    """Return the term at coordinates phi, shape (..., n_coordinates); everything has the same leading dimensions."""
    lead = phi.shape[:-1]
    ratios = np.exp(phi[..., :size])
    partial = np.zeros((*lead, size, size))
    if not partial_correlations or size == 1:
        return TermPoint(ratios, partial, np.broadcast_to(np.eye(size), partial.shape).copy())
    rows, columns = below_diagonal(size)
    z = phi[..., size:]
    partial[..., rows, columns] = np.tanh(z)
    # sech keeps the digits that 1 - r^2 loses near correlations of one; written so that it cannot overflow
    decay = np.exp(-np.abs(z))
    shrinking = np.ones((*lead, size, size))
    shrinking[..., rows, columns + 1] = 2.0 * decay / (1.0 + decay * decay)
    left = np.cumprod(shrinking, axis=-1)
    lower: Array = partial * left
    places = np.arange(size)
    lower[..., places, places] = left[..., places, places]
    return TermPoint(ratios, partial, lower)


def pack(factor: Array, smallest: float, *, partial_correlations: bool) -> Array:
    """Return the coordinates of a factor F with non-negative diagonal, moved off the boundary.

    Parameters
    ----------
    factor
        F, shape (S, S), lower triangular.
    smallest
        Smallest ratio t, and smallest distance of a partial correlation from one, to return.
    partial_correlations
        Whether there are any.
    """
    size = len(factor)
    norms = np.sqrt(np.sum(factor**2, axis=1))
    ratios = np.maximum(norms, smallest)
    if not partial_correlations or size == 1:
        return np.log(ratios)
    lower = np.where(norms[:, None] > 0, factor / np.where(norms > 0, norms, 1.0)[:, None], np.eye(size))
    values = []
    left = np.ones(size)
    for column in range(size - 1):
        below = slice(column + 1, None)
        r = lower[below, column] / np.maximum(left[below], np.finfo(float).tiny)
        r = np.clip(r, -1 + smallest, 1 - smallest)
        left[below] *= np.sqrt(1 - r**2)
        values.append(np.arctanh(r))
    return np.concatenate([np.log(ratios), *values])


def pull_back(slope: Array, point: TermPoint, *, partial_correlations: bool) -> Array:
    """Turn the gradient by F into the gradient by the coordinates.

    Parameters
    ----------
    slope
        Gradient with respect to the lower triangle of F, shape (S, S).
    point
        The term.
    partial_correlations
        Whether there are any.
    """
    factor = point.factor
    size = len(factor)
    weighted = np.tril(slope) * factor
    by_ratio = np.sum(weighted, axis=1)
    if not partial_correlations or size == 1:
        return by_ratio
    rows, columns = below_diagonal(size)
    # what lies right of column j in row i shrinks with r_ij: d log sqrt(1 - r^2)/dz = -r
    tail = np.cumsum(weighted[:, ::-1], axis=1)[:, ::-1]
    r = point.partial[rows, columns]
    rest = 1 - point.partial**2
    left = np.ones((size, size))
    left[:, 1:] = np.sqrt(np.cumprod(rest[:, :-1], axis=1))
    direct = slope[rows, columns] * point.ratios[rows] * left[rows, columns] * rest[rows, columns]
    return np.concatenate([by_ratio, direct - r * tail[rows, columns + 1]])

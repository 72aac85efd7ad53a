r"""Unconstrained coordinates of a relative covariance factor.

A term with S effects has :math:`\log t_a`, t = sd/sigma, and, if they are correlated,
:math:`z_{ij} = \mathrm{atanh}\,r_{ij}` of the partial correlations (column by column below the diagonal):

.. math:: F = \mathrm{diag}(t)\,L, \qquad L_{ij} = r_{ij} w_{ij}, \quad L_{ii} = w_{ii}, \quad
          w_{ij} = \prod_{k<j}\sqrt{1 - r_{ik}^2} .

The covariance is :math:`\sigma^2 F F^\top`, on the columns the term's priors speak of.
"""

from dataclasses import dataclass

import numpy as np

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


def unpack(phi: Array, size: int, *, partial_correlations: bool) -> TermPoint:
    """Return the term at coordinates phi, shape (..., n_coordinates); everything has the same leading dimensions."""
    lead = phi.shape[:-1]
    ratios = np.exp(phi[..., :size])
    partial = np.zeros((*lead, size, size))
    lower = np.zeros((*lead, size, size))
    left = np.ones((*lead, size))
    lower[..., 0, 0] = 1.0
    start = size
    for column in range(size - 1):
        below = slice(column + 1, None)
        if partial_correlations:
            z = phi[..., start : start + size - 1 - column]
            partial[..., below, column] = np.tanh(z)
            lower[..., below, column] = partial[..., below, column] * left[..., below]
            # sech keeps the digits that 1 - r^2 loses near correlations of one; written so that it cannot overflow
            decay = np.exp(-np.abs(z))
            left[..., below] *= 2.0 * decay / (1.0 + decay * decay)
            start += size - 1 - column
        lower[..., column + 1, column + 1] = left[..., column + 1]
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
    by_ratio = np.sum(np.tril(slope) * factor, axis=1)
    size = len(factor)
    if not partial_correlations or size == 1:
        return by_ratio
    pieces = [by_ratio]
    weighted = np.tril(slope) * factor
    # what lies right of column j in row i shrinks with r_ij: d log sqrt(1 - r^2)/dz = -r
    tail = np.cumsum(weighted[:, ::-1], axis=1)[:, ::-1]
    for column in range(size - 1):
        below = slice(column + 1, None)
        r = point.partial[below, column]
        left = _left(point, column)[below]
        direct = slope[below, column] * point.ratios[below] * left * (1 - r**2)
        pieces.append(direct - r * tail[below, column + 1])
    return np.concatenate(pieces)


def _left(point: TermPoint, column: int) -> Array:
    """Return w_{i,column}: what the columns before leave of each row's unit length, shape (S,)."""
    if column == 0:
        return np.ones(len(point.ratios))
    return np.sqrt(np.prod(1 - point.partial[:, :column] ** 2, axis=1))

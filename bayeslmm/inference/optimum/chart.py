r"""Coordinates for a search over covariance factors, with the Hessian close to the identity.

.. math:: \lambda = \lambda_0 + \lambda_* E, \qquad E_{ab} = x_{ab} / \sqrt{c_{ab} J \rho_a \rho_b},
          \qquad c_{aa} = 4, \; c_{ab} = 2,

with :math:`\lambda_*` the factor :math:`\lambda_0` with its small pivots raised, and :math:`\rho_a` the share of an
effect's variance that the data know (one less the mean of C).

E is lower triangular, or diagonal for a diagonal term. At a singular factor that is not enough: where a column of a
triangular factor vanishes, directions are missing, and a point may be stationary in all those left without
:math:`G\lambda = 0`. A *square* chart lets E be any matrix; the factor is made triangular again by a rotation, which
does not change the covariance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import TermShape
from bayeslmm.types import Array

Entries = tuple[NDArray[np.intp], NDArray[np.intp]]

MINIMUM_RELIABILITY = 0.05
LARGEST_CHANGE = 3.0  # of a factor, relative to itself, before its coordinates are chosen anew
BASE_FLOOR = 0.03  # smallest pivot, columns scaled, used as a unit of length


@dataclass(frozen=True, slots=True)
class TermChart:
    r"""The coordinates of one term.

    Attributes
    ----------
    centre, base
        :math:`\lambda_0` and :math:`\lambda_*`, shape (S, S).
    entries
        Rows and columns of the free entries of E.
    units
        What x is divided by, one per entry.
    square
        Whether E may be any matrix.
    """

    centre: Array
    base: Array
    entries: Entries
    units: Array
    square: bool

    def factor(self, x: Array) -> tuple[Array, Array | None]:
        """Return lambda, and for a square chart the rotation Q with ``lambda_0 + base E = lambda Q^T``."""
        step = np.zeros_like(self.centre)
        step[self.entries] = x / self.units
        moved = self.centre + self.base @ step
        if not self.square:
            return moved, None
        q, r = np.linalg.qr(moved.T)
        signs = np.where(np.diag(r) < 0, -1.0, 1.0)
        return (r * signs[:, None]).T, q * signs

    def slope(self, by_factor: Array, rotation: Array | None) -> Array:
        """Turn the gradient with respect to lambda, (S, S), into that with respect to x."""
        if rotation is not None:
            by_factor = by_factor @ rotation.T
        return (self.base.T @ by_factor)[self.entries] / self.units


class Chart:
    r"""The coordinates of all terms, centred on one point.

    Parameters
    ----------
    lambdas
        The factors :math:`\lambda_0`.
    inverse_sums
        Sums of C over levels, one (S, S) per term.
    shapes
        Shapes of the terms.
    square
        Whether terms move as square matrices where their structure allows it.
    """

    def __init__(
        self, lambdas: Sequence[Array], inverse_sums: Sequence[Array], shapes: Sequence[TermShape], square: bool
    ) -> None:
        self.terms = [
            _term_chart(factor, sums, shape, square and shape.structure.turns(shape.n_columns))
            for factor, sums, shape in zip(lambdas, inverse_sums, shapes, strict=True)
        ]
        ends = [0, *accumulate(len(term.units) for term in self.terms)]
        self.places = [slice(first, end) for first, end in pairwise(ends)]
        self.units = np.concatenate([term.units for term in self.terms])

    @property
    def origin(self) -> Array:
        """The coordinates of the centre."""
        return np.zeros(len(self.units))

    def longest(self, direction: Array) -> float:
        """Return the multiple of a direction that changes a factor by `LARGEST_CHANGE` of itself."""
        change = float(np.abs(direction / self.units).max())
        return LARGEST_CHANGE / max(change, 1e-300)

    def factors(self, x: Array) -> tuple[list[Array], list[Array | None]]:
        """Return the factors at x and their rotations."""
        found = [term.factor(x[place]) for term, place in zip(self.terms, self.places, strict=True)]
        return [factor for factor, _ in found], [rotation for _, rotation in found]

    def slope(self, slopes: Sequence[Array], rotations: Sequence[Array | None]) -> Array:
        """Return the gradient with respect to x from those with respect to the factors."""
        pieces = zip(self.terms, slopes, rotations, strict=True)
        return np.concatenate([term.slope(slope, rotation) for term, slope, rotation in pieces])


def _term_chart(factor: Array, sums: Array, shape: TermShape, square: bool) -> TermChart:
    base = factor.copy()
    diagonal = np.diag_indices(len(base))
    base[diagonal] = np.maximum(np.abs(base[diagonal]), BASE_FLOOR)
    reliability = np.sqrt(np.clip(1.0 - np.diag(sums) / shape.n_levels, MINIMUM_RELIABILITY, 1.0))
    rows, columns = np.indices(base.shape).reshape(2, -1) if square else shape.free_entries
    curvature = np.where(rows == columns, 4.0, 2.0) * shape.n_levels
    units = np.sqrt(curvature) * reliability[rows] * reliability[columns]
    return TermChart(factor, base, (rows, columns), units, square)

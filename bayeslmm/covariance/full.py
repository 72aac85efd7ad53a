"""Any covariance matrix: ``(x | g)``."""

from functools import lru_cache
from typing import ClassVar

import numpy as np

from bayeslmm.covariance.coordinates import TermPoint, pack, pull_back, unpack
from bayeslmm.covariance.factors import lower_factor
from bayeslmm.covariance.structure import Entries, Structure
from bayeslmm.types import Array


@lru_cache
def _lower_entries(size: int) -> Entries:
    columns, rows = np.triu_indices(size)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


class Full(Structure):
    """All variances and correlations free: lambda is lower triangular, read column by column."""

    name: ClassVar[str] = "full"
    moves_with_origin: ClassVar[bool] = True

    def free_entries(self, size: int) -> Entries:
        """Return the lower triangle, column by column."""
        return _lower_entries(size)

    def has_correlations(self, size: int) -> bool:
        """Whether there are two effects or more."""
        return size > 1

    def factor_of_root(self, root: Array) -> Array:
        """Return the Cholesky factor, by a QR decomposition."""
        return lower_factor(root)

    def rotation(self, root: Array) -> Array:
        """Return the orthogonal factor of the same decomposition, so that it holds for a singular root too."""
        q, r = np.linalg.qr(root.T)
        return q * np.where(np.diag(r) < 0, -1.0, 1.0)

    def project(self, covariance: Array) -> Array:
        """Return the matrix as it is."""
        return covariance

    def turns(self, size: int) -> bool:
        """Whether there are two effects or more."""
        return size > 1

    def descents(self, slope: Array) -> list[Array]:
        """Return the eigenvectors of negative eigenvalues."""
        values, vectors = np.linalg.eigh((slope + slope.T) / 2)
        return [vectors[:, a] for a in np.flatnonzero(values < 0)]

    def n_coordinates(self, size: int) -> int:
        """Return S(S + 1)/2: log sds and the atanh of partial correlations."""
        return size * (size + 1) // 2

    def point(self, phi: Array, size: int) -> TermPoint:
        """Return the term at phi."""
        return unpack(phi, size, partial_correlations=True)

    def coordinates(self, factor: Array, smallest: float) -> Array:
        """Return phi of a lower triangular factor with non-negative diagonal."""
        return pack(factor, smallest, partial_correlations=True)

    def pull_back(self, slope: Array, point: TermPoint) -> Array:
        """Return the derivative by phi."""
        return pull_back(slope, point, partial_correlations=True)

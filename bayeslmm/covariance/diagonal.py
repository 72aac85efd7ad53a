"""Independent effects: ``(x || g)``."""

from typing import ClassVar

import numpy as np

from bayeslmm.covariance.coordinates import TermPoint, pack, pull_back, unpack
from bayeslmm.covariance.structure import Entries, Structure
from bayeslmm.types import Array


class Diagonal(Structure):
    """Variances free, correlations zero: lambda is diagonal."""

    name: ClassVar[str] = "diagonal"
    moves_with_origin: ClassVar[bool] = False

    def free_entries(self, size: int) -> Entries:
        """Return the diagonal."""
        diagonal = np.arange(size)
        return diagonal, diagonal

    def has_correlations(self, size: int) -> bool:
        """No."""
        return False

    def factor_of_root(self, root: Array) -> Array:
        """Return the standard deviations on a diagonal."""
        return np.sqrt(np.sum(root**2, axis=-1))[..., None] * np.eye(root.shape[-2])

    def rotation(self, root: Array) -> Array:
        """Return the signs of a diagonal root."""
        return np.diag(np.where(np.diag(root) < 0, -1.0, 1.0))

    def project(self, covariance: Array) -> Array:
        """Return the diagonal."""
        return np.diag(np.diag(covariance))

    def turns(self, size: int) -> bool:
        """No: a rotation would make it full."""
        return False

    def descents(self, slope: Array) -> list[Array]:
        """Return the axes along which the slope is negative."""
        return list(np.eye(len(slope))[np.diag(slope) < 0])

    def n_coordinates(self, size: int) -> int:
        """Return S, the log sds."""
        return size

    def point(self, phi: Array, size: int) -> TermPoint:
        """Return the term at phi."""
        return unpack(phi, size, partial_correlations=False)

    def coordinates(self, factor: Array, smallest: float) -> Array:
        """Return phi of a factor, of which only the diagonal counts."""
        return pack(np.abs(np.diag(np.diag(factor))), smallest, partial_correlations=False)

    def pull_back(self, slope: Array, point: TermPoint) -> Array:
        """Return the derivative by phi."""
        return pull_back(slope, point, partial_correlations=False)

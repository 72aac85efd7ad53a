r"""What a covariance structure of a random term must supply.

A term with S effects has :math:`\Sigma = \sigma^2\lambda\lambda^\top`, with a factor :math:`\lambda` (S x S). The
structure says which of its entries are free, how a covariance becomes a factor, and by which unconstrained coordinates
a sampler moves it. Nothing else in the package asks which structure a term has.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance.coordinates import TermPoint
from bayeslmm.types import Array

Entries = tuple[NDArray[np.intp], NDArray[np.intp]]


class Structure(ABC):
    r"""A family of covariance matrices of S effects.

    Attributes
    ----------
    name
        What the structure is called in a formula's random term.
    moves_with_origin
        Whether the family is closed under :math:`\Sigma \to T\Sigma T^\top` with T a shift of the columns' origin, so
        that the columns may be centred without changing the model.
    """

    name: ClassVar[str]
    moves_with_origin: ClassVar[bool]

    # -- parameters -------------------------------------------------------------------------------------------

    @abstractmethod
    def free_entries(self, size: int) -> Entries:
        """Return rows and columns of the factor's free entries, which are the term's theta, in theta's order."""

    def n_theta(self, size: int) -> int:
        """Return the number of free entries of the factor."""
        return len(self.free_entries(size)[0])

    @abstractmethod
    def has_correlations(self, size: int) -> bool:
        """Whether effects of the term are correlated."""

    # -- factors ----------------------------------------------------------------------------------------------

    @abstractmethod
    def factor_of_root(self, root: Array) -> Array:
        """Return the factor, non-negative diagonal, of the member nearest to ``root @ root.T``; root (..., S, m)."""

    @abstractmethod
    def rotation(self, root: Array) -> Array:
        """Return the orthogonal Q, (S, S), with ``root = factor_of_root(root) @ Q.T`` for a root (S, S) of a member."""

    @abstractmethod
    def project(self, covariance: Array) -> Array:
        """Return the member that the M step of EM takes for mean second moments (S, S)."""

    # -- search -----------------------------------------------------------------------------------------------

    @abstractmethod
    def turns(self, size: int) -> bool:
        """Whether a search may move the factor as a square matrix, to be made a factor again by a rotation.

        A triangular factor with a zero on its diagonal lacks directions that the covariance has.
        """

    @abstractmethod
    def descents(self, slope: Array) -> list[Array]:
        """Return the directions v, each (S,), in which adding ``outer(v, v)`` to the covariance lowers an objective.

        `slope` (S, S) is the objective's derivative by the covariance.
        """

    # -- coordinates for sampling -----------------------------------------------------------------------------

    @abstractmethod
    def n_coordinates(self, size: int) -> int:
        """Return the number of unconstrained coordinates: the S log sds come first."""

    @abstractmethod
    def point(self, phi: Array, size: int) -> TermPoint:
        """Return the term at coordinates phi, shape (..., n_coordinates)."""

    @abstractmethod
    def coordinates(self, factor: Array, smallest: float) -> Array:
        """Return phi of a factor; ratios and distances of partial correlations from one are at least `smallest`."""

    @abstractmethod
    def pull_back(self, slope: Array, point: TermPoint) -> Array:
        """Return the derivative by phi for that by the lower triangle of the factor, (S, S)."""

"""Shapes of the random terms of a model, and theta: the free entries of all their factors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslmm.covariance.structure import Entries, Structure
from bayeslmm.errors import OptionError
from bayeslmm.types import Array


class TermShape(NamedTuple):
    """J levels, S columns, and the structure of the covariance of the S effects."""

    n_levels: int
    n_columns: int
    structure: Structure

    @property
    def n_theta(self) -> int:
        """Free entries of lambda: S(S + 1)/2, or S for a diagonal one."""
        return self.structure.n_theta(self.n_columns)

    @property
    def free_entries(self) -> Entries:
        """Rows and columns of lambda's free entries, in theta's order."""
        return self.structure.free_entries(self.n_columns)

    @property
    def n_effects(self) -> int:
        """J S, the number of random effects."""
        return self.n_levels * self.n_columns

    @property
    def n_coordinates(self) -> int:
        """Unconstrained coordinates of the factor."""
        return self.structure.n_coordinates(self.n_columns)

    @property
    def has_correlations(self) -> bool:
        """Whether effects are correlated."""
        return self.structure.has_correlations(self.n_columns)


def count_theta(shapes: Sequence[TermShape]) -> int:
    """Return the length of theta."""
    return sum(shape.n_theta for shape in shapes)


def sd_places(shapes: Sequence[TermShape]) -> list[int]:
    """Return the places of the log sds in phi, the coordinates of all terms."""
    places: list[int] = []
    start = 0
    for shape in shapes:
        places += range(start, start + shape.n_columns)
        start += shape.n_coordinates
    return places


def factors_from_theta(theta: ArrayLike, shapes: Sequence[TermShape]) -> list[Array]:
    """Return one lambda (S, S) per term.

    Raises
    ------
    OptionError
        If theta is not a finite vector of the right length.
    """
    try:
        values = np.atleast_1d(np.asarray(theta, dtype=float))
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"theta={theta!r} is no vector of {count_theta(shapes)} numbers.") from None
    if values.shape != (count_theta(shapes),):
        raise OptionError(f"theta has shape {values.shape}; this model has {count_theta(shapes)} entries.")
    if not np.isfinite(values).all():
        raise OptionError("theta must be finite.")
    factors = []
    start = 0
    for shape in shapes:
        factor = np.zeros((shape.n_columns, shape.n_columns))
        factor[shape.free_entries] = values[start : start + shape.n_theta]
        factors.append(factor)
        start += shape.n_theta
    return factors


def theta_from_factors(factors: Sequence[Array], shapes: Sequence[TermShape]) -> Array:
    """Return the free entries of the factors as one vector."""
    if not factors:
        return np.zeros(0)
    return np.concatenate([f[s.free_entries] for f, s in zip(factors, shapes, strict=True)])

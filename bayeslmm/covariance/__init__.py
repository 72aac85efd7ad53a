"""Structures of the covariance of a random term's effects: one file each."""

from bayeslmm.covariance.diagonal import Diagonal
from bayeslmm.covariance.factors import lower_factor, positive_diagonal, sds_and_correlations
from bayeslmm.covariance.full import Full
from bayeslmm.covariance.structure import Structure
from bayeslmm.covariance.terms import TermShape, count_theta, factors_from_theta, sd_places, theta_from_factors
from bayeslmm.errors import OptionError

STRUCTURES: dict[str, Structure] = {structure.name: structure for structure in (Full(), Diagonal())}
FULL, DIAGONAL = STRUCTURES["full"], STRUCTURES["diagonal"]


def find_structure(name: str) -> Structure:
    """Return the structure of a name.

    Raises
    ------
    OptionError
        If there is none of that name.
    """
    if name not in STRUCTURES:
        raise OptionError(
            f"There is no covariance structure {name!r}; the structures are {', '.join(map(repr, STRUCTURES))}."
        )
    return STRUCTURES[name]


__all__ = [
    "DIAGONAL",
    "FULL",
    "STRUCTURES",
    "Structure",
    "TermShape",
    "count_theta",
    "factors_from_theta",
    "find_structure",
    "lower_factor",
    "positive_diagonal",
    "sd_places",
    "sds_and_correlations",
    "theta_from_factors",
]

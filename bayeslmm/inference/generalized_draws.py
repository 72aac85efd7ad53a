"""Posterior draws of a generalized model, whatever method made them."""

from dataclasses import dataclass

from bayeslmm.inference.draws import Draws
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class ChainedDraws:
    """Draws cut into chains.

    Attributes
    ----------
    draws
        All but the dispersions; sigma is one, so that spherical effects are on the scale of the link.
    dispersion
        On the natural scale, (chains, draws, m).
    """

    draws: Draws
    dispersion: Array

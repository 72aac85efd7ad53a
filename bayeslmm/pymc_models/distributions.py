"""Prior objects as PyMC distributions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayeslmm.errors import PriorError
from bayeslmm.priors.positive import PositivePrior
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Flat


def shiftable(prior: Prior) -> bool:
    """Return whether the origin of a prior can be moved (a prior that starts at zero cannot)."""
    return not isinstance(prior, PositivePrior)


def pymc_family(prior: Prior, *, positive: bool) -> Any:
    """Return PyMC's class for a prior; the parameters have the same names.

    Parameters
    ----------
    prior
        The prior.
    positive
        Whether the parameter is positive by nature, so that a flat prior starts at zero.
    """
    if isinstance(prior, Flat):
        return pm.HalfFlat if positive else pm.Flat
    family = getattr(pm, type(prior).__name__, None)
    if family is None:
        raise PriorError(f"{prior} has no counterpart in PyMC.")
    return family


def parameters(priors: Sequence[Prior]) -> dict[str, Any]:
    """Return the parameters of priors of one family as arrays, or as numbers for a single prior."""
    names = type(priors[0]).parameter_names()
    columns = {name: np.array([getattr(prior, name) for prior in priors]) for name in names}
    return {name: float(values[0]) for name, values in columns.items()} if len(priors) == 1 else columns


def random_vector(name: str, priors: Sequence[Prior], *, positive: bool) -> Any:
    """Add a vector of independent free variables to the model on the context stack.

    Parameters
    ----------
    name
        Name of the variable; where families differ there is a variable per family, ``name:Family``.
    priors
        One prior per element.
    positive
        Whether the elements are positive by nature.

    Returns
    -------
    TensorVariable
        The vector, in the order of `priors`.
    """
    families: dict[type, list[int]] = {}
    for place, prior in enumerate(priors):
        families.setdefault(type(prior), []).append(place)
    parts = []
    for family, places in families.items():
        label = name if len(families) == 1 else f"{name}:{family.__name__}"
        members = [priors[place] for place in places]
        parts.append(pymc_family(members[0], positive=positive)(label, **parameters(members), shape=len(members)))
    if len(parts) == 1:
        return parts[0]
    order = np.argsort(np.concatenate([np.array(places) for places in families.values()]))
    return pt.concatenate(parts)[order]

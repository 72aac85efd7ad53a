"""Draws of the dispersion parameters of a family from their priors."""

import numpy as np

from bayeslmm.errors import PriorError
from bayeslmm.families import Family
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.prior import Prior
from bayeslmm.types import Array

SUPPORTS = {"log": (0.0, np.inf), "logit": (0.0, 1.0)}  # where a parameter may be, by the name of its working scale
MOST_ROUNDS = 1000  # of drawing again what fell outside


def sample_dispersions(priors: ModelPriors, family: Family, level: Array, rng: np.random.Generator) -> Array:
    """Draw the dispersion parameters, natural values in the family's order, shape (D, m).

    Priors are cut to where a parameter may be; thresholds are drawn and put in order; those under an improper prior are
    NaN.

    Parameters
    ----------
    priors
        The model's.
    family
        The distribution.
    level
        What thresholds at the column means are moved up by to go with the user's columns, (D,): the centring's level
        of as many draws of the coefficients.
    rng
        Source of randomness.

    Raises
    ------
    PriorError
        If a prior has hardly any mass where its parameter may be.
    """
    stated, found = dict(priors.dispersion), [np.empty((len(level), 0))]
    for parameter in family.parameters:
        low, high = SUPPORTS.get(parameter.transform, (-np.inf, np.inf))
        name = parameter.name
        drawn = [_sample_between(stated[name], low, high, name, len(level), rng) for _ in range(parameter.size)]
        values = np.column_stack(drawn)
        if parameter.transform == "ordered":
            values = np.sort(values, axis=1)
        found.append(values + level[:, None] if parameter.holds_level else values)
    together = np.hstack(found)
    return together if family.prior_turn is None else together @ np.linalg.inv(family.prior_turn).T


def _sample_between(prior: Prior, low: float, high: float, name: str, draws: int, rng: np.random.Generator) -> Array:
    if not prior.proper:
        return np.full(draws, np.nan)
    values = np.asarray(prior.sample(rng, draws), dtype=float)
    for _ in range(MOST_ROUNDS):
        outside = ~((values > low) & (values < high))
        if not outside.any():
            return values
        values[outside] = prior.sample(rng, int(outside.sum()))
    raise PriorError(f"The prior {prior} of {name} has hardly any mass between {low:g} and {high:g}.")

"""Responses of a family, simulated at linear predictors."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from bayeslmm.design.zero_part import family_at_rows
from bayeslmm.errors import OptionError
from bayeslmm.families.definition import Family
from bayeslmm.families.response import Response
from bayeslmm.types import Array


def family_of_rows(fit: Any, data: Any) -> Family:
    """Return a generalized fit's family with the share of zeros of the rows to simulate; None for those of the fit."""
    if data is None or fit.family.zero_columns is None:
        return cast(Family, fit.family)
    return family_at_rows(fit.family, fit.design, data, fit._rows(data, True, True)[0].places)


def family_responses(
    family: Family, outcome: Response, training: bool, working: Callable[[int], Array]
) -> Callable[[int, Array, np.random.Generator], Array]:
    """Return what draws the responses of the i-th simulation at linear predictors (m,).

    Parameters
    ----------
    family, outcome
        The family, and the response of the fit.
    training
        Whether the rows are those of the fit, whose numbers of trials are known.
    working
        Working values of the dispersion parameters of the i-th simulation.

    Raises
    ------
    OptionError
        If new rows have several trials: how many, they do not say.
    """
    if not training and np.any(family.trials(outcome) != 1):
        raise OptionError("New rows do not say their number of trials: simulate the rows of the fit, with data=None.")

    def respond(i: int, eta: Array, rng: np.random.Generator) -> Array:
        m = len(eta)
        blank: Any = outcome if training else Response(np.zeros(m), np.ones(m), np.zeros(m), None, outcome.categories)
        return np.asarray(family.simulate(blank, eta, working(i), rng))

    return respond

r"""Linear predictors :math:`X\beta + Zb` simulated at given parameters, from arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.design import NewRows
from bayeslmm.errors import OptionError, is_word
from bayeslmm.types import Array

RandomDraws = Literal["new", "conditional"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """One value of all parameters.

    Attributes
    ----------
    beta, sigma
        Coefficients, shape (p,), and the residual standard deviation.
    factors
        Roots L of the effects' covariances LLᵀ, one (S, S) per term.
    effects
        Effects of the groups of the fit, one (J, S) per term.
    """

    beta: Array
    sigma: float
    factors: tuple[Array, ...]
    effects: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """Which rows share effects, of one term.

    Attributes
    ----------
    known
        Level in the fit of each row whose effects are kept, shape (m,); -1 where they are drawn.
    drawn
        Number of the drawn group of each row, shape (m,); -1 where effects are kept.
    n_drawn
        How many groups are drawn.
    """

    known: NDArray[np.intp]
    drawn: NDArray[np.intp]
    n_drawn: int


def check_random(random: str) -> None:
    """Refuse an unknown word for where random effects come from.

    Raises
    ------
    OptionError
        If it is none.
    """
    if not is_word(random, get_args(RandomDraws)):
        raise OptionError(f"random={random!r} is unknown; use 'new' or 'conditional'.")


def grouped_levels(rows: NewRows, random: str) -> tuple[Groups, ...]:
    """Return, per term, which rows keep effects and which share drawn ones: all of them for ``random="new"``."""
    found = []
    for term, labels in zip(rows.terms, rows.new_labels, strict=True):
        new = np.ones(len(term.codes), dtype=bool) if random == "new" else term.codes < 0
        drawn = np.full(len(new), -1, dtype=np.intp)
        drawn[new], groups = pd.factorize(labels[new])
        found.append(Groups(np.where(new, -1, term.codes).astype(np.intp), drawn, len(groups)))
    return tuple(found)


def simulate_predictor(rows: NewRows, groups: Sequence[Groups], at: Parameters, rng: np.random.Generator) -> Array:
    """Return the linear predictor of each row, with effects kept or drawn, shape (m,).

    Parameters
    ----------
    rows
        The rows, random terms included.
    groups
        Which rows share effects, one per term.
    at
        The parameters.
    rng
        Source of randomness.
    """
    eta = rows.X @ at.beta + rows.offset
    for term, group, factor, b in zip(rows.terms, groups, at.factors, at.effects, strict=True):
        if group.n_drawn:
            fresh = group.drawn >= 0
            effects = rng.standard_normal((group.n_drawn, len(factor))) @ factor.T
            eta[fresh] += np.einsum("ms,ms->m", term.columns[fresh], effects[group.drawn[fresh]])
        kept = group.known >= 0
        if kept.any():
            eta[kept] += np.einsum("ms,ms->m", term.columns[kept], b[group.known[kept]])
    return eta

"""Posterior draws as plain arrays, whatever method made them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Draws:
    """Posterior draws on the scale of the user's columns.

    Attributes
    ----------
    beta
        Fixed coefficients, shape (chains, draws, p).
    sigma
        Residual standard deviation, shape (chains, draws).
    sd
        Random-effect standard deviations, one array per term, shape (chains, draws, S).
    cor
        Random-effect correlations, one array per term, shape (chains, draws, S, S); None where a term has none.
    effects
        Random effects b, one array per term, shape (chains, draws, J, S).
    stats
        Per-draw statistics of the sampler, arviz's names, each of shape (chains, draws): diverging, energy,
        tree_depth, n_steps, acceptance_rate, lp, ...
    method
        "nuts", "importance" or "advi".
    info
        Facts about the run: sampler, parametrization, seed, tune, seconds, k_hat, evaluations, messages, ...
    """

    beta: Array
    sigma: Array
    sd: tuple[Array, ...]
    cor: tuple[Array | None, ...]
    effects: tuple[Array, ...]
    stats: Mapping[str, Array]
    method: str
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return self.sigma.shape[0]

    @property
    def n_draws(self) -> int:
        """Draws per chain."""
        return self.sigma.shape[1]

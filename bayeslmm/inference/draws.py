"""Posterior draws as plain arrays, whatever method made them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bayeslmm.errors import OptionError, is_word
from bayeslmm.posterior.effect_summary import EffectSummary
from bayeslmm.types import Floats

SUMMARY = "summary"  # store= that keeps means, sds and quantiles of random effects in place of draws


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
        Random effects b, one array per term, shape (chains, draws, J, S); (chains, draws, 0, S) where not kept.
    stats
        Per-draw statistics of the sampler, arviz's names, each of shape (chains, draws): diverging, energy,
        tree_depth, n_steps, acceptance_rate, lp, ...
    method
        "nuts", "importance", "hmc" or "advi".
    info
        Facts about the run: sampler, parametrization, seed, tune, seconds, k_hat, evaluations, messages, ...
    summaries
        What is kept of the random effects of each term in place of draws, with store="summary"; else empty.
    """

    beta: Floats
    sigma: Floats
    sd: tuple[Floats, ...]
    cor: tuple[Floats | None, ...]
    effects: tuple[Floats, ...]
    stats: Mapping[str, Floats]
    method: str
    info: Mapping[str, Any] = field(default_factory=dict)
    summaries: tuple[EffectSummary, ...] = ()

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return self.sigma.shape[0]

    @property
    def n_draws(self) -> int:
        """Draws per chain."""
        return self.sigma.shape[1]

    @property
    def kept(self) -> tuple[bool, ...]:
        """Whether the random effects of each term were kept."""
        return tuple(b.shape[2] > 0 for b in self.effects)


def terms_to_keep(names: Sequence[str], store: Sequence[str] | str | None) -> tuple[bool, ...]:
    """Return, per term, whether the draws of its random effects are to be kept.

    Parameters
    ----------
    names
        The terms of the model.
    store
        Names of terms; None for all of them, "summary" for none.

    Raises
    ------
    OptionError
        If a name is not that of a term.
    """
    if store is None:
        return (True,) * len(names)
    if is_word(store, (SUMMARY,)):
        return (False,) * len(names)
    listed = ", ".join(map(repr, names)) if names else "none"
    if isinstance(store, str) or not isinstance(store, Iterable) or not all(isinstance(name, str) for name in store):
        raise OptionError(
            f"store={store!r} is neither 'summary' nor a sequence of names of terms, such as ('g',); the terms are "
            f"{listed}."
        )
    for name in store:
        if name not in names:
            raise OptionError(f"store= names {name!r}, which is no random term; the terms are {listed}.")
    return tuple(name in store for name in names)

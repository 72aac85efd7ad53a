"""Posterior draws of several chains, collected sweep by sweep."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayeslmm.design import RandomTerm
from bayeslmm.forest.em.step import Components
from bayeslmm.forest.gibbs.covariance_steps import Block
from bayeslmm.inference.draws import Draws
from bayeslmm.types import Array


@dataclass(slots=True)
class Chain:
    """What one chain has kept so far.

    Attributes
    ----------
    blocks
        The draws of everything but f.
    versions
        The version of f of each draw, counted within the chain.
    probes
        f and the linear part at the monitored points, one (P,) per draw.
    """

    blocks: list[Block] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    probes: list[Array] = field(default_factory=list)

    def keep(self, block: Block, version: int, probe: Array) -> None:
        """Keep one draw."""
        self.blocks.append(block)
        self.versions.append(version)
        self.probes.append(probe)


def stack_chains(chains: Sequence[Chain], terms: Sequence[RandomTerm], method: str, info: dict[str, Any]) -> Draws:
    """Return the chains' draws as arrays (chains, draws, ...)."""

    def stack(name: str, k: int | None = None) -> Array:
        """Return one attribute of all blocks, of one term if `k` is given."""
        pick = [[getattr(b, name) if k is None else getattr(b, name)[k] for b in chain.blocks] for chain in chains]
        return np.array(pick)

    count = range(len(terms))
    return Draws(
        beta=stack("beta"),
        sigma=stack("sigma"),
        sd=tuple(stack("sds", k) for k in count),
        cor=tuple(stack("correlations", k) if term.has_correlations else None for k, term in enumerate(terms)),
        effects=tuple(stack("effects", k) for k in count),
        stats={"version": np.array([chain.versions for chain in chains])},
        method=method,
        info=info,
    )


def posterior_means(draws: Draws, terms: Sequence[RandomTerm]) -> Components:
    """Return posterior means: of sigma (squared), the covariances, beta and b."""
    covariances = []
    for term, sd, cor in zip(terms, draws.sd, draws.cor, strict=True):
        if cor is None:
            covariances.append(np.diag(np.mean(sd**2, axis=(0, 1))))
        else:
            covariances.append(np.mean(cor * sd[..., :, None] * sd[..., None, :], axis=(0, 1)))
        assert covariances[-1].shape == (term.n_columns, term.n_columns)
    return Components(
        sigma2=float(np.mean(draws.sigma)) ** 2,
        covariances=tuple(covariances),
        beta=np.mean(draws.beta, axis=(0, 1)),
        effects=tuple(np.mean(b, axis=(0, 1)) for b in draws.effects),
    )

"""Options of the chains of sampled methods, and their sources of randomness."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from bayeslmm.errors import OptionError
from bayeslmm.inference.workers import in_workers

Outer = Literal["bootstrap"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """Options of the chains; see `MixedEffectsForest`."""

    sweeps: int
    chains: int
    draws: int
    warmup: float
    outer: Outer | None
    priors: Any
    n_trees: int
    cores: int
    seed: int | None


def check_seed(seed: Any) -> None:
    """Refuse what is no seed.

    Raises
    ------
    OptionError
        With what a seed is.
    """
    if seed is not None and (not isinstance(seed, int | np.integer) or seed < 0):
        raise OptionError(f"seed={seed!r} must be None or a whole number of at least 0.")


def check_sampling(options: SamplingOptions) -> None:
    """Refuse options that have no meaning.

    Raises
    ------
    OptionError
        With what would have one.
    """
    for name in ("chains", "draws", "n_trees", "cores"):
        value = getattr(options, name)
        if not isinstance(value, int | np.integer) or value < 1:
            raise OptionError(f"{name}={value!r} must be a whole number of at least 1.")
    if not 0 <= options.warmup < 1:
        raise OptionError(f"warmup={options.warmup!r} is a share of the sweeps: at least 0 and less than 1.")
    if options.outer not in (None, "bootstrap"):
        raise OptionError(f"outer={options.outer!r} is unknown; use 'bootstrap' or None.")


def chain_generators(options: SamplingOptions) -> list[np.random.Generator]:
    """Return one generator per chain; chain k depends on the seed and k only."""
    entropy = np.random.SeedSequence(options.seed).entropy
    return [np.random.default_rng([_number(entropy), k]) for k in range(options.chains)]


def _number(entropy: Any) -> int:
    return int(entropy) if not isinstance(entropy, list | tuple) else int(entropy[0])


def run_chains(work: Callable[[np.random.Generator], Result], options: SamplingOptions) -> list[Result]:
    """Run the chains, in processes of their own if more than one core may be used; the draws are the same."""
    generators = chain_generators(options)
    return list(in_workers(work, generators, min(options.cores, options.chains)))

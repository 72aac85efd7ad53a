"""How to fit: the options of all methods as one object, checked once."""

import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np

from bayeslmm.errors import OptionError, is_word
from bayeslmm.inference.draws import terms_to_keep
from bayeslmm.types import DeviceWord, Handover, Parametrization, Precision, Sampler, Solver

MOST_CORES = 10_000
QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked options; every method reads some of these.

    Attributes
    ----------
    draws, tune, chains
        Draws kept and iterations of warm-up per chain, and number of chains.
    cores
        Chains run at once; None for all that are idle. The draws do not depend on it.
    seed
        What the draws are made from.
    target_accept
        Acceptance rate that step sizes are tuned to.
    sampler
        "nutpie": nutpie on the kernel's own density, nothing to compile (explicit models: on the compiled PyMC model);
        "nutpie-pymc": nutpie on the compiled PyMC model; "pymc": PyMC's own sampler.
    parametrization
        "marginal": only covariance parameters are sampled, coefficients and random effects are drawn exactly
        afterwards; "noncentered" or "centered": random effects as standard normals times their covariance factor, or
        drawn from it directly. None means "marginal" where the priors of the coefficients allow it, else
        "noncentered".
    progressbar
        Whether to show progress.
    precision
        Precision in which random effects are kept.
    resume
        A folder in which finished chains are kept; chains found there are not run again.
    store
        Names of the terms whose random effects are kept; None for all; "summary" for their means, sds and quantiles
        alone. All other draws are the same.
    quantiles
        Probabilities of the quantiles that a summary keeps.
    full_rank
        Whether ADVI's approximation has correlations ("full-rank") or not ("mean-field").
    iterations
        ADVI's stochastic gradient steps.
    handover
        What happens where importance weights are too uneven: "nuts" samples by NUTS instead, or by Hamiltonian Monte
        Carlo where there are many covariance parameters or a point is costly, "error" raises, "keep"
        keeps the weighted draws, whose status then says what they are worth.
    n_quad
        Quadrature points of a generalized model's likelihood: 1 for Laplace's approximation, more for adaptive
        Gauss-Hermite quadrature with one grouping factor, 0 for coefficients in the inner loop.
    solver
        How the equations of crossed effects are solved: "exact" factors them, "iterative" uses conjugate gradients and
        probes, "auto" chooses by their number.
    device
        Where importance sampling factors the dense matrices of crossed effects: "cpu", a graphics card ("cuda"), or a
        card where there is one ("auto").
    """

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    cores: int | None = None
    seed: int = 0
    target_accept: float = 0.8
    sampler: Sampler = "nutpie"
    parametrization: Parametrization | None = None
    progressbar: bool = False
    precision: Precision = "float64"
    resume: str | Path | None = None
    store: Sequence[str] | str | None = None
    quantiles: Sequence[float] = QUANTILES
    full_rank: bool = False
    iterations: int = 20_000
    handover: Handover = "nuts"
    n_quad: int = 1
    solver: Solver = "auto"
    device: DeviceWord = "cpu"

    def __post_init__(self) -> None:
        for name in ("draws", "tune", "chains", "iterations"):  # nutpie panics without any warm-up
            check_count(name, getattr(self, name), 1)
        check_count("n_quad", self.n_quad, 0)
        if self.cores is not None:
            check_count("cores", self.cores, 1, MOST_CORES)
        check_count("seed", self.seed, 0)
        _check_rate(self.target_accept)
        for name in ("progressbar", "full_rank"):
            if getattr(self, name) not in (True, False):
                raise OptionError(f"{name}={getattr(self, name)!r} is not possible; it is True or False.")
        check_probabilities("quantiles", self.quantiles)
        check_choice("sampler", self.sampler, get_args(Sampler))
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("solver", self.solver, get_args(Solver))
        check_choice("device", self.device, get_args(DeviceWord))
        check_choice("handover", self.handover, get_args(Handover))
        if self.parametrization is not None:
            check_choice("parametrization", self.parametrization, get_args(Parametrization))
        if self.device == "cuda":
            _check_card(self.solver)

    @property
    def dtype(self) -> type:
        """Number type in which random effects are kept."""
        return np.float32 if self.precision == "float32" else np.float64

    @property
    def chains_at_once(self) -> int:
        """Chains that run at the same time."""
        return min(self.chains, available_cores() if self.cores is None else self.cores)

    def keep(self, terms: Sequence[str]) -> tuple[bool, ...]:
        """Return, per term, whether its random effects are kept.

        Raises
        ------
        OptionError
            If `store` names something else.
        """
        return terms_to_keep(terms, self.store)


def make_options(**given: Any) -> Options:
    """Return options for what a user gave, with a seed and a choice of display where there was None.

    Parameters
    ----------
    **given
        Fields of :class:`Options`. `seed` may be a Generator, or None for the seed of the run in `resume`, else a fresh
        one; `progressbar` may be None for wherever there is a terminal or a notebook.

    Raises
    ------
    OptionError
        If an option is unknown or has an impossible value.
    """
    known = [field.name for field in fields(Options)]
    for name in given:
        if name not in known:
            raise OptionError(f"There is no option {name!r}; the options are {', '.join(known)}.")
    seed = given.get("seed")
    if seed is None and given.get("resume") is not None:
        from bayeslmm.inference.nuts.chain_store import read_facts

        seed = (read_facts(given["resume"]) or {}).get("seed")
    if given.get("progressbar") is None:
        given["progressbar"] = shows_progress()
    return Options(**{**given, "seed": resolve_seed(seed)})


def resolve_seed(seed: int | np.random.Generator | None) -> int:
    """Return a seed as a whole number below 2**63.

    Raises
    ------
    OptionError
        When it is negative or not a whole number.
    """
    if seed is None:
        return secrets.randbits(63)
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63))
    return check_count("seed", seed, 0)


def generator(seed: Any) -> np.random.Generator:
    """Return the generator of a seed, or the one given; a fresh one for None.

    Raises
    ------
    OptionError
        When it is neither.
    """
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise OptionError(
            f"seed={seed!r} is not possible; it is a whole number of at least 0, or a numpy.random.Generator."
        ) from None


def available_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shows_progress() -> bool:
    """Return whether there is someone to show progress to: a terminal or a notebook."""
    # windowed programs and services have no standard streams
    return (sys.stderr is not None and sys.stderr.isatty()) or "ipykernel" in sys.modules


def check_choice(name: str, value: Any, valid: Sequence[str]) -> None:
    """Refuse a word that is not among the valid ones.

    Raises
    ------
    OptionError
        With the list of those.
    """
    if not is_word(value, valid):
        raise OptionError(f"{name}={value!r} is unknown; it is one of {', '.join(map(repr, valid))}.")


def check_count(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return a whole number that is large enough, and no larger than `most`.

    Raises
    ------
    OptionError
        When it is too small or too large, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise OptionError(f"{name}={value!r} is not possible; it is a whole number of at least {least}.")
    if most is not None and value > most:
        raise OptionError(f"{name}={value!r} is not possible; it is a whole number of at most {most}.")
    return int(value)


def check_probabilities(name: str, values: Any) -> None:
    """Refuse what is no sequence of probabilities between 0 and 1.

    Raises
    ------
    OptionError
        With an example.
    """
    try:
        good = len(values) > 0 and all(0.0 < float(p) < 1.0 for p in values) and not isinstance(values, str)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise OptionError(f"{name}={values!r} is not possible; give probabilities between 0 and 1, as in (0.05, 0.95).")


def _check_card(solver: Solver) -> None:
    """Refuse a card that is not there, or has nothing to do, before anything is computed.

    Raises
    ------
    MissingDependencyError
        If CuPy is not installed.
    OptionError
        If there is no card, or conjugate gradients are asked for.
    """
    if solver == "iterative":
        raise OptionError(
            "device='cuda' is for the dense matrix that solver='iterative' does without: use solver='exact', or "
            "device='cpu'."
        )
    from bayeslmm.likelihood.device import find_device

    find_device("cuda")


def _check_rate(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < 1:
        raise OptionError(f"target_accept={value!r} is not possible; it lies between 0 and 1.")

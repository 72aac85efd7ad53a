"""Posterior draws by the No-U-Turn sampler."""

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.explicit import Run, Trace, compile_for_nutpie, sample_with_nutpie, sample_with_pymc

if TYPE_CHECKING:
    from bayeslmm.priors.model_priors import ModelPriors

Array = NDArray[np.floating]
Sampler = Literal["nutpie", "nutpie-pymc", "pymc"]
Parametrization = Literal["noncentered", "centered"]


def sample_nuts(
    design: Design,
    priors: "ModelPriors",
    *,
    sigma: float | None = None,
    parametrization: Parametrization | None = None,
    sampler: Sampler = "nutpie",
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    cores: int | None = None,
    seed: int | np.random.Generator | None = None,
    target_accept: float = 0.8,
    progressbar: bool | None = None,
) -> Draws:
    """Sample the posterior of a design by NUTS.

    Parameters
    ----------
    design
        Response, columns and random terms.
    priors
        A prior for every parameter.
    sigma
        The residual standard deviation, where it is fixed.
    parametrization
        "noncentered" (what None means) or "centered": random effects as standard normals times their
        covariance factor, or drawn from it directly.
    sampler
        "nutpie" or "nutpie-pymc" (the PyMC model compiled by numba, sampled by nutpie), or "pymc".
    draws, tune, chains
        Draws kept and iterations of warm-up per chain, and chains.
    cores
        Chains sampled at the same time; None for as many as there are cores. The draws do not depend on it.
    seed
        Seed or generator; None for a fresh seed, which `Draws.info` records.
    target_accept
        Acceptance rate that step sizes are tuned to, between 0 and 1.
    progressbar
        Whether to show progress; None for wherever there is a terminal or a notebook.

    Returns
    -------
    Draws
        On the user's columns; `info` holds sampler, parametrization, seed, tune, target_accept and seconds.

    Raises
    ------
    OptionError
        When an option has an impossible value.
    FittingError
        When sampling cannot start.
    KeyboardInterrupt
        When sampling was interrupted.

    References
    ----------
    Hoffman and Gelman (2014), Journal of Machine Learning Research 15, 1593-1623.
    """
    parametrization = parametrization or "noncentered"
    _check_choice("parametrization", parametrization, get_args(Parametrization))
    _check_choice("sampler", sampler, get_args(Sampler))
    run = Run(
        draws=_check_count("draws", draws, 1),
        tune=_check_count("tune", tune, 0),
        chains=_check_count("chains", chains, 1),
        cores=min(chains, available_cores() if cores is None else _check_count("cores", cores, 1)),
        seed=resolve_seed(seed),
        target_accept=_check_rate(target_accept),
        progressbar=shows_progress() if progressbar is None else progressbar,
    )
    from bayeslmm.pymc_models import build_hierarchical

    started = time.perf_counter()
    model = build_hierarchical(design, priors, sigma=sigma, centered=parametrization == "centered")
    names = _names(design, sigma)
    if sampler == "pymc":
        trace = sample_with_pymc(model, names, run)
    else:
        trace = sample_with_nutpie(compile_for_nutpie(model, names), names, run)
    info = {
        "sampler": sampler,
        "parametrization": parametrization,
        "seed": run.seed,
        "tune": run.tune,
        "target_accept": run.target_accept,
        "seconds": time.perf_counter() - started,
    }
    return _draws(trace, design, sigma, run, info)


def _names(design: Design, sigma: float | None) -> list[str]:
    """Return the names of the variables of the explicit model that become draws."""
    names = (["beta"] if design.p else []) + (["sigma"] if sigma is None else [])
    for term in design.terms:
        names += [f"sd_{term.name}", f"r_{term.name}"]
        if term.correlated and term.n_columns > 1:
            names.append(f"cor_{term.name}")
    return names


def _draws(trace: Trace, design: Design, sigma: float | None, run: Run, info: dict[str, Any]) -> Draws:
    shape = (run.chains, run.draws)
    values = trace.values
    correlations = [values.get(f"cor_{term.name}") for term in design.terms]
    return Draws(
        beta=values["beta"] if design.p else np.empty((*shape, 0)),
        sigma=values["sigma"] if sigma is None else np.full(shape, float(sigma)),
        sd=tuple(values[f"sd_{term.name}"] for term in design.terms),
        cor=tuple(None if matrix is None else unit_diagonal(matrix) for matrix in correlations),
        effects=tuple(values[f"r_{term.name}"] for term in design.terms),
        stats=trace.stats,
        method="nuts",
        info=info,
    )


def unit_diagonal(correlation: Array) -> Array:
    """Return correlation matrices, shape (..., S, S), with a diagonal of exactly one."""
    exact = correlation.copy()
    size = correlation.shape[-1]
    exact[..., np.arange(size), np.arange(size)] = 1.0
    return exact


def resolve_seed(seed: int | np.random.Generator | None) -> int:
    """Return a seed as a whole number below 2**63.

    Raises
    ------
    OptionError
        When it is negative or not a whole number.
    """
    if seed is None:
        return int(np.random.default_rng().integers(2**63))
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63))
    return _check_count("seed", seed, 0)


def available_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shows_progress() -> bool:
    """Return whether there is someone to show progress to: a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _check_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise OptionError(f"{name}={value!r} is unknown; it is one of {', '.join(map(repr, valid))}")


def _check_count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise OptionError(f"{name}={value!r} is not possible; it is a whole number of at least {least}")
    return int(value)


def _check_rate(value: Any) -> float:
    if not isinstance(value, int | float | np.number) or not 0 < value < 1:
        raise OptionError(f"target_accept={value!r} is not possible; it lies between 0 and 1")
    return float(value)

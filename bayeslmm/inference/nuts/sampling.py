"""Posterior draws by the No-U-Turn sampler."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bayeslmm.design.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.nuts.chain_store import ChainStore, digest, read_facts
from bayeslmm.inference.nuts.explicit import Run, Trace, compile_for_nutpie, sample_with_nutpie, sample_with_pymc
from bayeslmm.inference.nuts.marginal import sample_known, sample_marginal
from bayeslmm.inference.progress import progress_bar
from bayeslmm.likelihood.kernel import Kernel, build_kernel
from bayeslmm.posterior.density import CovarianceDensity, not_normal

if TYPE_CHECKING:
    from bayeslmm.priors.model_priors import ModelPriors

Array = NDArray[np.floating]
Sampler = Literal["nutpie", "nutpie-pymc", "pymc"]
Parametrization = Literal["marginal", "noncentered", "centered"]


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
    kernel: Kernel | None = None,
    resume: str | Path | None = None,
    dtype: type = np.float64,
    keep: Sequence[bool] | None = None,
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
        "marginal": only covariance parameters are sampled, coefficients and random effects are drawn exactly
        afterwards; "noncentered" or "centered": random effects as standard normals times their covariance factor, or
        drawn from it directly. None means "marginal" where the priors of the coefficients allow it, else
        "noncentered".
    sampler
        "nutpie": nutpie on the kernel's own density, nothing to compile (explicit models: on the compiled PyMC model);
        "nutpie-pymc": nutpie on the compiled PyMC model; "pymc": PyMC's own sampler.
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
    kernel
        The design's likelihood, if it is built already.
    resume
        A folder in which finished chains are kept; chains found there are not run again.
    dtype
        Precision in which random effects are kept (marginal).
    keep
        Per term, whether its random effects are kept; None for all. All other draws are the same.

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
    _check_choice("sampler", sampler, get_args(Sampler))
    chosen, messages = choose_parametrization(parametrization, priors)
    keep = (True,) * len(design.terms) if keep is None else keep
    if seed is None and resume is not None:
        seed = (read_facts(resume) or {}).get("seed")
    run = Run(
        draws=check_count("draws", draws, 1),
        tune=check_count("tune", tune, 1),  # nutpie panics without any
        chains=check_count("chains", chains, 1),
        cores=min(chains, available_cores() if cores is None else check_count("cores", cores, 1)),
        seed=resolve_seed(seed),
        target_accept=_check_rate(target_accept),
        progressbar=shows_progress() if progressbar is None else progressbar,
    )
    started = time.perf_counter()
    if chosen == "marginal":
        density = CovarianceDensity(build_kernel(design) if kernel is None else kernel, priors, sigma)
        found = _sample_density(density, design, run, sampler, resume, dtype, keep)
    elif resume is not None:
        raise OptionError(f"resume= is for parametrization='marginal', not {chosen!r}")
    else:
        found = _sample_explicit(design, priors, run, sampler, sigma, keep, centered=chosen == "centered")
    facts = {
        "sampler": sampler,
        "parametrization": chosen,
        "seed": run.seed,
        "tune": run.tune,
        "target_accept": run.target_accept,
        "seconds": time.perf_counter() - started,
        "messages": (*messages, *found.info.get("messages", ())),
    }
    return replace(found, info={**found.info, **facts})


def choose_parametrization(
    wanted: Parametrization | None, priors: "ModelPriors"
) -> tuple[Parametrization, tuple[str, ...]]:
    """Return the parametrization, and a message where it is not the usual one."""
    if wanted is not None:
        _check_choice("parametrization", wanted, get_args(Parametrization))
        return wanted, ()
    others = not_normal(priors)
    if not others:
        return "marginal", ()
    return "noncentered", (
        f"The priors of {', '.join(others)} are not normal and cannot be integrated out, so the explicit model "
        "was sampled.",
    )


def _sample_density(
    density: CovarianceDensity,
    design: Design,
    run: Run,
    sampler: str,
    resume: str | Path | None,
    dtype: type,
    keep: Sequence[bool],
) -> Draws:
    """Sample the covariance parameters, coefficients integrated out."""
    if density.dimension == 0:
        return sample_known(density, run.draws, run.chains, run.seed, dtype=dtype)
    if sampler == "nutpie":
        store = None
        if resume is not None:
            store = ChainStore(resume, _facts(density, run))
        with progress_bar(run.chains, "chains", run.progressbar) as report:
            return sample_marginal(
                density,
                draws=run.draws,
                tune=run.tune,
                chains=run.chains,
                seed=run.seed,
                target_accept=run.target_accept,
                cores=run.cores,
                dtype=dtype,
                keep=keep,
                report=report,
                store=store,
            )
    if resume is not None:
        raise OptionError(f"resume= is for sampler='nutpie', not {sampler!r}")
    from bayeslmm.inference.nuts.marginal_pymc import sample_marginal_pymc

    return sample_marginal_pymc(
        density,
        design,
        sampler=sampler,  # type: ignore[arg-type]
        draws=run.draws,
        tune=run.tune,
        chains=run.chains,
        cores=run.cores,
        seed=run.seed,
        target_accept=run.target_accept,
        progressbar=run.progressbar,
        dtype=dtype,
        keep=keep,
    )


def _facts(density: CovarianceDensity, run: Run) -> dict[str, Any]:
    """Return what makes a run: the same facts give the same draws."""
    products = density.kernel.products
    arrays = [products.xy, *products.nest_z, *products.nest_xy, products.trailing_xy]
    return {
        "seed": run.seed,
        "draws": run.draws,
        "tune": run.tune,
        "chains": run.chains,
        "target_accept": run.target_accept,
        "model": digest(
            arrays, [repr((density.priors.fixed, density.priors.terms, density.priors.sigma)), repr(density.sigma)]
        ),
    }


def _sample_explicit(
    design: Design,
    priors: "ModelPriors",
    run: Run,
    sampler: str,
    sigma: float | None,
    keep: Sequence[bool],
    *,
    centered: bool,
) -> Draws:
    """Sample coefficients and random effects along with everything else."""
    from bayeslmm.pymc_models import build_hierarchical

    model = build_hierarchical(design, priors, sigma=sigma, centered=centered)
    names = _names(design, sigma, keep)
    if sampler == "pymc":
        trace = sample_with_pymc(model, names, run)
    else:
        trace = sample_with_nutpie(compile_for_nutpie(model, names), names, run)
    return _draws(trace, design, sigma, run)


def _names(design: Design, sigma: float | None, keep: Sequence[bool]) -> list[str]:
    """Return the names of the variables of the explicit model that become draws."""
    names = (["beta"] if design.p else []) + (["sigma"] if sigma is None else [])
    for term, kept in zip(design.terms, keep, strict=True):
        names += [f"sd_{term.name}", f"r_{term.name}"] if kept else [f"sd_{term.name}"]
        if term.has_correlations:
            names.append(f"cor_{term.name}")
    return names


def _draws(trace: Trace, design: Design, sigma: float | None, run: Run) -> Draws:
    shape = (run.chains, run.draws)
    values = trace.values
    correlations = [values.get(f"cor_{term.name}") for term in design.terms]
    return Draws(
        beta=values["beta"] if design.p else np.empty((*shape, 0)),
        sigma=values["sigma"] if sigma is None else np.full(shape, float(sigma)),
        sd=tuple(values[f"sd_{term.name}"] for term in design.terms),
        cor=tuple(None if matrix is None else unit_diagonal(matrix) for matrix in correlations),
        effects=tuple(values.get(f"r_{term.name}", np.empty((*shape, 0, term.n_columns))) for term in design.terms),
        stats=trace.stats,
        method="nuts",
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
    return check_count("seed", seed, 0)


def available_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shows_progress() -> bool:
    """Return whether there is someone to show progress to: a terminal or a notebook."""
    # windowed programs and services have no standard streams
    return (sys.stderr is not None and sys.stderr.isatty()) or "ipykernel" in sys.modules


def _check_choice(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise OptionError(f"{name}={value!r} is unknown; it is one of {', '.join(map(repr, valid))}")


def check_count(name: str, value: Any, least: int) -> int:
    """Return a whole number that is large enough.

    Raises
    ------
    OptionError
        When it is too small, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise OptionError(f"{name}={value!r} is not possible; it is a whole number of at least {least}")
    return int(value)


def _check_rate(value: Any) -> float:
    if not isinstance(value, int | float | np.number) or not 0 < value < 1:
        raise OptionError(f"target_accept={value!r} is not possible; it lies between 0 and 1")
    return float(value)

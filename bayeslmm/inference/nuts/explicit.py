"""NUTS on an explicit PyMC model, by nutpie or by PyMC itself."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.nuts.sampler_statistics import read_statistics
from bayeslmm.inference.options import Options
from bayeslmm.inference.reproducible import ordered_arithmetic
from bayeslmm.types import AnyArray


@dataclass(frozen=True, slots=True)
class Trace:
    """What a sampler returned.

    Attributes
    ----------
    values
        Draws of each variable asked for, shape (chains, draws, ...).
    stats
        Statistics of each draw by arviz's names, shape (chains, draws).
    """

    values: Mapping[str, AnyArray]
    stats: Mapping[str, AnyArray]


def compile_for_nutpie(model: Any, names: Sequence[str]) -> Any:
    """Compile a PyMC model's density by numba.

    Parameters
    ----------
    model
        A ``pymc.Model``.
    names
        The derived variables that draws will be wanted of.

    Returns
    -------
    nutpie.CompiledModel
        Without labels: they are put back on plain arrays, and some kinds nutpie cannot carry.
    """
    import nutpie

    with compiling(), ordered_arithmetic():
        compiled = nutpie.compile_pymc_model(model, var_names=list(names))
    return replace(compiled, _coords={}, dims={})


def sample_with_nutpie(compiled: Any, names: Sequence[str], options: Options, *, low_rank: bool = False) -> Trace:
    """Sample a compiled model by nutpie, chains in threads.

    The draws of a chain depend on the seed and its number, not on `options.cores` or on the other chains.

    Parameters
    ----------
    compiled
        A compiled model of nutpie.
    names
        The variables to return.
    options
        How to sample.
    low_rank
        Whether nutpie learns correlations of the posterior, too, not only its scales.

    Raises
    ------
    FittingError
        When no chain finds a starting point with a finite density.
    KeyboardInterrupt
        When sampling was interrupted; nutpie itself would return what it has, padded with nan.
    """
    import nutpie

    try:
        with one_blas_thread():
            trace = nutpie.sample(
                compiled,
                draws=options.draws,
                tune=options.tune,
                chains=options.chains,
                cores=options.chains_at_once,
                seed=options.seed,
                target_accept=options.target_accept,
                save_warmup=False,
                progress_bar=options.progressbar,
                low_rank_modified_mass_matrix=low_rank,
            )
    except RuntimeError as error:
        raise FittingError(f"nutpie could not sample this model: {error}") from error
    return _collect(trace, names, options)


def sample_with_pymc(model: Any, names: Sequence[str], options: Options) -> Trace:
    """Sample a PyMC model by PyMC's own NUTS, chains in processes.

    Parameters
    ----------
    model
        A ``pymc.Model``.
    names
        The variables to return.
    options
        How to sample.

    Raises
    ------
    FittingError
        When sampling cannot start.
    KeyboardInterrupt
        When sampling was interrupted.
    """
    import pymc as pm

    try:
        with compiling(), ordered_arithmetic(), one_blas_thread():
            trace = pm.sample(
                model=model,
                draws=options.draws,
                tune=options.tune,
                chains=options.chains,
                cores=options.chains_at_once,
                random_seed=options.seed,
                target_accept=options.target_accept,
                var_names=list(names),
                progressbar=options.progressbar,
                quiet=not options.progressbar,
                compute_convergence_checks=False,
                blas_cores=options.chains_at_once,
                compile_kwargs={"mode": "NUMBA"},
            )
    except (pm.exceptions.SamplingError, RuntimeError) as error:
        raise FittingError(f"PyMC could not sample this model: {error}") from error
    return _collect(trace, names, options)


def _collect(trace: Any, names: Sequence[str], options: Options) -> Trace:
    """Return draws and statistics as arrays, refusing a trace that is shorter than what was asked for."""
    stats = read_statistics(trace.sample_stats)
    done = np.isfinite(stats["lp"]).sum(axis=1)
    if len(done) < options.chains or done.min() < options.draws:
        raise KeyboardInterrupt(
            f"sampling was interrupted: {int(done.sum())} of {options.chains * options.draws} draws were made"
        )
    return Trace({name: trace.posterior[name].to_numpy() for name in names}, stats)


@contextmanager
def compiling() -> Iterator[None]:
    """Compile without the C compiler and without PyTensor's remark that pip's numpy brings no BLAS to link.

    Densities are compiled by numba; what is left (starting points) runs once, and compiling it to C takes
    longer than everything else together.
    """
    import pytensor

    with warnings.catch_warnings(), pytensor.config.change_flags(mode="FAST_COMPILE"):
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS", category=UserWarning)
        yield


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS at one thread: chains share the cores, and threads inside them are in each other's way."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield

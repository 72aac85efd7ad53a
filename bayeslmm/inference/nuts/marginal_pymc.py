"""NUTS on the marginal PyMC model, the coefficients drawn afterwards.

The same posterior as `bayeslmm.inference.nuts.marginal`, through the model that ``to_pymc("marginal")`` returns.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from bayeslmm.design.design import Design
from bayeslmm.errors import FittingError, OptionError
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.nuts.explicit import Run, Trace, compile_for_nutpie, sample_with_nutpie, sample_with_pymc
from bayeslmm.inference.nuts.marginal import Chain, marginal_draws
from bayeslmm.posterior.density import CovarianceDensity

if TYPE_CHECKING:
    from bayeslmm.pymc_models.kernel_op import KernelLikelihood

MarginalSampler = Literal["nutpie-pymc", "pymc"]

COORDINATES = "coordinates"  # the name of (phi, log sigma) among the sampled variables


def sample_marginal_pymc(
    density: CovarianceDensity,
    design: Design,
    *,
    sampler: MarginalSampler = "nutpie-pymc",
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    cores: int = 1,
    seed: int = 0,
    target_accept: float = 0.8,
    progressbar: bool = False,
    dtype: type = np.float64,
    keep: Sequence[bool] | None = None,
) -> Draws:
    """Sample the covariance parameters of the marginal PyMC model by NUTS and draw the coefficients.

    Parameters
    ----------
    density
        Kernel, priors and the known sigma, if it is known.
    design
        Names, levels and units.
    sampler
        "nutpie-pymc" (compiled by numba, sampled by nutpie) or "pymc".
    draws, tune, chains
        Draws kept and iterations of warm-up per chain, and chains.
    cores
        Chains sampled at the same time; the draws do not depend on it.
    seed
        Makes the draws reproducible.
    target_accept
        Acceptance rate that step sizes are tuned to.
    progressbar
        Whether to show progress.
    dtype
        Precision in which random effects are kept.
    keep
        Per term, whether its random effects are kept; None for all. All other draws are the same.

    Returns
    -------
    Draws
        On the user's columns; `info` holds sampler, parametrization, seed, tune, target_accept, seconds and
        ``kernel_failures``, the points at which the kernel failed (in this process: PyMC's chains may have others).

    Raises
    ------
    OptionError
        When the sampler is unknown.
    FittingError
        When sampling cannot start.
    KeyboardInterrupt
        When sampling was interrupted.
    """
    if sampler not in get_args(MarginalSampler):
        valid = ", ".join(map(repr, get_args(MarginalSampler)))
        raise OptionError(f"sampler={sampler!r} is unknown; it is one of {valid}")
    import pymc as pm

    from bayeslmm.pymc_models.marginal import build_marginal, kernel_operation, marginal_coordinates

    started = time.perf_counter()
    model = build_marginal(density.kernel, density.priors, design, sigma=density.sigma)
    with model:
        pm.Deterministic(COORDINATES, marginal_coordinates(model))
    operation = kernel_operation(model)
    run = Run(draws, tune, chains, cores, seed, target_accept, progressbar)
    try:
        if sampler == "pymc":
            trace = sample_with_pymc(model, [COORDINATES], run)
        else:
            trace = sample_with_nutpie(compile_for_nutpie(model, [COORDINATES]), [COORDINATES], run)
    except FittingError as error:
        raise _with_cause(error, operation) from error
    drawn = marginal_draws(density, chains_of(trace, operation.failures), seed=seed, dtype=dtype, keep=keep)
    info = {
        "sampler": sampler,
        "parametrization": "marginal",
        "seed": seed,
        "tune": tune,
        "target_accept": target_accept,
        "kernel_failures": operation.failures,
        "seconds": time.perf_counter() - started,
    }
    return replace(drawn, info=info)


def chains_of(trace: Trace, failures: int) -> list[Chain]:
    """Return each chain's (phi, log sigma) with its statistics; failures are counted for all chains together."""
    values = trace.values[COORDINATES]
    return [
        Chain(x, {name: stat[c] for name, stat in trace.stats.items()}, failures if c == 0 else 0)
        for c, x in enumerate(values)
    ]


def _with_cause(error: FittingError, operation: "KernelLikelihood") -> FittingError:
    """Add what the kernel said, which the samplers cannot know."""
    if operation.first_error is None:
        return error
    return FittingError(
        f"{error} The kernel failed at {operation.failures} of {operation.evaluations} points, first with: "
        f"{operation.first_error}"
    )

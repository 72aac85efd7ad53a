"""NUTS on the marginal PyMC model, the coefficients drawn afterwards.

The same posterior as `bayeslmm.inference.nuts.marginal`, through the model that ``to_pymc("marginal")`` returns.
"""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bayeslmm.design.design import Design
from bayeslmm.errors import FittingError, explanation
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.nuts.chain import Chain
from bayeslmm.inference.nuts.explicit import Trace, compile_for_nutpie, sample_with_nutpie, sample_with_pymc
from bayeslmm.inference.nuts.marginal import marginal_draws
from bayeslmm.inference.options import Options
from bayeslmm.posterior.density import CovarianceDensity

if TYPE_CHECKING:
    from bayeslmm.pymc_models.kernel_op import KernelLikelihood


COORDINATES = "coordinates"  # the name of (phi, log sigma) among the sampled variables


def sample_marginal_pymc(density: CovarianceDensity, design: Design, options: Options) -> Draws:
    """Sample the covariance parameters of the marginal PyMC model by NUTS and draw the coefficients.

    Parameters
    ----------
    density
        Kernel, priors and the known sigma, if it is known.
    design
        Names, levels and units.
    options
        Draws, chains, seed and which of PyMC's and nutpie's samplers: "pymc", or else nutpie on the compiled model.

    Returns
    -------
    Draws
        On the user's columns; `info` holds sampler, parametrization, seed, tune, target_accept, seconds and
        ``kernel_failures``, the points at which the kernel failed (in this process: PyMC's chains may have others).

    Raises
    ------
    FittingError
        When sampling cannot start.
    KeyboardInterrupt
        When sampling was interrupted.
    """
    import pymc as pm

    from bayeslmm.pymc_models.marginal import build_marginal, kernel_operation, marginal_coordinates

    started = time.perf_counter()
    model = build_marginal(density.kernel, density.priors, design, sigma=density.sigma)
    with model:
        pm.Deterministic(COORDINATES, marginal_coordinates(model))
    operation = kernel_operation(model)
    try:
        if options.sampler == "pymc":
            trace = sample_with_pymc(model, [COORDINATES], options)
        else:
            trace = sample_with_nutpie(compile_for_nutpie(model, [COORDINATES]), [COORDINATES], options)
    except FittingError as error:
        raise _with_cause(error, operation) from error
    drawn = marginal_draws(density, chains_of(trace, operation.failures), options)
    info = {
        "sampler": options.sampler,
        "parametrization": "marginal",
        "seed": options.seed,
        "tune": options.tune,
        "target_accept": options.target_accept,
        "kernel_failures": operation.failures,
        "kernel_evaluations": operation.evaluations,
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
        f"{explanation(operation.first_error)}"
    )

r"""Importance sampling of large crossed factors, without a factor.

The search for REML's maximum leaves the average information C by the free entries :math:`\lambda` of the relative
covariance factors. With

.. math:: \log p(\phi \mid y) \approx -\tfrac14\,(\lambda(\phi) - \hat\lambda)^\top C\,(\lambda(\phi) - \hat\lambda)
          + \log p(\phi, \hat\sigma),

which holds at variances of zero too, where C has the slope by the variance, the first proposal costs no further
solves. The density at the points is that of `IterativeDensity`.
"""

import time
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from bayeslmm.errors import OptionError
from bayeslmm.inference.draws import SUMMARY, Draws
from bayeslmm.inference.importance.sampling import sample_importance
from bayeslmm.inference.laplace import Laplace, gradient_differences, positive_inverse, units, within_supports
from bayeslmm.inference.optimum.average_information import IterativeMaximum, curvature_at, maximise_iteratively
from bayeslmm.inference.options import Options
from bayeslmm.inference.progress import progress_bar
from bayeslmm.inference.surface import MOST_BEYOND, build_surface
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.types import Array

STEP = 1e-4  # of a coordinate's unit, for derivatives of a function without noise
NOTICEABLE = 0.2  # error of the log density that moves weights by a fifth


def sample_iteratively(kernel: Kernel, priors: ModelPriors, options: Options, *, sigma: float | None = None) -> Draws:
    """Sample the posterior of a model whose equations are solved by conjugate gradients.

    Parameters
    ----------
    kernel
        The data, with crossed factors.
    priors
        The model's priors; those of coefficients must be Normal or Flat.
    options
        As for `sample_importance`.
    sigma
        The residual standard deviation where it is known.

    Returns
    -------
    Draws
        `info` holds the number of probes and the Monte Carlo error of the log density too.

    Raises
    ------
    OptionError
        If the exact moments of random effects are asked for.
    FittingError
        If the weights are too uneven.
    """
    if options.store == SUMMARY:
        raise OptionError(
            "store='summary' needs the factor of the equations, which solver=\"iterative\" does without: keep draws of "
            'the terms named in store=, fewer of them with draws=, or use solver="exact".'
        )
    found = maximise_iteratively(kernel, "reml", sigma=sigma)
    paired = found.evaluation.solved.eliminated.paired
    density = IterativeDensity(kernel, priors, sigma, n_probes=found.n_probes, paired=paired)
    laplace = approximate(density, found)
    draws = _from_surface(density, laplace, options)
    if draws is None:
        draws = sample_importance(density, options, laplace=laplace)
    return _with_error(draws, found.n_probes)


def _from_surface(density: IterativeDensity, laplace: Laplace, options: Options) -> Draws | None:
    """Return draws of the density's surface, None where it will not do."""
    started = time.perf_counter()
    with progress_bar(None, "points", options.progressbar) as report, blas_threads(0):
        built = build_surface(density, laplace, report)
    if built is None:
        return None
    surface, error = built
    draws = sample_importance(surface, options, laplace=laplace)
    if draws.info["share_beyond"] > MOST_BEYOND:
        return None
    evaluations = laplace.evaluations + len(surface.nodes)
    return replace(
        draws,
        info={
            **draws.info,
            "nodes": len(surface.nodes),
            "surface_error": error,
            "evaluations": evaluations,
            "seconds": time.perf_counter() - started,
        },
    )


def _with_error(draws: Draws, n_probes: int) -> Draws:
    """Return draws that tell the error of the log posterior: that of the probes and that of the surface."""
    error = float(np.hypot(draws.info["log_density_error"], draws.info.get("surface_error", 0.0)))
    doubts = (
        ()
        if error <= NOTICEABLE
        else (
            f"The Monte Carlo error of the log posterior is {error:.2g}: weights of draws are uncertain by that share.",
        )
    )
    nodes = f" at {draws.info['nodes']} points" if "nodes" in draws.info else ""
    message = (
        f"The equations were solved by conjugate gradients with {n_probes} probes{nodes}: the Monte Carlo error of the "
        f"log posterior is {error:.2g}."
    )
    info = {**draws.info, "log_density_error": error, "probes": n_probes, "messages": (message,), "doubts": doubts}
    return replace(draws, info=info)


def approximate(density: IterativeDensity, found: IterativeMaximum) -> Laplace:
    """Return the normal approximation of (phi, log sigma) that REML's search leaves, the priors included.

    Parameters
    ----------
    density
        The model.
    found
        The maximum of its restricted likelihood.
    """
    shapes, sigma = density.kernel.shapes, found.maximum.sigma
    curvature, _ = curvature_at(found.lambdas, found.evaluation, shapes)
    best = _free_entries(density, found.lambdas)

    def minus_log(phi: Array) -> float:
        """Return minus the log density but for a constant."""
        points = density.points(phi)
        moved = _free_entries(density, density.lambdas(points)) - best
        return 0.25 * float(moved @ curvature @ moved) - density.log_prior(points, sigma)

    unit = units(density)[: density.n_phi]
    steps = np.diag(STEP * unit)

    def slope(phi: Array) -> Array:
        """Return the gradient of `minus_log`."""
        return np.array([minus_log(phi + s) - minus_log(phi - s) for s in steps]) / (2.0 * STEP * unit)

    start = np.append(density.phi(found.lambdas), [np.log(sigma)] if density.sigma is None else [])
    inside = within_supports(density, start)
    with np.errstate(all="ignore"):
        result = minimize(
            lambda z: minus_log(inside[: len(unit)] + unit * z),
            np.zeros(len(unit)),
            jac=lambda z: unit * slope(inside[: len(unit)] + unit * z),
            method="BFGS",
            options={"gtol": 1e-3, "maxiter": 200},
        )
        mode = inside[: len(unit)] + unit * result.x
        covariance = positive_inverse(gradient_differences(slope, mode, 0.1 * unit))
    evaluations = found.maximum.n_evaluations
    if density.sigma is not None:
        return Laplace(mode, covariance, np.nan, evaluations)
    whole = np.zeros((len(mode) + 1, len(mode) + 1))
    whole[:-1, :-1] = covariance
    whole[-1, -1] = 1.0 / (2.0 * (density.kernel.n - density.kernel.p))
    return Laplace(np.append(mode, inside[-1]), whole, np.nan, evaluations)


def _free_entries(density: IterativeDensity, lambdas: "list[Array] | tuple[Array, ...]") -> Array:
    return np.concatenate([f[shape.free_entries] for f, shape in zip(lambdas, density.kernel.shapes, strict=True)])

"""Importance sampling of the covariance parameters, every coefficient drawn exactly.

Weighted points of phi (`bayeslmm.inference.importance.points`) are resampled; at each one chosen sigma is drawn from
its grid and (beta, b) from their normal distribution, so the only error is that of the weights, which k-hat and the
effective size measure.
"""

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import FittingError, OptionError, warn_user
from bayeslmm.inference.draws import SUMMARY, Draws
from bayeslmm.inference.hamiltonian.sampling import has_many, sample_hamiltonian
from bayeslmm.inference.importance.coefficients import coefficients_at
from bayeslmm.inference.importance.early import EarlyDraws
from bayeslmm.inference.importance.handover import capitalised, duration, hamiltonian_seconds, nuts_seconds
from bayeslmm.inference.importance.points import WeightedPoints, is_costly, room_for_early, weighted_points
from bayeslmm.inference.laplace import Laplace, find_laplace
from bayeslmm.inference.nuts.marginal import sample_marginal
from bayeslmm.inference.options import Options
from bayeslmm.inference.progress import progress_bar
from bayeslmm.posterior.batched_density import BatchedDensity, batched_density
from bayeslmm.posterior.conditional_draws import all_coefficients, covariance_parameters
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.effect_summaries import components_of_points, summarise_effects
from bayeslmm.posterior.effect_summary import EffectSummary
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.posterior.surface_density import SurfaceDensity
from bayeslmm.types import Array

HANDOVER_TUNE = 1000  # warm-up iterations of NUTS where it takes over


def resample(weights: Array, n_draws: int, seed: int) -> NDArray[np.intp]:
    """Choose points in proportion to their weights (m,), systematically and in random order, shape (n_draws,)."""
    rng = np.random.default_rng([seed, 2 << 20])
    places = (np.arange(n_draws) + rng.uniform()) / n_draws
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), places), len(weights) - 1)
    return rng.permutation(chosen)


def importance_draws(
    density: CovarianceDensity,
    points: WeightedPoints,
    options: Options,
    batched: BatchedDensity | None = None,
    early: EarlyDraws | None = None,
) -> Draws:
    """Return equally weighted draws from weighted points, cut into chains for arviz.

    On a device where one is given; `early` has draws that were made when the points were weighed.
    """
    draws, chains = options.draws, options.chains
    chosen = resample(points.smoothed.weights, draws * chains, options.seed)
    found = coefficients_at(density, points.phi, chosen, options, batched=batched, early=early)
    sds, correlations = covariance_parameters(density, points.phi[chosen], found.sigma)

    summaries: tuple[EffectSummary, ...] = ()
    if options.store == SUMMARY:
        parts = components_of_points(density, points.phi, points.smoothed.weights, options.seed)
        summaries = summarise_effects(density, parts, options.quantiles)
    errors = {}
    if isinstance(density, IterativeDensity):
        errors["log_density_error"] = density.difference_error(points.phi, points.smoothed.weights)
    if isinstance(density, SurfaceDensity):
        errors["share_beyond"] = density.share_beyond(points.phi[chosen])

    def cut(values: NDArray[Any]) -> NDArray[Any]:
        """Cut draws into chains."""
        return values.reshape(chains, draws, *values.shape[1:])

    return Draws(
        beta=cut(all_coefficients(density, found.beta, points.phi[chosen], options.seed)),
        sigma=cut(found.sigma),
        sd=tuple(cut(sd) for sd in sds),
        cor=tuple(None if c is None else cut(c) for c in correlations),
        effects=tuple(cut(effects) for effects in found.effects),
        stats={"lp": cut(points.log_density[chosen]), "point": cut(chosen)},
        method="importance",
        info={
            "k_hat": points.smoothed.k_hat if np.isfinite(points.smoothed.k_hat) else None,
            "effective_size": points.effective_size if np.isfinite(points.effective_size) else float(draws * chains),
            "kish_size": points.smoothed.effective_size,
            "largest_weight": points.smoothed.largest,
            "points": len(points.phi),
            "rounds": points.rounds,
            "kernel_failures": points.failures,
            "kernel_evaluations": len(points.phi),
            "log_evidence": points.log_evidence,
            "log_evidence_error": points.log_evidence_error,
            "evaluations": points.laplace.evaluations + len(points.phi),
            "seed": options.seed,
            "device": "cpu" if batched is None else batched.device.name,
            **errors,
        },
        summaries=summaries,
    )


def sample_importance(density: CovarianceDensity, options: Options, *, laplace: Laplace | None = None) -> Draws:
    """Sample the posterior by importance sampling, or by NUTS where the weights are too uneven.

    Weights of more than `MANY` parameters always are, so there Hamiltonian Monte Carlo samples from the start; it also
    takes the place of NUTS where a point is costly.

    Parameters
    ----------
    density
        The model.
    options
        Equally weighted draws to return, cut into chains for arviz; seed; cores, should NUTS take over.
    laplace
        Where proposals start; None to search for the mode.

    Returns
    -------
    Draws
        `info` holds k_hat, effective_size, points, rounds and log_evidence; after a hand-over, sampler is "nutpie" or
        "hmc" and a message says why.

    Raises
    ------
    OptionError, ModelError, MissingDependencyError
        If a graphics card is asked for that is not there, has no room or nothing to do.
    FittingError
        If the weights are too uneven, and NUTS must not or cannot take over.
    """
    started = time.perf_counter()
    batched = batched_density(density, options.device)
    if options.handover == "nuts" and has_many(density):
        if options.device == "cuda":
            raise OptionError(
                f"device='cuda' is for importance sampling, and {density.n_phi} covariance parameters are sampled by "
                "Hamiltonian Monte Carlo: use device='cpu' or 'auto', or handover='keep'."
            )
        reason = f"weights of {density.n_phi} covariance parameters are too uneven for importance sampling"
        laplace = find_laplace(density) if laplace is None else laplace
        return _sample_by_hamiltonian(density, options, laplace, reason, started)
    early = room_for_early(density, options)
    with progress_bar(None, "points", options.progressbar) as report:
        points = weighted_points(density, options, laplace=laplace, report=report, batched=batched, early=early)
    if not points.trouble or options.handover == "keep":
        found = importance_draws(density, points, options, batched, early)
        return replace(found, info={**found.info, "seconds": time.perf_counter() - started})
    if options.handover == "error":
        raise FittingError(
            f"{capitalised(points.trouble)}. Use method='nuts', handover='nuts' to be handed over to it, or "
            "handover='keep' for the weighted draws as they are."
        )
    if isinstance(density, IterativeDensity):
        raise FittingError(
            f"{capitalised(points.trouble)}. NUTS cannot take over, since it needs the factor of the equations, which "
            "solver='iterative' does without. Use solver='exact' where memory allows, simplify the random effects, or "
            "use handover='keep' for the weighted draws as they are."
        )
    if density.single is None and is_costly(density):
        return _sample_by_hamiltonian(density, options, whole_laplace(density, points.laplace), points.trouble, started)
    options, whole = replace(options, tune=HANDOVER_TUNE), whole_laplace(density, points.laplace)
    warn_user(
        f"{capitalised(points.trouble)}, so NUTS takes over, for about "
        f"{duration(nuts_seconds(density, whole.mode, options))}. handover='error' or 'keep' prevents it."
    )
    with progress_bar(options.chains, "chains", options.progressbar) as report:
        sampled = sample_marginal(density, options, report=report)
    info = {
        "sampler": "nutpie",
        "parametrization": "marginal",
        "tune": HANDOVER_TUNE,
        "device": "cpu",
        "importance_k_hat": points.smoothed.k_hat,
        "importance_effective_size": points.effective_size,
        "messages": (f"NUTS took over because {points.trouble}.",),
        "seconds": time.perf_counter() - started,
    }
    return replace(sampled, info={**sampled.info, **info})


def whole_laplace(density: CovarianceDensity, laplace: Laplace) -> Laplace:
    """Return the approximation of (phi, log sigma), found anew where it is of phi alone."""
    return laplace if len(laplace.mode) == density.dimension else find_laplace(density)


def _sample_by_hamiltonian(
    density: CovarianceDensity, options: Options, laplace: Laplace, reason: str, started: float
) -> Draws:
    """Sample by Hamiltonian Monte Carlo, saying why and how long it takes."""
    warn_user(
        f"{capitalised(reason)}, so Hamiltonian Monte Carlo takes over, for about "
        f"{duration(hamiltonian_seconds(density, laplace.mode, options))}. handover='error' or 'keep' prevents it."
    )
    with progress_bar(options.chains, "chains", options.progressbar) as report:
        sampled = sample_hamiltonian(density, laplace, options, report=report)
    info = {
        "device": "cpu",
        "messages": (f"Hamiltonian Monte Carlo took over because {reason}.",),
        "seconds": time.perf_counter() - started,
    }
    return replace(sampled, info={**sampled.info, **info})

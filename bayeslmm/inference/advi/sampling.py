"""Draws from PyMC's automatic differentiation variational inference, with a check of how far to trust them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.covariance.pairs import correlation_matrices
from bayeslmm.design.design import Design
from bayeslmm.design.names import safe_name, sd_name
from bayeslmm.errors import OptionError
from bayeslmm.inference.advi.variational import (
    NormalApproximation,
    bound_is_rising,
    evaluate_points,
    fit_normal,
    is_lost,
)
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.importance.psis import SmoothedWeights, smooth_weights
from bayeslmm.inference.nuts.chain import Chain
from bayeslmm.inference.nuts.marginal import marginal_draws
from bayeslmm.inference.options import Options
from bayeslmm.inference.room import check_room_for_coordinates
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.types import Array, Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.kernel import Kernel
    from bayeslmm.priors.model_priors import ModelPriors


RELIABLE_K_HAT = 0.7  # Vehtari et al. (2024)
FEWEST_EFFECTIVE = 0.1  # of the draws, below which the approximation is far from the posterior whatever k̂ says
COPIES = 3.0  # of the draws of an explicit model: normal numbers, points, and the variables
FEWEST_ITERATIONS = 100  # less cannot even be judged
LOST = (
    "ADVI's optimiser did not come near the posterior: these draws mean nothing; use another parametrization=, "
    'mean-field instead of full-rank, or method="importance" or "nuts".'
)


def sample_advi(
    design: Design,
    priors: "ModelPriors",
    options: Options,
    *,
    kernel: "Kernel | None" = None,
    sigma: float | None = None,
) -> Draws:
    r"""Approximate the posterior by a normal distribution of unconstrained coordinates and draw from it.

    The draws are compared with the exact density: the Pareto k̂ of :math:`\log p - \log q` says whether q covers it.

    Parameters
    ----------
    design
        Response, columns and random terms.
    priors
        A prior for every parameter.
    kernel
        The likelihood; needed by the marginal model.
    sigma
        The residual standard deviation, where it is fixed.
    options
        Steps, rank and parametrization of the approximation ("marginal", which None means, approximates the covariance
        parameters and draws coefficients exactly; "noncentered" and "centered" approximate the explicit hierarchy,
        coefficients and all), independent draws per chain, chains and seed.

    Returns
    -------
    Draws
        With ``stats`` lp (log density of the unconstrained coordinates) and log_weight (log of exact over approximate
        density, smoothed and normalised); and in `info` parametrization, approximation, iterations, seed, seconds,
        ``elbo`` (iterations,), ``log_evidence_bound``, ``k_hat``, ``effective_size``, and ``failures`` and ``doubts``,
        sentences on what not to trust.

    Raises
    ------
    OptionError
        When an option has an impossible value.
    PriorError
        When the marginal model cannot integrate a coefficient's prior.
    ModelError
        When memory does not hold the draws.
    FittingError
        When the optimiser leaves the region where the density is finite.
    KeyboardInterrupt
        When fitting was interrupted.
    """
    parametrization = options.parametrization or "marginal"
    check_iterations(options.iterations)
    if parametrization == "marginal" and kernel is None:
        raise OptionError("parametrization='marginal' needs the kernel of the design.")
    started = time.perf_counter()
    density = None
    if parametrization == "marginal" and kernel is not None:
        density = CovarianceDensity(kernel, priors, sigma)
    else:
        check_room(design, options)
    model, outputs = _build(design, priors, density, sigma, parametrization)
    found = approximate(model, outputs, options)
    values, stats = found.values, found.stats
    if density is not None:
        drawn = _marginal(density, values["coordinates"], stats, replace(options, seed=found.next_seed))
    else:
        drawn = explicit_draws(design, values, stats, sigma, options)
    doubts = doubtful(
        coefficients_and_scales(design, drawn) | {"sigma": drawn.sigma}, found.approximation, found.weights
    )
    info = {"parametrization": parametrization, **found.info(options, doubts, time.perf_counter() - started)}
    return replace(drawn, info=info)


@dataclass(frozen=True, slots=True)
class Approximated:
    """Draws of a normal approximation, weighed against the exact density.

    Attributes
    ----------
    approximation, weights
        The normal distribution, and the smoothed weights of its draws.
    log_ratio
        log p - log q of every draw, (chains draws,).
    values
        The outputs, each (chains, draws, ...).
    stats
        lp and log_weight, (chains, draws).
    next_seed
        For what is drawn given them.
    """

    approximation: NormalApproximation
    weights: SmoothedWeights
    log_ratio: Array
    values: Mapping[str, Floats]
    stats: Mapping[str, Floats]
    next_seed: int

    def info(self, options: Options, doubts: tuple[str, ...], seconds: float) -> dict[str, Any]:
        """Return what is known of the approximation."""
        return {
            "approximation": "full-rank" if options.full_rank else "mean-field",
            "iterations": options.iterations,
            "seed": options.seed,
            "elbo": self.approximation.elbo,
            "log_evidence_bound": float(np.mean(self.log_ratio)),
            "k_hat": self.weights.k_hat,
            "effective_size": self.weights.effective_size,
            "failures": (LOST,) if is_lost(self.log_ratio, len(self.approximation.mean)) else (),
            "doubts": doubts,
            "seconds": seconds,
        }


def approximate(model: Any, outputs: dict[str, Any], options: Options) -> Approximated:
    """Approximate the posterior of a PyMC model, draw from the approximation and weigh the draws.

    Raises
    ------
    FittingError
        When the optimiser leaves the region where the density is finite.
    KeyboardInterrupt
        When fitting was interrupted.
    """
    fit_seed, point_seed, next_seed = (
        int(s.generate_state(1)[0]) >> 1 for s in np.random.SeedSequence(options.seed).spawn(3)
    )
    approximation = fit_normal(
        model,
        full_rank=options.full_rank,
        iterations=options.iterations,
        seed=fit_seed,
        progressbar=options.progressbar,
    )
    chains, draws = options.chains, options.draws
    normals = np.random.default_rng(point_seed).standard_normal((chains * draws, len(approximation.mean)))
    found = evaluate_points(model, outputs, approximation, approximation.points(normals))
    log_ratio = found["log_density"] - approximation.log_density(normals)
    weights = smooth_weights(np.where(np.isnan(log_ratio), -np.inf, log_ratio))
    found["log_weight"] = np.log(np.maximum(weights.weights, np.finfo(float).tiny))
    values = {name: array.reshape(chains, draws, *array.shape[1:]) for name, array in found.items()}
    stats = {"lp": values["log_density"], "log_weight": values["log_weight"]}
    return Approximated(approximation, weights, log_ratio, values, stats, next_seed)


def check_room(design: Design, options: Options) -> None:
    """Refuse draws of an explicit model that memory does not hold.

    Raises
    ------
    ModelError
        With the remedies.
    """
    terms = design.terms
    check_room_for_coordinates([t.name for t in terms], [t.shape.n_effects for t in terms], options, COPIES)


def check_iterations(iterations: int) -> None:
    """Refuse too few.

    Raises
    ------
    OptionError
        With how many there should be.
    """
    if iterations < FEWEST_ITERATIONS:
        raise OptionError(
            f"iterations={iterations!r} is too few; ADVI needs thousands, and at least {FEWEST_ITERATIONS}."
        )


def _build(
    design: Design,
    priors: "ModelPriors",
    density: CovarianceDensity | None,
    sigma: float | None,
    parametrization: str,
) -> tuple[Any, dict[str, Any]]:
    """Return the PyMC model and the variables draws are wanted of."""
    if density is not None:
        from bayeslmm.pymc_models.marginal import build_marginal, marginal_coordinates

        model = build_marginal(density.kernel, priors, design, sigma=sigma)
        return model, {"coordinates": marginal_coordinates(model)}
    from bayeslmm.pymc_models import build_hierarchical

    model = build_hierarchical(design, priors, sigma=sigma, centered=parametrization == "centered")
    names = [*variable_names(design), *(["sigma"] if sigma is None else [])]
    return model, {name: model[name] for name in names}


def variable_names(design: Design) -> list[str]:
    """Return the names of coefficients, covariances and effects in an explicit model."""
    names = ["beta"] if design.p else []
    for term in design.terms:
        names += [f"sd_{safe_name(term.name)}", f"r_{safe_name(term.name)}"]
        names += [f"cor_{safe_name(term.name)}"] if term.has_correlations else []
    return names


def _marginal(
    density: CovarianceDensity,
    coordinates: Floats,
    stats: Mapping[str, Floats],
    options: Options,
) -> Draws:
    """Draw the coefficients exactly for each (phi, log sigma), shape (chains, draws, d)."""
    chains = [
        Chain(np.asarray(x, dtype=float), {name: values[c] for name, values in stats.items()}, 0)
        for c, x in enumerate(coordinates)
    ]
    drawn = marginal_draws(density, chains, options)
    return replace(drawn, method="advi")


def explicit_draws(
    design: Design,
    values: Mapping[str, Floats],
    stats: Mapping[str, Floats],
    sigma: float | None,
    options: Options,
) -> Draws:
    """Return the values of an explicit model's variables as draws."""
    keep = options.keep([term.name for term in design.terms])
    shape = stats["lp"].shape
    correlations = []
    for term in design.terms:
        pairs = values.get(f"cor_{safe_name(term.name)}")
        correlations.append(None if pairs is None else correlation_matrices(pairs, term.n_columns))
    return Draws(
        beta=values["beta"] if design.p else np.empty((*shape, 0)),
        sigma=values["sigma"] if sigma is None else np.full(shape, float(sigma)),
        sd=tuple(values[f"sd_{safe_name(term.name)}"] for term in design.terms),
        cor=tuple(correlations),
        effects=tuple(
            values[f"r_{safe_name(term.name)}"].astype(options.dtype, copy=False)
            if kept
            else np.empty((*shape, 0, term.n_columns), dtype=options.dtype)
            for term, kept in zip(design.terms, keep, strict=True)
        ),
        stats=stats,
        method="advi",
    )


def doubtful(
    parameters: Mapping[str, Floats], approximation: NormalApproximation, weights: SmoothedWeights
) -> tuple[str, ...]:
    """Return sentences on what cannot be trusted of parameters, each (chains, draws)."""
    doubts = []
    rise = bound_is_rising(approximation.elbo)
    if rise > 0:
        doubts.append(
            f"ADVI has not converged: over its last quarter of iterations the evidence lower bound rose by {rise:.2g} "
            f"nats; give it more (iterations={2 * len(approximation.elbo)})."
        )
    if not weights.k_hat <= RELIABLE_K_HAT or weights.effective_size < FEWEST_EFFECTIVE * len(weights.weights):
        doubts.append(_distance(parameters, weights))
    return tuple(doubts)


def _distance(parameters: Mapping[str, Floats], weights: SmoothedWeights) -> str:
    """Say how far weighting the draws by the exact density moves means and standard deviations."""
    w = weights.weights
    found = f"The Pareto k̂ of ADVI's draws, weighted by the exact density, is {weights.k_hat:.3g}"
    if not weights.k_hat <= RELIABLE_K_HAT:
        found += f", above {RELIABLE_K_HAT}"
    found += f": {weights.effective_size:.0f} of {len(w)} draws remain effective"
    worst: dict[str, tuple[float, str]] = {}
    for name, values in parameters.items():
        x = values.ravel()
        spread = float(np.std(x))
        if spread == 0:
            continue
        mean = float(w @ x)
        shift = abs(mean - float(np.mean(x))) / spread
        ratio = np.sqrt(max(float(w @ (x - mean) ** 2), 0.0)) / spread
        for kind, value in (("shift", shift), ("ratio", max(ratio, 1 / max(ratio, 1e-300)))):
            if value > worst.get(kind, (-1.0, ""))[0]:
                worst[kind] = (value, name)
    if not worst:
        return f'{found}, so part of the posterior is missed; use method="importance" or "nuts".'
    (shift, moved), (ratio, stretched) = worst["shift"], worst["ratio"]
    return (
        f"{found}, the mean of {moved} moves by {shift:.1f} of its standard deviations and the standard deviation of "
        f"{stretched} changes by a factor of {ratio:.1f}. Trust ADVI's means and intervals no further than that, or "
        'use method="importance" or "nuts".'
    )


def coefficients_and_scales(design: Design, drawn: Draws) -> dict[str, Floats]:
    """Return coefficients and standard deviations by name, each (chains, draws)."""
    found = {name: drawn.beta[..., j] for j, name in enumerate(design.fixed_names)}
    for term, sd in zip(design.terms, drawn.sd, strict=True):
        found |= {sd_name(term.name, effect): sd[..., s] for s, effect in enumerate(term.effects)}
    return found

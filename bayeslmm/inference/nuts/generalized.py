r"""NUTS on the explicit posterior of a generalized model, nothing integrated out and nothing to compile.

(z, v) are sampled: :math:`x = \hat x + Rz` are the covariance and dispersion parameters, whitened by Laplace's
approximation of their marginal, and v the coefficients and random effects in the coordinates of
`bayeslmm.posterior.generalized_explicit`, whitened by the factor at :math:`\hat x` and rescaled with x.

Where every part of the density has a compiled form, the sampler is compiled, too; else nutpie calls Python.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.errors import OptionError
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.generalized_draws import ChainedDraws
from bayeslmm.inference.importance.generalized_laplace import find_generalized_laplace
from bayeslmm.inference.importance.proposals import cholesky_factor
from bayeslmm.inference.laplace import Laplace
from bayeslmm.inference.nuts.chain import Chain
from bayeslmm.inference.nuts.chain_store import ChainStore, digest
from bayeslmm.inference.nuts.compiled_chain import CompiledDensity, sample_compiled_chain
from bayeslmm.inference.nuts.marginal import chain_seeds, sample_chain
from bayeslmm.inference.options import Options
from bayeslmm.inference.progress import progress_bar
from bayeslmm.inference.room import check_room_for_coordinates
from bayeslmm.likelihood.threads import blas_threads, idle_cores, in_threads
from bayeslmm.posterior.explicit_arrays import can_compile, explicit_arrays, pack
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.posterior.generalized_explicit import ExplicitDensity, user_effects
from bayeslmm.posterior.generalized_mixture import GeneralizedMixtureDensity, explicit_posterior

CONVERTED_AT_ONCE = 1 << 20  # coordinates of draws that become effects
THREADED_ROWS = 2000  # from here on a gradient's compiled part outweighs Python's, and chains run at once


def generalized_nuts(density: GeneralizedDensity, options: Options) -> ChainedDraws:
    """Sample the posterior of a generalized model.

    Parameters
    ----------
    density
        The model.
    options
        Draws, chains and seed: chain k depends on (seed, k) only. Finished chains are kept in the folder `resume`.

    Raises
    ------
    OptionError
        If options do not go together.
    ModelError
        If memory does not hold the draws.
    FittingError
        If the density cannot be evaluated at the start, or at no point.
    KeyboardInterrupt
        If sampling was interrupted.
    """
    check_nuts_options(options)
    names = list(density.problem.predictor.names)
    check_room_for_coordinates(names, [s.n_effects for s in density.shapes], options, 1.0 + 1.0 / options.chains)
    started = time.perf_counter()
    laplace, evaluation = find_generalized_laplace(density)
    explicit = explicit_posterior(density, laplace.mode, evaluation)
    laplace = laplace.of_first(len(explicit.mode))
    compiled = compiled_density(explicit, laplace) if can_compile(explicit) else None
    store = None if options.resume is None else ChainStore(options.resume, run_facts(density, options))
    seeds = chain_seeds(options.seed, options.chains)
    stop = Event()

    def run(k: int) -> Chain:
        kept = store.load(k) if store is not None else None
        if kept is not None:
            return kept
        if compiled is not None:
            chain = sample_compiled_chain(compiled, options, seeds[k], stop)
        else:
            chain = with_coefficients(explicit, sample_chain(explicit, laplace, options, seeds[k], stop))
        if store is not None:
            store.save(k, chain)
        return chain

    alone = compiled is None and density.problem.predictor.n < THREADED_ROWS
    workers = 1 if alone else min(options.chains, options.cores or idle_cores())
    with blas_threads(0), progress_bar(options.chains, "chains", options.progressbar) as report:
        chains = in_threads(run, range(options.chains), workers, report, stop)
        found = chained_draws(explicit, chains, options)
    facts = {
        "sampler": options.sampler if compiled is None else "compiled",
        "parametrization": "whitened",
        "seed": options.seed,
        "tune": options.tune,
        "target_accept": options.target_accept,
        "seconds": time.perf_counter() - started,
    }
    return replace(found, draws=replace(found.draws, info={**found.draws.info, **facts}))


def compiled_density(explicit: ExplicitDensity, laplace: Laplace) -> CompiledDensity:
    """Return the density for the compiled sampler."""
    arrays = explicit_arrays(explicit, cholesky_factor(laplace.covariance))
    return CompiledDensity(explicit, arrays, pack(arrays))


def with_coefficients(explicit: ExplicitDensity, chain: Chain) -> Chain:
    """Return a chain of (x, v) as one of (x, c)."""
    points = [explicit.unpack(q) for q in chain.x]
    return replace(chain, x=np.array([np.concatenate([p.x, *(u.ravel() for u in p.u), p.beta]) for p in points]))


def check_nuts_options(options: Options) -> None:
    """Refuse samplers and parametrizations that are for normal responses.

    Raises
    ------
    OptionError
        With what there is.
    """
    if options.parametrization is not None:
        raise OptionError(
            f"parametrization={options.parametrization!r} is for normal responses; leave it out: other families are "
            "sampled in coordinates of their own."
        )
    if options.sampler != "nutpie":
        raise OptionError(f"sampler={options.sampler!r} is for normal responses; use 'nutpie'.")


def run_facts(density: GeneralizedDensity, options: Options) -> dict[str, Any]:
    """Return what makes a run: the same facts give the same draws."""
    problem = density.problem
    arrays = [problem.response.y, problem.response.size, problem.predictor.X, problem.predictor.offset]
    arrays += [*problem.predictor.z, *(codes.astype(float) for codes in problem.predictor.pattern.codes)]
    if problem.response.weights is not None:
        arrays.append(problem.response.weights)
    if problem.prior is not None:
        arrays += [problem.prior.precision, problem.prior.mean]
    stated = density.mixtures if isinstance(density, GeneralizedMixtureDensity) else ()
    return {
        "seed": options.seed,
        "coordinates": "parameters and coefficients",
        "draws": options.draws,
        "tune": options.tune,
        "chains": options.chains,
        "target_accept": options.target_accept,
        "model": digest(arrays, [repr((problem.family, density.terms, density.dispersion, *stated))]),
    }


def chained_draws(density: ExplicitDensity, chains: list[Chain], options: Options) -> ChainedDraws:
    """Return the draws of all parameters on the user's columns, and forget those of the chains."""
    model = density.density
    predictor, family = model.problem.predictor, model.problem.family
    d = model.dimension
    keep = options.keep(list(predictor.names))
    x = np.array([chain.x[:, :d] for chain in chains])
    shape = x.shape[:2]
    beta = np.array([chain.x[:, d + density.n_effects :] for chain in chains]) @ predictor.fixed.matrix.T
    effects = _effects_of(density, chains, keep, options.dtype)
    shown = [sds_and_correlations(factor) for factor in model.user_factors(model.term_points(x))]
    working = family.with_level(model.working(x), predictor.fixed.centring.level(beta))
    working = working.reshape(shape[0] * shape[1], family.n_dispersion)
    natural = np.array([np.hstack([np.zeros(0), *family.natural(row).values()]) for row in working])
    draws = Draws(
        beta=beta,
        sigma=np.ones(shape),
        sd=tuple(sd for sd, _ in shown),
        cor=tuple(c if s.has_correlations else None for (_, c), s in zip(shown, model.shapes, strict=True)),
        effects=effects,
        stats={name: np.array([chain.stats[name] for chain in chains]) for name in chains[0].stats},
        method="nuts",
        info={
            "kernel_failures": sum(chain.failures for chain in chains),
            "kernel_evaluations": sum(chain.evaluations for chain in chains),
        },
    )
    return ChainedDraws(draws, natural.reshape(*shape, family.n_dispersion))


def _effects_of(
    density: ExplicitDensity, chains: list[Chain], keep: Sequence[bool], dtype: type
) -> tuple[NDArray[np.floating], ...]:
    """Return the random effects in the user's columns, (C, D, J, S) per term; chains lose their coordinates in turn."""
    d, draws = density.density.dimension, len(chains[0].x)
    found: tuple[NDArray[np.floating], ...] = tuple(
        np.empty((len(chains), draws, shape.n_levels if kept else 0, shape.n_columns), dtype=dtype)
        for shape, kept in zip(density.density.shapes, keep, strict=True)
    )
    step = max(1, CONVERTED_AT_ONCE // chains[0].x.shape[1])
    for c, chain in enumerate(chains):
        for start in range(0, draws, step):
            some = chain.x[start : start + step]
            for own, effects in zip(found, user_effects(density, some[:, :d], some[:, d:], keep, dtype), strict=True):
                own[c, start : start + step] = effects
        chains[c] = replace(chain, x=chain.x[:0].copy())
    return found

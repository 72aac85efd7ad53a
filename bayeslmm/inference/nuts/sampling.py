"""Posterior draws by the No-U-Turn sampler."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from bayeslmm.covariance.pairs import correlation_matrices
from bayeslmm.design.design import Design
from bayeslmm.design.names import safe_name
from bayeslmm.errors import OptionError
from bayeslmm.inference.draws import SUMMARY, Draws
from bayeslmm.inference.nuts.chain_store import ChainStore, digest
from bayeslmm.inference.nuts.explicit import Trace, compile_for_nutpie, sample_with_nutpie, sample_with_pymc
from bayeslmm.inference.nuts.marginal import sample_known, sample_marginal
from bayeslmm.inference.options import Options, check_choice
from bayeslmm.inference.progress import progress_bar
from bayeslmm.inference.room import check_room_for_coordinates
from bayeslmm.likelihood.kernel import Kernel, build_kernel
from bayeslmm.posterior.coefficient_priors import not_normal
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.mixture_density import can_integrate, covariance_density
from bayeslmm.types import Parametrization

if TYPE_CHECKING:
    from bayeslmm.priors.model_priors import ModelPriors

TRACE_COPIES = 2.0  # of draws, the sampler's own and those returned


def sample_nuts(
    design: Design,
    priors: "ModelPriors",
    options: Options,
    *,
    sigma: float | None = None,
    kernel: Kernel | None = None,
) -> Draws:
    """Sample the posterior of a design by NUTS.

    Parameters
    ----------
    design
        Response, columns and random terms.
    priors
        A prior for every parameter.
    options
        Draws, chains, seed and how to sample.
    sigma
        The residual standard deviation, where it is fixed.
    kernel
        The design's likelihood, if it is built already.

    Returns
    -------
    Draws
        On the user's columns; `info` holds sampler, parametrization, seed, tune, target_accept and seconds.

    Raises
    ------
    OptionError
        When options do not go together.
    FittingError
        When sampling cannot start.
    KeyboardInterrupt
        When sampling was interrupted.

    References
    ----------
    Hoffman and Gelman (2014), Journal of Machine Learning Research 15, 1593-1623.
    """
    mixtures = options.sampler == "nutpie"
    chosen, messages = choose_parametrization(options.parametrization, priors, mixtures)
    started = time.perf_counter()
    if chosen == "marginal":
        build = covariance_density if mixtures else CovarianceDensity
        density = build(build_kernel(design) if kernel is None else kernel, priors, sigma)
        found = _sample_density(density, design, options)
    elif options.resume is not None:
        raise OptionError(f"resume= is for parametrization='marginal', not {chosen!r}.")
    elif options.store == SUMMARY:
        raise OptionError(f"store='summary' is for parametrization='marginal', not {chosen!r}.")
    else:
        found = _sample_explicit(design, priors, options, sigma, centered=chosen == "centered")
    facts = {
        "sampler": options.sampler,
        "parametrization": chosen,
        "seed": options.seed,
        "tune": options.tune,
        "target_accept": options.target_accept,
        "seconds": time.perf_counter() - started,
        "messages": (*messages, *found.info.get("messages", ())),
    }
    return replace(found, info={**found.info, **facts})


def choose_parametrization(
    wanted: Parametrization | None, priors: "ModelPriors", mixtures: bool = False
) -> tuple[Parametrization, tuple[str, ...]]:
    """Return the parametrization, and a message where it is not the usual one.

    Parameters
    ----------
    wanted
        What the user asks for; None for the usual one.
    priors
        The priors.
    mixtures
        Whether the sampler can integrate Student t priors and the like out.
    """
    if wanted is not None:
        check_choice("parametrization", wanted, get_args(Parametrization))
        return wanted, ()
    others = not_normal(priors)
    if not others or (mixtures and can_integrate(priors)):
        return "marginal", ()
    return "noncentered", (
        f"The priors of {', '.join(others)} are not normal and cannot be integrated out, so the explicit model "
        "was sampled.",
    )


def _sample_density(density: CovarianceDensity, design: Design, options: Options) -> Draws:
    """Sample the covariance parameters, coefficients integrated out."""
    if density.dimension == 0:
        return sample_known(density, options)
    if options.sampler == "nutpie":
        store = None if options.resume is None else ChainStore(options.resume, _facts(density, options))
        with progress_bar(options.chains, "chains", options.progressbar) as report:
            return sample_marginal(density, options, report=report, store=store)
    if options.resume is not None:
        raise OptionError(f"resume= is for sampler='nutpie', not {options.sampler!r}.")
    from bayeslmm.inference.nuts.marginal_pymc import sample_marginal_pymc

    return sample_marginal_pymc(density, design, options)


def _facts(density: CovarianceDensity, options: Options) -> dict[str, Any]:
    """Return what makes a run: the same facts give the same draws."""
    products = density.kernel.products
    arrays = [products.xy, *products.nest_z, *products.nest_xy, products.trailing_xy]
    return {
        "seed": options.seed,
        "draws": options.draws,
        "tune": options.tune,
        "chains": options.chains,
        "target_accept": options.target_accept,
        "model": digest(
            arrays, [repr((density.stated.fixed, density.priors.terms, density.priors.sigma)), repr(density.sigma)]
        ),
    }


def _sample_explicit(
    design: Design, priors: "ModelPriors", options: Options, sigma: float | None, *, centered: bool
) -> Draws:
    """Sample coefficients and random effects along with everything else."""
    from bayeslmm.pymc_models import build_hierarchical

    kept = [term for term, keep in zip(design.terms, options.keep([t.name for t in design.terms]), strict=True) if keep]
    check_room_for_coordinates([t.name for t in kept], [t.shape.n_effects for t in kept], options, TRACE_COPIES)
    model = build_hierarchical(design, priors, sigma=sigma, centered=centered)
    names = _names(design, sigma, options.keep([term.name for term in design.terms]))
    if options.sampler == "pymc":
        trace = sample_with_pymc(model, names, options)
    else:
        trace = sample_with_nutpie(compile_for_nutpie(model, names), names, options)
    return _draws(trace, design, sigma, (options.chains, options.draws))


def _names(design: Design, sigma: float | None, keep: Sequence[bool]) -> list[str]:
    """Return the names of the variables of the explicit model that become draws."""
    names = (["beta"] if design.p else []) + (["sigma"] if sigma is None else [])
    for term, kept in zip(design.terms, keep, strict=True):
        names += [f"sd_{safe_name(term.name)}", f"r_{safe_name(term.name)}"] if kept else [f"sd_{safe_name(term.name)}"]
        if term.has_correlations:
            names.append(f"cor_{safe_name(term.name)}")
    return names


def _draws(trace: Trace, design: Design, sigma: float | None, shape: tuple[int, int]) -> Draws:
    values = trace.values
    correlations = [values.get(f"cor_{safe_name(term.name)}") for term in design.terms]
    return Draws(
        beta=values["beta"] if design.p else np.empty((*shape, 0)),
        sigma=values["sigma"] if sigma is None else np.full(shape, float(sigma)),
        sd=tuple(values[f"sd_{safe_name(term.name)}"] for term in design.terms),
        cor=tuple(
            None if pairs is None else correlation_matrices(pairs, term.n_columns)
            for pairs, term in zip(correlations, design.terms, strict=True)
        ),
        effects=tuple(
            values.get(f"r_{safe_name(term.name)}", np.empty((*shape, 0, term.n_columns))) for term in design.terms
        ),
        stats=trace.stats,
        method="nuts",
    )

"""From a model to a fit, one function per method: check what the data identify, run the engine, wrap the result."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from bayeslmm.errors import FittingError, ModelError, OptionError
from bayeslmm.inference.compiling import compilation_told
from bayeslmm.inference.draws import SUMMARY
from bayeslmm.inference.options import Options
from bayeslmm.inference.room import check_room_for_draws, memory_explained
from bayeslmm.likelihood.deferred import DeferredConditional
from bayeslmm.methods import find_method
from bayeslmm.results.fit import Fit
from bayeslmm.results.point import PointFit
from bayeslmm.types import Array, Method

if TYPE_CHECKING:
    from bayeslmm.design import Design, Finding
    from bayeslmm.families import Family
    from bayeslmm.inference.draws import Draws
    from bayeslmm.inference.generalized_draws import ChainedDraws
    from bayeslmm.inference.optimum.average_information import IterativeMaximum
    from bayeslmm.inference.optimum.maximum import Maximum
    from bayeslmm.likelihood import Kernel
    from bayeslmm.posterior.density import CovarianceDensity
    from bayeslmm.priors.model_priors import ModelPriors
    from bayeslmm.results.spec import ModelSpec


class Fittable(Protocol):
    """What a method needs of a model."""

    @property
    def design(self) -> "Design":
        """The data as arrays."""
        ...

    @property
    def posterior_design(self) -> "Design":
        """The data as arrays, with the collinear columns that the priors tell apart."""
        ...

    @property
    def family(self) -> "Family | None":
        """The response distribution of a generalized model."""
        ...

    @property
    def spec(self) -> "ModelSpec":
        """The arguments of the model."""
        ...

    @property
    def kernel(self) -> "Kernel":
        """The likelihood."""
        ...

    @property
    def products_kernel(self) -> "Kernel":
        """The likelihood, which need not be factored."""
        ...

    @property
    def resolved_priors(self) -> "ModelPriors":
        """The priors."""
        ...

    @property
    def findings(self) -> "list[Finding]":
        """What the data cannot identify."""
        ...


def _fit_likelihood(model: Fittable, method: str, options: Options) -> PointFit:
    from bayeslmm.inference.optimum.maximum import maximise
    from bayeslmm.likelihood.iterative.choice import is_iterative

    _require_identified([f for f in model.findings if f.kind != "confounded"], f'method="{method}"')
    if is_iterative(model.products_kernel, options.solver):
        return _fit_iteratively(model, method)
    found = maximise(model.kernel, method, sigma=model.spec.sigma)
    return point_fit(model, method, replace(found, message=" ".join([found.message, *unidentified(model)])))


def _fit_iteratively(model: Fittable, method: str) -> PointFit:
    from bayeslmm.inference.optimum.average_information import maximise_iteratively

    found = maximise_iteratively(model.products_kernel, method, sigma=model.spec.sigma)
    message = " ".join([found.maximum.message, *unidentified(model)])
    return iterative_fit(model, method, replace(found, maximum=replace(found.maximum, message=message)))


def iterative_fit(model: Fittable, method: str, found: "IterativeMaximum") -> PointFit:
    """Return the fit at an optimum that was found without a factor."""
    from bayeslmm.likelihood.iterative.coefficients import conditional_modes
    from bayeslmm.results.iterative import IterativeFit

    kernel, optimum = model.products_kernel, found.maximum
    modes = conditional_modes(kernel, optimum.theta, found.evaluation.solved, optimum.sigma)
    return IterativeFit(model.design, model.spec, method, optimum, modes, model_kernel=kernel, found=found)


def point_fit(model: Fittable, method: str, optimum: "Maximum") -> PointFit:
    """Return the fit at an optimum: coefficients and random effects are conditional on it."""
    if method != "map":
        deferred = DeferredConditional(model.kernel, optimum.theta, method, model.spec.sigma, optimum.sigma)
        return PointFit(model.design, model.spec, method, optimum, deferred, model_kernel=model.kernel)
    from bayeslmm.inference.optimum.held_mode import mode_coefficients

    priors = model.resolved_priors
    modes = mode_coefficients(model.kernel, priors, optimum.theta, optimum.sigma, model.spec.sigma)
    return PointFit(model.design, model.spec, method, optimum, modes, priors, model_kernel=model.kernel)


def _fit_nuts(model: Fittable, method: str, options: Options) -> Fit:
    from bayeslmm.inference.nuts.sampling import sample_nuts

    priors = _usable_priors(model)
    with _extremes_explained():
        draws = sample_nuts(model.posterior_design, priors, options, sigma=model.spec.sigma, kernel=model.kernel)
    return _posterior_fit(model, priors, draws, options)


def _fit_importance(model: Fittable, method: str, options: Options) -> Fit:
    from bayeslmm.inference.importance.sampling import sample_importance
    from bayeslmm.likelihood.iterative.choice import is_iterative

    priors = _usable_priors(model)
    if is_iterative(model.products_kernel, options.solver):
        from bayeslmm.inference.iterative_sampling import sample_iteratively

        if options.device == "cuda":
            raise OptionError(
                "With so many crossed effects solver='auto' does without the dense matrix that device='cuda' is for: "
                "use solver='exact', or device='cpu'."
            )
        with _extremes_explained():
            draws = sample_iteratively(model.products_kernel, priors, options, sigma=model.spec.sigma)
        return _posterior_fit(model, priors, draws, options)
    with _extremes_explained():
        draws = sample_importance(_density(model, priors), options)
    return _posterior_fit(model, priors, draws, options)


def _fit_hamiltonian(model: Fittable, method: str, options: Options) -> Fit:
    from bayeslmm.inference.hamiltonian.sampling import sample_hmc

    priors = _usable_priors(model)
    with _extremes_explained():
        draws = sample_hmc(_density(model, priors), options)
    return _posterior_fit(model, priors, draws, options)


def _fit_advi(model: Fittable, method: str, options: Options) -> Fit:
    from bayeslmm.inference.advi.sampling import sample_advi
    from bayeslmm.inference.nuts.sampling import choose_parametrization
    from bayeslmm.inference.optimum.maximum import maximise

    priors = _usable_priors(model)
    if model.spec.sigma is None and model.kernel.n > model.kernel.p:
        maximise(model.kernel, "reml")  # refuses residuals of zero, for which ADVI would find a small sigma
    chosen, messages = choose_parametrization(options.parametrization, priors)
    draws = sample_advi(
        model.posterior_design,
        priors,
        replace(options, parametrization=chosen),
        kernel=model.kernel,
        sigma=model.spec.sigma,
    )
    draws = replace(draws, info={**draws.info, "messages": (*messages, *draws.info.get("messages", ()))})
    return _posterior_fit(model, priors, draws, options)


def stored(store: Sequence[str] | str) -> tuple[str, ...] | str:
    """Return what was to be stored as facts about a run have it."""
    return store if isinstance(store, str) else tuple(store)


def _posterior_fit(model: Fittable, priors: "ModelPriors", draws: "Draws", options: Options) -> Fit:
    """Wrap draws, writing down which terms were to be stored, so that a saved fit knows what it need not hold."""
    from bayeslmm.results.posterior import PosteriorFit

    if options.store is not None:
        draws = replace(draws, info={**draws.info, "store": stored(options.store)})
    return PosteriorFit(
        model.posterior_design, model.spec, draws, priors, unidentified(model), model_kernel=model.products_kernel
    )


def _all_coefficients(draws: "Draws", priors: "ModelPriors", options: Options) -> "Draws":
    """Add the coefficients of collinear columns to draws of those of independent ones."""
    if draws.beta.shape[-1] == len(priors.fixed):
        return draws
    from bayeslmm.posterior.collinear_prior import collinear_prior
    from bayeslmm.posterior.conditional_draws import COMPLETION

    rng = np.random.default_rng([options.seed, COMPLETION])
    flat = draws.beta.reshape(-1, draws.beta.shape[-1])
    beta = collinear_prior(priors).complete(flat.astype(float), rng)
    return replace(draws, beta=beta.reshape(*draws.beta.shape[:-1], -1).astype(draws.beta.dtype))


def _with_level_of_all(found: "ChainedDraws", draws: "Draws", family: "Family", priors: "ModelPriors") -> Array:
    """Return draws of the dispersion parameters, (chains, draws, K), moved by the level of the columns added."""
    from bayeslmm.posterior.collinear_prior import independent_centring

    if draws is found.draws or all(not parameter.holds_level for parameter in family.parameters):
        return found.dispersion
    own = independent_centring(priors.fixed_centring, priors.collinearity)
    level = priors.fixed_centring.level(draws.beta.astype(float)) - own.level(found.draws.beta.astype(float))
    moved = np.array(found.dispersion)
    for parameter, here in family.places():
        if parameter.holds_level:
            moved[..., here] += level[..., None]
    return moved


@contextmanager
def _extremes_explained() -> Iterator[None]:
    """Turn what numbers beyond the reach of double precision raise into an error that says where to look.

    Raises
    ------
    FittingError
        In place of an arithmetic error.
    """
    try:
        yield
    except (np.linalg.LinAlgError, ArithmeticError) as error:
        raise FittingError(
            "The posterior could not be evaluated: numbers are beyond the reach of double precision. Most often a "
            "prior and the data differ by many orders of magnitude. "
            'Compare model.priors with the estimates of method="reml", and state priors on the scale of the data.'
        ) from error


def _fit_map(model: Fittable, method: str, options: Options) -> PointFit:
    from bayeslmm.inference.optimum.held_mode import posterior_maximum

    priors = _usable_priors(model)
    with np.errstate(over="ignore"), _extremes_explained():
        found = posterior_maximum(model.kernel, priors, model.spec.sigma)
        return point_fit(model, method, replace(found, message=" ".join([found.message, *unidentified(model)])))


def _usable_priors(model: Fittable) -> "ModelPriors":
    priors = model.resolved_priors
    unguarded = [finding for finding in model.findings if _is_flat(priors, finding)]
    _require_identified(unguarded, "flat priors")
    if model.family is not None:
        from bayeslmm.posterior.flat_coefficients import check_zero_coefficients

        check_zero_coefficients(model.design, model.family, priors)
    return priors


def _sampled_priors(model: Fittable) -> "ModelPriors":
    """Return the priors of a generalized model, if the responses leave a posterior under them."""
    from bayeslmm.posterior.flat_coefficients import check_separation

    priors = _usable_priors(model)
    check_separation(model.posterior_design, cast("Family", model.family), priors)
    return priors


def _density(model: Fittable, priors: "ModelPriors") -> "CovarianceDensity":
    from bayeslmm.posterior.mixture_density import covariance_density

    return covariance_density(model.kernel, priors, model.spec.sigma)


def _fit_generalized_likelihood(model: Fittable, method: str, options: Options) -> PointFit:
    from bayeslmm.inference.optimum.generalized.maximum import maximise_design
    from bayeslmm.results.generalized import generalized_fit

    design = model.design
    family = cast("Family", model.family)
    _require_identified([f for f in model.findings if f.kind != "confounded"], f'method="{method}"')
    found = maximise_design(family, design, options.n_quad)
    return generalized_fit(design, model.spec, found, unidentified(model))


def _fit_generalized_importance(model: Fittable, method: str, options: Options) -> Fit:
    from bayeslmm.inference.importance.generalized import generalized_importance
    from bayeslmm.posterior.generalized_mixture import generalized_density

    priors = _sampled_priors(model)
    family = cast("Family", model.family).for_response(model.design.outcome)
    with _extremes_explained():
        found = generalized_importance(generalized_density(model.posterior_design, family, priors), options)
    return _generalized_posterior(model, family, priors, found, options)


def _fit_generalized_nuts(model: Fittable, method: str, options: Options) -> Fit:
    from bayeslmm.inference.nuts.generalized import generalized_nuts
    from bayeslmm.posterior.generalized_mixture import generalized_density

    priors = _sampled_priors(model)
    family = cast("Family", model.family).for_response(model.design.outcome)
    with _extremes_explained():
        found = generalized_nuts(generalized_density(model.posterior_design, family, priors), options)
    return _generalized_posterior(model, family, priors, found, options)


def _fit_generalized_map(model: Fittable, method: str, options: Options) -> PointFit:
    from bayeslmm.inference.optimum.generalized.posterior_maximum import maximise_generalized_posterior
    from bayeslmm.inference.optimum.held_mode import check_held
    from bayeslmm.posterior.generalized_mixture import generalized_density
    from bayeslmm.results.generalized import generalized_fit

    priors = _usable_priors(model)
    check_held(priors)
    family = cast("Family", model.family).for_response(model.design.outcome)
    with _extremes_explained():
        found = maximise_generalized_posterior(generalized_density(model.posterior_design, family, priors))
    return generalized_fit(model.design, model.spec, found, unidentified(model), priors)


def _fit_generalized_advi(model: Fittable, method: str, options: Options) -> Fit:
    from bayeslmm.inference.advi.generalized import generalized_advi

    priors = _sampled_priors(model)
    family = cast("Family", model.family).for_response(model.design.outcome)
    return _generalized_posterior(
        model, family, priors, generalized_advi(model.posterior_design, family, priors, options), options
    )


def _generalized_posterior(
    model: Fittable, family: "Family", priors: "ModelPriors", found: "ChainedDraws", options: Options
) -> Fit:
    from bayeslmm.results.generalized_posterior import GeneralizedPosteriorFit

    draws = _all_coefficients(found.draws, priors, options)
    dispersion = _with_level_of_all(found, draws, family, priors)
    if options.store is not None:
        draws = replace(draws, info={**draws.info, "store": stored(options.store)})
    return GeneralizedPosteriorFit(
        model.posterior_design,
        model.spec,
        draws,
        priors,
        unidentified(model),
        family=family,
        dispersion=dispersion,
    )


GENERALIZED_RUNNERS: dict[Method, Callable[[Fittable, str, Options], Fit]] = {
    "nuts": _fit_generalized_nuts,
    "ml": _fit_generalized_likelihood,
    "importance": _fit_generalized_importance,
    "advi": _fit_generalized_advi,
    "map": _fit_generalized_map,
}
RUNNERS: dict[Method, Callable[[Fittable, str, Options], Fit]] = {
    "nuts": _fit_nuts,
    "importance": _fit_importance,
    "hmc": _fit_hamiltonian,
    "advi": _fit_advi,
    "map": _fit_map,
    "reml": _fit_likelihood,
    "ml": _fit_likelihood,
}


def run_method(model: Fittable, method: Method, options: Options) -> Fit:
    """Fit a model by a method.

    Raises
    ------
    OptionError
        If the method is not there for the model's family.
    ModelError
        If memory does not hold the draws.
    """
    if find_method(method).samples:
        terms = model.design.terms
        check_room_for_draws([term.name for term in terms], [term.shape.n_effects for term in terms], options)
    if options.store == SUMMARY and (model.family is not None or method == "advi"):
        raise OptionError(
            "store='summary' is for method='importance', 'nuts' and 'hmc' of normal responses; name the terms to "
            "keep, or none of them with store=()."
        )
    if model.family is not None and options.device == "cuda":
        raise OptionError("device='cuda' is for normal responses; use device='cpu' or 'auto' for other families.")
    if model.family is None and options.n_quad != 1:
        raise OptionError("n_quad= is for generalized models; the likelihood of a normal response is exact.")
    runner = RUNNERS[method] if model.family is None else _run_generalized
    with compilation_told(options.progressbar), memory_explained():
        return runner(model, method, options)


def _run_generalized(model: Fittable, method: Method, options: Options) -> Fit:
    runner = GENERALIZED_RUNNERS.get(method)
    if runner is not None:
        return runner(model, method, options)
    known = " or ".join(f'method="{other}"' for other in GENERALIZED_RUNNERS)
    raise OptionError(f"{find_method(method).name} is for normal responses; use {known}.")


def unidentified(model: Fittable) -> tuple[str, ...]:
    """Return sentences about what the data of a model cannot identify."""
    return tuple(_sentence(finding) for finding in model.findings)


def _require_identified(findings: "Sequence[Finding]", under: str) -> None:
    if findings:
        sentences = " ".join(_sentence(finding) for finding in findings)
        raise ModelError(f"With {under} this model has no estimate. {sentences}")


def _is_flat(priors: "ModelPriors", finding: "Finding") -> bool:
    """Whether no prior identifies what the data cannot: that of the term's sds, or of sigma, is flat."""
    sds = next(term.sd for term in priors.terms if term.name == finding.term)
    residual = finding.kind != "single level" and priors.sigma is not None and not priors.sigma.proper
    return residual or not all(prior.proper for prior in sds)


def _sentence(finding: "Finding") -> str:
    return f"{finding.message[0].upper()}{finding.message[1:]}."

"""The ways to fit a model: what each needs, which options it takes, what it returns."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from bayeslmm.errors import FittingError, ModelError, OptionError
from bayeslmm.results.fit import Fit
from bayeslmm.results.point import PointFit

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.design import Design, Finding
    from bayeslmm.inference.draws import Draws
    from bayeslmm.inference.optimum.maximum import Maximum
    from bayeslmm.likelihood import Kernel
    from bayeslmm.posterior.density import CovarianceDensity
    from bayeslmm.priors.model_priors import ModelPriors
    from bayeslmm.results.spec import ModelSpec

Method = Literal["nuts", "importance", "advi", "map", "reml", "ml"]
Sampler = Literal["nutpie", "nutpie-pymc", "pymc"]
Parametrization = Literal["marginal", "noncentered", "centered"]
Precision = Literal["float64", "float32"]


class Fittable(Protocol):
    """What a method needs of a model."""

    @property
    def design(self) -> "Design":
        """The data as arrays."""
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
    def resolved_priors(self) -> "ModelPriors":
        """The priors."""
        ...

    @property
    def blocks(self) -> "pd.DataFrame":
        """The blocks of the likelihood's factorisation."""
        ...


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fit; every method takes some of these and refuses the others."""

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    cores: int | None = None
    seed: int | None = None
    target_accept: float = 0.8
    sampler: Sampler = "nutpie"
    parametrization: Parametrization | None = None
    progressbar: bool | None = None
    precision: Precision = "float64"
    resume: str | Path | None = None
    store: Sequence[str] | None = None
    full_rank: bool = False
    iterations: int = 20_000


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """A way to fit: the function that does it and the options it takes."""

    run: Callable[[Fittable, str, FitOptions], Fit]
    options: tuple[str, ...]


def choose_method(method: str, options: FitOptions) -> MethodEntry:
    """Return the entry of a method.

    Raises
    ------
    OptionError
        If the method is unknown, or does not take an option that is not at its default.
    """
    if method not in METHODS:
        hint = f" Did you mean {method.lower()!r}?" if isinstance(method, str) and method.lower() in METHODS else ""
        raise OptionError(f"method={method!r} is unknown; the methods are {', '.join(map(repr, METHODS))}.{hint}")
    entry = METHODS[method]
    for field in fields(FitOptions):
        if field.name not in entry.options and getattr(options, field.name) != field.default:
            takers = ", ".join(repr(name) for name, other in METHODS.items() if field.name in other.options)
            raise OptionError(f"method={method!r} takes no option {field.name!r}; it is for {takers}.")
    return entry


def _fit_likelihood(model: Fittable, method: str, options: FitOptions) -> PointFit:
    from bayeslmm.inference.optimum.maximum import maximise

    _require_identified(untold_findings(model), f'method="{method}"')
    return point_fit(model, method, maximise(model.kernel, method, sigma=model.spec.sigma))


def point_fit(model: Fittable, method: str, optimum: "Maximum") -> PointFit:
    """Return the fit at an optimum: coefficients and random effects are conditional on it."""
    if method != "map":
        modes = model.kernel.conditional(optimum.theta, method, model.spec.sigma)
        return PointFit(model.design, model.spec, method, optimum, modes, model.blocks)
    from bayeslmm.inference.optimum.mode import posterior_conditional

    priors = model.resolved_priors
    modes = posterior_conditional(_density(model, priors), optimum.theta, optimum.sigma)
    return PointFit(model.design, model.spec, method, optimum, modes, model.blocks, priors)


def _fit_nuts(model: Fittable, method: str, options: FitOptions) -> Fit:
    from bayeslmm.inference.nuts.sampling import sample_nuts
    from bayeslmm.results.posterior import PosteriorFit

    priors = _usable_priors(model)
    given = {name: value for name, value in asdict(options).items() if name in NUTS_OPTIONS}
    dtype, store = _dtype(given.pop("precision")), given.pop("store")
    keep = _keep(model, store)
    with _extremes_told():
        draws = sample_nuts(
            model.design, priors, sigma=model.spec.sigma, kernel=model.kernel, dtype=dtype, keep=keep, **given
        )
    return PosteriorFit(model.design, model.spec, _noting(draws, store), priors, untold(model))


def _fit_importance(model: Fittable, method: str, options: FitOptions) -> Fit:
    from bayeslmm.inference.importance.sampling import sample_importance
    from bayeslmm.inference.nuts.sampling import check_count, resolve_seed, shows_progress
    from bayeslmm.results.posterior import PosteriorFit

    priors = _usable_priors(model)
    with _extremes_told():
        draws = sample_importance(
            _density(model, priors),
            draws=check_count("draws", options.draws, 1),
            chains=check_count("chains", options.chains, 1),
            seed=resolve_seed(options.seed),
            cores=None if options.cores is None else check_count("cores", options.cores, 1),
            dtype=_dtype(options.precision),
            keep=_keep(model, options.store),
            progressbar=shows_progress() if options.progressbar is None else options.progressbar,
        )
    return PosteriorFit(model.design, model.spec, _noting(draws, options.store), priors, untold(model))


def _fit_advi(model: Fittable, method: str, options: FitOptions) -> Fit:
    from bayeslmm.inference.advi.sampling import sample_advi
    from bayeslmm.inference.nuts.sampling import check_count, choose_parametrization, resolve_seed, shows_progress
    from bayeslmm.results.posterior import PosteriorFit

    priors = _usable_priors(model)
    chosen, messages = choose_parametrization(options.parametrization, priors)
    draws = sample_advi(
        model.design,
        priors,
        model.kernel,
        sigma=model.spec.sigma,
        parametrization=chosen,
        full_rank=options.full_rank,
        iterations=check_count("iterations", options.iterations, 1),
        draws=check_count("draws", options.draws, 1),
        chains=check_count("chains", options.chains, 1),
        seed=resolve_seed(options.seed),
        progressbar=shows_progress() if options.progressbar is None else options.progressbar,
        dtype=_dtype(options.precision),
        keep=_keep(model, options.store),
    )
    draws = replace(draws, info={**draws.info, "messages": (*messages, *draws.info.get("messages", ()))})
    return PosteriorFit(model.design, model.spec, _noting(draws, options.store), priors, untold(model))


@contextmanager
def _extremes_told() -> Iterator[None]:
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
            f"The posterior could not be evaluated ({error}). Most often a prior and the data differ by many orders of "
            "magnitude. "
            'Compare model.priors with the estimates of method="reml", and state priors on the scale of the data.'
        ) from error


def _keep(model: Fittable, store: Sequence[str] | None) -> tuple[bool, ...]:
    """Return, per term, whether the draws of its random effects are kept."""
    from bayeslmm.inference.draws import terms_to_keep

    return terms_to_keep([term.name for term in model.design.terms], store)


def _noting(draws: "Draws", store: Sequence[str] | None) -> "Draws":
    """Write down which terms were to be stored, so that a saved fit knows what it need not hold."""
    return draws if store is None else replace(draws, info={**draws.info, "store": tuple(store)})


def _fit_map(model: Fittable, method: str, options: FitOptions) -> PointFit:
    from bayeslmm.inference.optimum.mode import maximise_posterior

    found = maximise_posterior(_density(model, _usable_priors(model)))
    return point_fit(model, method, replace(found, message=" ".join([found.message, *untold(model)])))


def _usable_priors(model: Fittable) -> "ModelPriors":
    priors = model.resolved_priors
    unguarded = [finding for finding in untold_findings(model) if _is_flat(priors, finding)]
    _require_identified(unguarded, "flat priors")
    return priors


def _density(model: Fittable, priors: "ModelPriors") -> "CovarianceDensity":
    from bayeslmm.posterior.density import CovarianceDensity

    return CovarianceDensity(model.kernel, priors, model.spec.sigma)


def _dtype(precision: str) -> type:
    if precision not in get_args(Precision):
        raise OptionError(f"precision={precision!r} is unknown; it is 'float64' or 'float32'.")
    return np.float32 if precision == "float32" else np.float64


ADVI_ONLY = ("full_rank", "iterations")
NUTS_OPTIONS = tuple(field.name for field in fields(FitOptions) if field.name not in ADVI_ONLY)
DRAW_OPTIONS = ("draws", "chains", "seed", "progressbar", "precision", "store")
METHODS: dict[str, MethodEntry] = {
    "nuts": MethodEntry(_fit_nuts, NUTS_OPTIONS),
    "importance": MethodEntry(_fit_importance, (*DRAW_OPTIONS, "cores")),
    "advi": MethodEntry(_fit_advi, (*DRAW_OPTIONS, "parametrization", *ADVI_ONLY)),
    "map": MethodEntry(_fit_map, ("progressbar",)),
    "reml": MethodEntry(_fit_likelihood, ("progressbar",)),
    "ml": MethodEntry(_fit_likelihood, ("progressbar",)),
}


def untold(model: Fittable) -> tuple[str, ...]:
    """Return sentences about what the data of a model cannot tell."""
    return tuple(_sentence(finding) for finding in untold_findings(model))


def untold_findings(model: Fittable) -> "list[Finding]":
    """Return what the data cannot tell; a known sigma tells variances from the residual's."""
    from bayeslmm.design import identifiability

    findings = identifiability(model.design)
    if model.spec.sigma is None:
        return findings
    return [finding for finding in findings if finding.kind == "single level"]


def _require_identified(findings: "Sequence[Finding]", under: str) -> None:
    if findings:
        sentences = " ".join(_sentence(finding) for finding in findings)
        raise ModelError(f"With {under} this model has no estimate. {sentences}")


def _is_flat(priors: "ModelPriors", finding: "Finding") -> bool:
    """Whether no prior tells what the data cannot: that of the term's sds, or of sigma, is flat."""
    sds = next(term.sd for term in priors.terms if term.name == finding.term)
    residual = finding.kind != "single level" and priors.sigma is not None and not priors.sigma.proper
    return residual or not all(prior.proper for prior in sds)


def _sentence(finding: "Finding") -> str:
    return f"{finding.message[0].upper()}{finding.message[1:]}."

"""Which pictures a fit can be drawn as, and the arrays each needs."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.errors import OptionError, is_word
from bayeslmm.results.comparison import interval_frames
from bayeslmm.results.effects import covariance_labels, parameter_names
from bayeslmm.results.fit import Fit
from bayeslmm.results.kept_effects import require_effects
from bayeslmm.results.point import PointFit
from bayeslmm.results.posterior import PosteriorFit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(fit: Fit, kind: str | None, options: Mapping[str, Any]) -> "Figure":
    """Return a picture of a fit.

    Raises
    ------
    OptionError
        If the fit has no such picture, or the picture no such option.
    """
    kinds = available(fit)
    chosen = next(iter(kinds)) if kind is None else kind
    if not is_word(chosen, kinds):
        raise OptionError(
            f"A {type(fit).__name__} has no plot {chosen!r}; its plots (kind=) are {', '.join(map(repr, kinds))}."
        )
    valid = list(inspect.signature(kinds[chosen]).parameters)[1:]
    for name in options:
        if name not in valid:
            listed = ", ".join(map(repr, valid)) if valid else "none"
            raise OptionError(f"The plot {chosen!r} has no option {name!r}; its options: {listed}.")
    return kinds[chosen](fit, **options)


def available(fit: Fit) -> dict[str, Callable[..., "Figure"]]:
    """Return the functions that draw a kind of fit, the default first."""
    both: dict[str, Callable[..., Figure]] = {
        "forest": _forest,
        "ranef": _ranef,
        "shrinkage": _shrinkage,
        "effects": _effects,
        "residuals": _residuals,
    }
    if isinstance(fit, PosteriorFit):
        kinds = {"trace": _trace, **both, "pairs": _pairs, "rank": _rank, "energy": _energy, "ppc": _ppc}
        return {**kinds, "elbo": _elbo} if "elbo" in fit.info else kinds
    return {"history": _history, **both}


def _forest(fit: Fit, against: Fit | Sequence[Fit] = (), level: float = 0.95) -> "Figure":
    from bayeslmm.plots.intervals import interval_figure

    others = (against,) if isinstance(against, Fit) else tuple(against)
    return interval_figure(interval_frames((fit, *others), level), level)


def _ranef(fit: Fit, group: str | None = None) -> "Figure":
    from bayeslmm.plots.caterpillar import caterpillar_figure

    names = [term.name for term in fit.design.terms]
    if not names:
        raise OptionError("This model has no random effects to draw.")
    chosen = names[0] if group is None else group
    if chosen not in names:
        raise OptionError(f"There is no random term {chosen!r}; the terms are {', '.join(map(repr, names))}.")
    if isinstance(fit, PointFit):
        shown = "mode ± 2 sd of its error, θ and σ taken as known"
        return caterpillar_figure(fit.ranef()[chosen], fit.ranef_sd(coefficients="estimated")[chosen], shown)
    return caterpillar_figure(fit.ranef()[chosen], fit.ranef_sd()[chosen], "posterior mean ± 2 sd")


def _effects(
    fit: Fit,
    variable: str | None = None,
    by: str | None = None,
    group: str | None = None,
    points: bool = True,
    level: float = 0.95,
    ax: Any = None,
) -> "Figure":
    from bayeslmm.plots.effect_curve import effect_figure
    from bayeslmm.results.effect_curves import check_variable, effect_curves

    return effect_figure(effect_curves(fit, check_variable(variable), by, group, points, level), ax)


def _shrinkage(fit: Fit, group: str | None = None, ax: Any = None) -> "Figure":
    from bayeslmm.plots.shrinkage import shrinkage_figure
    from bayeslmm.results.shrinkage import pooling

    names = [term.name for term in fit.design.terms]
    if not names or fit.design.outcome is not None:
        raise OptionError("Shrinkage is drawn of normal responses with random effects.")
    chosen = names[0] if group is None else group
    if chosen not in names:
        raise OptionError(f"There is no random term {chosen!r}; the terms are {', '.join(map(repr, names))}.")
    if isinstance(fit, PosteriorFit):
        require_effects(fit.design, fit.draws)
    return shrinkage_figure(*pooling(fit, chosen), chosen, ax)


def _names(fit: PosteriorFit) -> list[str]:
    """Return the parameters' names, those of the covariances first."""
    names, p = parameter_names(fit.design, fit.varcorr()), fit.design.p
    return [*names[p:], *names[:p]]


def _rank(fit: PosteriorFit) -> "Figure":
    from bayeslmm.plots.rank import rank_figure

    draws = np.concatenate([fit.covariance_draws, fit.draws.beta], axis=2)
    return rank_figure(draws, _names(fit))


def _energy(fit: PosteriorFit, ax: Any = None) -> "Figure":
    from bayeslmm.plots.energy import energy_figure

    if "energy" not in fit.draws.stats:
        raise OptionError(f"Only NUTS and Hamiltonian Monte Carlo have an energy; these draws are by {fit.method!r}.")
    return energy_figure(np.asarray(fit.draws.stats["energy"], dtype=float), ax)


def _residuals(fit: Fit) -> "Figure":
    from bayeslmm.plots.residuals import residual_figure

    if fit.design.outcome is not None:
        return residual_figure(fit.fitted().to_numpy(), fit.residuals(kind="quantile").to_numpy(), "quantile residual")
    weights = 1.0 if fit.design.weights is None else np.sqrt(fit.design.weights)
    return residual_figure(fit.fitted().to_numpy(), (fit.residuals() * weights).to_numpy())


def _history(fit: PointFit) -> "Figure":
    from bayeslmm.plots.history import history_figure

    return history_figure(fit.history)


def _trace(fit: PosteriorFit) -> "Figure":
    from bayeslmm.plots.trace import trace_figure

    draws = np.concatenate([fit.covariance_draws, fit.draws.beta], axis=2)
    names = _names(fit)
    return trace_figure(draws, names, fit.draws.stats.get("diverging"))


def _pairs(fit: PosteriorFit) -> "Figure":
    from bayeslmm.plots.pairs import pairs_figure

    names = list(covariance_labels(fit.varcorr()))
    return pairs_figure(fit.covariance_draws, names, fit.draws.stats.get("diverging"))


def _elbo(fit: PosteriorFit, ax: Any = None) -> "Figure":
    from bayeslmm.plots.elbo import elbo_figure

    return elbo_figure(np.asarray(fit.info["elbo"], dtype=float), ax)


def _ppc(fit: PosteriorFit, n_draws: int = 50, seed: Any = None, ax: Any = None) -> "Figure":
    from bayeslmm.plots.predictive import predictive_figure

    simulated = fit.simulate(n_draws, random="conditional", seed=seed)
    return predictive_figure(fit.design.y, simulated.to_numpy().T, fit.design.response, ax)

"""Profiles of a point fit's likelihood, by parameter name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import pandas as pd
from scipy.special import ndtri

from bayeslmm.covariance.pairs import lower_triangle
from bayeslmm.errors import OptionError, check_level, suggest
from bayeslmm.intervals.profile import Curve, Profiler, transformed
from bayeslmm.results import effects
from bayeslmm.results.refitting import by_criterion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayeslmm.results.generalized import GeneralizedPointFit
    from bayeslmm.results.point import PointFit

GRID = 101  # values a curve is drawn at
SHOWN = (0.5, 0.8, 0.95)


@dataclass(frozen=True, eq=False)
class LikelihoodProfile:
    """The profiles of a fit's parameters.

    Attributes
    ----------
    curves
        The profile of each parameter, by its name in `compare`.
    level
        Largest probability of an interval the profiles reach.
    """

    curves: dict[str, Curve]
    level: float

    @property
    def n_evaluations(self) -> int:
        """Evaluations of the deviance with its gradient that all curves took."""
        return sum(curve.n_evaluations for curve in self.curves.values())

    @property
    def table(self) -> pd.DataFrame:
        """The points: parameter, value, zeta, the signed root of the deviance's rise, and its slope."""
        frames = [
            pd.DataFrame({"parameter": name, "value": c.values, "zeta": c.zeta, "slope": c.slopes})
            for name, c in self.curves.items()
        ]
        return pd.concat(frames, ignore_index=True)

    def confint(self, level: float = 0.95) -> pd.DataFrame:
        """Return the limits of every parameter's interval.

        Raises
        ------
        OptionError
            If the profiles do not reach so far.
        """
        check_level(level)
        if level > self.level:
            raise OptionError(
                f"The profiles reach intervals of {self.level:g}, not {level:g}: use profile(level={level:g})."
            )
        limits = [curve.limits(level) for curve in self.curves.values()]
        return pd.DataFrame(limits, columns=["lower", "upper"], index=pd.Index(list(self.curves), name="parameter"))

    def plot(self) -> "Figure":
        """Draw zeta against the value of each parameter: a straight line where Wald's interval is right."""
        from bayeslmm.plots.profile import profile_figure

        drawn = {}
        for name, curve in self.curves.items():
            grid = np.linspace(curve.values[0], curve.values[-1], GRID)
            drawn[name] = grid, curve.interpolate(grid)
        return profile_figure(drawn, {level: float(ndtri(0.5 + level / 2)) for level in SHOWN if level <= self.level})

    def __repr__(self) -> str:
        return f"<LikelihoodProfile of {', '.join(self.curves)}; intervals up to {self.level:g}>"


def profile(fit: "PointFit", parameters: Sequence[str] | str | None, level: float) -> LikelihoodProfile:
    """Profile the parameters of a fit; see :meth:`PointFit.profile`."""
    check_level(level)
    if fit.method == "map":
        raise OptionError("A profile is of the likelihood, and this is a posterior mode: fit with method='ml'.")
    if not fit.status.ok:
        raise OptionError(f"The fit is no optimum, so it has no profile. {fit.status.message}")
    wanted = chosen(parameters, parameter_names(fit))
    if fit.design.outcome is not None:
        from bayeslmm.results.generalized_profiles import generalized_curves

        return LikelihoodProfile(generalized_curves(cast("GeneralizedPointFit", fit), wanted, level), level)
    ml = by_criterion(fit, "ml")
    profiler = Profiler(
        ml.kernel,
        ml._factors,
        ml.sigma,
        sigma_known=ml.spec.sigma is not None,
        beta=ml.modes.beta,
        beta_cov=ml.modes.beta_cov,
        level=level,
    )
    names = effects.parameter_names(ml.design, ml.varcorr())

    def sigma(start: int, _: int) -> Curve:
        return transformed(profiler.covariance(start, kind="sigma"), np.exp, np.exp)

    return LikelihoodProfile({name: curve_at(ml, profiler, names.index(name), sigma) for name in wanted}, level)


def parameter_names(fit: "PointFit") -> list[str]:
    """Return the names of coefficients, sds, correlations and sigma or dispersions, those that were estimated."""
    if fit.design.outcome is not None:
        from bayeslmm.results.generalized_profiles import parameter_names

        return parameter_names(cast("GeneralizedPointFit", fit))
    names = effects.parameter_names(fit.design, fit.varcorr())
    return names if fit.spec.sigma is None else names[:-1]


def chosen(parameters: Sequence[str] | str | None, known: Sequence[str]) -> list[str]:
    """Return the parameters asked for, all where none are named, as they are printed.

    Each may be written in any spelling, ``"sd_Subject[Days]"`` or ``"Subject: sd(Days)"``.

    Raises
    ------
    OptionError
        If one is unknown.
    """
    if parameters is None:
        return list(known)
    several = isinstance(parameters, list | tuple | set | pd.Index) or np.ndim(parameters) > 0
    wanted: list[Any] = list(parameters) if several else [parameters]
    printed = {other: name for name in known for other in effects.spellings(name)} | {name: name for name in known}
    for name in wanted:
        if not isinstance(name, str) or name not in printed:
            near = suggest(name, printed)
            hint = f"did you mean {near[0]!r}?" if near else f"the parameters are {', '.join(map(repr, known))}."
            raise OptionError(f"There is no parameter {name!r}: {hint}")
    return [printed[name] for name in wanted]


class _Profiles(Protocol):
    """What follows the likelihood of one fit."""

    def coefficient(self, j: int) -> Curve:
        """Return the profile of a coefficient."""

    def covariance(self, place: int, *, term: int | None = None, first: int = 0, kind: str = "sd") -> Curve:
        """Return the profile of a covariance parameter."""


def curve_at(fit: "PointFit", profiler: _Profiles, place: int, last: Callable[[int, int], Curve]) -> Curve:
    """Return the profile of the parameter at a place among the names.

    Parameters
    ----------
    fit, profiler
        The fit, and what follows its likelihood.
    place
        Coefficients come first, then each term's sds and correlations.
    last
        Given the number of covariance parameters and the place among what comes behind them, the profile there.
    """
    if place < fit.design.p:
        return profiler.coefficient(place)
    place -= fit.design.p
    start = 0  # of the term's coordinates
    for k, term in enumerate(fit.design.terms):
        size, pairs = term.n_columns, lower_triangle(term.n_columns) if term.has_correlations else []
        if place < size:
            return profiler.covariance(start + place)
        if place < size + len(pairs):
            later, first = pairs[place - size]
            others = [effect for effect in range(size) if effect != first]
            curve = profiler.covariance(start + size + others.index(later), term=k, first=first, kind="z")
            return transformed(curve, np.tanh, lambda z: 1.0 / np.cosh(z) ** 2)
        place -= size + len(pairs)
        start += term.shape.n_coordinates
    return last(start, place)

"""Posterior predictive checks: the data beside data that the model makes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from bayeslmm.checking.predictive import Replicated, distance_of_distributions, lag_one, level_means
from bayeslmm.errors import OptionError, is_word, suggest
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.options import check_count, generator
from bayeslmm.results.fit import Fit
from bayeslmm.results.kept_effects import require_effects
from bayeslmm.results.posterior import PosteriorFit
from bayeslmm.results.posterior_prediction import flatten, predictor_draws
from bayeslmm.results.prediction import training_rows
from bayeslmm.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayeslmm.design.design import Design, RandomTerm

Statistic = Literal["density", "mean", "sd", "group means", "residual autocorrelation"]
Groups = Literal["same", "new"]

REPLICATES, FEWEST_REPLICATES = 1000, 100
NUMBERS = 20_000_000  # of all replicates together
DRAWN = 50  # densities in a picture
SHOWN_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class PredictiveCheck:
    """A statistic of the response beside those of replicates.

    Attributes
    ----------
    statistic
        Its name.
    values
        What was computed.
    names
        One per value of the statistic.
    response
        Name, values and some replicates of the response, for the picture of densities.
    """

    statistic: str
    values: Replicated
    names: tuple[str, ...]
    response: tuple[str, Array, Array] = field(repr=False)

    @property
    def p_value(self) -> float:
        """P(T of a replicate >= T of the response), of the first value; near zero or one the model does not fit."""
        return float(self.values.p_values[0])

    @property
    def table(self) -> pd.DataFrame:
        """A row per value of the statistic: observed, mean and 95% limits of the replicates, p_value.

        Observed is an average over the draws where the statistic needs parameters.
        """
        observed = self.values.observed
        low, high = np.quantile(self.values.replicated, [0.025, 0.975], axis=0)
        columns = {
            "observed": np.where(np.ptp(observed, axis=0) == 0, observed[0], observed.mean(axis=0)),
            "replicated": self.values.replicated.mean(axis=0),
            "lower": low,
            "upper": high,
            "p_value": self.values.p_values,
        }
        return pd.DataFrame(columns, index=pd.Index(self.names, name="statistic"))

    def plot(self, *, ax: Any = None) -> "Figure":
        """Draw the check: densities, a histogram of the statistic, or intervals of its values.

        Parameters
        ----------
        ax
            Axes of a matplotlib figure to draw into; None makes a figure.
        """
        from bayeslmm.plots.predictive import predictive_figure
        from bayeslmm.plots.predictive_check import level_figure, statistic_figure

        if self.statistic == "density":
            name, y, replicates = self.response
            return predictive_figure(y, replicates, name, ax)
        if len(self.names) == 1:
            return statistic_figure(
                self.values.observed[:, 0], self.values.replicated[:, 0], self.names[0], self.p_value, ax
            )
        return level_figure(self.table, self.statistic, ax)

    def __repr__(self) -> str:
        return f"Posterior predictive check of the {self.statistic}\n{self.table}"

    def _repr_html_(self) -> str:
        return f"<p>Posterior predictive check of the {self.statistic}</p>{self.table.to_html()}"


def predictive_check(
    fit: Fit,
    statistic: "Statistic | Callable[[Array], Any]",
    group: str | None,
    groups: str | None,
    draws: int | None,
    seed: Any,
) -> PredictiveCheck:
    """Check a fit; see :meth:`PosteriorFit.ppc`."""
    name = statistic if isinstance(statistic, str) else getattr(statistic, "__name__", "statistic")
    if not is_word(statistic, get_args(Statistic)) and not callable(statistic):
        near = suggest(statistic, get_args(Statistic)) if isinstance(statistic, str) else []
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(map(repr, get_args(Statistic)))
        raise OptionError(
            f"statistic={statistic!r} is unknown; use one of {listed}, or a function of a response.{hint}"
        )
    point = not isinstance(fit, PosteriorFit)
    groups = ("new" if point else "same") if groups is None else groups
    if not is_word(groups, get_args(Groups)):
        raise OptionError(f"groups={groups!r} is unknown; use 'same' or 'new'.")
    generalized = fit.design.outcome is not None
    if point and (groups == "same" or statistic == "residual autocorrelation"):
        raise OptionError(
            "groups='same' and statistic='residual autocorrelation' need a posterior: fit with method='importance'."
        )
    if not point and generalized and (groups == "new" or statistic == "residual autocorrelation"):
        raise OptionError("groups='new' and statistic='residual autocorrelation' are for normal responses.")
    most = max(FEWEST_REPLICATES, NUMBERS // max(fit.nobs, 1))
    count = min(REPLICATES, most) if draws is None else check_count("draws", draws, 2)
    rng = generator(seed)
    if not isinstance(fit, PosteriorFit):
        y = np.asarray(fit.design.outcome.y if generalized else fit.design.y, dtype=float)
        means, replicates = np.zeros((1, 1)), _from_estimates(fit, count, rng)
    elif generalized:
        simulated = fit.simulate(count, random="conditional", seed=rng)
        y, replicates = np.asarray(fit.design.outcome.y, dtype=float), simulated.to_numpy().T
        means = np.zeros((1, 1))
    else:
        y, (means, replicates) = fit.design.y, replicate(fit, count, groups == "new", rng)
    values, names = _evaluate(fit.design, statistic, group, y, means, replicates, name)
    return PredictiveCheck(name, values, names, (fit.design.response, y, replicates[:DRAWN].copy()))


def _evaluate(
    design: "Design", statistic: Any, group: str | None, y: Array, means: Array, replicates: Array, name: str
) -> tuple[Replicated, tuple[str, ...]]:
    if statistic == "density":
        return distance_of_distributions(y, replicates), ("distance of distributions",)
    if statistic == "group means":
        term = _term(design, group)
        seen = np.bincount(term.codes, minlength=term.n_levels) > 0
        observed = level_means(y, term.codes, term.n_levels)[seen]
        replicated = level_means(replicates, term.codes, term.n_levels)[:, seen]
        labels = tuple(str(level) for level in term.levels[seen])
        return Replicated(np.broadcast_to(observed, replicated.shape), replicated), labels
    if statistic == "residual autocorrelation":
        codes = _term(design, group).codes if design.terms else np.zeros(design.n, dtype=np.int32)
        root = 1.0 if design.weights is None else np.sqrt(design.weights)
        observed, replicated = (lag_one(root * (values - means), codes) for values in (y, replicates))
        return Replicated(observed, replicated), ("lag-one autocorrelation",)
    function: Any = {"mean": np.mean, "sd": _sd}.get(statistic) if isinstance(statistic, str) else statistic
    observed, names = _called(function, y, name)
    replicated = np.array([_called(function, row, name)[0] for row in replicates])
    return Replicated(np.broadcast_to(observed, replicated.shape), replicated), names


def _sd(y: Array) -> float:
    return float(np.std(y, ddof=1))


def _called(function: Callable[[Array], Any], y: Array, name: str) -> tuple[Array, tuple[str, ...]]:
    found = function(y)
    values = np.atleast_1d(np.asarray(found, dtype=float))
    if values.ndim != 1 or not len(values):
        raise OptionError(
            f"{name} returned an array of shape {values.shape}: it must return a number, or several in a row."
        )
    if isinstance(found, pd.Series):
        return values, tuple(str(label) for label in found.index)
    return values, (name,) if len(values) == 1 else tuple(f"{name}[{k + 1}]" for k in range(len(values)))


def _term(design: "Design", group: str | None) -> "RandomTerm":
    """Return the first term of a grouping factor, of the first factor where none is named."""
    factors: dict[str, Any] = {}
    for term in design.terms:
        factors.setdefault(term.factor, term)
    if not factors:
        raise OptionError("This statistic needs a grouping factor, and the model has none.")
    if group is None:
        return next(iter(factors.values()))
    if group not in factors:
        raise OptionError(f"group={group!r} is no grouping factor; the factors are {', '.join(map(repr, factors))}.")
    return factors[group]


def _from_estimates(fit: Fit, count: int, rng: np.random.Generator) -> Array:
    """Return responses of new groups at the estimates of a point fit, (R, n)."""
    from bayeslmm.results.generalized import GeneralizedPointFit
    from bayeslmm.results.point import PointFit
    from bayeslmm.results.refits import fitted_model

    if isinstance(fit, GeneralizedPointFit):
        return np.ascontiguousarray(fit.simulate(count, random="new", seed=rng).to_numpy(dtype=float).T)
    assert isinstance(fit, PointFit)
    model, offset = fitted_model(fit), 0.0 if fit.design.offset is None else fit.design.offset
    return np.array([model.simulate(rng) + offset for _ in range(count)])


def replicate(fit: PosteriorFit, count: int, new: bool, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return linear predictors and new responses of the rows used at draws picked at random, both (R, n).

    Parameters
    ----------
    fit
        A posterior of normal responses.
    count
        Replicates, at most one per draw.
    new
        Whether every level is a new one, its effects drawn from their distribution, or the level of the data.
    rng
        Source of randomness.
    """
    flat = flatten(fit.draws)
    picked = np.sort(rng.choice(len(flat.sigma), min(count, len(flat.sigma)), replace=False))
    if new:
        effects = tuple(
            rng.standard_normal((len(picked), term.n_levels, term.n_columns)) @ factor[picked].swapaxes(1, 2)
            for term, factor in zip(fit.design.terms, flat.factors, strict=True)
        )
    else:
        require_effects(fit.design, fit.draws)
        effects = tuple(b[picked] for b in flat.effects)
    chain = Draws(
        beta=flat.beta[picked][None],
        sigma=flat.sigma[picked][None],
        sd=tuple(sd.reshape(-1, sd.shape[2])[picked][None] for sd in fit.draws.sd),
        cor=tuple(None if c is None else c.reshape(-1, *c.shape[2:])[picked][None] for c in fit.draws.cor),
        effects=tuple(b[None] for b in effects),
        stats={},
        method=fit.method,
    )
    weights = np.ones(fit.nobs) if fit.design.weights is None else fit.design.weights
    means, responses = np.empty((len(picked), fit.nobs)), np.empty((len(picked), fit.nobs))
    for where, mean, scale in predictor_draws(chain, training_rows(fit.design), weights):
        means[where] = mean
        responses[where] = mean + scale * rng.standard_normal(mean.shape)
    return means, responses

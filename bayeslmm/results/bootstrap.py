"""The bootstrap of a point fit, by parameter name."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from bayeslmm.errors import FittingError, OptionError, check_level, is_word
from bayeslmm.inference.options import MOST_CORES, check_count, resolve_seed
from bayeslmm.inference.progress import progress_bar
from bayeslmm.intervals.bootstrap import (
    FittedModel,
    bca_limits,
    design_of_levels,
    kernel_of,
    kernel_of_levels,
    one_by_one,
    outermost,
    percentile_limits,
    replicates,
)
from bayeslmm.results.generalized_refits import parameters_without
from bayeslmm.results.profiles import parameter_names
from bayeslmm.results.refits import fit_columns, fit_estimate, fitted_model, n_parameters, parameters
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit
    from bayeslmm.results.point import PointFit

MOST_REFITS = 10_000_000
MOST_VALUES = 10_000_000  # of responses simulated and fitted together
MOST_LEFT_OUT = 200  # groups left out one by one for the acceleration; beyond, they are left out in so many batches


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Replicates of a fit's parameters.

    Attributes
    ----------
    replicates
        A row per replicate that could be fitted, a column per parameter.
    estimate
        The fit's own values.
    kind
        "parametric" or "groups".
    n_failed, n_singular
        Replicates that could not be fitted, which are left out, and those that ended on the boundary, which are kept.
    """

    replicates: pd.DataFrame
    estimate: pd.Series
    kind: str
    n_failed: int
    n_singular: int
    leave_out: Callable[[], Array] | None = field(default=None, repr=False)

    @cached_property
    def _left_out(self) -> Array:
        return np.zeros((0, len(self.estimate))) if self.leave_out is None else self.leave_out()

    def confint(self, level: float = 0.95, kind: Literal["percentile", "bca"] = "percentile") -> pd.DataFrame:
        """Return limits of every parameter.

        Parameters
        ----------
        level
            The interval's probability.
        kind
            "percentile", or "bca": corrected for bias and for a spread that changes with the parameter, for which the
            model is fitted without each level of the outermost grouping factor.

        Raises
        ------
        OptionError
            If the kind is unknown, or is "bca" and no grouping factor has all others nested in it.
        """
        check_level(level)
        if not is_word(kind, ("percentile", "bca")):
            raise OptionError(f"kind={kind!r} is unknown; use 'percentile' or 'bca'.")
        values, estimate = self.replicates.to_numpy(dtype=float), self.estimate.to_numpy(dtype=float)
        if kind == "percentile":
            lower, upper = percentile_limits(values, level)
        else:
            lower, upper = bca_limits(values, estimate, self._left_out, level)
        return pd.DataFrame({"lower": lower, "upper": upper}, index=self.estimate.index.rename("parameter"))

    @property
    def table(self) -> pd.DataFrame:
        """Estimate, bias and standard error of every parameter."""
        frame = pd.DataFrame({"estimate": self.estimate, "bias": self.replicates.mean() - self.estimate})
        frame["std_error"] = self.replicates.std(ddof=1)
        return frame.rename_axis("parameter")

    def __repr__(self) -> str:
        counts = f"{self.n_failed} failed and were left out, {self.n_singular} ended on the boundary"
        return f"Bootstrap ({self.kind}): {len(self.replicates)} replicates; {counts}\n{self.table}"


def bootstrap(
    fit: "PointFit",
    n: int,
    seed: Any,
    statistic: Callable[["PointFit"], Any] | None,
    kind: str,
    cores: int | None,
    progressbar: bool | None,
) -> Bootstrap:
    """Bootstrap a fit; see :meth:`PointFit.bootstrap`."""
    n = check_count("n", n, 2, MOST_REFITS)
    cores = 1 if cores is None else check_count("cores", cores, 1, MOST_CORES)
    seed = resolve_seed(seed)
    _check(fit, statistic, kind)
    if fit.design.outcome is not None:
        return _generalized(cast("GeneralizedPointFit", fit), n, seed, statistic, kind, cores, progressbar)
    model = fitted_model(fit)
    leave_out: Callable[[], Array] | None = None
    if statistic is not None:
        estimate = _series(statistic(fit))
    else:
        estimate = pd.Series(parameters(fit, fit_estimate(fit)), index=parameter_names(fit))
        leave_out = partial(_left_out, fit, model)
    return _collected(_piece_of(fit, model, kind, statistic), n, seed, cores, progressbar, estimate, kind, leave_out)


def _generalized(
    fit: "GeneralizedPointFit",
    n: int,
    seed: int,
    statistic: Callable[["PointFit"], Any] | None,
    kind: str,
    cores: int,
    progressbar: bool | None,
) -> Bootstrap:
    """Bootstrap a generalized fit: every replicate is searched from where the fit ended."""
    from bayeslmm.results import generalized_refits

    replicate = generalized_refits.ReplicateOfGroups if kind == "groups" else generalized_refits.Replicate
    leave_out: Callable[[], Array] | None = None
    if statistic is not None:
        estimate = _series(statistic(fit))
        one = replicate(fit, partial(_numbers, statistic))
    else:
        estimate = pd.Series(generalized_refits.parameters(fit, fit.maximum), index=parameter_names(fit))
        one = replicate(fit)
        leave_out = partial(_left_out, fit, None)
    return _collected(partial(one_by_one, one), n, seed, cores, progressbar, estimate, kind, leave_out)


def _collected(
    piece: Callable[[Sequence[np.random.SeedSequence]], list[Any]],
    n: int,
    seed: int,
    cores: int,
    progressbar: bool | None,
    estimate: pd.Series,
    kind: str,
    leave_out: Callable[[], Array] | None,
) -> Bootstrap:
    """Make n replicates and keep what they found by the names of the estimate."""
    shown = sys.stderr.isatty() if progressbar is None else progressbar
    with progress_bar(n, "refits", shown) as report:
        found = replicates(piece, n, seed, cores, report)
    done = [item for item in found if item is not None]
    if len(done) < 2:
        raise FittingError("Fewer than two replicates could be fitted: simplify the random effects.")
    values = pd.DataFrame(np.array([numbers for _, numbers in done]), columns=estimate.index)
    codes = [code for code, _ in done]
    return Bootstrap(values, estimate, kind, n - len(done), codes.count("boundary"), leave_out)


def _check(fit: "PointFit", statistic: Any, kind: str) -> None:
    if not is_word(kind, ("parametric", "groups")):
        raise OptionError(f"kind={kind!r} is unknown; use 'parametric' or 'groups'.")
    if statistic is not None and not callable(statistic):
        raise OptionError(f"statistic={statistic!r} is no function; give one that takes a fit and returns numbers.")
    if fit.method == "map":
        raise OptionError("A posterior mode has no bootstrap, its priors follow the response: fit with method='reml'.")
    if not fit.status.ok:
        raise OptionError(f"The fit is no optimum, so it cannot be bootstrapped. {fit.status.message}")
    if kind != "groups":
        return
    term = fit.design.terms[outermost(fit.design)]
    if term.n_levels < 3:
        raise OptionError(f"{term.name} has {term.n_levels} levels, too few to be drawn from: use kind='parametric'.")


def _piece_of(
    fit: "PointFit", model: FittedModel, kind: str, statistic: Callable[["PointFit"], Any] | None
) -> Callable[[Sequence[np.random.SeedSequence]], list[Any]]:
    """Return a function from seeds to the code and numbers of the replicate of each, None where it failed."""
    if statistic is not None:
        return partial(one_by_one, _STATISTICS[kind](fit, model, statistic))
    if kind == "groups":
        return partial(one_by_one, _OfGroups(fit, model))
    return _Parametric(fit, model)


@dataclass(frozen=True)
class _Parametric:
    """All parameters of fits to simulated responses, which are fitted together where that is faster."""

    fit: "PointFit"
    model: FittedModel

    def __call__(self, seeds: Sequence[np.random.SeedSequence]) -> list[tuple[str, Array] | None]:
        together, count = max(1, MOST_VALUES // self.fit.design.n), n_parameters(self.fit)
        found: list[tuple[str, Array] | None] = []
        for first in range(0, len(seeds), together):
            generators = [np.random.default_rng(seed) for seed in seeds[first : first + together]]
            Y = np.column_stack([self.model.simulate(rng) for rng in generators])
            numbers, codes = fit_columns(self.fit, self.model, Y)
            found += [
                None if code == "failed" else (code, row[:count]) for code, row in zip(codes, numbers, strict=True)
            ]
        return found


@dataclass(frozen=True)
class _OfGroups:
    """All parameters of the fit to the rows of levels drawn with replacement."""

    fit: "PointFit"
    model: FittedModel

    def __call__(self, rng: np.random.Generator) -> tuple[str, Array]:
        found = self.model.by_groups(rng)
        if found.code == "failed":
            raise FittingError("The search for the optimum failed.")
        return found.code, parameters(self.fit, found)


@dataclass(frozen=True)
class _Statistic:
    """The user's statistic of a fit to a simulated response."""

    fit: "PointFit"
    model: FittedModel
    statistic: Callable[["PointFit"], Any]

    def __call__(self, rng: np.random.Generator) -> tuple[str, Array]:
        y = self.model.simulate(rng)
        again = self.fit.refit(y if self.fit.design.offset is None else y + self.fit.design.offset)
        if again.status.code == "failed":
            raise FittingError(again.status.message)
        return again.status.code, _series(self.statistic(again)).to_numpy()


@dataclass(frozen=True)
class _StatisticOfGroups:
    """The user's statistic of a fit to the rows of levels drawn with replacement."""

    fit: "PointFit"
    model: FittedModel
    statistic: Callable[["PointFit"], Any]

    def __call__(self, rng: np.random.Generator) -> tuple[str, Array]:
        fit = self.fit
        codes = fit.design.terms[outermost(fit.design)].codes
        n_levels = int(codes.max()) + 1
        design = design_of_levels(fit.design, codes, rng.integers(0, n_levels, n_levels))
        kernel = kernel_of(design)
        found = self.model.refitter.fit(kernel)
        if found.code == "failed":
            raise FittingError("The search for the optimum failed.")
        theta = kernel.theta(found.lambdas)
        optimum = replace(fit.optimum, theta=theta, objective=found.objective, code=found.code, message="")
        modes = kernel.conditional(theta, fit.method, fit.spec.sigma)
        again = replace(fit, design=design, optimum=optimum, modes=modes, model_kernel=kernel)
        return found.code, _series(self.statistic(again)).to_numpy()


_STATISTICS: dict[str, Any] = {"parametric": _Statistic, "groups": _StatisticOfGroups}


def _series(value: Any) -> pd.Series:
    if isinstance(value, pd.Series):
        return value.astype(float)
    array = np.atleast_1d(np.asarray(value, dtype=float))
    if array.ndim != 1:
        raise OptionError("statistic must return a number, an array of one dimension or a Series.")
    names = ["statistic"] if len(array) == 1 else [f"statistic_{k + 1}" for k in range(len(array))]
    return pd.Series(array, index=names)


def _numbers(statistic: Callable[["PointFit"], Any], fit: "PointFit") -> Array:
    return _series(statistic(fit)).to_numpy()


def _left_out(fit: "PointFit", model: FittedModel | None) -> Array:
    """Return the parameters without each level of the outermost grouping factor, (J, k)."""
    try:
        codes = fit.design.terms[outermost(fit.design)].codes
    except OptionError:
        raise OptionError(
            "kind='bca' leaves out whole levels of an outermost grouping factor, and this model has none: use "
            "kind='percentile'."
        ) from None
    levels = np.arange(codes.max() + 1)
    found = []
    for batch in np.array_split(levels, min(len(levels), MOST_LEFT_OUT)):
        try:
            if model is None:
                rows = np.flatnonzero(np.isin(codes, batch))
                found.append(parameters_without(cast("GeneralizedPointFit", fit), rows))
                continue
            kernel = kernel_of_levels(fit.design, codes, np.setdiff1d(levels, batch))
            found.append(parameters(fit, model.refitter.fit(kernel)))
        except FittingError:
            continue
    return np.array(found)

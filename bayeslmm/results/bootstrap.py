"""The bootstrap of a point fit, by parameter name."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.covariance.pairs import lower_triangle
from bayeslmm.errors import FittingError, OptionError, check_level, is_word
from bayeslmm.inference.options import MOST_CORES, check_count, resolve_seed
from bayeslmm.inference.progress import progress_bar
from bayeslmm.intervals.bootstrap import (
    FittedModel,
    bca_limits,
    design_of_levels,
    kernel_of,
    kernel_of_levels,
    outermost,
    percentile_limits,
    replicates,
)
from bayeslmm.intervals.refits import Estimate, Refitter
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.results.profiles import parameter_names
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.point import PointFit

MOST_REFITS = 10_000_000
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
    model = fitted_model(fit)
    if kind == "groups":
        place = outermost(fit.design)
        if fit.design.terms[place].n_levels < 3:
            raise OptionError(
                f"{fit.design.terms[place].name} has {fit.design.terms[place].n_levels} levels, too few to be drawn "
                "from: use kind='parametric'."
            )
    shown = sys.stderr.isatty() if progressbar is None else progressbar
    one: Callable[[np.random.Generator], Any] = (
        _of(model, kind) if statistic is None else _STATISTICS[kind](fit, model, statistic)
    )
    with progress_bar(n, "refits", shown) as report:
        found = replicates(one, n, seed, cores, report)
    done = [item for item in found if item is not None]
    if len(done) < 2:
        raise FittingError("Fewer than two replicates could be fitted: simplify the random effects.")
    if statistic is not None:
        estimate = _series(statistic(fit))
        codes = [code for code, _ in done]
        values = pd.DataFrame([value.to_numpy() for _, value in done], columns=estimate.index)
        leave_out = None
    else:
        estimate = pd.Series(parameters(fit, fit_estimate(fit)), index=parameter_names(fit))
        codes = [item.code for item in done]
        values = pd.DataFrame([parameters(fit, item) for item in done], columns=estimate.index)
        leave_out = lambda: _left_out(fit, model)  # noqa: E731
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


def fitted_model(fit: "PointFit") -> FittedModel:
    """Return what refits start from."""
    refitter = Refitter(fit.kernel, fit.kernel.lambdas(fit.theta), fit.method, fit.spec.sigma)  # type: ignore[arg-type]
    structure = KernelStructure.of(fit.kernel, fit.design.X, fit.design.terms, fit.design.weights)
    factors = tuple(fit.sigma * factor for factor in fit._factors)
    return FittedModel(fit.design, refitter, structure, np.asarray(fit.modes.beta), factors, fit.sigma)


def _of(model: FittedModel, kind: str) -> Callable[[np.random.Generator], Estimate]:
    return model.parametric if kind == "parametric" else model.by_groups


@dataclass(frozen=True)
class _Statistic:
    """The user's statistic of a fit to a simulated response."""

    fit: "PointFit"
    model: FittedModel
    statistic: Callable[["PointFit"], Any]

    def __call__(self, rng: np.random.Generator) -> tuple[str, pd.Series]:
        y = self.model.simulate(rng)
        again = self.fit.refit(y if self.fit.design.offset is None else y + self.fit.design.offset)
        if again.status.code == "failed":
            raise FittingError(again.status.message)
        return again.status.code, _series(self.statistic(again))


@dataclass(frozen=True)
class _StatisticOfGroups:
    """The user's statistic of a fit to the rows of levels drawn with replacement."""

    fit: "PointFit"
    model: FittedModel
    statistic: Callable[["PointFit"], Any]

    def __call__(self, rng: np.random.Generator) -> tuple[str, pd.Series]:
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
        return found.code, _series(self.statistic(again))


_STATISTICS: dict[str, Any] = {"parametric": _Statistic, "groups": _StatisticOfGroups}


def _series(value: Any) -> pd.Series:
    if isinstance(value, pd.Series):
        return value.astype(float)
    array = np.atleast_1d(np.asarray(value, dtype=float))
    if array.ndim != 1:
        raise OptionError("statistic must return a number, an array of one dimension or a Series.")
    names = ["statistic"] if len(array) == 1 else [f"statistic_{k + 1}" for k in range(len(array))]
    return pd.Series(array, index=names)


def fit_estimate(fit: "PointFit") -> Estimate:
    """Return a fit as a replicate."""
    beta = np.asarray(fit.modes.beta)
    lambdas = tuple(fit.kernel.lambdas(fit.theta))
    R_X = factorise(fit.kernel.products, lambdas).R_X
    return Estimate(lambdas, beta, fit.sigma, fit.objective, fit.status.code, R_X)


def parameters(fit: "PointFit", estimate: Estimate) -> Array:
    """Return coefficients, sds, correlations and sigma in the order of their names."""
    values = [estimate.beta]
    for term, factor in zip(fit.design.terms, fit.kernel.user_factors(estimate.lambdas), strict=True):
        sds, correlations = sds_and_correlations(factor, estimate.sigma)
        values.append(sds)
        if term.has_correlations:
            values.append(np.array([correlations[i, j] for i, j in lower_triangle(term.n_columns)]))
    return np.concatenate([*values, [] if fit.spec.sigma is not None else [estimate.sigma]])


def _left_out(fit: "PointFit", model: FittedModel) -> Array:
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
            kernel = kernel_of_levels(fit.design, codes, np.setdiff1d(levels, batch))
            found.append(parameters(fit, model.refitter.fit(kernel)))
        except FittingError:
            continue
    return np.array(found)

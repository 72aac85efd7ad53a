"""Cross-validation: the model fitted again without each fold, and its predictions of what it has not seen."""

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from bayeslmm.comparison.scores import Scored
from bayeslmm.design import new_rows
from bayeslmm.design.zero_part import family_at_rows
from bayeslmm.errors import DataError, FittingError, ModelError, OptionError, check_level, warn_user
from bayeslmm.inference.options import MOST_CORES, check_count
from bayeslmm.inference.progress import progress_bar
from bayeslmm.inference.workers import in_workers
from bayeslmm.methods import find_method
from bayeslmm.model import Model
from bayeslmm.studies.folds import make_folds
from bayeslmm.studies.forecasts import score_rows
from bayeslmm.types import Index, Method

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Predictions of rows by fits without them.

    Attributes
    ----------
    pointwise
        A row per row of the data: fold, observed, mean, lower, upper, elpd, crps, and pit, the predictive
        distribution function at what was observed.
    method
        How the model was fitted.
    level
        Probability of the intervals.
    failed
        What the fits of folds that failed said, by fold; their rows are left out.
    """

    pointwise: pd.DataFrame
    method: str
    level: float
    failed: Mapping[Any, str]

    @property
    def scores(self) -> pd.DataFrame:
        """The usual scores with their standard errors, rows taken as independent.

        Index: elpd (the sum of log predictive densities), rmse, mae, coverage of the intervals, and crps; columns score
        and std_error.
        """
        frame = self.pointwise
        error = frame["observed"] - frame["mean"]
        inside = (frame["observed"] >= frame["lower"]) & (frame["observed"] <= frame["upper"])
        n = len(frame)
        mse = float(np.mean(error**2))
        rows = {
            "elpd": (frame["elpd"].sum(), np.sqrt(n) * frame["elpd"].std(ddof=0)),
            "rmse": (np.sqrt(mse), np.std(error**2) / np.sqrt(n) / (2.0 * np.sqrt(mse)) if mse > 0 else 0.0),
            "mae": (error.abs().mean(), error.abs().std(ddof=0) / np.sqrt(n)),
            "coverage": (inside.mean(), inside.std(ddof=0) / np.sqrt(n)),
            "crps": (frame["crps"].mean(), frame["crps"].std(ddof=0) / np.sqrt(n)),
        }
        return pd.DataFrame.from_dict(rows, orient="index", columns=["score", "std_error"]).rename_axis("score of")

    @property
    def by_fold(self) -> pd.DataFrame:
        """Rows, elpd, rmse and crps of each fold."""
        grouped = self.pointwise.assign(square=(self.pointwise["observed"] - self.pointwise["mean"]) ** 2).groupby(
            "fold"
        )
        return pd.DataFrame(
            {
                "rows": grouped.size(),
                "elpd": grouped["elpd"].sum(),
                "rmse": np.sqrt(grouped["square"].mean()),
                "crps": grouped["crps"].mean(),
            }
        )

    def plot(self, ax: Any = None) -> "Figure":
        """Draw the share of rows within their intervals, against the level of these.

        Parameters
        ----------
        ax
            matplotlib axes to draw into; None makes a figure.
        """
        from bayeslmm.plots.coverage import coverage_figure

        return coverage_figure(self.pointwise["pit"].to_numpy(), ax)

    def __repr__(self) -> str:
        folds = self.pointwise["fold"].nunique()
        said = f"Cross-validation, {folds} folds, {len(self.pointwise)} rows, method {self.method!r}"
        lost = f"; {len(self.failed)} folds failed and are left out" if self.failed else ""
        return f"{said}{lost}\nThe intervals are meant to cover {100 * self.level:g}%.\n{self.scores}"


@dataclass(frozen=True)
class _Task:
    """What a worker needs for every fold."""

    formula: str
    data: pd.DataFrame
    arguments: dict[str, Any]
    method: Method
    options: dict[str, Any]
    rows: Index
    folds: Index
    observed: Any
    weights: Any
    outcome: Any
    level: float
    seed: int

    def run(self, fold: int) -> Scored | str:
        """Fit without a fold and score its rows; what went wrong where that was not possible."""
        test = np.flatnonzero(self.folds == fold)
        train = self.data.iloc[self.rows[self.folds != fold]]
        held_out = self.data.iloc[self.rows[test]]
        rng = np.random.default_rng([self.seed, fold])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # said when the whole model was built
                model = Model(self.formula, train, **self.arguments)
                fit = model.fit(self.method, **self.options)
            if fit.status.code == "failed":
                return fit.status.message
            rows = new_rows(fit.design, held_out)
            outcome = None if self.outcome is None else self.outcome.at_rows(test)
            weights = None if self.weights is None else self.weights[test]
            family = None
            if model.family is not None:
                family = family_at_rows(cast(Any, fit).family, model.design, held_out, rows.places)
            return score_rows(fit, rows, self.observed[test], weights, outcome, family, self.level, rng)
        except (DataError, FittingError, ModelError) as error:
            return str(error)


def cross_validate(
    model: Model,
    by: Any = "row",
    *,
    k: int | None = None,
    method: Method = "reml",
    level: float = 0.95,
    seed: int = 0,
    cores: int | None = None,
    progressbar: bool | None = None,
    **options: Any,
) -> CrossValidation:
    """Fit a model again and again without some of the rows, and score its predictions of them.

    Groups that the rest knows are predicted with their effects, new ones with the variance between groups. Whatever is
    learned from the data (default priors, splines, centring) is learned from the rest alone.

    Parameters
    ----------
    model
        The model.
    by
        What is left out together: "row", rows at random; "group", whole levels of the model's grouping factor; the name
        of a factor or column; or a label for each row used.
    k
        Number of folds, ten where None, or as many as there are units.
    method, options
        How the model is fitted, as for :meth:`Model.fit`.
    level
        Probability of the intervals whose coverage is told.
    seed
        Of the folds and of what is drawn.
    cores
        Worker processes, through joblib; None means this process. The result does not depend on it.
    progressbar
        Show progress; None shows it in a terminal.

    Returns
    -------
    CrossValidation
        With ``scores``, ``by_fold`` and ``pointwise``.

    Raises
    ------
    OptionError
        If an option is unknown, or names no units.
    FittingError
        If no fold could be fitted.

    Examples
    --------
    >>> import bayeslmm as blm
    >>> model = blm.Model("Reaction ~ Days + (1 | Subject)", blm.load_dataset("sleepstudy"))
    >>> scores = blm.cross_validate(model, by="group", k=3, method="reml").scores
    """
    if not isinstance(model, Model):
        raise OptionError(
            f"cross_validate takes a Model, which it fits again and again; {type(model).__name__} is none."
        )
    check_level(level)
    workers = 1 if cores is None else check_count("cores", cores, 1, MOST_CORES)
    design, spec = model.design, model.spec
    codes, names = make_folds(design, by, k, seed)
    arguments = {
        "family": "gaussian" if model.family is None else model.family,
        "priors": spec.priors,
        "weights": spec.weights,
        "offset": spec.offset,
        "sigma": spec.sigma,
        "functions": dict(spec.functions) or None,
        "missing": spec.missing,
        "zero": spec.zero,
    }
    shown = {"progressbar": False, **options}
    if find_method(method).samples:
        shown.setdefault("seed", seed)
    task = _Task(
        model.formula, design.data, arguments, method, shown, design.rows, codes, design.y, design.weights,
        design.outcome, level, seed,
    )  # fmt: skip
    visible = sys.stderr.isatty() if progressbar is None else progressbar
    with progress_bar(len(names), "folds", visible) as report:
        found = _all_folds(task, len(names), workers, report)
    failed = {name: what for name, what in zip(names, found, strict=True) if isinstance(what, str)}
    if len(failed) == len(names):
        raise FittingError(f"Every fold failed. The first: {next(iter(failed.values()))}")
    if failed:
        name, what = next(iter(failed.items()))
        warn_user(
            f"{len(failed)} of {len(names)} folds failed and are left out of the scores, first fold {name!r}: {what}"
        )
    return CrossValidation(_frame(model, codes, names, found), method, level, failed)


def _all_folds(task: _Task, count: int, workers: int, report: Any) -> list[Scored | str]:
    found: list[Scored | str] = []
    for result in in_workers(task.run, range(count), workers):
        found.append(result)
        if report is not None:
            report(len(found))
    return found


def _frame(model: Model, codes: Index, names: list[Any], found: list[Scored | str]) -> pd.DataFrame:
    design = model.design
    observed = design.y if design.outcome is None else design.outcome.y
    parts = []
    for fold, (name, scored) in enumerate(zip(names, found, strict=True)):
        if isinstance(scored, str):
            continue
        rows = np.flatnonzero(codes == fold)
        columns = {
            "fold": [name] * len(rows), "observed": observed[rows], "mean": scored.mean, "lower": scored.lower,
            "upper": scored.upper, "elpd": scored.elpd, "crps": scored.crps, "pit": scored.pit, "place": rows,
        }  # fmt: skip
        parts.append(pd.DataFrame(columns, index=design.index[rows]))
    return pd.concat(parts).sort_values("place").drop(columns="place")

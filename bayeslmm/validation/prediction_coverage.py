"""How often intervals of predictions contain new responses, of groups in the data and of new ones.

Parameters are fixed and data sets are drawn anew: coverage as users of point fits mean it. Every data set comes with
new rows of its groups and with one row each of groups that it does not have.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayeslmm.errors import FittingError
from bayeslmm.types import Array, Index

KNOWN, NEW = "known groups", "new groups"
Limits = tuple[Array, Array]
Predict = Callable[[str, pd.DataFrame, list[pd.DataFrame], float, int], list[Limits]]
"""(formula, data, frames of new rows, level, seed) to lower and upper limits of a response in each frame's rows."""


@dataclass(frozen=True, slots=True)
class PredictionDesign:
    """A model with known parameters.

    Attributes
    ----------
    name, formula
        What it is called, and the model that is fitted, which is the one that data are drawn from.
    draw
        Gives, for a generator, the data, new rows of their groups and rows of new groups, all with the response y.
    """

    name: str
    formula: str
    draw: Callable[[np.random.Generator], tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]]


def random_intercept(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Draw 8 groups of 3 to 7 rows, sd between groups and within them one."""
    sizes = [3, 4, 4, 5, 5, 6, 6, 7]
    return _one_factor(rng, sizes, np.array([[1.0]]))


def correlated_slope(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Draw 16 groups of 4 to 8 rows, intercepts of sd 1 and slopes of sd 0.5 with a correlation of 0.3."""
    return _one_factor(rng, [4, 5, 6, 8] * 4, np.array([[1.0, 0.0], [0.15, np.sqrt(0.25 - 0.15**2)]]))


def crossed(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Draw 60 of the 80 cells of factors of 10 and 8 levels, sds 1 and 0.7, residual sd 1."""
    a, b = rng.normal(size=13), 0.7 * rng.normal(size=11)
    cells = rng.permutation(80)

    def rows(first: Index, second: Index) -> pd.DataFrame:
        x = rng.normal(size=len(first))
        y = 1.0 + 0.5 * x + a[first] + b[second] + rng.normal(size=len(first))
        return pd.DataFrame({"y": y, "x": x, "a": first, "b": second})

    data, known = (rows(part // 8, part % 8) for part in (cells[:60], cells[60:]))
    return data, known, rows(np.array([10, 11, 12]), np.array([8, 9, 10]))


def _one_factor(
    rng: np.random.Generator, sizes: list[int], root: Array
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Draw rows of groups with effects of the covariance root root', two new rows of each, and of four new groups."""
    count, new = len(sizes), 4
    effects = rng.normal(size=(count + new, len(root))) @ root.T

    def rows(groups: Index) -> pd.DataFrame:
        x = rng.uniform(0.0, 3.0, size=len(groups))
        columns = np.column_stack([np.ones(len(x)), x])[:, : len(root)]
        y = 1.0 + 0.5 * x + np.sum(effects[groups] * columns, axis=1) + rng.normal(size=len(x))
        return pd.DataFrame({"y": y, "x": x, "g": groups})

    return (
        rows(np.repeat(np.arange(count), sizes)),
        rows(np.repeat(np.arange(count), 2)),
        rows(np.arange(count, count + new)),
    )


DESIGNS = {
    design.name: design
    for design in (
        PredictionDesign("random intercept", "y ~ x + (1 | g)", random_intercept),
        PredictionDesign("correlated slope", "y ~ x + (x | g)", correlated_slope),
        PredictionDesign("crossed", "y ~ x + (1 | a) + (1 | b)", crossed),
    )
}


def measure_prediction_coverage(
    design: PredictionDesign,
    methods: Mapping[str, Predict],
    *,
    simulations: int,
    level: float = 0.95,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Draw data sets, predict new rows by every method, and count the responses inside their limits.

    Parameters
    ----------
    design
        What is drawn.
    methods
        Makers of limits by name.
    simulations
        Number of data sets; every method sees the same.
    level
        Of the intervals.
    seed
        Seed.
    report
        Called with the number of data sets done.

    Returns
    -------
    DataFrame
        Columns study, method, rows ("known groups", "new groups"), coverage, its standard error (data sets are
        independent, rows of one are not), width (mean) and failures (data sets that could not be fitted).
    """
    inside: dict[tuple[str, str], list[float]] = {(m, rows): [] for m in methods for rows in (KNOWN, NEW)}
    widths: dict[tuple[str, str], list[float]] = {key: [] for key in inside}
    failures = dict.fromkeys(methods, 0)
    for i in range(simulations):
        data, *new = design.draw(np.random.default_rng([seed, i]))
        for method, predict in methods.items():
            try:
                limits = predict(design.formula, data, [frame.drop(columns="y") for frame in new], level, seed + i)
            except FittingError:
                failures[method] += 1
                continue
            for rows, frame, (lower, upper) in zip((KNOWN, NEW), new, limits, strict=True):
                y = frame["y"].to_numpy()
                inside[method, rows].append(float(np.mean((lower <= y) & (y <= upper))))
                widths[method, rows].append(float(np.mean(upper - lower)))
        if report is not None:
            report(i + 1)
    return pd.DataFrame(
        [
            {
                "study": design.name,
                "method": method,
                "rows": rows,
                "coverage": np.mean(shares),
                "error": np.std(shares, ddof=1) / np.sqrt(len(shares)),
                "width": np.mean(widths[method, rows]),
                "failures": failures[method],
            }
            for (method, rows), shares in inside.items()
        ]
    )

r"""The reference grid: every combination of the values of the predictors, averaged to the means asked for.

Categories take all their levels, numbers their mean or the values asked for. A mean is :math:`l^\top\beta`, l the
average of the grid's rows over all variables that are not shown, with equal weights or with the frequencies of their
combinations in the data (Searle, Speed and Milliken 1980, *The American Statistician* 34).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.design.mean_rows import MeanRows, check_predictor, mean_rows, predictor_frame, predictor_levels
from bayeslmm.effects.named_groups import group_levels
from bayeslmm.effects.specification import Specification
from bayeslmm.errors import DataError, OptionError, is_word
from bayeslmm.types import Array

Weights = Literal["equal", "proportional"]
LARGEST_GRID = 1_000_000  # rows


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of a grid.

    Attributes
    ----------
    labels
        Values of the variables shown, one row per cell.
    rows
        The fixed part of each cell.
    by
        Variables within whose values contrasts are made.
    crossing
        The combinations of values that the cells average.
    parts
        Weights (m,) and values of the predictors, m rows, whose weighted sum each combination is: one part of weight
        one for means, several for slopes.
    """

    labels: pd.DataFrame
    rows: MeanRows
    by: tuple[str, ...]
    crossing: "Crossing"
    parts: tuple[tuple[Array, pd.DataFrame], ...]


@dataclass(frozen=True, slots=True)
class Crossing:
    """All combinations of predictors' values, and how they average to the cells shown; which columns are groups."""

    frame: pd.DataFrame
    labels: pd.DataFrame
    averages: Array
    groups: tuple[str, ...] = ()


def reference_grid(design: Design, wanted: Specification, at: Mapping[str, Any] | None, weights: str) -> Grid:
    """Return the cells of a specification.

    Raises
    ------
    OptionError
        If `weights` is unknown, or the grid is too large.
    DataError
        If a variable is no predictor, or a value cannot be one of its values.
    """
    crossing = cross(design, wanted, at, weights)
    rows = mean_rows(design, crossing.frame.drop(columns=[*crossing.groups])).combine(crossing.averages)
    part = (np.ones(len(crossing.frame)), crossing.frame)
    return Grid(crossing.labels, rows, wanted.by, crossing, (part,))


def cross(design: Design, wanted: Specification, at: Mapping[str, Any] | None, weights: str) -> Crossing:
    """Return all combinations of the predictors' values, and of the groups named, with their weights in the cells."""
    if not is_word(weights, get_args(Weights)):
        raise OptionError(f"weights={weights!r} is unknown; use 'equal' or 'proportional'.")
    check_at(at)
    groups = group_levels(design, [*wanted.names, *(at or ())])
    for name in wanted.names:
        if name not in groups:
            check_predictor(design, name)
    levels = {**predictor_levels(design), **groups}
    values = predictor_values(design, levels, at)
    order = [*wanted.names, *(name for name in values if name not in wanted.names)]
    size = int(np.prod([float(len(values[name])) for name in order]))
    if size > LARGEST_GRID:
        raise OptionError(f"The grid would have {size} rows: fix some variables at one value with at={{...}}.")
    cells = product(*(range(len(values[name])) for name in order[: len(wanted.names)]))  # one cell of nothing by itself
    shown = sorted(cells, key=lambda cell: cell[len(wanted.shown) :])  # groups apart, the first variable slowest within
    others = list(product(*(range(len(values[name])) for name in order[len(wanted.names) :])))
    places = np.array([[*cell, *other] for cell in shown for other in others], dtype=int).reshape(-1, len(order))
    frame = pd.DataFrame({name: values[name][places[:, k]] for k, name in enumerate(order)})
    labels = frame.iloc[:: len(others)][[*wanted.names]].reset_index(drop=True)
    share = _shares(design, order[len(wanted.names) :], levels, others, weights)
    averages = np.asarray(np.kron(np.eye(len(shown)), share), dtype=np.float64)
    return Crossing(frame, labels, averages, tuple(groups))


def check_at(at: Any) -> None:
    """Refuse an `at` that is no mapping from predictors to values.

    Raises
    ------
    OptionError
        With an example.
    """
    if at is not None and not isinstance(at, Mapping):
        raise OptionError(f"at={at!r} is no dictionary of predictors and their values, such as {{'Days': [0, 9]}}.")


def predictor_values(
    design: Design, levels: Mapping[str, pd.Index | None], at: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the values of every predictor: all levels, the mean, or what `at` says."""
    at = {} if at is None else dict(at)
    for name in at:
        if name not in levels:
            check_predictor(design, name)
    data = predictor_frame(design)
    found: dict[str, Any] = {}
    for name, known in levels.items():
        if name not in at:
            mean = known is None and np.array([data[name].to_numpy(dtype=float).mean()])
            found[name] = mean if known is None else known.to_numpy()
            continue
        value = at[name]
        given = (
            list(value)
            if isinstance(value, Sequence | np.ndarray | pd.Index | pd.Series) and not isinstance(value, str)
            else [value]
        )
        if not given:
            raise OptionError(f"at has no value of {name!r}.")
        found[name] = _checked(name, given, known)
    return found


def _checked(name: str, given: list[Any], known: pd.Index | None) -> Any:
    if known is not None:
        unknown = [value for value in given if value not in list(known)]
        if unknown:
            listed = ", ".join(repr(getattr(level, "item", lambda level=level: level)()) for level in known[:12])
            raise DataError(f"{name!r} has no level {unknown[0]!r} in the data of the fit; its levels are {listed}.")
        return known.to_numpy()[[list(known).index(value) for value in given]]
    try:
        numbers = np.array([float(value) for value in given])
    except (TypeError, ValueError):
        raise DataError(f"{name!r} is a number, and at gives {given[0]!r} for it.") from None
    if not np.isfinite(numbers).all():
        raise DataError(f"at has values of {name!r} that are not finite.")
    return numbers


def _shares(
    design: Design, names: list[str], levels: Mapping[str, pd.Index | None], others: list[tuple[int, ...]], weights: str
) -> Array:
    """Return the weight of each combination of the variables averaged over, shape (1, number of combinations)."""
    equal = np.full((1, len(others)), 1.0 / len(others))
    categories = [k for k, name in enumerate(names) if levels[name] is not None]
    if weights == "equal" or not categories or len(others) == 1:
        return equal
    data = design.data.iloc[design.rows]
    keys = [tuple(row) for row in data[[names[k] for k in categories]].itertuples(index=False)]
    counts = pd.Series(keys).value_counts().to_dict()
    at = [tuple(levels[names[k]][other[k]] for k in categories) for other in others]  # type: ignore[index]
    share = np.array([float(counts.get(cell, 0)) for cell in at])
    if share.sum() == 0:
        raise DataError("No row of the data has the values of at: use weights='equal'.")
    return share[None] / share.sum()

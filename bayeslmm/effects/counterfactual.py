r"""Means over the rows of the data with one predictor set to chosen values, and what they differ by.

For a value v of a predictor, and a group G of rows,

.. math:: m_v = \frac{1}{|G|} \sum_{i \in G} g^{-1}\bigl(x_i(v)^\top \beta + o_i\bigr),

all other predictors as they are in the data; the random effects are zero. Without a link (g the identity) these are
linear in the coefficients. Otherwise a point fit has them by the delta method, linearised at the estimates, and a
posterior draw by draw.

Source: V. Arel-Bundock, N. Greifer and A. Heiss (2024), *Journal of Statistical Software* 111(9).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.design import Design
from bayeslmm.design.mean_rows import (
    MeanRows,
    check_predictor,
    fitted_departure,
    mean_rows,
    predictor_frame,
    predictor_levels,
)
from bayeslmm.effects.grid import check_at, predictor_values
from bayeslmm.effects.named_groups import group_levels
from bayeslmm.effects.scales import Scale
from bayeslmm.effects.specification import Specification
from bayeslmm.errors import DataError, OptionError
from bayeslmm.types import Array

CHUNK = 20_000  # rows evaluated at once
LARGEST = 1e300  # step


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """Rows of the data with one predictor set to some values in turn.

    Attributes
    ----------
    design
        The design.
    frame
        The predictors of the rows used, those in `at` set.
    variable
        The predictor that is varied.
    values
        Its values, one array (n,) for each of v.
    names
        A name for each value.
    codes
        Group of each row, shape (n,).
    groups
        Labels of the groups, a row each; no columns without groups.
    named
        Columns of `frame` that are grouping factors and no predictors.
    """

    design: Design
    frame: pd.DataFrame
    variable: str
    values: list[Any]
    names: list[str]
    codes: NDArray[np.intp]
    groups: pd.DataFrame
    named: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether the predictor is a number, moved by a step."""
        return isinstance(self.values[0], np.ndarray)

    @property
    def labels(self) -> pd.DataFrame:
        """Value and group of each mean, values fastest."""
        count = len(self.names)
        table = pd.DataFrame({self.variable: self.names * max(len(self.groups), 1)})
        for name in self.groups:
            table[name] = np.repeat(self.groups[name].to_numpy(), count)
        return table

    def pieces(self) -> Iterator[tuple[int, NDArray[np.intp], MeanRows]]:
        """Yield the rows of the fixed part for each value in chunks: the number of v, groups of the rows, the rows.

        All values of a chunk are evaluated together, since what departs from the collinearity of the fit is measured
        against the largest entries there.
        """
        size, fitted = max(1, CHUNK // len(self.values)), fitted_departure(self.design)
        for start in range(0, len(self.frame), size):
            part = slice(start, start + size)
            frames = [self.frame.iloc[part].assign(**{self.variable: value[part]}) for value in self.values]
            rows, count = mean_rows(self.design, pd.concat(frames, ignore_index=True), fitted), len(frames[0])
            for v in range(len(self.values)):
                own = slice(v * count, (v + 1) * count)
                yield v, self.codes[part], MeanRows(rows.X[own], rows.offset[own], rows.departure[own])

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of groups and of values."""
        return max(len(self.groups), 1), len(self.values)


def counterfactual(
    design: Design, wanted: Specification, at: Mapping[str, Any] | None, step: float | str | tuple[float, float] | None
) -> Counterfactual:
    """Set one predictor of the data to its levels, or a number to its values and a step more.

    Raises
    ------
    OptionError
        If several variables are named, or `step` is for a category or unknown.
    DataError
        If a variable is no predictor, or `at` has no such value.
    """
    check_at(at)
    if len(wanted.shown) != 1:
        raise OptionError(
            f"comparisons are of one variable, and {' * '.join(wanted.shown)!r} names several: write 'x | sex'."
        )
    (variable,) = wanted.shown
    named = group_levels(design, [*wanted.by, *(at or ())])
    for name in wanted.names:
        if name not in named:
            check_predictor(design, name)
    levels = {**predictor_levels(design), **named}
    frame = predictor_frame(design).assign(**{name: design.data[name].iloc[design.rows] for name in named})
    frame = _set(frame, design, levels, at, variable)
    known = levels[variable]
    if known is not None:
        if step is not None:
            raise OptionError(f"step= is for numbers, and {variable!r} is a category.")
        chosen = known.to_numpy() if at is None or variable not in at else _chosen(design, levels, at, variable)
        dtype = frame[variable].dtype
        values = [pd.Series([level] * len(frame), index=frame.index, dtype=dtype) for level in chosen]
        names = [str(level) for level in chosen]
    else:
        values, names = _steps(frame[variable].to_numpy(dtype=float), variable, step)
    codes, groups = _groups(frame, wanted.by)
    return Counterfactual(design, frame, variable, [np.asarray(v) if known is None else v for v in values], names,
                          codes, groups, tuple(named))  # fmt: skip


def linear_means(rows: Counterfactual) -> MeanRows:
    """Return the means over the rows as linear functions of the coefficients."""
    (n_groups, n_values), p = rows.shape, rows.design.p
    sizes = np.bincount(rows.codes, minlength=n_groups).astype(float)
    X = np.zeros((n_groups, n_values, p))
    offset = np.zeros((n_groups, n_values))
    departure: Array | None = None
    for v, codes, part in rows.pieces():
        if departure is None:
            departure = np.zeros((n_groups, n_values, part.departure.shape[1]))
        np.add.at(X[:, v], codes, part.X)
        np.add.at(offset[:, v], codes, part.offset)
        np.add.at(departure[:, v], codes, part.departure)
    assert departure is not None
    count = sizes[:, None, None]
    return MeanRows((X / count).reshape(-1, p), (offset / sizes[:, None]).ravel(),
                    (departure / count).reshape(n_groups * n_values, -1))  # fmt: skip


def linearised_means(rows: Counterfactual, beta: Array, scale: Scale) -> MeanRows:
    """Return the means through a curved inverse link, linearised at the coefficients beta (p,)."""
    (n_groups, n_values), p = rows.shape, rows.design.p
    sizes = np.bincount(rows.codes, minlength=n_groups).astype(float)
    slopes, values = np.zeros((n_groups, n_values, p)), np.zeros((n_groups, n_values))
    departure = np.zeros((n_groups, n_values))
    for v, codes, part in rows.pieces():
        eta = part.X @ beta + part.offset
        np.add.at(slopes[:, v], codes, np.asarray(scale.derivative(eta))[:, None] * part.X)
        np.add.at(values[:, v], codes, np.asarray(scale.inverse(eta)))
        np.maximum.at(departure[:, v], codes, np.abs(part.departure).max(axis=1, initial=0.0))
    jacobian = (slopes / sizes[:, None, None]).reshape(-1, p)
    return MeanRows(jacobian, (values / sizes[:, None]).ravel() - jacobian @ beta, departure.reshape(-1, 1))


def drawn_means(rows: Counterfactual, beta: Array, scale: Scale) -> tuple[Array, Array]:
    """Return the means at draws of the coefficients (D, p), shape (D, m), and how far they depart, shape (m, 1)."""
    n_groups, n_values = rows.shape
    sizes = np.bincount(rows.codes, minlength=n_groups).astype(float)
    values = np.zeros((n_groups, n_values, len(beta)))
    departure = np.zeros((n_groups, n_values))
    pieces = max(1, CHUNK // max(len(beta), 1))
    for v, codes, part in rows.pieces():
        np.maximum.at(departure[:, v], codes, np.abs(part.departure).max(axis=1, initial=0.0))
        for start in range(0, len(codes), pieces):
            some = slice(start, start + pieces)
            eta = part.X[some] @ beta.T + part.offset[some, None]
            np.add.at(values[:, v], codes[some], np.asarray(scale.inverse(eta)))
    means = (values / sizes[:, None, None]).reshape(-1, len(beta)).T
    return np.ascontiguousarray(means), departure.reshape(-1, 1)


def _set(
    frame: pd.DataFrame,
    design: Design,
    levels: Mapping[str, pd.Index | None],
    at: Mapping[str, Any] | None,
    variable: str,
) -> pd.DataFrame:
    """Set the predictors in `at` in every row."""
    others = {} if at is None else {name: value for name, value in at.items() if name != variable}
    found = predictor_values(design, levels, others)
    for name in others:
        if len(found[name]) != 1:
            raise OptionError(f"at gives several values of {name!r}; give one, or name it after the bar.")
        frame = frame.assign(**{name: pd.Series(list(found[name]) * len(frame), frame.index, dtype=frame[name].dtype)})
    return frame


def _chosen(design: Design, levels: Mapping[str, pd.Index | None], at: Mapping[str, Any], variable: str) -> Any:
    found = predictor_values(design, levels, {variable: at[variable]})[variable]
    if len(found) < 2:
        raise OptionError(f"at gives one level of {variable!r}; give those to be compared, the base first.")
    return found


def _steps(x: Array, variable: str, step: Any) -> tuple[list[Array], list[str]]:
    if isinstance(step, str) and step == "sd":
        step = float(np.std(x, ddof=1))
    if isinstance(step, tuple | list) and len(step) == 2:
        low, high = (_number(value, variable) for value in step)
        return [np.full(len(x), low), np.full(len(x), high)], [f"{low:g}", f"{high:g}"]
    size = 1.0 if step is None else _number(step, variable)
    if size == 0:
        raise OptionError(f"step= of {variable!r} is zero; give what it is to be moved by.")
    return [x, x + size], [variable, f"{variable} {'+' if size > 0 else '-'} {abs(size):.4g}"]


def _number(value: Any, variable: str) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool | complex)
    if not number or not abs(value) < LARGEST:
        raise OptionError(f"step={value!r} of {variable!r} is none; use a number, 'sd' or a pair (low, high).")
    return float(value)


def _groups(frame: pd.DataFrame, by: tuple[str, ...]) -> tuple[NDArray[np.intp], pd.DataFrame]:
    if not by:
        return np.zeros(len(frame), dtype=np.intp), pd.DataFrame()
    keys = frame[[*by]].drop_duplicates().sort_values([*by]).reset_index(drop=True)
    if len(keys) > len(frame) / 2 and len(keys) > 50:
        raise DataError(f"{', '.join(by)} have {len(keys)} values in {len(frame)} rows: too many to average within.")
    numbered = keys.assign(**{"number of the group": np.arange(len(keys))})
    return frame[[*by]].merge(numbered, on=[*by], how="left")["number of the group"].to_numpy(dtype=np.intp), keys

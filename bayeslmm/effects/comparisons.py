r"""Comparisons: what the mean would change by if a predictor had another value, averaged over rows.

Every row is taken twice, with the predictor at each of the two values and all else as it is (counterfactual rows; the
"average comparisons" of Gelman and Pardoe 2007, *Sociological Methodology* 37). With g the inverse link,

.. math:: \hat c = \frac1{n_k}\sum_{i \in k} g(x_i^{high\top}\beta) - g(x_i^{low\top}\beta), \qquad
          \nabla\hat c = \frac1{n_k}\sum_{i \in k} g'(\cdot)\,x_i^{high} - g'(\cdot)\,x_i^{low},

of which the standard error is made (the delta method), or c for every draw of β. Rows are taken in batches, so that
memory does not grow with their number.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.design.design import Design
from bayeslmm.design.mean_rows import MeanRows, check_predictor, mean_rows, predictor_frame, predictor_levels
from bayeslmm.effects.grid import predictor_values
from bayeslmm.effects.scales import Scale
from bayeslmm.errors import DataError, OptionError
from bayeslmm.types import Array, Codes

CATEGORIES = ("reference", "pairwise", "sequential")
NUMBERS = ("sd", "iqr", "minmax")
BATCH = 1_000_000  # values of a batch of rows
COMPARISON = "comparison"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one predictor: its name, and what each row's value x becomes before and after."""

    label: str
    low: Callable[[Any], Any]
    high: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """The rows of m comparisons, before they are averaged.

    Attributes
    ----------
    labels
        What each is of, m rows.
    batches
        Gives, batch by batch, the low and the high rows, each (r,), and the weights (m, r) that average them.
    """

    labels: pd.DataFrame
    batches: Callable[[], Iterator[tuple[MeanRows, MeanRows, Array]]]


def changes_of(design: Design, variable: str, contrast: Any) -> list[Change]:
    """Return the changes of a predictor that are compared.

    Parameters
    ----------
    design
        Of the fit.
    variable
        A predictor.
    contrast
        Of a category "reference" (each level less the first; None means this), "pairwise" (all pairs, first less
        second), "sequential" or a pair of levels (from, to); of a number a step (None means 1), a pair (from, to), or
        "sd", "iqr" or "minmax": from half a standard deviation below the mean to half a one above, between the
        quartiles, and over the range of the data.

    Raises
    ------
    DataError
        If there is no such predictor, or it has no such level.
    OptionError
        If the contrast is unknown.
    """
    check_predictor(design, variable)
    levels = predictor_levels(design)[variable]
    if levels is not None:
        return [_between(b, a) for a, b in _pairs(design, variable, list(levels), contrast)]
    if contrast is None or (np.isscalar(contrast) and not isinstance(contrast, str | bool)):
        step = 1.0 if contrast is None else float(contrast)  # type: ignore[arg-type]
        if not np.isfinite(step) or step == 0:
            raise OptionError(f"The step of {variable!r} is {step:g}: use a finite number other than zero.")
        return [Change(f"{step:+g}", lambda x: x, lambda x: x + step)]
    if isinstance(contrast, str) and contrast in NUMBERS:
        low, high = _reach(predictor_frame(design)[variable].to_numpy(dtype=float), contrast)
        return [Change(contrast, lambda x: np.full(len(x), low), lambda x: np.full(len(x), high))]
    try:
        low, high = (float(value) for value in contrast)
    except (TypeError, ValueError):
        raise OptionError(
            f"contrast={contrast!r} does not say how the number {variable!r} changes: use a step, a pair (from, to) "
            f"or one of {', '.join(map(repr, NUMBERS))}."
        ) from None
    if not np.isfinite([low, high]).all():
        raise OptionError(f"The values of {variable!r} that are compared are not finite.")
    return [Change(f"{high:g} - {low:g}", lambda x: np.full(len(x), low), lambda x: np.full(len(x), high))]


def _pairs(design: Design, variable: str, levels: list[Any], contrast: Any) -> list[tuple[Any, Any]]:
    """Return pairs (after, before) of levels."""
    kind = "reference" if contrast is None else contrast
    if len(levels) < 2:
        raise OptionError(f"{variable!r} has one level only, so there is nothing to compare.")
    if isinstance(kind, str) and kind not in CATEGORIES:
        listed = ", ".join(map(repr, CATEGORIES))
        raise OptionError(f"contrast={kind!r} is unknown for the category {variable!r}; use one of {listed}.")
    if kind == "reference":
        return [(level, levels[0]) for level in levels[1:]]
    if kind == "sequential":
        return list(zip(levels[1:], levels[:-1], strict=True))
    if kind == "pairwise":
        return [(a, b) for place, a in enumerate(levels) for b in levels[place + 1 :]]
    if np.ndim(kind) != 1 or len(kind) != 2:
        raise OptionError(f"contrast={contrast!r} is no pair of levels of {variable!r}: use (from, to).")
    before, after = predictor_values(design, {variable: pd.Index(levels)}, {variable: list(kind)})[variable]
    return [(after, before)]


def _between(before: Any, after: Any) -> Change:
    return Change(f"{after} - {before}", lambda x: [before] * len(x), lambda x: [after] * len(x))


def _reach(values: Array, kind: str) -> tuple[float, float]:
    if kind == "minmax":
        return float(values.min()), float(values.max())
    if kind == "iqr":
        low, high = np.quantile(values, [0.25, 0.75])
        return float(low), float(high)
    half = values.std(ddof=1) / 2.0
    return float(values.mean() - half), float(values.mean() + half)


def counterfactuals(
    design: Design, variable: str, contrast: Any, at: Mapping[str, Any] | None, by: tuple[str, ...]
) -> Counterfactuals:
    """Return the rows of the comparisons of a predictor.

    Parameters
    ----------
    design
        Of the fit.
    variable, contrast
        The predictor, and its changes; see :func:`changes_of`.
    at
        Values that other predictors have in all rows; several are compared one after the other.
    by
        Columns of the data within whose values rows are averaged.

    Raises
    ------
    DataError
        If a name or value is not in the data.
    OptionError
        If an option cannot be read, or the variable is in `at` or `by` as well.
    """
    changes = changes_of(design, variable, contrast)
    at = {} if at is None else dict(at)
    for name in (*at, *by):
        if name == variable:
            raise OptionError(f"{variable!r} is what changes, so it cannot be in at or by as well.")
    both = [name for name in by if name in at]
    if both:
        raise OptionError(f"{both[0]!r} is in at and in by: give its values in at, or compare those of the data by it.")
    values = predictor_values(design, {name: predictor_levels(design).get(name) for name in at}, at)
    cells = list(product(*values.values()))
    frame = predictor_frame(design)
    groups, keys = _groups(design, by)
    n_groups = len(keys)
    shown = [name for name in values if len(values[name]) > 1]
    labels = [
        {COMPARISON: change.label, **{n: c for n, c in zip(values, cell, strict=True) if n in shown},
         **dict(zip(by, key, strict=True))}
        for change in changes for cell in cells for key in keys
    ]  # fmt: skip
    sizes = np.bincount(groups, minlength=n_groups)
    step = max(1, BATCH // max(design.p * 2, 1))

    def batches() -> Iterator[tuple[MeanRows, MeanRows, Array]]:
        for block, (change, cell) in enumerate(product(changes, cells)):
            fixed = dict(zip(values, cell, strict=True))
            for start in range(0, len(frame), step):
                part = frame.iloc[start : start + step].reset_index(drop=True)
                for name, value in fixed.items():
                    part[name] = _column([value] * len(part), frame[name])
                x = part[variable]
                ends = [part.assign(**{variable: _column(f(x), frame[variable])}) for f in (change.low, change.high)]
                rows = mean_rows(design, pd.concat(ends, ignore_index=True))
                weights = np.zeros((len(labels), len(part)))
                group = groups[start : start + step]
                weights[block * n_groups + group, np.arange(len(part))] = 1.0 / sizes[group]
                yield _take(rows, slice(None, len(part))), _take(rows, slice(len(part), None)), weights

    return Counterfactuals(pd.DataFrame(labels), batches)


def linear_comparisons(found: Counterfactuals) -> MeanRows:
    """Return the comparisons on the scale that is linear in the coefficients, m functions of them."""
    total: list[Array] | None = None
    for low, high, weights in found.batches():
        parts = [weights @ (getattr(high, name) - getattr(low, name)) for name in ("X", "offset", "departure")]
        total = parts if total is None else [a + b for a, b in zip(total, parts, strict=True)]
    assert total is not None
    return MeanRows(*total)


def response_comparisons(found: Counterfactuals, beta: Array, scale: Scale) -> MeanRows:
    """Return the comparisons on the response's scale, linearised at the estimates: their values and gradients."""
    m = len(found.labels)
    value, gradient = np.zeros(m), np.zeros((m, len(beta)))
    departure: Array | None = None
    for low, high, weights in found.batches():
        for sign, rows in ((-1.0, low), (1.0, high)):
            eta = rows.X @ beta + rows.offset
            value += sign * (weights @ np.asarray(scale.inverse(eta)))
            gradient += sign * ((weights * scale.derivative(eta)) @ rows.X)
            # a curved function of the mean is estimable where every mean is
            far = (weights > 0).astype(float) @ np.abs(rows.departure)
            departure = far if departure is None else departure + far
    assert departure is not None
    return MeanRows(gradient, value - gradient @ beta, departure)


def drawn_comparisons(found: Counterfactuals, draws: Array, scale: Scale) -> Array:
    """Return the comparisons on the response's scale for draws (D, p) of the coefficients, shape (D, m)."""
    total = np.zeros((len(draws), len(found.labels)))
    for low, high, weights in found.batches():
        step = max(1, 4 * BATCH // max(len(draws), 1))
        for start in range(0, weights.shape[1], step):
            where = slice(start, start + step)
            for sign, rows in ((-1.0, low), (1.0, high)):
                eta = draws @ rows.X[where].T + rows.offset[where]
                total += sign * (np.asarray(scale.inverse(eta)) @ weights[:, where].T)
    return total


def _take(rows: MeanRows, where: slice) -> MeanRows:
    return MeanRows(rows.X[where], rows.offset[where], rows.departure[where])


def _column(values: Any, like: pd.Series) -> Any:
    """Return values as a column of the same kind, so that categories keep their levels."""
    if isinstance(like.dtype, pd.CategoricalDtype):
        return pd.Categorical(values, dtype=like.dtype)
    return np.asarray(values, dtype=object if like.dtype == object else None)


def _groups(design: Design, by: tuple[str, ...]) -> tuple[Codes, list[tuple[Any, ...]]]:
    """Return the group of each row used, and the values that name the groups."""
    n = len(design.rows)
    if not by:
        return np.zeros(n, dtype=np.int32), [()]
    for name in by:
        if name not in design.data.columns:
            listed = ", ".join(map(repr, design.data.columns))
            raise DataError(f"There is no column {name!r} to average by; the columns of the fit are {listed}.")
    frame = design.data[list(by)].iloc[design.rows]
    codes = frame.groupby(list(by), observed=True, sort=True, dropna=False).ngroup().to_numpy().astype(np.int32)
    _, first = np.unique(codes, return_index=True)
    return codes, list(frame.iloc[first].itertuples(index=False, name=None))

r"""Means of named groups: :math:`L\beta + L_b b`, with the effects of the groups that the rows of a grid name.

A random term takes part where the grid names all columns of its grouping factor; the others are at zero, the typical
group. The error of :math:`L\hat\beta + L_b\hat b` is that of prediction, :math:`\hat b - b` and not :math:`\hat b`
(Henderson 1975, *Biometrics* 31): with w = (Λ'z, x) and M the matrix of the mixed-model equations two cells have the
covariance :math:`\sigma^2 w_1^\top M^{-1} w_2`, the covariance parameters taken as known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.build import Recipe
from bayeslmm.design.coding import rebuild_columns
from bayeslmm.design.columns import as_category, kind_of
from bayeslmm.design.design import Design
from bayeslmm.design.evaluate import Evaluator
from bayeslmm.design.grouping import match_rows
from bayeslmm.design.mean_rows import mean_rows, predictor_names
from bayeslmm.errors import DataError, OptionError
from bayeslmm.likelihood.columns import ColumnMaps
from bayeslmm.likelihood.layout import Layout
from bayeslmm.likelihood.left_out import known_covariance, without_effects
from bayeslmm.likelihood.normal_prior import FixedPosterior
from bayeslmm.likelihood.prediction_error import predictor_rows
from bayeslmm.types import Array, Codes

MOST_CELLS = 5_000  # cells of a grid whose covariance is formed
BATCH = 4_000_000  # values held at once while draws are turned into means


@dataclass(frozen=True, slots=True)
class GroupRows:
    """The random part of m cells of a grid.

    Attributes
    ----------
    codes, columns
        Level (m,) of each random term, -1 where the cell names none, and its columns (m, S), zero there.
    known
        Whether the fit has the combination of groups that each cell names, shape (m,).
    """

    codes: tuple[Codes, ...]
    columns: tuple[Array, ...]
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class GroupCells:
    r"""m functions :math:`X\beta` + offset + :math:`z^\top b` of the coefficients and of the effects of named groups.

    Attributes
    ----------
    X
        Shape (m, p).
    offset
        Shape (m,).
    rows
        Their random part.
    """

    X: Array
    offset: Array
    rows: GroupRows


def group_cells(design: Design, parts: Sequence[tuple[Array, pd.DataFrame]], named: Sequence[str]) -> GroupCells:
    """Return weighted sums of the rows of several frames that name the same groups.

    Parameters
    ----------
    design
        Of the fit.
    parts
        Weights (m,) and frames of m rows, as in :func:`group_rows`.
    named
        Columns of the frames that are groups.

    Raises
    ------
    OptionError
        As :func:`group_rows` does.
    """
    fixed = [(w, mean_rows(design, frame.drop(columns=[*named]))) for w, frame in parts]
    rows = [group_rows(design, frame, named) for _, frame in parts]
    columns = tuple(
        sum((w[:, None] * r.columns[k] for (w, _), r in zip(parts, rows, strict=True)), np.zeros_like(first))
        for k, first in enumerate(rows[0].columns)
    )
    X = sum((w[:, None] * r.X for w, r in fixed), np.zeros_like(fixed[0][1].X))
    offset = sum((w * r.offset for w, r in fixed), np.zeros_like(fixed[0][1].offset))
    return GroupCells(X, offset, GroupRows(rows[0].codes, columns, rows[0].known))


def group_levels(design: Design, names: Sequence[str]) -> dict[str, pd.Index]:
    """Return the levels of those names that are columns of grouping factors, and no predictors."""
    predictors = predictor_names(design)
    found: dict[str, pd.Index] = {}
    for grouping in design.recipe.groupings:
        columns = grouping.columns if len(grouping.parts) > 1 else (str(grouping.levels.name),)
        for column, levels in zip(columns, grouping.parts, strict=True):
            if column in names and column not in predictors:
                found[column] = levels
    return {name: found[name] for name in names if name in found}


def group_rows(design: Design, frame: pd.DataFrame, named: Sequence[str]) -> GroupRows:
    """Return the random part of the cells of a grid.

    Parameters
    ----------
    design
        Of the fit.
    frame
        Values of the predictors and of the groups named, m rows.
    named
        Columns of `frame` that are groups.

    Raises
    ------
    OptionError
        If no grouping factor is named in full, or a column of a slope is no predictor of the fixed part and a category.
    """
    recipe: Recipe = design.recipe
    taking_part = [set(g.columns) <= set(named) or g.levels.name in named for g in recipe.groupings]
    alone = [name for name in named if not any(part and name in _columns(g) for g, part in
                                               zip(recipe.groupings, taking_part, strict=True))]  # fmt: skip
    if alone:
        whole = next(_columns(g) for g in recipe.groupings if alone[0] in _columns(g))
        raise OptionError(
            f"{alone[0]!r} alone is no grouping factor of the model; name all of {', '.join(map(repr, whole))}."
        )
    frame = _with_slope_columns(design, frame, [k for k, part in enumerate(taking_part) if part])
    evaluator = Evaluator(frame, design.functions, recipe.memory, False, frame.index, np.arange(len(frame)))
    codes, columns, known = [], [], np.ones(len(frame), dtype=bool)
    for term, effects, grouping, part in zip(design.terms, recipe.effects, recipe.groupings, taking_part, strict=True):
        own, values = np.full(len(frame), -1, dtype=np.int32), np.zeros((len(frame), term.n_columns))
        if part:
            own, _ = match_rows(frame, grouping)
            known &= own >= 0
            values = np.where(own[:, None] >= 0, rebuild_columns(effects, evaluator), 0.0)
        codes.append(own)
        columns.append(np.ascontiguousarray(values))
    return GroupRows(tuple(codes), tuple(columns), known)


def _columns(grouping: Any) -> tuple[str, ...]:
    return grouping.columns if len(grouping.parts) > 1 else (str(grouping.levels.name),)


def _with_slope_columns(design: Design, frame: pd.DataFrame, taking_part: Sequence[int]) -> pd.DataFrame:
    """Return the cells with the columns that slopes need and the fixed part does not have, at their means."""
    recipe: Recipe = design.recipe
    needed = [
        name for k in taking_part for term in recipe.effects[k].terms for factor in term for name in factor.columns
    ]
    for name in dict.fromkeys(needed):
        if name in frame:
            continue
        column = design.data[name].iloc[design.rows]
        if kind_of(column) != "number" or name in recipe.memory.levels:
            levels = ", ".join(map(str, as_category(column).categories[:6]))
            raise OptionError(
                f"The random effects vary with the category {name!r} ({levels}), which the fixed part does not have: "
                "means of named groups need it there."
            )
        frame = frame.assign(**{name: float(column.mean())})
    return frame


def group_part(rows: GroupRows, effects: Sequence[Array]) -> Array:
    """Return z'b of each cell, (m,), for effects (J, S) of each term."""
    total = np.zeros(len(rows.known))
    for codes, columns, b in zip(rows.codes, rows.columns, effects, strict=True):
        total += np.einsum("ms,ms->m", columns, np.asarray(b)[codes])  # columns are zero where there is no level
    return total


def drawn_group_part(rows: GroupRows, effects: Sequence[Array]) -> Array:
    """Return z'b of each cell for draws (D, J, S) of each term's effects, (D, m)."""
    m = len(rows.known)
    draws = next((len(b) for b, codes in zip(effects, rows.codes, strict=True) if (codes >= 0).any()), 0)
    total = np.zeros((draws, m))
    step = max(1, BATCH // max(m, 1))
    for codes, columns, b in zip(rows.codes, rows.columns, effects, strict=True):
        if not (codes >= 0).any():
            continue
        for start in range(0, draws, step):
            where = slice(start, start + step)
            for s in range(columns.shape[1]):
                total[where] += b[where, :, s][:, codes] * columns[:, s]
    return total


def error_covariance(columns: ColumnMaps, posterior: FixedPosterior, X: Array, rows: GroupRows, sigma: float) -> Array:
    """Return the covariance of the errors of the means of m cells, shape (m, m).

    Parameters
    ----------
    columns
        Of the factor, to the user's.
    posterior
        The coefficients at the fit's covariance parameters, under their priors.
    X
        The fixed part of the cells, user's columns, shape (m, p).
    rows
        Their random part.
    sigma
        The residual standard deviation; one for a factor at the working weights of a generalized model's mode.

    Raises
    ------
    OptionError
        If there are too many cells.
    """
    m = len(X)
    if m > MOST_CELLS:
        raise OptionError(f"The grid has {m} cells of named groups: choose at most {MOST_CELLS} with at={{...}}.")
    factor = posterior.factor
    codes = _outer_codes(factor.products.layout, rows.codes)
    found = predictor_rows(columns, factor, codes, rows.columns, X)
    fixed = without_effects(factor, found) @ posterior.root
    share = 1.0 / (1.0 + sigma**2 * posterior.pull)
    known = known_covariance(factor, found, np.arange(m)[None])[0]
    return np.asarray(sigma**2 * (known + (fixed * share) @ fixed.T))


def _outer_codes(layout: Layout, codes: Sequence[Codes]) -> tuple[Codes, ...]:
    """Return the levels with those of outer terms of a nest, whose own columns may be zero, given by the inner ones.

    Raises
    ------
    DataError
        If a cell names an inner level and an outer one that is not above it.
    """
    found = [np.array(c) for c in codes]
    for place, k in enumerate(layout.nest):
        known = found[k] >= 0
        for ancestor, parent in enumerate(layout.parents[place], start=place + 1):
            outer, above = found[layout.nest[ancestor]], parent[np.maximum(found[k], 0)]
            if (known & (outer >= 0) & (outer != above)).any():
                raise DataError(
                    "Some cells name groups that are nested in one another and do not belong together: give those of "
                    "the inner factor only."
                )
            outer[known] = above[known]
    return tuple(found)

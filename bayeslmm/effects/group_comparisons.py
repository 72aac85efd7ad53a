r"""Means over the rows of named groups with one predictor set to chosen values, the groups' effects in.

For a value v and a cell G of rows that name the groups of some random terms,

.. math:: m_v = \frac{1}{|G|} \sum_{i \in G} g^{-1}\bigl(x_i(v)^\top\beta + z_i(v)^\top b + o_i\bigr),

the effects of terms that are not named at zero. A point fit has them by the delta method: every row's (x, z) weighted
by the slope of the inverse link at its estimate, so that the error is that of one linear function of (β, b) for each
cell (`bayeslmm.effects.named_groups`). A posterior has them draw by draw.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design.mean_rows import MeanRows, fitted_departure, mean_rows
from bayeslmm.effects.counterfactual import CHUNK, Counterfactual
from bayeslmm.effects.named_groups import GroupCells, GroupRows, drawn_group_part, group_part, group_rows
from bayeslmm.effects.scales import Scale
from bayeslmm.types import Array


def linearised_averages(
    rows: Counterfactual, beta: Array, effects: Sequence[Array], scale: Scale | None
) -> tuple[GroupCells, Array, Array]:
    """Return the means as functions of (beta, b) linearised at the estimates, their values (m,) and departures.

    Parameters
    ----------
    rows
        The rows, which name groups.
    beta, effects
        Coefficients (p,) and effects of each term (J, S).
    scale
        The inverse link; None for the linear predictor itself.
    """
    m, design = rows.shape[0] * rows.shape[1], rows.design
    X, value, departure = np.zeros((m, design.p)), np.zeros(m), np.zeros(m)
    columns = [np.zeros((m, term.n_columns)) for term in design.terms]
    codes = [np.full(m, -1, dtype=np.int32) for _ in design.terms]
    for cells, part, groups in _pieces(rows):
        eta = part.X @ beta + part.offset + group_part(groups, effects)
        slope = np.ones_like(eta) if scale is None else np.asarray(scale.derivative(eta))
        np.add.at(X, cells, slope[:, None] * part.X)
        np.add.at(value, cells, eta if scale is None else np.asarray(scale.inverse(eta)))
        np.maximum.at(departure, cells, np.abs(part.departure).max(axis=1, initial=0.0))
        for k, own in enumerate(groups.codes):
            np.add.at(columns[k], cells, slope[:, None] * groups.columns[k])
            codes[k][cells] = own  # one level for all rows of a cell, since the cell names it
    size = _sizes(rows)
    known = GroupRows(tuple(codes), tuple(c / size[:, None] for c in columns), np.ones(m, dtype=bool))
    return GroupCells(X / size[:, None], np.zeros(m), known), value / size, departure[:, None]


def drawn_averages(
    rows: Counterfactual, beta: Array, effects: Sequence[Any], scale: Scale | None
) -> tuple[Array, Array]:
    """Return the means at draws of the coefficients (D, p) and effects (D, J, S), shape (D, m), and departures."""
    m = rows.shape[0] * rows.shape[1]
    value, departure = np.zeros((m, len(beta))), np.zeros(m)
    for cells, part, groups in _pieces(rows, max(1, CHUNK // max(len(beta), 1))):
        eta = (beta @ part.X.T + part.offset + drawn_group_part(groups, effects)).T
        np.add.at(value, cells, eta if scale is None else np.asarray(scale.inverse(eta)))
        np.maximum.at(departure, cells, np.abs(part.departure).max(axis=1, initial=0.0))
    return np.ascontiguousarray((value / _sizes(rows)[:, None]).T), departure[:, None]


def _sizes(rows: Counterfactual) -> Array:
    """Return the number of rows of each cell, (m,), values fastest."""
    groups, values = rows.shape
    return np.repeat(np.bincount(rows.codes, minlength=groups), values).astype(float)


def _pieces(rows: Counterfactual, most: int = CHUNK) -> Iterator[tuple[NDArray[np.intp], MeanRows, GroupRows]]:
    """Yield, in chunks and for each value, the cell of every row, the rows' fixed part and their random part."""
    values, fitted = rows.shape[1], fitted_departure(rows.design)
    size = max(1, most // values)
    for start in range(0, len(rows.frame), size):
        part = slice(start, start + size)
        frames = [rows.frame.iloc[part].assign(**{rows.variable: value[part]}) for value in rows.values]
        frame = pd.concat(frames, ignore_index=True)
        cells = np.concatenate([rows.codes[part] * values + v for v in range(values)])
        fixed = mean_rows(rows.design, frame.drop(columns=[*rows.named]), fitted)
        yield cells, fixed, group_rows(rows.design, frame, rows.named)

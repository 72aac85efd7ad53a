r"""Slopes: derivatives of the mean by a predictor.

Central differences of the rows, :math:`(X(x + h) - X(x - h)) / 2h`; at the ends of the data's range, beyond which some
bases do not reach, the difference of second order to one side. The error is of order h².

Through a curved inverse link the differences are those of :math:`g^{-1}(x^\top\beta + o)`, and they are averaged over
the grid on the response's scale: the slope of an average of means is the average of their slopes. A point fit has them
by the delta method, linearised at the estimates, and a posterior draw by draw.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bayeslmm.design.design import Design
from bayeslmm.design.mean_rows import MeanRows, check_predictor, mean_rows, predictor_frame, predictor_levels
from bayeslmm.effects.grid import Grid, check_at, cross
from bayeslmm.effects.scales import Scale
from bayeslmm.effects.specification import Specification
from bayeslmm.errors import DataError
from bayeslmm.types import Array

STEP = 1e-4  # of the range of the predictor


def slope_grid(
    design: Design, variable: str, wanted: Specification | None, at: Mapping[str, Any] | None, weights: str
) -> Grid:
    """Return the derivatives of the grid's cells by a numeric predictor.

    Raises
    ------
    DataError
        If the variable is no predictor, or a category.
    """
    check_at(at)
    check_predictor(design, variable)
    if predictor_levels(design)[variable] is not None:
        raise DataError(
            f"{variable!r} is a category: it has no slope; contrasts of fit.means({variable!r}) compare it."
        )
    names = () if wanted is None else wanted.names
    listed = at is not None and variable in at and variable not in names and np.ndim(at[variable]) > 0
    by = () if wanted is None else wanted.by
    shown = () if wanted is None else wanted.shown
    crossing = cross(design, Specification((variable, *shown) if listed else shown, by), at, weights)
    observed = predictor_frame(design)[variable].to_numpy(dtype=float)
    low, high = float(observed.min()), float(observed.max())
    h = STEP * (high - low)
    x = crossing.frame[variable].to_numpy(dtype=float)
    side = np.where(x + h > high, -1.0, np.where(x - h < low, 1.0, 0.0))  # beyond an end: to the other side
    near = np.where(side == 0, x - h, x + side * h)
    far = np.where(side == 0, x + h, x + 2 * side * h)

    one = side != 0
    scale = np.where(one, side, 1.0) / (2.0 * h)
    weights_of = (np.where(one, -3.0, 0.0) * scale, np.where(one, 4.0, -1.0) * scale, np.where(one, -1.0, 1.0) * scale)
    frames = [crossing.frame.assign(**{variable: values}) for values in (x, near, far)]
    parts = tuple(zip(weights_of, frames, strict=True))
    evaluated = [mean_rows(design, frame.drop(columns=[*crossing.groups])) for frame in frames]
    slopes = MeanRows(
        sum((w[:, None] * r.X for w, r in zip(weights_of, evaluated, strict=True)), np.zeros_like(evaluated[0].X)),
        sum((w * r.offset for w, r in zip(weights_of, evaluated, strict=True)), np.zeros_like(x)),
        evaluated[0].departure,
    )
    return Grid(crossing.labels, slopes.combine(crossing.averages), by, crossing, parts)


def linearised_slopes(design: Design, grid: Grid, beta: Array, scale: Scale) -> MeanRows:
    """Return the slopes of the response's mean, linearised at the coefficients beta (p,)."""
    jacobian, values = np.zeros((len(grid.crossing.frame), design.p)), np.zeros(len(grid.crossing.frame))
    for weights, rows in _evaluated(design, grid):
        eta = rows.X @ beta + rows.offset
        jacobian += (weights * scale.derivative(eta))[:, None] * rows.X
        values += weights * scale.inverse(eta)
    averages = grid.crossing.averages
    jacobian = averages @ jacobian
    return MeanRows(jacobian, averages @ values - jacobian @ beta, grid.rows.departure)


def drawn_slopes(design: Design, grid: Grid, beta: Array, scale: Scale) -> Array:
    """Return the slopes of the response's mean at draws of the coefficients (D, p), shape (D, m)."""
    found = np.zeros((len(beta), len(grid.crossing.frame)))
    for weights, rows in _evaluated(design, grid):
        found += weights * scale.inverse(beta @ rows.X.T + rows.offset)
    return np.asarray(found @ grid.crossing.averages.T)


def _evaluated(design: Design, grid: Grid) -> Iterator[tuple[Array, MeanRows]]:
    """Yield the weights of each part of the differences and the fixed part there."""
    for weights, frame in grid.parts:
        if np.any(weights != 0):
            yield weights, mean_rows(design, frame.drop(columns=[*grid.crossing.groups]))

r"""Coordinates of unit curvature in compiled loops, as in `bayeslmm.inference.optimum.chart`."""

from typing import NamedTuple

import numba
import numpy as np

from bayeslmm.inference.optimum.chart import BASE_FLOOR, MINIMUM_RELIABILITY
from bayeslmm.inference.optimum.compiled_point import Point, copy
from bayeslmm.inference.optimum.compiled_terms import Effects
from bayeslmm.types import Array


class Chart(NamedTuple):
    """Coordinates x of unit curvature, as in `bayeslmm.inference.optimum.chart`: ``root = centre + sum x_k basis_k``.

    Centre (S, S), basis (d, S, S), units (d,). A square chart lets any root of the covariance move.
    """

    centre: Array
    basis: Array
    units: Array
    square: bool


@numba.njit(inline="always")
def chart_at(effects: Effects, point: Point, square: bool) -> Chart:
    """Return coordinates centred on a point; a square chart where the structure of some term allows it."""
    size, d = len(point.factor), 0
    square = square and bool(np.any(effects.correlated))
    centre = np.zeros((size, size))
    copy(point.factor, centre)
    moves = np.zeros((size, size), dtype=np.bool_)
    for a in range(size):
        for b in range(size):
            together = effects.term[a] == effects.term[b] and effects.correlated[a]
            moves[a, b] = a == b or (together and (square or a > b))
            d += moves[a, b]
    basis, units, k = np.zeros((d, size, size)), np.zeros(d), 0
    for b in range(size):
        for a in range(size):
            if not moves[a, b]:
                continue
            levels = effects.levels[a]
            known = max(point.known[a] / levels, MINIMUM_RELIABILITY), max(point.known[b] / levels, MINIMUM_RELIABILITY)
            units[k] = np.sqrt((4.0 if a == b else 2.0) * levels * min(known[0], 1.0) * min(known[1], 1.0))
            for c in range(size):
                base = max(abs(centre[c, a]), BASE_FLOOR) if a == c else centre[c, a]
                basis[k, c, b] = base / units[k]
            k += 1
    return Chart(centre, basis, units, square)


@numba.njit(cache=True, nogil=True)
def fill_gradient(chart: Chart, point: Point, rotation: Array) -> None:
    """Fill a point's gradient by the coordinates, the root there being ``lambda rotation'``."""
    size = len(point.slope)
    for k in range(len(chart.units)):
        point.gradient[k] = 0.0
        for a in range(size):
            for c in range(size):
                along = 0.0
                for b in range(size):
                    along += chart.basis[k, a, b] * rotation[b, c]
                point.gradient[k] += point.slope[a, c] * along


@numba.njit(cache=True, nogil=True)
def turn(root: Array, rotation: Array) -> None:
    """Make a root (S, m), m >= S, lower triangular with a non-negative diagonal; ``old root = root rotation'``.

    By plane rotations, for which a singular root is no obstacle; rotation (m, m) is filled.
    """
    size, width = root.shape
    for a in range(width):
        for b in range(width):
            rotation[a, b] = 1.0 if a == b else 0.0
    for a in range(size):
        for b in range(a + 1, width):
            length = np.hypot(root[a, a], root[a, b])
            if root[a, b] != 0.0:
                cosine, sine = root[a, a] / length, root[a, b] / length
                _rotate(root, a, b, cosine, sine)
                _rotate(rotation, a, b, cosine, sine)
                root[a, b] = 0.0
        if root[a, a] < 0.0:
            turn_column(root, a)
            turn_column(rotation, a)


@numba.njit(cache=True, nogil=True)
def _rotate(matrix: Array, a: int, b: int, cosine: float, sine: float) -> None:
    for c in range(matrix.shape[0]):
        own, other = matrix[c, a], matrix[c, b]
        matrix[c, a] = cosine * own + sine * other
        matrix[c, b] = cosine * other - sine * own


@numba.njit(cache=True, nogil=True)
def turn_column(matrix: Array, a: int) -> None:
    """Change the sign of a column."""
    for c in range(matrix.shape[0]):
        matrix[c, a] = -matrix[c, a]

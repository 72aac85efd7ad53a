r"""The factor :math:`L L^\top` of a blocked kernel as columns of a sparse lower triangle.

The blocked factor is made for building; where one factor is solved with many thousand times, from compiled loops, a
plain list of columns is all that is needed. Unknowns are numbered as in (u, beta), terms in formula order; `order` is
the one in which L is triangular: the nest from its innermost term outwards, trailing terms, coefficients.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.factor import Factor
from bayeslmm.types import Array

Places = NDArray[np.int64]


class SparseFactor(NamedTuple):
    """Columns of L.

    Attributes
    ----------
    order
        The unknown of each column, (k,).
    diagonal
        The diagonal entry of each column, (k,).
    starts, rows, entries
        Below the diagonal column c has `entries` at the unknowns `rows` from ``starts[c]`` to ``starts[c + 1]``.
    """

    order: Places
    diagonal: Array
    starts: Places
    rows: Places
    entries: Array


def sparse_factor(factor: Factor) -> SparseFactor:
    """Return the columns of a factor's part for effects and coefficients, without the response."""
    products = factor.products
    layout = products.layout
    firsts = np.cumsum([0, *(shape.n_effects for shape in layout.shapes)])
    q, p = products.n_trailing, products.n_fixed
    fixed = firsts[-1] + np.arange(p)
    trailing = np.concatenate(
        [fixed[:0], *(firsts[k] + np.arange(layout.shapes[k].n_effects) for k in layout.trailing), fixed]
    )
    columns = _Columns()
    for place, k in enumerate(layout.nest):
        size = layout.shapes[k].n_columns
        z, xy = factor.nest_z[place], factor.nest_xy[place]
        for j in range(layout.shapes[k].n_levels):
            own = firsts[k] + j * size + np.arange(size)
            above = [
                firsts[layout.nest[place + 1 + m]]
                + parent[j] * layout.shapes[layout.nest[place + 1 + m]].n_columns
                + np.arange(layout.shapes[layout.nest[place + 1 + m]].n_columns)
                for m, parent in enumerate(layout.parents[place])
            ]
            met = slice(0, 0)
            if place == 0 and layout.trailing:
                met = slice(products.entry_starts[j], products.entry_starts[j + 1])
            shared = np.concatenate([*above, trailing[products.entry_columns[met]] if q else fixed[:0], fixed])
            for s in range(size):
                beyond = [z[j, s, size:], factor.entries[s, met] if q else np.zeros(0), xy[j, s, :p]]
                rows = np.concatenate([own[s + 1 :], shared])
                columns.add(own[s], z[j, s, s], rows, np.concatenate([z[j, s + 1 :, s], *beyond]))
    for c in range(q + p):
        columns.add(trailing[c], factor.trailing[c, c], trailing[c + 1 :], factor.trailing[c + 1 : q + p, c])
    return columns.finish()


class _Columns:
    """Columns as they are found."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.diagonal: list[float] = []
        self.rows: list[Places] = []
        self.entries: list[Array] = []

    def add(self, unknown: int, pivot: float, rows: Places, entries: Array) -> None:
        """Keep a column, without its zeros."""
        there = np.flatnonzero(entries)
        self.order.append(unknown)
        self.diagonal.append(pivot)
        self.rows.append(rows[there])
        self.entries.append(entries[there])

    def finish(self) -> SparseFactor:
        """Return them as arrays."""
        return SparseFactor(
            np.array(self.order, dtype=np.int64),
            np.array(self.diagonal, dtype=float),
            np.cumsum([0, *map(len, self.rows)], dtype=np.int64),
            np.concatenate([np.zeros(0, dtype=np.int64), *self.rows]).astype(np.int64),
            np.concatenate([np.zeros(0), *self.entries]),
        )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def solve_forward(
    order: Places, diagonal: Array, starts: Places, rows: Places, entries: Array, right: Array
) -> None:  # fmt: skip
    """Solve ``L t = right`` in place, (k,)."""
    for c in range(len(order)):
        value = right[order[c]] / diagonal[c]
        right[order[c]] = value
        for e in range(starts[c], starts[c + 1]):
            right[rows[e]] -= entries[e] * value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def solve_backward(
    order: Places, diagonal: Array, starts: Places, rows: Places, entries: Array, right: Array
) -> None:  # fmt: skip
    """Solve ``L' t = right`` in place, (k,)."""
    for c in range(len(order) - 1, -1, -1):
        value = right[order[c]]
        for e in range(starts[c], starts[c + 1]):
            value -= entries[e] * right[rows[e]]
        right[order[c]] = value / diagonal[c]

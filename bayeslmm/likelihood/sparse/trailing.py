r"""The Cholesky factor of a trailing matrix in which few effects meet, and what is asked of it.

With S the Schur complement of the leading term among the trailing effects and :math:`S_{xy}` its rows at X and y,

.. math:: \begin{bmatrix} S & S_{xy} \\ \cdot & C \end{bmatrix} =
          \begin{bmatrix} L & 0 \\ W^\top & R \end{bmatrix} \begin{bmatrix} L^\top & W \\ 0 & R^\top \end{bmatrix},
          \qquad W = L^{-1}S_{xy},

L sparse in an order with little fill, R dense. The gradient needs :math:`Z = S^{-1}` for pairs of effects that meet the
same leading level only, which is where L has entries. With the precision K of the coefficients the inverse of the whole
has among the effects the blocks

.. math:: Z + BK^{-1}B^\top, \qquad B = S^{-1}S_x,

and the leading level j, whose rows at the effects and at X are :math:`W_j` and :math:`X_j`, needs
:math:`W_jZW_j^\top + (W_jB - X_j)K^{-1}(W_jB - X_j)^\top`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.elimination import subtract_entries
from bayeslmm.likelihood.sparse.loops import (
    factor_columns,
    invert_where_filled,
    lead_quadratic,
    solve_backward,
    solve_forward,
    squared_lengths,
    subtract_lead,
)
from bayeslmm.likelihood.sparse.ordering import TrailingOrder
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class SparseTrailing:
    """The factor among the trailing effects, in the order of elimination.

    Attributes
    ----------
    order
        The order, and where L has entries.
    values
        The diagonal of L, then its entries below.
    at_xy
        W, (q, p + 1).
    """

    order: TrailingOrder
    values: Array
    at_xy: Array

    @property
    def log_det(self) -> float:
        """Logarithm of the determinant of S."""
        return 2.0 * float(np.sum(np.log(self.values[: len(self.order.order)])))

    def solve_lower(self, right: Array) -> Array:
        """Return ``L^-1 w`` in the order of elimination for vectors (q, m) in the order of the effects."""
        solved = np.ascontiguousarray(right[self.order.order])
        solve_forward(self.order.starts, self.order.rows, self.values, solved)
        return solved

    def solve_transposed(self, right: Array) -> Array:
        """Return ``L^-T w`` in the order of the effects for vectors (q, m) in that of elimination."""
        solved = np.array(right, order="C")
        solve_backward(self.order.starts, self.order.rows, self.values, solved)
        return np.ascontiguousarray(solved[self.order.places])

    def squared_lengths(self, right: Array) -> Array:
        """Return ``w' S^-1 w`` of each row of right (m, q), few of whose entries are not zero."""
        rows = np.ascontiguousarray(right[:, self.order.order])
        return squared_lengths(self.order.starts, self.order.rows, self.values, rows)

    def effects(self, beta: Array, noise: Array | None) -> Array:
        """Return the trailing effects u given beta (p, m) and noise (q, m), ``L'u = w_y - W_x beta + noise``."""
        right = self.at_xy @ np.vstack([-beta, np.ones((1, beta.shape[1]))])
        return self.solve_transposed(right if noise is None else right + noise)


def factor_trailing(
    products: CrossProducts, lambdas: Sequence[Array], entries: Array, xy: Array
) -> tuple[SparseTrailing, int]:
    """Factor the trailing effects.

    Parameters
    ----------
    products
        The cross-products, with an order of elimination.
    lambdas
        The kernel's lambda of each term, formula order.
    entries, xy
        The leading term's rows at the trailing effects it meets, (S_0, E), and at X and y, (J_0, S_0, p + 1).

    Returns
    -------
    The factor, and how many of its columns were found: fewer than q where a pivot is not positive.
    """
    q, order = products.n_trailing, products.sparse
    assert order is not None
    values = np.zeros(order.n_entries)
    for pair, target in zip(products.trailing_blocks, order.targets, strict=True):
        left, right = (lambdas[k] for k in pair.terms)
        values[target] = left.T @ pair.blocks @ right
    values[:q] += 1.0
    count = factor_columns(
        order.starts, order.rows, products.entry_starts, order.entry_places, order.meeting_starts, order.meetings,
        order.levels, entries, values,
    )  # fmt: skip
    at_xy = _scaled_xy(products, lambdas)[order.order]
    subtract_lead(products.entry_starts, order.entry_places, entries, xy, at_xy)
    if count == q:
        solve_forward(order.starts, order.rows, values, at_xy)
    return SparseTrailing(order, values, at_xy), count


def _scaled_xy(products: CrossProducts, lambdas: Sequence[Array]) -> Array:
    """Return the trailing effects with X and y, ``Lambda_2' Z_2'[X y]``, (q, p + 1)."""
    scaled, start = np.empty_like(products.trailing_xy), 0
    for k in products.layout.trailing:
        shape = products.layout.shapes[k]
        rows = slice(start, start + shape.n_effects)
        xy = products.trailing_xy[rows].reshape(shape.n_levels, shape.n_columns, -1)
        scaled[rows] = (lambdas[k].T @ xy).reshape(shape.n_effects, -1)
        start += shape.n_effects
    return scaled


def inner_blocks(
    products: CrossProducts, sparse: SparseTrailing, entries: Array, xy: Array, R_X: Array | None
) -> tuple[dict[int, Array], Array]:
    """Return diagonal blocks of the inverse, (J, S, S) per trailing term, and what the leading term needs of it.

    Parameters
    ----------
    products, sparse
        The cross-products and the factor.
    entries, xy
        The leading term's rows at the trailing effects and at X and y.
    R_X
        Lower Cholesky factor of the precision of beta times sigma², (p, p); None treats beta as known.
    """
    order = sparse.order
    inverse = invert_where_filled(order.starts, order.rows, sparse.values)
    inner = lead_quadratic(
        order.starts, order.rows, products.entry_starts, order.entry_places, order.meeting_starts, order.meetings,
        order.levels, entries, inverse,
    )  # fmt: skip
    p = 0 if R_X is None else len(R_X)
    root = np.zeros((products.n_trailing, 0))  # of B K^-1 B'
    if R_X is not None and p:
        by_x = sparse.solve_transposed(sparse.at_xy[:, :p])
        root = np.ascontiguousarray(solve_triangular(R_X, by_x.T, lower=True).T)
        flat = xy[:, :, :p].reshape(-1, p)
        far = np.ascontiguousarray(solve_triangular(R_X, flat.T, lower=True).T).reshape(*xy.shape[:2], p)
        subtract_entries(products.entry_starts, products.entry_columns, entries, root, far)
        inner = inner + far @ far.transpose(0, 2, 1)
    blocks: dict[int, Array] = {}
    start = 0
    own = {}
    for pair, target in zip(products.trailing_blocks, order.targets, strict=True):
        if pair.terms[0] == pair.terms[1]:
            own[pair.terms[0]] = target
    for k in products.layout.trailing:
        shape = products.layout.shapes[k]
        by_level = root[start : start + shape.n_effects].reshape(shape.n_levels, shape.n_columns, p)
        blocks[k] = inverse[own[k]] + by_level @ by_level.transpose(0, 2, 1)
        start += shape.n_effects
    return blocks, inner

r"""Several terms with few effects, start to finish in compiled loops.

One term leads; the effects of all others, X and y are the columns r of one small dense matrix. With the cross-products
A, the leading term's factor :math:`\lambda`, and :math:`\Lambda` the factors of the others beside ones for X and y,

.. math::

   L_j L_j^\top &= \lambda^\top A_{jj} \lambda + I, \qquad Y_j = L_j^{-1} \lambda^\top A_{jr}, \\
   H &= A_{rr} - \textstyle\sum_j Y_j^\top Y_j, \qquad R^\top R = \Lambda^\top H \Lambda + I_q,

:math:`I_q` at the effects only. :math:`\log|\Omega|` is read from the :math:`L_j` and from the pivots of R at effects,
:math:`R_X` and :math:`r^2` from those at X and y. The derivative by :math:`\lambda_k\lambda_k^\top`, singular or not:

.. math::

   G_k = \sum_{i \in k} K_i - U_i^\top U_i - s_i s_i^\top / \sigma^2, \qquad U_i = R^{-\top} \Lambda^\top C_i^\top,

with y left out of R, :math:`s_i` what the same elimination leaves of the products with y, and for ML the rows of X left
out of :math:`U_i^\top U_i`. For a level of the leading term :math:`K_j = A_{jj} - T_j^\top T_j` and
:math:`C_j = A_{jr} - T_j^\top Y_j` with :math:`T_j = L_j^{-1} \lambda^\top A_{jj}`; for others they are parts of H.
Nothing is divided by :math:`\lambda`.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.elimination import eliminate_level, scale_rows
from bayeslmm.likelihood.factor import lead_rows, scaled_entries, scaled_trailing
from bayeslmm.types import Array

Places = NDArray[np.int64]


def dense_crossproducts(products: CrossProducts) -> tuple[Array, Array, Array]:
    """Return the leading term's products with itself (J, S, S) and with the rest (J, S, m), and the rest's (m, m).

    The rest are the effects of all other terms, if any, in the order of the nest or of the trailing terms, then X and
    y.
    """
    layout = products.layout
    sizes = [layout.shapes[k].n_columns for k in layout.nest]
    if layout.trailing:
        identity = [np.eye(shape.n_columns) for shape in layout.shapes]
        effects = lead_rows(products, scaled_entries(products, identity))
        upper = scaled_trailing(products, identity)
        q = products.n_trailing
        upper[np.arange(q), np.arange(q)] -= 1.0
        rest = np.triu(upper) + np.triu(upper, 1).T
    else:
        firsts = np.cumsum([0, *(layout.shapes[k].n_effects for k in layout.nest[1:])])
        q = int(firsts[-1])
        rest = np.zeros((q + products.n_fixed + 1,) * 2)
        rest[q:, q:] = products.xy
        for place in range(1, len(sizes)):
            rows = _nest_rows(products, place, firsts, q)
            own = slice(firsts[place - 1], firsts[place])
            rest[own] += rows
            rest[:, own] += rows.T
            _place_own(products.nest_z[place][:, :, : sizes[place]], rest, int(firsts[place - 1]))
        effects = _nest_rows(products, 0, firsts, q)[:, :q].reshape(*products.nest_xy[0].shape[:2], q)
    lead_z = products.nest_z[0][:, :, : sizes[0]]
    return np.ascontiguousarray(lead_z), np.concatenate([effects, products.nest_xy[0]], axis=2), rest


def _nest_rows(products: CrossProducts, place: int, firsts: NDArray[np.intp], q: int) -> Array:
    """Return the products of a term of the nest with its ancestors, X and y, (J S, m), zero elsewhere."""
    layout, xy = products.layout, products.nest_xy[place]
    levels, size = xy.shape[:2]
    rows = np.zeros((levels, size, q + xy.shape[2]))
    rows[:, :, q:] = xy
    first = size
    for ancestor, parent in enumerate(layout.parents[place], start=place + 1):
        width = layout.shapes[layout.nest[ancestor]].n_columns
        for t in range(width):
            at = firsts[ancestor - 1] + parent * width + t
            rows[np.arange(levels), :, at] = products.nest_z[place][:, :, first + t]
        first += width
    return rows.reshape(levels * size, -1)


def _place_own(blocks: Array, rest: Array, first: int) -> None:
    size = blocks.shape[1]
    for j, block in enumerate(blocks):
        own = slice(first + j * size, first + (j + 1) * size)
        rest[own, own] = block


@numba.njit(cache=True, nogil=True)
def reduce_several(
    z: Array, rows: Array, rest: Array, factor: Array, places: Places, low: Array, reduced: Array, left: Array,
    turned: Array, root: Array,
) -> float:  # fmt: skip
    """Eliminate the leading term and factor the rest.

    Parameters
    ----------
    z, rows, rest
        What :func:`dense_crossproducts` returns.
    factor
        lambda of all terms on one diagonal, lower triangular.
    places
        Of each term, the leading one first: its first effect in `factor`, its effects S, and its levels J.
    low, reduced
        Filled with L (J, S, S), lower, and Y (J, S, m).
    left, turned, root
        Filled with H, ``Lambda' H`` and the upper triangular R, (m, m).

    Returns
    -------
    log |Omega|; NaN if a pivot is not positive.
    """
    own, q = _own(factor, places, 0), 0
    for k in range(1, len(places)):
        q += places[k, 1] * places[k, 2]
    scale_rows(z, rows, own, own, low, reduced)
    log_det = eliminate_level(low, reduced, np.zeros(1, dtype=np.int64), np.zeros((1, 0)))
    if not np.isfinite(log_det):
        return np.nan
    left[:] = rest
    flat = reduced.reshape(-1, len(rest))
    for i in range(len(flat)):
        _subtract_outer(flat[i], 0, left)
    for a in range(len(left)):
        for b in range(a):
            left[a, b] = left[b, a]
    turned[:] = left
    _scale_effects(factor, places, turned)
    for a in range(len(left)):
        for b in range(len(left)):
            root[b, a] = turned[a, b]
    _scale_effects(factor, places, root)
    for a in range(q):
        root[a, a] += 1.0
    if not _factor_upper(root):
        return np.nan
    for a in range(q):
        log_det += 2.0 * np.log(root[a, a])
    return log_det


@numba.njit(cache=True, nogil=True)
def _own(factor: Array, places: Places, k: int) -> Array:
    first, size = places[k, 0], places[k, 1]
    return factor[first : first + size, first : first + size].copy()


@numba.njit(cache=True, nogil=True)
def _subtract_outer(row: Array, first: int, matrix: Array) -> None:
    """Subtract ``row row'`` from the upper triangle of a matrix, from the place `first` on."""
    for a in range(first, len(row)):
        value = row[a]
        if value != 0.0:
            source, target = row[a:], matrix[a, a:]
            for b in range(len(source)):
                target[b] -= value * source[b]


@numba.njit(cache=True, nogil=True)
def _scale_effects(factor: Array, places: Places, matrix: Array) -> None:
    """Replace the rows of a matrix (m, w) that belong to effects by ``Lambda'`` times them."""
    start = 0
    for k in range(1, len(places)):
        first, size = places[k, 0], places[k, 1]
        for _ in range(places[k, 2]):
            for s in range(size):
                row, value = matrix[start + s], factor[first + s, first + s]
                for b in range(len(row)):
                    row[b] *= value
                for r in range(s + 1, size):
                    other, value = matrix[start + r], factor[first + r, first + s]
                    for b in range(len(row)):
                        row[b] += value * other[b]
            start += size


@numba.njit(cache=True, nogil=True)
def _factor_upper(matrix: Array) -> bool:
    """Replace the upper triangle by R, ``R'R`` the matrix; return whether every pivot was positive."""
    for a in range(len(matrix)):
        row = matrix[a]
        if not row[a] > 0.0:
            return False
        row[a] = np.sqrt(row[a])
        for b in range(a + 1, len(row)):
            row[b] /= row[a]
        _subtract_outer(row, a + 1, matrix)
    return True


@numba.njit(cache=True, nogil=True)
def covariance_slopes_several(
    z: Array, rows: Array, factor: Array, places: Places, low: Array, reduced: Array, left: Array, turned: Array,
    root: Array, n_fixed: int, reml: bool, sigma: float, solved: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """Return G of all terms on one diagonal, and what it is without the products with y.

    Parameters
    ----------
    z, rows, factor, places, low, reduced, left, turned, root
        As :func:`reduce_several` was given and left them.
    n_fixed, reml, sigma
        Number of coefficients, the criterion, and the residual standard deviation.
    solved
        Room, (m, effects of all terms).
    """
    m, q = len(root), len(root) - n_fixed - 1
    leading = z.shape[0] * z.shape[1]
    known = np.zeros(factor.shape)
    _start_leading(z, rows, factor, places, low, reduced, solved, known)
    _scale_effects(factor, places, solved[:, :leading])
    solved[:, leading:] = turned[:, :q]
    for a in range(m - 1):
        row, pivot = solved[a], 1.0 / root[a, a]
        for i in range(len(row)):
            row[i] *= pivot
        for b in range(a + 1, m):
            value = root[a, b]
            if value != 0.0:
                target = solved[b]
                for i in range(len(row)):
                    target[i] -= value * row[i]
    slope = np.zeros(factor.shape)
    start = 0
    for k in range(len(places)):
        first, size, levels = places[k, 0], places[k, 1], places[k, 2]
        for s in range(size):
            for t in range(s + 1):
                total = 0.0
                if k > 0:
                    for j in range(levels):
                        at = start - leading + j * size
                        total += left[at + s, at + t]
                for a in range(m - 1 if reml else q):
                    row = solved[a]
                    for j in range(levels):
                        at = start + j * size
                        total -= row[at + s] * row[at + t]
                row, squares = solved[m - 1], 0.0
                for j in range(levels):
                    at = start + j * size
                    squares += row[at + s] * row[at + t]
                known[first + s, first + t] += total
                slope[first + s, first + t] = known[first + s, first + t] - squares / sigma**2
                known[first + t, first + s] = known[first + s, first + t]
                slope[first + t, first + s] = slope[first + s, first + t]
        start += levels * size
    return slope, known


@numba.njit(cache=True, nogil=True)
def _start_leading(
    z: Array, rows: Array, factor: Array, places: Places, low: Array, reduced: Array, solved: Array, known: Array
) -> None:
    """Write C of the leading term into `solved`, transposed, and the sum of K into `known`, its lower triangle."""
    levels, size, m = rows.shape
    first = places[0, 0]
    scaled = np.empty((size, size))
    for j in range(levels):
        for t in range(size):
            for s in range(size):
                value = 0.0
                for r in range(s, size):
                    value += factor[first + r, first + s] * z[j, r, t]
                for r in range(s):
                    value -= low[j, s, r] * scaled[r, t]
                scaled[s, t] = value / low[j, s, s]
        for s in range(size):
            for a in range(m):
                value = rows[j, s, a]
                for r in range(size):
                    value -= scaled[r, s] * reduced[j, r, a]
                solved[a, j * size + s] = value
            for t in range(s + 1):
                value = z[j, s, t]
                for r in range(size):
                    value -= scaled[r, s] * scaled[r, t]
                known[first + s, first + t] += value

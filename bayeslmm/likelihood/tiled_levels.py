r"""The levels of a single term eliminated many at a time, where only what remains of X and y is wanted.

A level takes a few dozen operations on matrices of two or three rows, which no processor does fast one by one. So the
cross-products are turned round, levels last, and `TILE` levels go through each operation together:

.. math:: \Omega_j = \lambda^\top A_j \lambda + I = L_j L_j^\top, \qquad R_j = L_j^{-1} \lambda^\top B_j, \qquad
          \log|\Omega| = \sum_j \log|\Omega_j|, \qquad T - \sum_j R_j^\top R_j

with :math:`A_j, B_j` the cross-products of level j with itself and with X and y, T those of X and y. It is what
`reduce_single` does, but for the factors of the levels, which are not kept.
"""

import numba
import numpy as np

from bayeslmm.likelihood.single_term import cholesky_in_place
from bayeslmm.types import Array

TILE = 64  # levels at a time: their products stay in the processor's first cache
MOST = 1e100  # of a product of pivots, before its logarithm is taken


def levels_last(blocks: Array) -> Array:
    """Return blocks of levels (J, S, w) with the levels last, (S, w, J)."""
    return np.ascontiguousarray(blocks.transpose(1, 2, 0))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def reduce_levels(z: Array, xy: Array, total: Array, factor: Array, schur: Array) -> float:
    """Eliminate every level and factor what remains of X and y.

    Parameters
    ----------
    z, xy
        Cross-products of the term with itself (S, S, J), and with X and y (S, p + 1, J).
    total
        Those of X and y, shape (p + 1, p + 1).
    factor
        lambda, lower triangular, shape (S, S).
    schur
        Filled with the lower Cholesky factor of the rest, shape (p + 1, p + 1).

    Returns
    -------
    log |Omega|; NaN if a pivot is not positive.
    """
    size, order, n_levels = xy.shape
    omega, half = np.empty((size, size, TILE)), np.empty((size, size, TILE))
    rows, product, least = np.zeros((order, size * TILE)), np.ones(TILE), np.ones(TILE)
    log_det = 0.0
    for a in range(order):
        for b in range(a + 1):
            schur[a, b] = total[a, b]
    for start in range(0, n_levels, TILE):
        count = min(TILE, n_levels - start)
        if count < TILE:
            rows[:] = 0.0
        scale_tile(z, xy, start, count, factor, omega, half, rows)
        factor_tile(omega, rows, count, product, least)
        for a in range(order):
            for b in range(a + 1):
                schur[a, b] -= _dot(rows[a], rows[b])
        log_det += _take_logs(product, MOST)
    log_det += _take_logs(product, 0.0)
    if not np.isfinite(log_det) or not least.min() > 0.0:
        return np.nan
    return log_det if cholesky_in_place(schur) else np.nan


@numba.njit(cache=True, nogil=True, error_model="numpy")
def scale_tile(
    z: Array, xy: Array, start: int, count: int, factor: Array, omega: Array, half: Array, rows: Array
) -> None:  # fmt: skip
    """Fill the lower triangle of ``lambda' z lambda + I`` (S, S, TILE), and ``lambda' xy`` (p + 1, S TILE)."""
    size, order = xy.shape[0], xy.shape[1]
    for r in range(size):
        for t in range(size):
            out = half[r, t]
            out[:count] = 0.0
            for q in range(t, size):
                value = factor[q, t]
                if value != 0.0:
                    block = z[r, q]
                    for i in range(count):
                        out[i] += value * block[start + i]
    for s in range(size):
        for t in range(s + 1):
            out = omega[s, t]
            out[:count] = 1.0 if s == t else 0.0
            for r in range(s, size):
                value = factor[r, s]
                if value != 0.0:
                    block = half[r, t]
                    for i in range(count):
                        out[i] += value * block[i]
        for a in range(order):
            out = rows[a, s * TILE : (s + 1) * TILE]
            out[:count] = 0.0
            for r in range(s, size):
                value = factor[r, s]
                if value != 0.0:
                    block = xy[r, a]
                    for i in range(count):
                        out[i] += value * block[start + i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def factor_tile(omega: Array, rows: Array, count: int, product: Array, least: Array) -> None:
    """Factor the levels' blocks, diagonals inverted, solve them into their rows, and multiply the pivots together."""
    size, order = omega.shape[0], rows.shape[0]
    for s in range(size):
        for t in range(s):  # L in place, row by row; its diagonal is inverted
            left = omega[s, t]
            for r in range(t):
                one, two = omega[s, r], omega[t, r]
                for i in range(count):
                    left[i] -= one[i] * two[i]
            pivot = omega[t, t]
            for i in range(count):
                left[i] *= pivot[i]
        own = omega[s, s]
        for r in range(s):
            one = omega[s, r]
            for i in range(count):
                own[i] -= one[i] * one[i]
        for i in range(count):
            product[i] *= own[i]
            least[i] = own[i] if own[i] < least[i] else least[i]
            own[i] = 1.0 / np.sqrt(own[i])
        for a in range(order):
            out = rows[a, s * TILE : (s + 1) * TILE]
            for r in range(s):
                one, two = omega[s, r], rows[a, r * TILE : (r + 1) * TILE]
                for i in range(count):
                    out[i] -= one[i] * two[i]
            for i in range(count):
                out[i] *= own[i]


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _dot(left: Array, right: Array) -> float:
    total = 0.0
    for i in range(len(left)):
        total += left[i] * right[i]
    return total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _take_logs(product: Array, most: float) -> float:
    """Return the logarithms of products and reset them to one, if one of them is above `most`."""
    largest = 0.0
    for i in range(len(product)):
        largest = max(largest, product[i])
    if not largest > most:
        return 0.0
    total = 0.0
    for i in range(len(product)):
        total += np.log(product[i])
        product[i] = 1.0
    return total

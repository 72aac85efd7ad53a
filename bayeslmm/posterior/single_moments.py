r"""Means and variances of all effects of a single term given the covariance parameters, many levels at a time.

With L, R of `bayeslmm.likelihood.tiled_levels`, beta at its conditional mean, M the root of its precision times sigma²,
and b = T u on the user's columns,

.. math::

   \operatorname{E} b_j &= T L_j^{-\top} (R_{jy} - R_{jX} \beta), \\
   \operatorname{var} b_{js} &= \sigma^2 \bigl(|w|^2 + |M^{-1} R_{jX}^\top w|^2\bigr), \qquad w = L_j^{-1} T_s^\top .
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.tiled_levels import TILE, factor_tile, scale_tile
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class LevelsEliminated:
    """What is known of the coefficients once the levels of a single term are eliminated.

    Attributes
    ----------
    products
        The cross-products.
    log_det
        log|Omega|.
    schur
        Lower Cholesky factor of what remains of X and y, shape (p + 1, p + 1).
    """

    products: CrossProducts
    log_det: float
    schur: Array

    @property
    def order(self) -> int:
        """Order of the largest matrix that LAPACK sees."""
        return len(self.schur)

    @property
    def r_squared(self) -> float:
        """The penalised residual sum of squares at its minimum."""
        return float(self.schur[-1, -1] ** 2)

    @property
    def R_X(self) -> Array:
        """Lower Cholesky factor of the cross-products of X with Z eliminated, shape (p, p)."""
        return np.tril(self.schur[:-1, :-1])

    @property
    def beta(self) -> Array:
        """Generalised least-squares estimate, shape (p,)."""
        if len(self.schur) == 1:
            return np.zeros(0)
        return np.asarray(solve_triangular(self.schur[:-1, :-1], self.schur[-1, :-1], lower=True, trans=1))

    @property
    def log_det_X(self) -> float:
        """Logarithm of |R_X|²."""
        return 2.0 * float(np.sum(np.log(np.diag(self.schur)[:-1])))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def level_moments(
    z: Array, xy: Array, factor: Array, turn: Array, beta: Array, root: Array, sigma: float, means: Array,
    variances: Array,
) -> None:  # fmt: skip
    """Fill means and variances of b on the user's columns.

    Parameters
    ----------
    z, xy
        Cross-products with the levels last, shapes (S, S, J) and (S, p + 1, J).
    factor, turn
        lambda, and T from u to the user's columns, shape (S, S).
    beta, root
        Conditional mean of the coefficients (p,) and the lower Cholesky factor of their precision times sigma² (p, p).
    sigma
        Residual standard deviation.
    means, variances
        Filled, shape (J, S).
    """
    size, order, n_levels = xy.shape
    p = order - 1
    omega, half = np.empty((size, size, TILE)), np.empty((size, size, TILE))
    rows, product, least = np.zeros((order, size * TILE)), np.empty(TILE), np.ones(TILE)
    u, w, spread, at_x = np.empty((size, TILE)), np.empty((size, TILE)), np.empty(TILE), np.empty(TILE)
    for start in range(0, n_levels, TILE):
        count = min(TILE, n_levels - start)
        product[:] = 1.0
        scale_tile(z, xy, start, count, factor, omega, half, rows)
        factor_tile(omega, rows, count, product, least)
        _solve_modes(omega, rows, beta, count, u)
        for a in range(p):  # M^-1 R_X'
            own = rows[a]
            for c in range(a):
                other, share = rows[c], root[a, c]
                for i in range(size * TILE):
                    own[i] -= share * other[i]
            share = 1.0 / root[a, a]
            for i in range(size * TILE):
                own[i] *= share
        for q in range(size):
            for i in range(count):
                spread[i] = 0.0
            for s in range(size):
                out, pivot = w[s], omega[s, s]
                for i in range(count):
                    out[i] = turn[q, s]
                for r in range(s):
                    one, two = omega[s, r], w[r]
                    for i in range(count):
                        out[i] -= one[i] * two[i]
                for i in range(count):
                    out[i] *= pivot[i]
                    spread[i] += out[i] * out[i]
            for a in range(p):
                at_x[:] = 0.0
                for s in range(size):
                    one, two = rows[a, s * TILE : (s + 1) * TILE], w[s]
                    for i in range(count):
                        at_x[i] += one[i] * two[i]
                for i in range(count):
                    spread[i] += at_x[i] * at_x[i]
            at_x[:] = 0.0
            for s in range(size):
                one = u[s]
                for i in range(count):
                    at_x[i] += turn[q, s] * one[i]
            for i in range(count):
                means[start + i, q] = at_x[i]
                variances[start + i, q] = sigma * sigma * spread[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _solve_modes(omega: Array, rows: Array, beta: Array, count: int, u: Array) -> None:
    """Fill ``L^-T (R_y - R_X beta)``, shape (S, TILE); omega has the factors, their diagonals inverted."""
    size, p = omega.shape[0], len(beta)
    for s in range(size - 1, -1, -1):
        out, last, pivot = u[s], rows[p, s * TILE : (s + 1) * TILE], omega[s, s]
        for i in range(count):
            out[i] = last[i]
        for a in range(p):
            one, share = rows[a, s * TILE : (s + 1) * TILE], beta[a]
            for i in range(count):
                out[i] -= share * one[i]
        for r in range(s + 1, size):
            one, two = omega[r, s], u[r]
            for i in range(count):
                out[i] -= one[i] * two[i]
        for i in range(count):
            out[i] *= pivot[i]

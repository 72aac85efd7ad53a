r"""Effects of a single term as mixtures over values of the covariance parameters, many levels at a time.

Given those values every effect is normal.

With L, R of `bayeslmm.likelihood.tiled_levels`, beta at its conditional mean, M the root of its precision times sigma²,
and b = T u on the user's columns,

.. math::

   \operatorname{E} b_j &= T L_j^{-\top} (R_{jy} - R_{jX} \beta), \\
   \operatorname{var} b_{js} &= \sigma^2 \bigl(|w|^2 + |M^{-1} R_{jX}^\top w|^2\bigr), \qquad w = L_j^{-1} T_s^\top .

All values are gone through for one tile of levels before the next, so that means, standard deviations and quantiles of
the mixtures come out without an array of values by effects.
"""

from dataclasses import dataclass

import numba
import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.tiled_levels import TILE, factor_tile, scale_tile
from bayeslmm.posterior.mixture_quantiles import one_mixture
from bayeslmm.posterior.mixture_series import SERIES, mixture_moments, series_coefficients, series_quantile
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


@dataclass(frozen=True, slots=True)
class NormalParts:
    """Normal distributions of all effects of a single term, each given the covariance parameters.

    Attributes
    ----------
    factors, turns
        lambda, and T from u to the user's columns, shape (K, S, S).
    betas, roots
        Conditional mean of the coefficients (K, p), and the lower Cholesky factor of their precision times sigma²
        (K, p, p).
    sigmas, weights
        Residual standard deviations and shares of the mixture, shape (K,).
    """

    factors: Array
    turns: Array
    betas: Array
    roots: Array
    sigmas: Array
    weights: Array


@numba.njit(cache=True, nogil=True, error_model="numpy")
def level_mixtures(
    z: Array, xy: Array, factors: Array, turns: Array, betas: Array, roots: Array, sigmas: Array, weights: Array,
    first: int, last: int, probabilities: Array, scores: Array, hermite: Array, coefficients: Array,
    means: Array, sds: Array, quantiles: Array,
) -> None:  # fmt: skip
    """Fill mean, standard deviation and quantiles of mixtures over the parts, for levels from `first` to `last`.

    The parts of a tile of levels stay in the processor's cache, and none is kept.

    Parameters
    ----------
    z, xy
        Cross-products with the levels last, shapes (S, S, J) and (S, p + 1, J).
    factors, turns, betas, roots, sigmas, weights
        As in `NormalParts`.
    probabilities, scores, hermite, coefficients
        What `mixture_quantiles` and `mixture_series` take, for Q quantiles.
    means, sds, quantiles
        Filled, shapes (J, S), (J, S) and (Q, J, S).
    """
    size, count = z.shape[0], len(weights)
    work = _new_work(size, xy.shape[1])
    part_means, part_variances = np.empty((size, TILE, count)), np.empty((size, TILE, count))
    terms = np.empty(SERIES)
    for start in range(first, last, TILE):
        here = min(TILE, last - start)
        for k in range(count):
            _tile_moments(
                z, xy, start, here, factors[k], turns[k], betas[k], roots[k], sigmas[k], work,
                part_means[:, :, k], part_variances[:, :, k],
            )  # fmt: skip
        for s in range(size):
            for i in range(here):
                m, v = part_means[s, i], part_variances[s, i]
                mean, variance = mixture_moments(m, v, weights)
                sd = np.sqrt(max(variance, 0.0))
                means[start + i, s], sds[start + i, s] = mean, sd
                if sd > 0.0 and series_coefficients(m, v, weights, mean, variance, terms):
                    for q in range(len(scores)):
                        quantiles[q, start + i, s] = mean + sd * series_quantile(scores[q], hermite[q], terms)
                else:
                    quantiles[:, start + i, s] = one_mixture(
                        m, v, weights, mean, sd, probabilities, scores, coefficients
                    )


@numba.njit(cache=True, nogil=True)
def _new_work(size: int, order: int) -> tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array]:
    """Return the arrays that a tile's moments are found in; those that are multiplied up start at one."""
    return (
        np.empty((size, size, TILE)), np.empty((size, size, TILE)), np.zeros((order, size * TILE)), np.ones(TILE),
        np.ones(TILE), np.empty((size, TILE)), np.empty((size, TILE)), np.empty(TILE), np.empty(TILE),
    )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _tile_moments(
    z: Array, xy: Array, start: int, count: int, factor: Array, turn: Array, beta: Array, root: Array, sigma: float,
    work: tuple[Array, Array, Array, Array, Array, Array, Array, Array, Array], means: Array, variances: Array,
) -> None:  # fmt: skip
    """Fill means and variances of b on the user's columns for a tile of levels, shape (S, TILE)."""
    omega, half, rows, product, least, u, w, spread, at_x = work
    size, p = len(factor), len(beta)
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
            means[q, i] = at_x[i]
            variances[q, i] = sigma * sigma * spread[i]


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

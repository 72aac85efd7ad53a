r"""What the other rows say of a set of rows, for many values of sigma at once; one row at a time is in `left_out`.

With :math:`A_\mp = I \mp F F^\top` on the rows of a set, :math:`F = W^{1/2}Z\Lambda L^{-\top}` of `left_out`, and
:math:`D = \mathrm{diag}\{1/(1+\sigma^2\pi)\}`,

.. math:: I \mp H = A_\mp \mp T D T^\top, \qquad
          |I \mp H| = |A_\mp|\,|I \mp D^{1/2}T^\top A_\mp^{-1} T D^{1/2}|,

and by Woodbury's formula everything that depends on sigma is of order p, once :math:`[T\;r]^\top A_\mp^{-1}[T\;r]` is
known. Where the rows of a set share their levels, F has few columns, and the set's cross-products of
:math:`[F\;T\;r]` are all that is needed:

.. math:: |A_\mp| = |I \mp F^\top F|, \qquad A_\mp^{-1} = I \pm F (I \mp F^\top F)^{-1} F^\top .
"""

from dataclasses import dataclass

import numba
import numpy as np

from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.left_out import CELLS, IDENTIFIED, RowParts, Sets, known_covariance, solved_rows
from bayeslmm.likelihood.normal_prior import LOG_2PI, FixedPosterior
from bayeslmm.likelihood.prediction_error import PredictorRows
from bayeslmm.likelihood.single_term import cholesky_in_place, solve_lower
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import Array, Index

NARROW = 16  # columns of F up to which the compiled loop is faster than LAPACK
OTHERS, ALL = -1.0, 1.0  # what the rows are predicted from: I - H for the other rows, I + H for all rows


@dataclass(frozen=True, slots=True)
class Reduced:
    """Sets of rows, random effects eliminated.

    Attributes
    ----------
    log_det
        log |A|, shape (G,); NaN where the other rows say nothing of a row.
    products
        ``[T r]' A^-1 [T r]``, shape (G, p + 1, p + 1).
    """

    log_det: Array
    products: Array


@limits_threads
def sets_left_out(
    factor: Factor, parts: RowParts, posterior: FixedPosterior, sigma: Array, sets: Sets
) -> tuple[Array, Array]:
    """Return joint log densities of every set, given the other rows and given all rows, both (m, U), for sigma (m,).

    The first is minus infinity where the other rows do not identify a coefficient of the set.
    """
    share = 1.0 / (1.0 + np.multiply.outer(sigma**2, posterior.pull))
    shift = (1.0 - share) * posterior.distance
    found = np.zeros((2, len(sigma), len(sets.sizes)))
    p = len(posterior.estimate)
    width = max(factor.products.n_trailing, int(sets.sizes.max(initial=1)), p + 1)
    for places, members in sets.batches(max(1, CELLS // width)):
        size = members.shape[1]
        logs = parts.log_weights[members].sum(axis=1) - size * (LOG_2PI + 2.0 * np.log(sigma)[:, None])
        root = _narrow_root(factor, parts.rows, members)
        known = known_covariance(factor, parts.rows, members) if root is None or p > size else None
        columns = np.concatenate([parts.fixed[members], parts.residual[members][:, :, None]], axis=2)
        for part, sign in zip(found, (OTHERS, ALL), strict=True):
            if known is not None and p > size:
                at_nodes = _few_rows(known, columns, share, shift, sigma, sign)
            else:
                if known is not None:
                    reduced = _by_rows(known, columns, sign)
                else:
                    assert root is not None
                    reduced = _by_products(root, columns, sign)
                at_nodes = densities_at(reduced.log_det, reduced.products, sign, share, shift, sigma)
            part[:, places] = 0.5 * (logs + at_nodes)
    return found[0], found[1]


def _narrow_root(factor: Factor, rows: PredictorRows, members: Index) -> Array | None:
    """Return F of the sets (G, s, k) where each shares its levels and F has fewer columns than rows."""
    if not rows.codes:
        return np.zeros((*members.shape, 0))
    flat = members.ravel()
    layout = factor.products.layout
    shared = all(bool(np.all(np.ptp(rows.codes[k][members], axis=1) == 0)) for k in layout.nest)
    width = factor.products.n_trailing + sum(rows.effects[k].shape[1] for k in layout.nest)
    if not shared or width >= members.shape[1]:
        return None
    nest, trailing = solved_rows(factor, tuple(c[flat] for c in rows.codes), tuple(e[flat] for e in rows.effects))
    root = np.column_stack([*(vectors for _, vectors in nest), trailing])
    return root.reshape(*members.shape, -1)


def _by_products(root: Array, columns: Array, sign: float) -> Reduced:
    """Reduce sets from the cross-products of F (G, s, k) and ``[T r]`` (G, s, p + 1)."""
    k = root.shape[2]
    both = np.concatenate([root, columns], axis=2)
    products = both.transpose(0, 2, 1) @ both
    if k <= NARROW:
        return Reduced(*eliminate_first(products, k, sign))
    log_det, solved = _eliminate(np.eye(k) + sign * products[:, :k, :k], products[:, :k, k:])
    return Reduced(log_det, products[:, k:, k:] - sign * solved.transpose(0, 2, 1) @ solved)


def _by_rows(known: Array, columns: Array, sign: float) -> Reduced:
    """Reduce sets from ``F F'`` (G, s, s)."""
    log_det, solved = _eliminate(np.eye(known.shape[1]) + sign * known, columns)
    return Reduced(log_det, solved.transpose(0, 2, 1) @ solved)


def _eliminate(matrices: Array, right: Array) -> tuple[Array, Array]:
    """Return log |M| (G,) and ``L^-1 right``, L the lower Cholesky factor of M; NaN where M is nearly singular."""
    try:
        lower = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.array([np.nan]), np.full(right.shape, np.nan)
        found = [_eliminate(matrices[[g]], right[[g]]) for g in range(len(matrices))]
        return np.concatenate([log_det for log_det, _ in found]), np.concatenate([solved for _, solved in found])
    pivots = np.diagonal(lower, axis1=1, axis2=2)
    log_det = 2.0 * np.sum(np.log(pivots), axis=1)
    log_det[pivots.min(axis=1, initial=1.0) ** 2 < IDENTIFIED] = np.nan
    return log_det, np.linalg.solve(lower, right)


@numba.njit(cache=True, nogil=True)
def eliminate_first(products: Array, k: int, sign: float) -> tuple[Array, Array]:
    """Return what `Reduced` holds from the cross-products (G, k + p + 1, k + p + 1) of F, T and r."""
    count, order = len(products), products.shape[1]
    log_det, left = np.zeros(count), np.empty((count, order - k, order - k))
    root, solved = np.empty((k, k)), np.empty((order - k, k))
    for g in range(count):
        for a in range(k):
            for b in range(a + 1):
                root[a, b] = sign * products[g, a, b]
            root[a, a] += 1.0
        if not cholesky_in_place(root):
            log_det[g] = np.nan
            continue
        for a in range(k):
            log_det[g] += 2.0 * np.log(root[a, a])
            if root[a, a] ** 2 < IDENTIFIED:
                log_det[g] = np.nan
        for a in range(order - k):
            solved[a] = products[g, k + a, :k]
            solve_lower(root, solved[a])
            for b in range(a + 1):
                value = products[g, k + a, k + b] - sign * np.dot(solved[a], solved[b])
                left[g, a, b] = value
                left[g, b, a] = value
    return log_det, left


@numba.njit(cache=True, nogil=True)
def densities_at(log_det: Array, products: Array, sign: float, share: Array, shift: Array, sigma: Array) -> Array:
    """Return ``-sign log|A + sign T D T'| - e' (A + sign T D T')^-1 e / sigma^2``, shape (m, G).

    Parameters
    ----------
    log_det, products, sign
        As in :class:`Reduced`, and which of the two A.
    share, shift
        The diagonal of D, and by how much beta in the columns of T is off the least-squares estimate, both (m, p).
    sigma
        Shape (m,).
    """
    count, p = len(log_det), share.shape[1]
    found = np.full((len(sigma), count), -np.inf)
    root, w = np.empty((p, p)), np.empty(p)
    for g in range(count):
        if np.isnan(log_det[g]):
            continue
        C = products[g]
        for k in range(len(sigma)):
            squares = C[p, p]
            for a in range(p):
                value = C[a, p]
                for b in range(p):
                    value -= C[a, b] * shift[k, b]
                    root[a, b] = sign * np.sqrt(share[k, a] * share[k, b]) * C[a, b]
                root[a, a] += 1.0
                w[a] = np.sqrt(share[k, a]) * value
                squares -= shift[k, a] * (C[a, p] + value)
            if not cholesky_in_place(root):
                continue
            solve_lower(root, w)
            log, least, inner = log_det[g], 1.0, 0.0
            for a in range(p):
                log += 2.0 * np.log(root[a, a])
                least = min(least, root[a, a] ** 2)
                inner += w[a] ** 2
            if least >= IDENTIFIED:
                found[k, g] = -sign * log - (squares - sign * inner) / sigma[k] ** 2
    return found


def _few_rows(known: Array, columns: Array, share: Array, shift: Array, sigma: Array, sign: float) -> Array:
    """Return what :func:`densities_at` does for sets of fewer rows than coefficients, from ``F F'`` (G, s, s)."""
    T, residual = columns[:, :, :-1], columns[:, :, -1]
    found = np.full((len(sigma), len(known)), -np.inf)
    for k, spread in enumerate(share):
        H = known + (T * spread) @ T.transpose(0, 2, 1)
        e = (residual - T @ shift[k]) / sigma[k]
        log_det, solved = _eliminate(np.eye(known.shape[1]) + sign * H, e[:, :, None])
        kept = ~np.isnan(log_det)
        found[k, kept] = -sign * log_det[kept] - np.sum(solved[kept, :, 0] ** 2, axis=1)
    return found

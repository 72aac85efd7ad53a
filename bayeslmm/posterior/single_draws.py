"""Points and draws of the posterior of a model with one random term, in one compiled loop.

At every point phi: log p(phi | y), and draws of sigma, beta and b. The equations are those of `sigma_grid` and of
`bayeslmm.likelihood.normal_prior`; one loop, because a point costs less than a call from Python.
"""

import numba
import numpy as np

from bayeslmm.likelihood.single_term import draw_effects, reduce_single
from bayeslmm.likelihood.tiled_levels import reduce_levels
from bayeslmm.posterior.sigma_grid import REACH, accumulate, log_given_phi, quantile, sigma_nodes
from bayeslmm.posterior.single_coordinates import fill_factors, log_correlation
from bayeslmm.types import Array

SWEEPS = 60  # of Jacobi rotations, at most; six are usual
NEGLIGIBLE = 1e-32  # squares off the diagonal, relative to those on it, that are rounding errors


@numba.njit(cache=True, nogil=True, error_model="numpy")
def diagonalise(matrix: Array, vectors: Array) -> None:
    """Turn a symmetric matrix into the diagonal one of its eigenvalues by Jacobi rotations; vectors are columns."""
    p = matrix.shape[0]
    for a in range(p):
        for b in range(p):
            vectors[a, b] = 1.0 if a == b else 0.0
    for _ in range(SWEEPS):
        diagonal, rest = 0.0, 0.0
        for a in range(p):
            diagonal += matrix[a, a] * matrix[a, a]
            for b in range(a):
                rest += matrix[a, b] * matrix[a, b]
        if rest <= NEGLIGIBLE * diagonal:
            return
        for a in range(1, p):
            for b in range(a):
                if matrix[a, b] == 0.0:
                    continue
                lean = 0.5 * (matrix[a, a] - matrix[b, b]) / matrix[a, b]
                t = 1.0 / (abs(lean) + np.sqrt(1.0 + lean * lean))
                if lean < 0.0:
                    t = -t
                c = 1.0 / np.sqrt(1.0 + t * t)
                s = t * c
                for k in range(p):
                    first, second = matrix[k, b], matrix[k, a]
                    matrix[k, b], matrix[k, a] = c * first - s * second, s * first + c * second
                for k in range(p):
                    first, second = matrix[b, k], matrix[a, k]
                    matrix[b, k], matrix[a, k] = c * first - s * second, s * first + c * second
                    first, second = vectors[k, b], vectors[k, a]
                    vectors[k, b], vectors[k, a] = c * first - s * second, s * first + c * second


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fixed_single(
    schur: Array, precision: Array, mean: Array, work: Array, vectors: Array,
    estimate: Array, root: Array, pull: Array, distance: Array,
) -> float:  # fmt: skip
    """Combine X's part of the factor with a normal prior for every sigma.

    Parameters
    ----------
    schur
        Lower Cholesky factor with y last, shape (p + 1, p + 1).
    precision, mean
        The prior, shapes (p, p) and (p,).
    work, vectors
        Overwritten, shape (p, p).
    estimate, root, pull, distance
        Filled as in `FixedPosterior`, shapes (p,), (p, p), (p,), (p,).

    Returns
    -------
    log |K|.
    """
    p = mean.shape[0]
    log_det = 0.0
    for b in range(p):  # work: the inverse of R, lower triangular
        log_det += 2.0 * np.log(schur[b, b])
        for a in range(p):
            value = 1.0 if a == b else 0.0
            for c in range(b, a):
                value -= schur[a, c] * work[c, b]
            work[a, b] = value / schur[a, a] if a >= b else 0.0
    for a in range(p):
        value = 0.0
        for b in range(a, p):
            value += work[b, a] * schur[p, b]
        estimate[a] = value
    for a in range(p):
        for b in range(p):
            value = 0.0
            for c in range(b + 1):
                value += precision[a, c] * work[b, c]
            root[a, b] = value
    for a in range(p):
        for b in range(p):
            value = 0.0
            for c in range(a + 1):
                value += work[a, c] * root[c, b]
            vectors[a, b] = value
    for a in range(p):  # root, for a moment: the prior's precision in units of the data's, symmetric
        for b in range(p):
            root[a, b] = 0.5 * (vectors[a, b] + vectors[b, a])
    diagonalise(root, vectors)
    for i in range(p):
        pull[i] = max(root[i, i], 0.0)
        value = 0.0
        for b in range(p):
            apart = mean[b] - estimate[b]
            for a in range(b + 1):
                value += vectors[a, i] * schur[b, a] * apart
        distance[i] = value
    for a in range(p):
        for i in range(p):
            value = 0.0
            for c in range(a, p):
                value += work[c, a] * vectors[c, i]
            root[a, i] = value
    return log_det


@numba.njit(cache=True, nogil=True, error_model="numpy")
def draw_points(
    phi: Array, z: Array, xy: Array, total: Array, z_last: Array, xy_last: Array, scale: Array, turn: Array,
    codes: Array, exponents: Array, precision: Array, mean: Array, constant: float, n_rows: int, known_sigma: float,
    uniforms: Array, fixed: Array, noise: Array, log_densities: Array, sigma: Array, beta: Array,
) -> None:  # fmt: skip
    """Evaluate log p(phi | y) and draw sigma, beta and b.

    Parameters
    ----------
    phi
        Points, shape (m, d).
    z, xy, total, z_last, xy_last, scale, turn, codes, exponents, precision, mean, constant, n_rows, known_sigma
        The model, as in `SingleTerm`.
    uniforms, fixed, noise
        Uniform numbers (m, r) and standard normals (m, r, p) and (m, r, J, S); the last are overwritten with b on the
        user's columns.
    log_densities, sigma, beta
        Filled, shapes (m,), (m, r), (m, r, p); log densities are -inf where the kernel fails, and nothing is drawn
        there.
    """
    n_levels, size = z.shape[0], z.shape[1]
    p = mean.shape[0]
    sampled = np.isnan(known_sigma)
    factor, user = np.empty((size, size)), np.empty((size, size))
    drawn = n_levels if noise.shape[2] > 0 else 0
    low, rows = np.empty((drawn, size, size)), np.empty((drawn, size, p + 1))
    schur, unused = np.empty((p + 1, p + 1)), np.empty((p + 1, p + 1))
    work, vectors, root = np.empty((p, p)), np.empty((p, p)), np.empty((p, p))
    estimate, pull, distance, step = np.empty(p), np.empty(p), np.empty(p), np.empty(p)
    logs, slopes, cumulative = np.empty(2 * REACH + 1), np.empty(2 * REACH + 1), np.empty(2 * REACH + 1)
    for i in range(phi.shape[0]):
        log_densities[i] = -np.inf
        ratios = fill_factors(phi[i], scale, turn, exponents.shape[0] > 0, factor, user)
        log_jacobian = np.sum(phi[i, :size])
        log_det = reduce_levels(z_last, xy_last, total, factor, schur)
        if not np.isfinite(log_det):
            continue
        log_det += fixed_single(schur, precision, mean, work, vectors, estimate, root, pull, distance)
        base = log_jacobian + log_correlation(phi[i], size, exponents) - 0.5 * (constant + log_det)
        residual = schur[p, p] * schur[p, p]
        dof = float(n_rows - p)
        if sampled:
            origin, gap, first, last = sigma_nodes(residual, dof, pull, distance, ratios, codes, logs, slopes)
            if last < 0:
                continue
            log_densities[i] = base + accumulate(logs, slopes, gap, first, last, cumulative)
            for r in range(uniforms.shape[1]):
                sigma[i, r] = np.exp(quantile(uniforms[i, r], origin, gap, first, last, logs, cumulative))
        else:
            x = np.log(known_sigma)
            log_densities[i] = base - x + log_given_phi(x, residual, dof, pull, distance, ratios, codes)[0]
            for r in range(uniforms.shape[1]):
                sigma[i, r] = known_sigma
        for r in range(uniforms.shape[1]):
            variance = sigma[i, r] * sigma[i, r]
            for k in range(p):
                inflation = 1.0 + variance * pull[k]
                step[k] = (1.0 - 1.0 / inflation) * distance[k] + sigma[i, r] * fixed[i, r, k] / np.sqrt(inflation)
            for a in range(p):
                value = estimate[a]
                for k in range(p):
                    value += root[a, k] * step[k]
                beta[i, r, a] = value
        if drawn:
            reduce_single(z, xy, total, factor, low, rows, unused)
            for j in range(n_levels):
                for s in range(size):
                    low[j, s, s] = 1.0 / low[j, s, s]
            draw_effects(low, rows, beta[i], sigma[i], user, noise[i])

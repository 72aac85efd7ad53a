"""The log posterior of the covariance parameters of a model with one random term, in compiled loops.

The same density as `bayeslmm.priors.density`, which stays the reference: this module saves the calls between small
steps, which cost more than the steps where the term is small, and lets many points be evaluated in one call.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.normal_prior import LOG_2PI
from bayeslmm.likelihood.single_term import (
    effects_single,
    excess_single,
    fixed_given_sigma,
    reduce_single,
    solve_upper,
)
from bayeslmm.priors.compiled import log_density

Array = NDArray[np.float64]

GRID_NODES = 96  # nodes of the trapezium rule in log sigma: a sixth of a standard deviation apart
SCOUT_NODES = 48
LOG_NEGLIGIBLE = 28.0  # density, in logs below its peak, that adds nothing to the integral


@dataclass(frozen=True, slots=True)
class SingleTerm:
    """What the compiled density needs of a model.

    Attributes
    ----------
    z, xy, total
        Cross-products, shapes (J, S, S), (J, S, p + 1), (p + 1, p + 1).
    scale
        Kernel columns per prior column, shape (S,).
    codes
        Encoded priors of the S standard deviations and of sigma, shape (S + 1, 4).
    exponents
        Of (1 - r²), Jacobian included; empty without correlations.
    precision, mean
        Prior of the fixed coefficients, shapes (p, p) and (p,).
    constant
        What of ``-2 log p(y | theta, sigma)`` depends on nothing.
    n_rows
        n.
    sigma
        The known residual standard deviation; NaN where it is sampled.
    """

    z: Array
    xy: Array
    total: Array
    scale: Array
    codes: Array
    exponents: Array
    precision: Array
    mean: Array
    constant: float
    n_rows: int
    sigma: float

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Return log p(phi, log sigma | y) with its gradient; NaN where it cannot be evaluated."""
        gradient = np.zeros(len(x))
        value = log_posterior(
            x, self.z, self.xy, self.total, self.scale, self.codes, self.exponents,
            self.precision, self.mean, self.constant, self.n_rows, self.sigma, gradient,
        )  # fmt: skip
        return value, gradient

    def draw(self, phi: Array, uniforms: Array, fixed: Array, noise: Array) -> tuple[Array, Array, Array, Array]:
        """Evaluate log p(phi | y) at many points and draw sigma, beta and u at each.

        Parameters
        ----------
        phi
            Shape (m, d).
        uniforms, fixed, noise
            Uniform numbers (m, r) and standard normals (m, r, p) and (m, r, J, S), or (m, r, 0, S) for no u.

        Returns
        -------
        Log densities (m,), -inf where the kernel failed; sigma (m, r); the kernel's beta (m, r, p) and u (m, r, J, S).
        """
        m, r = uniforms.shape
        log_densities = np.empty(m)
        sigma = np.ones((m, r))
        beta = np.zeros(fixed.shape)
        effects = np.zeros(noise.shape)
        draw_points(
            phi, self.z, self.xy, self.total, self.scale, self.codes, self.exponents,
            self.precision, self.mean, self.constant, self.n_rows, self.sigma,
            uniforms, fixed, noise, log_densities, sigma, beta, effects,
        )  # fmt: skip
        return log_densities, sigma, beta, effects


@numba.njit(cache=True, nogil=True)
def unpack_single(phi: Array, size: int, correlated: bool, ratios: Array, partial: Array, lower: Array) -> None:
    """Fill t (S,), partial correlations (S, S) and the factor L of the correlation matrix (S, S)."""
    lower[:] = 0.0
    partial[:] = 0.0
    for a in range(size):
        ratios[a] = np.exp(phi[a])
        lower[a, a] = 1.0
    if not correlated:
        return
    place = size
    for column in range(size - 1):
        for row in range(column + 1, size):
            r = np.tanh(phi[place])
            partial[row, column] = r
            lower[row, column] = r * lower[row, row]
            lower[row, row] /= np.cosh(phi[place])
            place += 1


@numba.njit(cache=True, nogil=True)
def pull_back_single(
    slope: Array, ratios: Array, partial: Array, lower: Array, correlated: bool, gradient: Array
) -> None:
    """Add the gradient by phi for the gradient `slope` by F = diag(t) L, shape (S, S)."""
    size = ratios.shape[0]
    for a in range(size):
        for b in range(a + 1):
            gradient[a] += slope[a, b] * ratios[a] * lower[a, b]
    if not correlated:
        return
    place = size
    for column in range(size - 1):
        for row in range(column + 1, size):
            r = partial[row, column]
            left = 1.0
            for c in range(column):
                left *= np.sqrt(1.0 - partial[row, c] ** 2)
            tail = 0.0
            for c in range(column + 1, row + 1):
                tail += slope[row, c] * lower[row, c]
            gradient[place] += ratios[row] * (slope[row, column] * left * (1.0 - r * r) - r * tail)
            place += 1


@numba.njit(cache=True, nogil=True)
def log_correlation(phi: Array, size: int, exponents: Array) -> float:
    """Return the log prior of the partial correlations, Jacobian included: log(1 - r²) = -2 log cosh."""
    total = 0.0
    for k in range(exponents.shape[0]):
        z = abs(phi[size + k])
        total -= 2.0 * exponents[k] * (z + np.log1p(np.exp(-2.0 * z)) - np.log(2.0))
    return total


@numba.njit(cache=True, nogil=True)
def log_sd_prior(ratios: Array, codes: Array, sigma: float, sampled: bool) -> tuple[float, float]:
    """Return the log prior of the sds and sigma with Jacobian at fixed phi, and its derivative by log sigma."""
    size = ratios.shape[0]
    value, slope = 0.0, 0.0
    for a in range(size + 1):
        if a == size and not sampled:
            break
        x = sigma if a == size else sigma * ratios[a]
        log_prior, by_log = log_density(codes[a], x)
        value += log_prior + np.log(x)
        slope += by_log + 1.0
    return value, slope


@numba.njit(cache=True, nogil=True)
def log_posterior(
    x: Array, z: Array, xy: Array, total: Array, scale: Array, codes: Array, exponents: Array,
    precision: Array, mean: Array, constant: float, n_rows: int, known_sigma: float, gradient: Array,
) -> float:  # fmt: skip
    """Return log p(phi, log sigma | y) and add its gradient; NaN where it cannot be evaluated."""
    n_levels, size = z.shape[0], z.shape[1]
    p = mean.shape[0]
    sampled = np.isnan(known_sigma)
    sigma = np.exp(x[-1]) if sampled else known_sigma
    correlated = exponents.shape[0] > 0
    ratios, partial, lower = np.empty(size), np.empty((size, size)), np.empty((size, size))
    unpack_single(x, size, correlated, ratios, partial, lower)
    factor = np.empty((size, size))
    for a in range(size):
        for b in range(size):
            factor[a, b] = scale[a] * ratios[a] * lower[a, b]
    low, rows = np.empty((n_levels, size, size)), np.empty((n_levels, size, p + 1))
    schur = np.empty((p + 1, p + 1))
    log_det = reduce_single(z, xy, total, factor, low, rows, schur)
    beta, root = np.empty(p), np.empty((p, p))
    fixed, by_sigma = fixed_given_sigma(schur, precision, mean, sigma, beta, root)
    residual = (schur[p, p] / sigma) ** 2
    dof = n_rows - p
    prior, prior_slope = log_sd_prior(ratios, codes, sigma, sampled)
    value = -0.5 * (constant + log_det + fixed + residual + 2.0 * dof * np.log(sigma))
    value += prior + log_correlation(x, size, exponents)
    if not np.isfinite(value):
        return np.nan
    excess = excess_single(low, rows, beta, root, sigma)
    slope = np.empty((size, size))
    for t in range(size):
        for s in range(size - 1, -1, -1):
            inner = -excess[s, t]
            for r in range(s + 1, size):
                inner -= factor[r, s] * slope[r, t]
            slope[s, t] = inner / factor[s, s]
    for s in range(size):
        for t in range(size):
            slope[s, t] *= scale[s]
    pull_back_single(slope, ratios, partial, lower, correlated, gradient)
    for a in range(size):
        gradient[a] += log_density(codes[a], sigma * ratios[a])[1] + 1.0
    for k in range(exponents.shape[0]):
        gradient[size + k] -= 2.0 * exponents[k] * np.tanh(x[size + k])
    if sampled:
        gradient[-1] += prior_slope - 0.5 * (2.0 * dof - 2.0 * residual + by_sigma)
    return value


@numba.njit(cache=True, nogil=True)
def log_given_phi(
    log_sigma: float, schur: Array, ratios: Array, codes: Array, precision: Array, mean: Array, n_rows: int,
    sampled: bool, beta: Array, root: Array,
) -> float:  # fmt: skip
    """Return the part of log p(phi, log sigma | y) that depends on sigma, and fill beta's mean and precision factor."""
    p = mean.shape[0]
    sigma = np.exp(log_sigma)
    fixed, _ = fixed_given_sigma(schur, precision, mean, sigma, beta, root)
    residual = (schur[p, p] / sigma) ** 2
    prior, _ = log_sd_prior(ratios, codes, sigma, sampled)
    return prior - 0.5 * (fixed + residual + 2.0 * (n_rows - p) * log_sigma)


@numba.njit(cache=True, nogil=True)
def sigma_nodes(
    schur: Array, ratios: Array, codes: Array, precision: Array, mean: Array, n_rows: int,
    nodes: Array, logs: Array, beta: Array, root: Array,
) -> bool:  # fmt: skip
    """Fill nodes of log sigma that cover its density given phi, and the log density there; return success."""
    p = mean.shape[0]
    dof = max(n_rows - p, 1)
    centre = np.log(schur[p, p]) - 0.5 * np.log(dof)
    step = 24.0 / np.sqrt(2.0 * dof) / SCOUT_NODES
    best = log_given_phi(centre, schur, ratios, codes, precision, mean, n_rows, True, beta, root)
    for _ in range(400):  # climb to the peak, halving the step
        up = log_given_phi(centre + step, schur, ratios, codes, precision, mean, n_rows, True, beta, root)
        down = log_given_phi(centre - step, schur, ratios, codes, precision, mean, n_rows, True, beta, root)
        if up > best and up >= down:
            centre, best = centre + step, up
        elif down > best:
            centre, best = centre - step, down
        elif step < 0.02 / np.sqrt(dof):
            break
        else:
            step *= 0.5
    if not np.isfinite(best):
        return False
    low, high = 0.0, 0.0
    for side in (-1.0, 1.0):
        reach = 1.0 / np.sqrt(2.0 * dof)
        while (
            log_given_phi(centre + side * reach, schur, ratios, codes, precision, mean, n_rows, True, beta, root)
            > best - LOG_NEGLIGIBLE
            and reach < 500.0
        ):
            reach *= 1.25
        if side < 0:
            low = centre - reach
        else:
            high = centre + reach
    for k in range(nodes.shape[0]):
        nodes[k] = low + (high - low) * k / (nodes.shape[0] - 1)
        logs[k] = log_given_phi(nodes[k], schur, ratios, codes, precision, mean, n_rows, True, beta, root)
    return True


@numba.njit(cache=True, nogil=True)
def draw_points(
    phi: Array, z: Array, xy: Array, total: Array, scale: Array, codes: Array, exponents: Array,
    precision: Array, mean: Array, constant: float, n_rows: int, known_sigma: float,
    uniforms: Array, fixed: Array, noise: Array, log_densities: Array, sigma: Array, beta: Array, effects: Array,
) -> None:  # fmt: skip
    """Fill log densities (m,), sigma (m, r), beta (m, r, p) and u (m, r, J, S) at the points phi (m, d)."""
    n_levels, size = z.shape[0], z.shape[1]
    p = mean.shape[0]
    sampled = np.isnan(known_sigma)
    correlated = exponents.shape[0] > 0
    ratios, partial, lower = np.empty(size), np.empty((size, size)), np.empty((size, size))
    factor = np.empty((size, size))
    low, rows = np.empty((n_levels, size, size)), np.empty((n_levels, size, p + 1))
    schur = np.empty((p + 1, p + 1))
    centre, root = np.empty(p), np.empty((p, p))
    nodes, logs, cumulative = np.empty(GRID_NODES), np.empty(GRID_NODES), np.empty(GRID_NODES)
    step = np.empty(p)
    for i in range(phi.shape[0]):
        log_densities[i] = -np.inf
        unpack_single(phi[i], size, correlated, ratios, partial, lower)
        for a in range(size):
            for b in range(size):
                factor[a, b] = scale[a] * ratios[a] * lower[a, b]
        log_det = reduce_single(z, xy, total, factor, low, rows, schur)
        if not np.isfinite(log_det):
            continue
        base = log_correlation(phi[i], size, exponents) - 0.5 * (constant + log_det)
        if sampled:
            if not sigma_nodes(schur, ratios, codes, precision, mean, n_rows, nodes, logs, centre, root):
                continue
            area = accumulate(nodes, logs, cumulative)
            log_densities[i] = base + area
            for r in range(uniforms.shape[1]):
                sigma[i, r] = np.exp(interpolate(uniforms[i, r], cumulative, nodes))
        else:
            log_densities[i] = base + log_given_phi(
                np.log(known_sigma), schur, ratios, codes, precision, mean, n_rows, False, centre, root
            )
            sigma[i, :] = known_sigma
        for r in range(uniforms.shape[1]):
            fixed_given_sigma(schur, precision, mean, sigma[i, r], centre, root)
            step[:] = fixed[i, r]
            solve_upper(root, step)
            beta[i, r] = centre + sigma[i, r] * step
            noise[i, r] *= sigma[i, r]
        if effects.shape[2] > 0:
            effects_single(low, rows, beta[i], noise[i], effects[i])


@numba.njit(cache=True, nogil=True)
def accumulate(nodes: Array, logs: Array, cumulative: Array) -> float:
    """Fill the distribution function by the trapezium rule and return the log of the whole area."""
    peak = np.max(logs)
    cumulative[0] = 0.0
    for k in range(1, nodes.shape[0]):
        mean = 0.5 * (np.exp(logs[k] - peak) + np.exp(logs[k - 1] - peak))
        cumulative[k] = cumulative[k - 1] + mean * (nodes[k] - nodes[k - 1])
    area = cumulative[-1]
    cumulative /= area
    return peak + np.log(area)


@numba.njit(cache=True, nogil=True)
def interpolate(probability: float, cumulative: Array, nodes: Array) -> float:
    """Return the node at which the distribution function reaches a probability, linear in between."""
    k = min(max(int(np.searchsorted(cumulative, probability)), 1), nodes.shape[0] - 1)
    rise = cumulative[k] - cumulative[k - 1]
    share = (probability - cumulative[k - 1]) / rise if rise > 0 else 0.5
    return nodes[k - 1] + share * (nodes[k] - nodes[k - 1])


def likelihood_constant(n_rows: int, n_fixed: int, n_proper: int, log_det: float, log_weights: float) -> float:
    """Return what of ``-2 log p(y | theta, sigma)`` depends on nothing."""
    return (n_rows - n_fixed + n_proper) * LOG_2PI - log_det - log_weights

"""The log posterior of the covariance parameters of a model with one random term, in compiled loops.

The same density as `bayeslmm.posterior.density`, which stays the reference: this module saves the calls between small
steps, which cost more than the steps where the term is small, and lets many points be evaluated in one call.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from scipy.special import ndtri

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.normal_prior import LOG_2PI
from bayeslmm.likelihood.single_term import fixed_given_sigma, moments_single, reduce_single
from bayeslmm.likelihood.tiled_levels import reduce_levels
from bayeslmm.posterior.coded_priors import log_density
from bayeslmm.posterior.mixture_quantiles import series_in_scores
from bayeslmm.posterior.mixture_series import hermite_values
from bayeslmm.posterior.single_coordinates import fill_factors, log_correlation, pull_back_single, unpack_single
from bayeslmm.posterior.single_draws import draw_points
from bayeslmm.posterior.single_moments import LevelsEliminated, NormalParts, level_mixtures
from bayeslmm.types import Array

LARGE_TERM = 20_000  # effects


@dataclass(frozen=True, slots=True)
class SingleTerm:
    """What the compiled density needs of a model.

    Attributes
    ----------
    z, xy, total
        Cross-products, shapes (J, S, S), (J, S, p + 1), (p + 1, p + 1).
    z_last, xy_last
        The first two with the levels last.
    scale
        Kernel columns per prior column, shape (S,).
    turn
        From the columns the prior speaks of to the user's, shape (S, S).
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
    z_last: Array
    xy_last: Array
    scale: Array
    turn: Array
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
        """Evaluate log p(phi | y) at many points and draw sigma, beta and b at each.

        Parameters
        ----------
        phi
            Shape (m, d).
        uniforms, fixed, noise
            Uniform numbers (m, r) and standard normals (m, r, p) and (m, r, J, S), or (m, r, 0, S) for no b;
            the last become b.

        Returns
        -------
        Log densities (m,), -inf where the kernel failed; sigma (m, r); the kernel's beta (m, r, p); b on the user's
        columns (m, r, J, S).
        """
        m, r = uniforms.shape
        log_densities = np.empty(m)
        sigma = np.ones((m, r))
        beta = np.zeros(fixed.shape)
        draw_points(
            phi, self.z, self.xy, self.total, self.z_last, self.xy_last, self.scale, self.turn,
            self.codes, self.exponents, self.precision, self.mean, self.constant, self.n_rows, self.sigma,
            uniforms, fixed, noise, log_densities, sigma, beta,
        )  # fmt: skip
        return log_densities, sigma, beta, noise

    def values(self, phi: Array) -> Array:
        """Return log p(phi | y) at many points (m, d), -inf where the kernel fails, shape (m,)."""
        m, size = len(phi), self.z.shape[1]
        nothing = np.empty((m, 0, 0, size))
        return self.draw(phi, np.empty((m, 0)), np.empty((m, 0, len(self.mean))), nothing)[0]

    @property
    def is_large(self) -> bool:
        """Whether it has so many effects that a point is costly, and worth a thread of its own."""
        return self.z.shape[0] * self.z.shape[1] >= LARGE_TERM

    def eliminate(self, phi: Array, products: CrossProducts) -> LevelsEliminated:
        """Eliminate the random effects at phi.

        Raises
        ------
        FittingError
            If a pivot is not positive.
        """
        schur = np.zeros(self.total.shape)
        log_det = reduce_levels(self.z_last, self.xy_last, self.total, self._factors(phi)[0], schur)
        if not np.isfinite(log_det):
            raise FittingError("The cross-products cannot be factored here: a pivot is not positive or not finite.")
        return LevelsEliminated(products, float(log_det), schur)

    def parts(
        self, phi: Sequence[Array], betas: Sequence[Array], roots: Sequence[Array], sigmas: Array, weights: Array
    ) -> NormalParts:
        """Return the normal distributions of the effects given each phi and sigma, with their shares; K of each."""
        factors, turns = zip(*map(self._factors, phi), strict=True)
        return NormalParts(np.array(factors), np.array(turns), np.array(betas), np.array(roots), sigmas, weights)

    def summarise(
        self, parts: NormalParts, probabilities: Array, levels: slice, means: Array, sds: Array, quantiles: Array
    ) -> None:
        """Fill mean, sd and quantiles of b on the user's columns for some levels; see `level_mixtures`."""
        scores = ndtri(probabilities)
        level_mixtures(
            self.z_last, self.xy_last, parts.factors, parts.turns, parts.betas, parts.roots, parts.sigmas,
            parts.weights, levels.start, levels.stop, probabilities, scores, hermite_values(scores),
            series_in_scores(scores), means, sds, quantiles,
        )  # fmt: skip

    def _factors(self, phi: Array) -> tuple[Array, Array]:
        size = len(self.scale)
        factor, turn = np.empty((size, size)), np.empty((size, size))
        fill_factors(np.ascontiguousarray(phi), self.scale, self.turn, len(self.exponents) > 0, factor, turn)
        return factor, turn


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
    inverse, squares, slope = np.empty((size, size)), np.empty((size, size)), np.empty((size, size))
    moments_single(low, rows, beta, root, inverse, squares)
    for t in range(size):
        for s in range(size - 1, -1, -1):
            inner = inverse[s, t] + squares[s, t] / (sigma * sigma) - (n_levels if s == t else 0.0)
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


def likelihood_constant(n_rows: int, n_fixed: int, n_proper: int, log_det: float, log_weights: float) -> float:
    """Return what of ``-2 log p(y | theta, sigma)`` depends on nothing."""
    return (n_rows - n_fixed + n_proper) * LOG_2PI - log_det - log_weights

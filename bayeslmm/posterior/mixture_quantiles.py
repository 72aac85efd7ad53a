r"""Quantiles of mixtures of normal distributions.

Parts that are nearly alike, as those of an effect at the points of a posterior are, need no distribution functions.
With
:math:`z = \Phi^{-1}(p)` and :math:`\delta_k = (x - m_k) / s_k - z`,

.. math:: \Phi(z + \delta) = p + \varphi(z) \sum_{r \ge 1} (-1)^{r - 1} \mathrm{He}_{r - 1}(z) \frac{\delta^r}{r!}

(Abramowitz and Stegun 1964, 26.2.31), a polynomial whose coefficients are those of p alone.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bayeslmm.types import Array

STEPS = 60  # Newton's and bisections, which end far earlier
TERMS = 8  # of the series
WIDEST = 0.2  # delta for which what they leave out is below 1e-9
CLOSE = 1e-4  # standard deviations moved by a step of Newton's method, after which 1e-8 are left


def mixture_quantiles(
    means: NDArray[np.float32], sds: NDArray[np.float32], weights: Array, mean: Array, sd: Array, probabilities: Array
) -> Array:
    """Return quantiles (Q, n) of n mixtures of K normal distributions.

    Parameters
    ----------
    means, sds
        Shape (K, n).
    weights
        Shape (K,), summing to one.
    mean, sd
        Of the mixtures, shape (n,).
    probabilities
        Shape (Q,), increasing.
    """
    scores = ndtri(probabilities)
    return _quantiles(means, sds, weights, mean, sd, probabilities, scores, series_in_scores(scores))


def series_in_scores(scores: Array) -> Array:
    """Return the series' coefficients at normal scores (Q,), shape (Q, TERMS)."""
    hermite = [np.ones_like(scores), scores]
    for r in range(1, TERMS - 1):
        hermite.append(scores * hermite[r] - r * hermite[r - 1])
    density = np.exp(-0.5 * scores**2) / math.sqrt(2.0 * math.pi)
    return np.array([(-1.0) ** r * hermite[r] * density / math.factorial(r + 1) for r in range(TERMS)]).T.copy()


@numba.njit(cache=True, nogil=True)
def _quantiles(
    means: NDArray[np.float32], sds: NDArray[np.float32], weights: Array, mean: Array, sd: Array, probabilities: Array,
    scores: Array, coefficients: Array,
) -> Array:  # fmt: skip
    found = np.empty((len(probabilities), len(mean)))
    centres, scales = np.empty(len(weights)), np.empty(len(weights))
    for j in range(len(mean)):
        if not sd[j] > 0.0:
            found[:, j] = mean[j]
            continue
        apart, shift = _gather(means[:, j], sds[:, j], mean[j], sd[j], centres, scales)
        for q in range(len(probabilities)):
            t, move, near = scores[q], 1.0, True  # x = mean + sd t
            while near and abs(move) >= CLOSE:
                near = abs(t) * apart + shift + abs(t - scores[q]) <= WIDEST
                if near:
                    below, slope = _series(mean[j] + sd[j] * t, centres, scales, weights, scores[q], coefficients[q])
                    move = -below / (slope * sd[j])
                    t += move
            if near:
                found[q, j] = mean[j] + sd[j] * t
            else:
                start = mean[j] if q == 0 else found[q - 1, j]
                found[q, j] = _search(means[:, j], sds[:, j], weights, mean[j], sd[j], probabilities[q], start)
    return found


@numba.njit(cache=True, nogil=True)
def one_mixture(
    means: Array, variances: Array, weights: Array, mean: float, sd: float, probabilities: Array, scores: Array,
    coefficients: Array,
) -> Array:  # fmt: skip
    """Return the quantiles (Q,) of one mixture, of parts with means and variances (K,) and the mean and sd given."""
    apart, roots = np.empty((len(weights), 1), dtype=np.float32), np.empty((len(weights), 1), dtype=np.float32)
    for k in range(len(weights)):
        apart[k, 0], roots[k, 0] = means[k] - mean, np.sqrt(variances[k])
    found = _quantiles(apart, roots, weights, np.zeros(1), np.full(1, sd), probabilities, scores, coefficients)
    return mean + found[:, 0]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gather(
    means: NDArray[np.float32], sds: NDArray[np.float32], mean: float, sd: float, centres: Array, scales: Array
) -> tuple[float, float]:
    """Fill m_k / s_k and 1 / s_k, and return the most that sd / s_k differs from one and (mean - m_k) / s_k from zero.

    The first is infinite where some s_k is zero.
    """
    apart, shift = 0.0, 0.0
    for k in range(len(means)):
        scales[k] = 1.0 / np.float64(sds[k])
        centres[k] = means[k] * scales[k]
        apart = max(apart, abs(sd * scales[k] - 1.0))
        shift = max(shift, abs(mean * scales[k] - centres[k]))
    return apart, shift


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _series(
    x: float, centres: Array, scales: Array, weights: Array, score: float, coefficients: Array
) -> tuple[float, float]:
    """Return the probability below x less p, and its derivative; the terms are written out, for the loop's sake."""
    c0, c1, c2, c3 = coefficients[0], coefficients[1], coefficients[2], coefficients[3]
    c4, c5, c6, c7 = coefficients[4], coefficients[5], coefficients[6], coefficients[7]
    below, slope = 0.0, 0.0
    for k in range(len(weights)):
        d = x * scales[k] - centres[k] - score
        value = c0 + d * (c1 + d * (c2 + d * (c3 + d * (c4 + d * (c5 + d * (c6 + d * c7))))))
        by_d = c0 + d * (2 * c1 + d * (3 * c2 + d * (4 * c3 + d * (5 * c4 + d * (6 * c5 + d * (7 * c6 + d * 8 * c7))))))
        below += weights[k] * value * d
        slope += weights[k] * scales[k] * by_d
    return below, slope


@numba.njit(cache=True, nogil=True)
def _search(
    means: NDArray[np.float32], sds: NDArray[np.float32], weights: Array, mean: float, sd: float, p: float, start: float
) -> float:
    """Return a quantile by Newton's method kept within bounds."""
    reach = sd / np.sqrt(min(p, 1.0 - p))  # no farther by Cantelli's inequality
    low, high = mean - reach, mean + reach
    x = start
    for _ in range(STEPS):
        below, slope = 0.0, 0.0
        for k in range(len(weights)):
            if sds[k] > 0.0:
                z = (x - means[k]) / sds[k]
                below += weights[k] * 0.5 * math.erfc(-z * 0.7071067811865476)
                slope += weights[k] * 0.3989422804014327 * math.exp(-0.5 * z * z) / sds[k]
            elif x >= means[k]:
                below += weights[k]
        if below < p:
            low = x
        else:
            high = x
        move = (p - below) / slope if slope > 0.0 else np.inf
        if abs(move) < 1e-7 * sd:
            return x + move
        x = x + move if low < x + move < high else 0.5 * (low + high)
        if high - low < 1e-9 * sd:
            break
    return x

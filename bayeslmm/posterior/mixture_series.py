r"""Quantiles of mixtures of normal distributions that are nearly alike, from a few of their moments.

With the mixture's mean m and variance v, :math:`\mu_k = (m_k - m) / v^{1/2}` and :math:`\nu_k = (v_k - v) / v`, each
part solves the heat equation, so that Taylor's series in both gives

.. math:: F(\zeta) = \Phi(\zeta) - \varphi(\zeta) \sum_n B_n \mathrm{He}_{n - 1}(\zeta), \qquad
          B_n = \sum_{i + 2j = n} \frac{\operatorname{E} \mu^i \nu^j}{i!\, j!\, 2^j},

with :math:`B_1 = B_2 = 0`, and densities :math:`\varphi (1 + \sum B_n \mathrm{He}_n)`. Moments up to order four serve
all quantiles of an effect. Where

.. math:: 0.07 \sum_k w_k (|\mu_k| + |\nu_k|)^5 < 10^{-8},

what they leave out of F is less than that, by Cramér's bound
:math:`|\mathrm{He}_n| \varphi \le 0.44\, (n!)^{1/2}`.
"""

import numba
import numpy as np

from bayeslmm.types import Array

SERIES = 6  # coefficients B_3 to B_8
ORDERS = 10  # Hermite polynomials at each normal score, from He_0
LEFT_OUT = 1e-8 / 0.07


def hermite_values(scores: Array) -> Array:
    """Return the Hermite polynomials He_0, He_1, ... at normal scores (Q,), shape (Q, ORDERS)."""
    values = [np.ones_like(scores), scores]
    for n in range(1, ORDERS - 1):
        values.append(scores * values[n] - n * values[n - 1])
    return np.array(values).T.copy()


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def mixture_moments(means: Array, variances: Array, weights: Array) -> tuple[float, float]:
    """Return mean and variance of a mixture of K normal distributions, given by arrays (K,)."""
    mean, variance = 0.0, 0.0
    for k in range(len(weights)):
        mean += weights[k] * means[k]
    for k in range(len(weights)):
        apart = means[k] - mean
        variance += weights[k] * (variances[k] + apart * apart)
    return mean, variance


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def series_coefficients(
    means: Array, variances: Array, weights: Array, mean: float, variance: float, coefficients: Array
) -> bool:
    """Fill B_3 to B_8, shape (6,), and return whether they are enough."""
    by_sd, by_variance = 1.0 / np.sqrt(variance), 1.0 / variance
    b3, b4, b5, b6, b7, b8, beyond = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(weights)):
        w = weights[k]
        m, v = (means[k] - mean) * by_sd, (variances[k] - variance) * by_variance
        mm, vv = m * m, v * v
        b3 += w * m * (mm / 6.0 + v / 2.0)
        b4 += w * (mm * (mm / 24.0 + v / 4.0) + vv / 8.0)
        b5 += w * m * v * (mm / 12.0 + v / 8.0)
        b6 += w * vv * (mm / 16.0 + v / 48.0)
        b7 += w * m * v * vv / 48.0
        b8 += w * vv * vv / 384.0
        both = abs(m) + abs(v)
        square = both * both
        beyond += w * square * square * both
    coefficients[0], coefficients[1], coefficients[2] = b3, b4, b5
    coefficients[3], coefficients[4], coefficients[5] = b6, b7, b8
    return beyond < LEFT_OUT


@numba.njit(cache=True, nogil=True, error_model="numpy")
def series_quantile(score: float, hermite: Array, coefficients: Array) -> float:
    """Return a quantile in standard deviations from the mean, by a step of Halley's method from the normal one."""
    above, slope, bend = 0.0, 1.0, score
    for n in range(len(coefficients)):
        above += coefficients[n] * hermite[n + 2]
        slope += coefficients[n] * hermite[n + 3]
        bend += coefficients[n] * hermite[n + 4]
    return score + above / (slope - 0.5 * bend * above / slope)

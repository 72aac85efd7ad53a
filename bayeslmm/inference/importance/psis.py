"""Pareto-smoothed importance weights.

Source: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Journal of Machine Learning Research 25(72); the generalised
Pareto fit is that of Zhang and Stephens (2009), Technometrics 51, with the paper's weak prior on the shape.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from bayeslmm.types import Array

MINIMUM_TAIL = 5  # fewer points than this cannot be fitted
PRIOR_WEIGHT = 10.0  # pseudo-observations of the prior on the shape, centred at one half
LARGEST_EXPONENT = 300.0  # exp of it is far beyond every ratio, which are at most one


@dataclass(frozen=True, slots=True)
class SmoothedWeights:
    r"""Normalised importance weights and what they are worth.

    Attributes
    ----------
    weights
        Shape (m,), summing to one.
    k_hat
        Shape of the generalised Pareto distribution of the largest weights: below 0.7 the estimates are reliable.
    effective_size
        :math:`1 / \sum w^2`.
    """

    weights: Array
    k_hat: float
    effective_size: float

    @property
    def largest(self) -> float:
        """The largest weight times the number of points."""
        return float(self.weights.max() * len(self.weights))


def smooth_weights(log_ratios: Array) -> SmoothedWeights:
    """Smooth the largest importance ratios.

    Parameters
    ----------
    log_ratios
        Log of target over proposal, shape (m,); -inf where the target is zero.
    """
    logs = log_ratios - np.max(log_ratios)
    count = len(logs)
    tail = int(np.ceil(min(0.2 * count, 3.0 * np.sqrt(count))))
    order = np.argsort(logs, kind="stable")
    k_hat = -np.inf
    if tail >= MINIMUM_TAIL:
        cutoff = logs[order[-tail - 1]]
        excess = np.exp(logs[order[-tail:]]) - np.exp(cutoff)
        if excess[-1] > 0 and excess[0] < excess[-1]:
            k_hat, scale = fit_pareto(np.maximum(excess, np.finfo(float).tiny))
            if np.isfinite(k_hat):
                ranks = (np.arange(tail) + 0.5) / tail
                smoothed = np.exp(cutoff) + pareto_quantile(ranks, k_hat, scale)
                logs = logs.copy()
                logs[order[-tail:]] = np.minimum(np.log(smoothed), 0.0)
    weights = np.exp(logs - logsumexp(logs))
    return SmoothedWeights(weights, float(k_hat), float(1.0 / np.sum(weights**2)))


def fit_pareto(excess: Array) -> tuple[float, float]:
    """Return shape k and scale of a generalised Pareto distribution fitted to ascending excesses, shape (m,)."""
    count = len(excess)
    grid = 30 + int(np.sqrt(count))
    quartile = excess[int(count / 4 + 0.5) - 1]
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3.0 * quartile)
    shapes = np.mean(np.log1p(-theta[:, None] * excess), axis=1)
    profile = count * (np.log(-theta / shapes) - shapes - 1.0)
    weights = np.exp(profile - logsumexp(profile))
    estimate = float(np.sum(theta * weights))
    shape = float(np.mean(np.log1p(-estimate * excess)))
    scale = -shape / estimate
    return (shape * count + 0.5 * PRIOR_WEIGHT) / (count + PRIOR_WEIGHT), scale


def pareto_quantile(probability: Array, shape: float, scale: float) -> Array:
    """Return quantiles of the generalised Pareto distribution."""
    if abs(shape) < 1e-12:
        return -scale * np.log1p(-probability)
    # a shape of hundreds, from ratios that only a few points carry, would overflow; its quantiles are cut to one anyway
    exponents = np.minimum(-shape * np.log1p(-probability), LARGEST_EXPONENT)
    return scale * np.expm1(exponents) / shape

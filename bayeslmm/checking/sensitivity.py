r"""How far posteriors move when the prior, or the likelihood, is made a little stronger or weaker.

The prior is raised to a power :math:`\alpha` near one: draws get weights :math:`p(\psi)^{\alpha - 1}`, smoothed by
Pareto's distribution, and the distance of each parameter's weighted distribution from the one of the draws, per unit of
:math:`\log_2\alpha`, is its sensitivity. The distance is the cumulative Jensen-Shannon distance (Nguyen and Vreeken
2015), between zero and one:

.. math:: D(P, Q)^2 = \frac{C(P \mid Q) + C(Q \mid P)}{\int P + \int Q}, \qquad
          C(P \mid Q) = \int P \log_2\frac{2P}{P + Q},

the larger of those of the distribution functions and of their mirror images.

Source: Kallioinen, Paananen, Bürkner and Vehtari (2024), *Statistics and Computing* 34(57).
"""

import numpy as np

from bayeslmm.inference.importance.psis import smooth_weights
from bayeslmm.types import Array

STEP = 0.01  # of the power, up and down
SENSITIVE = 0.05  # from which a parameter is said to depend on the prior: a tenth of a standard deviation or so


def power_sensitivity(draws: Array, log_component: Array, step: float = STEP) -> Array:
    """Return the sensitivity of each parameter to the power of a component of the posterior, shape (K,).

    Parameters
    ----------
    draws
        Of the parameters, shape (S, K).
    log_component
        Log density of the component at the draws, shape (S,).
    step
        How far the power moves from one.
    """
    if not np.isfinite(log_component).all():  # draws of an approximation may lie where the density is zero
        return np.full(draws.shape[1], np.nan)
    found = np.zeros(draws.shape[1])
    for alpha in (1.0 - step, 1.0 + step):
        weights = smooth_weights((alpha - 1.0) * log_component).weights
        distances = [weighted_distance(column, weights) for column in draws.T]
        found += np.array(distances).reshape(len(found)) / abs(np.log2(alpha))
    return found / 2.0


def weighted_distance(values: Array, weights: Array) -> float:
    """Return D between the distributions of values (S,) with equal weights and with others, which sum to one."""
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])
    equal, moved = np.arange(1, len(values)) / len(values), np.cumsum(weights[order])[:-1]
    mirrored = np.sqrt(_divergence(1.0 - equal, np.maximum(1.0 - moved, 0.0), gaps))
    return float(max(np.sqrt(_divergence(equal, moved, gaps)), mirrored))


def _divergence(P: Array, Q: Array, gaps: Array) -> float:
    """Return D² of two distribution functions between neighbouring values."""
    total = float(gaps @ (P + Q))
    if total <= 0:
        return 0.0
    middle = 0.5 * (P + Q)
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.where(P > 0, P * np.log2(P / middle), 0.0) + np.where(Q > 0, Q * np.log2(Q / middle), 0.0)
    return max(float(gaps @ both), 0.0) / total

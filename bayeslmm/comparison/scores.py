r"""Scores of predictive distributions at what happened.

The log predictive density and the continuous ranked probability score (Gneiting and Raftery 2007, *JASA* 102),

.. math:: \mathrm{CRPS}(F, y) = E|X - y| - \tfrac12 E|X - X'|, \qquad X, X' \sim F,

are proper: a forecaster does best by saying what they believe. For N(m, s²), with z = (y - m)/s,
:math:`\mathrm{CRPS} = s\{z[2\Phi(z) - 1] + 2\varphi(z) - \pi^{-1/2}\}`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtr, ndtri

from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions of m rows and their scores, each of shape (m,).

    Attributes
    ----------
    mean, lower, upper
        The predictive mean, and equal-tailed limits.
    elpd, crps
        The scores.
    pit
        The probability integral transform: the predictive distribution function at what happened, half of a jump there.
    """

    mean: Array
    lower: Array
    upper: Array
    elpd: Array
    crps: Array
    pit: Array


def score_normal(y: Array, mean: Array, sd: Array, level: float) -> Scored:
    """Score normal predictive distributions, all arrays (m,)."""
    z = (y - mean) / sd
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    crps = sd * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / np.sqrt(np.pi))
    half = ndtri(0.5 + level / 2.0) * sd
    elpd = -0.5 * z**2 - np.log(sd) - 0.5 * np.log(2.0 * np.pi)
    return Scored(mean, mean - half, mean + half, elpd, crps, np.asarray(ndtr(z)))


def score_draws(y: Array, log_densities: Array, means: Array, responses: Array, level: float) -> Scored:
    """Score mixtures given by draws.

    Parameters
    ----------
    y
        What happened, shape (m,).
    log_densities, means
        Log density of y, and the mean, at each draw, shape (D, m).
    responses
        A response at each draw, shape (D, m).
    level
        Probability between the limits.
    """
    count = len(responses)
    ordered = np.sort(responses, axis=0)
    ranks = 2.0 * np.arange(1, count + 1) - count - 1.0
    spread = ranks @ ordered / count**2  # half of E|X - X'|
    lower, upper = np.quantile(responses, [0.5 - level / 2.0, 0.5 + level / 2.0], axis=0)
    elpd = logsumexp(log_densities, axis=0) - np.log(count)
    crps = np.mean(np.abs(responses - y), axis=0) - spread
    pit = (np.sum(responses < y, axis=0) + 0.5 * np.sum(responses == y, axis=0) + 0.5) / (count + 1)
    return Scored(means.mean(axis=0), lower, upper, elpd, crps, pit)

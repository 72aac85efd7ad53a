r"""Simultaneous bands for the distribution function of ranks.

With N independent ranks, uniform on 0..M, the count :math:`X_i` of ranks below :math:`j_i` is binomial
with probability :math:`z_i = j_i / (M + 1)`. A band holds each count within its central interval of
pointwise level :math:`1 - \gamma`; the counts form a Markov chain,

.. math:: X_i - X_{i-1} \mid X_{i-1} \sim
          \mathrm{Binomial}\Bigl(N - X_{i-1}, \frac{z_i - z_{i-1}}{1 - z_{i-1}}\Bigr),

so that the probability of staying within the band everywhere is one forward recursion, exact for ranks, which
are discrete.

Source: Säilynoja, Bürkner and Vehtari (2022), Statistics and Computing 32, 32.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import binom

from bayeslmm.types import Array

Integers = NDArray[np.int64]

MOST_PLACES = 64  # where the distribution function is looked at; more would change the bands little
BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Band:
    """A simultaneous band.

    Attributes
    ----------
    places
        Probabilities z at which counts are compared, shape (k,).
    lower, upper
        Smallest and largest count inside the band, shape (k,).
    level
        Probability of staying inside everywhere, at least what was asked for.
    """

    places: Array
    lower: Integers
    upper: Integers
    level: float


def rank_places(largest_rank: int) -> Integers:
    """Return the integers j at which ranks below j are counted, shape (k,)."""
    count = min(MOST_PLACES, largest_rank + 1)
    return np.unique(np.round(np.arange(1, count) * (largest_rank + 1) / count).astype(np.int64))


def count_below(ranks: Integers, largest_rank: int) -> Integers:
    """Return how many ranks lie below each place, shape (k,)."""
    return np.searchsorted(np.sort(ranks), rank_places(largest_rank), side="left").astype(np.int64)


def simultaneous_band(count: int, largest_rank: int, level: float = 0.99) -> Band:
    """Return the band that N uniform ranks leave with probability ``1 - level`` at most.

    Parameters
    ----------
    count
        N, the number of ranks.
    largest_rank
        M: ranks lie in 0..M.
    level
        Probability of staying inside at all places at once.
    """
    gamma = _critical_gamma(count, largest_rank, level)
    places = rank_places(largest_rank) / (largest_rank + 1)
    lower, upper = _limits(count, places, gamma)
    return Band(places, lower, upper, _stay_probability(count, places, lower, upper))


def simultaneous_p_value(ranks: Integers, largest_rank: int) -> float:
    """Return the probability that uniform ranks come as close to leaving a band as these do, or leave it.

    Parameters
    ----------
    ranks
        Shape (N,), within 0..M.
    largest_rank
        M.
    """
    places = rank_places(largest_rank) / (largest_rank + 1)
    n = len(ranks)
    counts = count_below(ranks, largest_rank)
    gamma = float(np.min(2.0 * np.minimum(binom.cdf(counts, n, places), binom.sf(counts - 1, n, places))))
    lower, upper = _limits(n, places, gamma)
    return 1.0 - _stay_probability(n, places, lower, upper)


def _limits(n: int, places: Array, gamma: float) -> tuple[Integers, Integers]:
    """Return the smallest and the largest count whose two-sided tail probability exceeds gamma."""
    tails = gamma / 2.0
    below = binom.cdf(np.arange(n + 1)[:, None], n, places)
    above = binom.sf(np.arange(n + 1)[:, None] - 1, n, places)
    lower = np.argmax(below > tails, axis=0)
    upper = n - np.argmax((above > tails)[::-1], axis=0)
    return lower.astype(np.int64), upper.astype(np.int64)


def _stay_probability(n: int, places: Array, lower: Integers, upper: Integers) -> float:
    """Return the probability that all counts stay within their limits."""
    log_factorial = gammaln(np.arange(n + 1) + 1.0)
    states, mass, before = np.zeros(1, dtype=np.int64), np.ones(1), 0.0
    for z, low, high in zip(places, lower, upper, strict=True):
        if high < low:
            return 0.0
        following = np.arange(low, high + 1)
        step = following[None, :] - states[:, None]
        left = (n - states)[:, None]
        share = (z - before) / (1.0 - before)
        inside = (step >= 0) & (step <= left)
        k = np.where(inside, step, 0)
        logs = log_factorial[left] - log_factorial[k] - log_factorial[np.where(inside, left - step, 0)]
        logs = logs + k * np.log(share) + (left - k) * np.log1p(-share)
        mass = mass @ np.exp(np.where(inside, logs, -np.inf))
        states, before = following, z
    return float(min(mass.sum(), 1.0))


@lru_cache(maxsize=64)
def _critical_gamma(n: int, largest_rank: int, level: float) -> float:
    """Return the largest pointwise gamma whose band is kept with probability `level`."""
    places = rank_places(largest_rank) / (largest_rank + 1)
    low, high = -40.0, 0.0  # logarithms
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if _stay_probability(n, places, *_limits(n, places, float(np.exp(middle)))) >= level:
            low = middle
        else:
            high = middle
    return float(np.exp(low))

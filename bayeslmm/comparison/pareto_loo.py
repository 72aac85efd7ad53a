r"""Pareto-smoothed leave-one-out from log predictive densities, one column of draws per unit, in one compiled loop.

With :math:`\ell_{su} = \log p(y_u \mid y_{-u}, \phi_s)` at points :math:`\phi_s` of weights :math:`v_s` for the
posterior given all data, the posterior without unit u has importance ratios :math:`v_s\exp(-\ell_{su})`; smoothed and
normalised to w,

.. math:: \mathrm{elpd}_u = \log \sum_s w_{su} e^{\ell_{su}}.

Sources: Vehtari, Gelman and Gabry (2017), *Statistics and Computing* 27; Vehtari, Simpson, Gelman, Yao and Gabry
(2024), *JMLR* 25(72); the generalised Pareto fit is that of `bayeslmm.inference.importance.psis`.
"""

from dataclasses import dataclass, field

import numba
import numpy as np

from bayeslmm.likelihood.threads import idle_cores, in_threads
from bayeslmm.types import Array

COLUMNS = 512  # units a thread does at once
FEWEST_TAIL = 5  # largest ratios that a Pareto distribution can be fitted to
PRIOR_WEIGHT = 10.0  # pseudo-observations of the shape's prior, centred at one half


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Predictive densities of units left out.

    Attributes
    ----------
    elpd
        Log predictive density of each unit given the others, shape (U,).
    error
        Its Monte Carlo standard error, shape (U,).
    k
        Shape of the largest importance ratios, shape (U,).
    within
        Log predictive density of each unit given all units, itself too, shape (U,).
    largest
        The largest weight of each unit, times the number of draws, shape (U,).
    moved
        How much each draw moves the sum of `elpd`, shape (S,): units share their draws.
    probes_moved
        How much each probe moves it where leverages are estimated by probes, shape (m,); else empty.
    """

    elpd: Array
    error: Array
    k: Array
    within: Array
    largest: Array
    moved: Array
    probes_moved: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def total_error(self) -> float:
        """Monte Carlo standard error of the sum of `elpd`."""
        return float(np.hypot(np.linalg.norm(self.moved), np.linalg.norm(self.probes_moved)))

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(self.moved)


def leave_out(logs: Array, within: Array, log_weights: Array | None = None) -> LeftOut:
    """Return the predictive densities of units left out.

    Parameters
    ----------
    logs, within
        Log densities of units at draws, given the other units and given all, both (S, U).
    log_weights
        Of the draws for the posterior given all units, (S,); None means draws of that posterior.
    """
    n_draws, count = logs.shape
    base = np.zeros(n_draws) if log_weights is None else log_weights - np.max(log_weights)
    elpd, error, k, inside, largest = (np.empty(count) for _ in range(5))
    firsts = range(0, count, COLUMNS)

    def run(first: int) -> Array:
        some = slice(first, first + COLUMNS)
        moved = np.zeros(n_draws)
        columns = np.ascontiguousarray(logs[:, some].T)
        weigh_columns(
            columns,
            base,
            np.ascontiguousarray(within[:, some].T),
            elpd[some],
            error[some],
            k[some],
            inside[some],
            largest[some],
            moved,
        )
        return moved

    moved = np.sum(in_threads(run, firsts, max(1, min(idle_cores(), len(firsts)))), axis=0)
    return LeftOut(elpd, error, k, inside, largest, moved)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh_columns(
    logs: Array, base: Array, within: Array,
    elpd: Array, error: Array, k: Array, inside: Array, largest: Array, moved: Array,
) -> None:  # fmt: skip
    """Fill elpd, error, k, inside and largest (U,) from columns (U, S); add draws' pulls on the sum to moved (S,)."""
    count, n_draws = logs.shape
    tail = int(np.ceil(min(0.2 * n_draws, 3.0 * np.sqrt(n_draws))))
    share = np.exp(base).sum()
    ratios, excess, weights = np.empty(n_draws), np.empty(tail), np.empty(n_draws)
    for u in range(count):
        lowest = (logs[u] - base).min()
        for s in range(n_draws):
            ratios[s] = lowest + base[s] - logs[u, s]  # log ratios, the largest zero
        k[u] = -np.inf
        for s in range(n_draws):
            weights[s] = np.exp(ratios[s])
        if tail >= FEWEST_TAIL and np.isfinite(lowest):
            cutoff = np.partition(ratios, n_draws - tail - 1)[n_draws - tail - 1]
            members = np.flatnonzero(ratios > cutoff)
            size = members.shape[0]
            if size >= FEWEST_TAIL:
                order = members[np.argsort(ratios[members])]
                floor = np.exp(cutoff)
                for i in range(size):
                    excess[i] = max(weights[order[i]] - floor, 1e-300)
                if excess[size - 1] > excess[0]:
                    shape, scale = pareto(excess[:size])
                    k[u] = shape
                    if np.isfinite(shape):
                        for i in range(size):
                            rank = -np.log1p(-(i + 0.5) / size)
                            value = scale * rank if abs(shape) < 1e-12 else scale * np.expm1(shape * rank) / shape
                            weights[order[i]] = min(floor + value, 1.0)
        total, highest, peak = 0.0, logs[u].max(), within[u].max()
        for s in range(n_draws):
            total += weights[s]
        largest[u] = weights.max() / total * n_draws
        mean, inner = 0.0, 0.0
        for s in range(n_draws):
            mean += weights[s] / total * np.exp(logs[u, s] - highest)
            inner += np.exp(base[s] + within[u, s] - peak)
        elpd[u] = highest + np.log(mean)
        inside[u] = peak + np.log(inner / share)
        variance = 0.0
        for s in range(n_draws):
            pull = weights[s] / total * (np.exp(logs[u, s] - elpd[u]) - 1.0)
            moved[s] += pull
            variance += pull * pull
        error[u] = np.sqrt(variance)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def mean_log(theta: float, excess: Array) -> float:
    """Return the mean of log(1 - theta x) over x (m,): logarithms of products, which are few."""
    total, product = 0.0, 1.0
    for x in excess:
        product *= 1.0 - theta * x
        if not 1e-100 < product < 1e100:
            total += np.log(product)
            product = 1.0
    return (total + np.log(product)) / excess.shape[0]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pareto(excess: Array) -> tuple[float, float]:
    """Return shape and scale of a generalised Pareto distribution fitted to ascending excesses, (m,)."""
    count = excess.shape[0]
    grid = 30 + int(np.sqrt(count))
    quartile = excess[int(count / 4 + 0.5) - 1]
    theta, profile = np.empty(grid), np.empty(grid)
    for g in range(grid):
        theta[g] = 1.0 / excess[count - 1] + (1.0 - np.sqrt(grid / (g + 0.5))) / (3.0 * quartile)
        mean = mean_log(theta[g], excess)
        profile[g] = count * (np.log(-theta[g] / mean) - mean - 1.0)
    highest, total, estimate = profile.max(), 0.0, 0.0
    for g in range(grid):
        weight = np.exp(profile[g] - highest)
        total += weight
        estimate += weight * theta[g]
    estimate /= total
    shape = mean_log(estimate, excess)
    return (shape * count + 0.5 * PRIOR_WEIGHT) / (count + PRIOR_WEIGHT), -shape / estimate

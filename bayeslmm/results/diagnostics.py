r"""Convergence diagnostics of Markov chains, for many parameters at once, on plain arrays.

Rank-normalised split :math:`\hat R` and bulk and tail effective sample sizes of Vehtari, Gelman, Simpson,
Carpenter and Bürkner (2021), "Rank-normalization, folding, and localization", Bayesian Analysis 16. The
numbers are those of arviz; they are computed here because thousands of random effects need them in one
sweep, and because a printed posterior should not wait for a plotting library to be imported.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.fft import irfft, rfft  # scipy's are no faster here, and importing them takes longer than all diagnostics
from numpy.typing import NDArray
from scipy.special import ndtri

from bayeslmm.errors import check_level
from bayeslmm.types import Array

BATCH = 4_000_000  # draws held at once: bounds the memory of the sweeps below
TAILS = (0.05, 0.95)


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Diagnostics of K parameters.

    Attributes
    ----------
    rhat
        Larger of the rank-normalised split R-hat of the draws and of the folded draws, shape (K,).
    ess_bulk, ess_tail
        Effective sample sizes, shape (K,).

    All are NaN for a parameter that does not vary or is not finite.
    """

    rhat: Array
    ess_bulk: Array
    ess_tail: Array

    def at_most(self, effective: float) -> "Diagnostics":
        """Return these diagnostics with effective sample sizes no larger than `effective`."""
        return Diagnostics(self.rhat, np.minimum(self.ess_bulk, effective), np.minimum(self.ess_tail, effective))


def diagnose(draws: NDArray[np.floating]) -> Diagnostics:
    """Diagnose every parameter of an array of draws.

    Parameters
    ----------
    draws
        Shape (chains, draws, ...); the trailing dimensions are flattened to K parameters.
    """
    found = Diagnostics(*(np.full(_count(draws), np.nan) for _ in range(3)))
    if draws.shape[1] < 4:
        return found
    for where, block in _varying(draws):
        found.rhat[where], found.ess_bulk[where], found.ess_tail[where] = _diagnose_block(block)
    return found


def effective_sizes(draws: NDArray[np.floating]) -> Array:
    """Return the effective sample size for the mean of every parameter: of the draws as they are, not of their ranks.

    Parameters
    ----------
    draws
        Shape (chains, draws, ...), at least four draws; the trailing dimensions are flattened to K parameters.

    Returns
    -------
    ndarray
        Shape (K,); NaN for a parameter that does not vary or is not finite.
    """
    found = np.full(_count(draws), np.nan)
    for where, block in _varying(draws):
        found[where] = _ess(_split(block))
    return found


def _count(draws: NDArray[np.floating]) -> int:
    """Return K, the number of parameters."""
    return math.prod(draws.shape[2:])


def _varying(draws: NDArray[np.floating]) -> Iterator[tuple[NDArray[np.intp], Array]]:
    """Cut the parameters that vary and are finite into blocks: their places, and draws of shape (k, chains, draws)."""
    chains, length = draws.shape[:2]
    flat = draws.reshape(chains, length, _count(draws))
    step = max(1, BATCH // (chains * length))
    for start in range(0, flat.shape[2], step):
        block = np.ascontiguousarray(np.moveaxis(flat[:, :, start : start + step], 2, 0), dtype=float)
        varies = np.isfinite(block).all(axis=(1, 2)) & (np.ptp(block, axis=(1, 2)) > 0)
        if varies.any():
            yield start + np.flatnonzero(varies), block[varies]


def _diagnose_block(block: Array) -> tuple[Array, Array, Array]:
    halves = _split(block)
    ranks = normalised_ranks(halves)
    folded = np.abs(halves - np.median(halves, axis=(1, 2), keepdims=True))
    rhat = np.fmax(_rhat(ranks), _rhat(normalised_ranks(folded)))
    bulk = _ess(ranks)
    quantiles = np.quantile(block, TAILS, axis=(1, 2))
    tails = [_ess(_split((block <= quantile[:, None, None]).astype(float))) for quantile in quantiles]
    return rhat, bulk, np.fmin(*tails)


def _split(block: Array) -> Array:
    """Cut every chain in two halves: (K, chains, draws) to (K, 2 chains, draws // 2)."""
    half = block.shape[2] // 2
    return np.concatenate([block[:, :, :half], block[:, :, -half:]], axis=1)


def normalised_ranks(block: Array) -> Array:
    """Replace values, (K, chains, draws), by normal scores of their ranks over all chains (Blom's offset 3/8)."""
    size = block.shape[1] * block.shape[2]
    ranks = average_ranks(block.reshape(len(block), size))
    return ndtri((ranks - 0.375) / (size + 0.25)).reshape(block.shape)


def average_ranks(rows: Array) -> Array:
    """Return the ranks 1, 2, ... within each row, (K, n), equal values sharing the mean of theirs."""
    n = rows.shape[1]
    order = np.argsort(rows, axis=1)
    ascending = np.take_along_axis(rows, order, axis=1)
    first = np.ones(rows.shape, dtype=bool)
    first[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    starts = np.flatnonzero(first)  # no run of equal values goes on in the next row
    lengths = np.diff(starts, append=rows.size)
    found = np.empty(rows.shape)
    shared = np.repeat(starts % n + (lengths + 1) / 2.0, lengths).reshape(rows.shape)
    np.put_along_axis(found, order, shared, axis=1)
    return found


def _rhat(block: Array) -> Array:
    length = block.shape[2]
    between = np.var(block.mean(axis=2), axis=1, ddof=1)
    within = np.mean(np.var(block, axis=2, ddof=1), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt((between + within * (length - 1) / length) / within)


def _fast_length(least: int) -> int:
    """Return the smallest product of twos, threes and fives that is not below `least`."""
    odd = [3**a * 5**b for a in range(least.bit_length()) for b in range(least.bit_length())]
    return min(o << max(0, (-(-least // o) - 1).bit_length()) for o in odd)


def _autocovariance(block: Array) -> Array:
    """Return the biased autocovariances of every chain, shape (K, chains, draws)."""
    length = block.shape[2]
    centred = block - block.mean(axis=2, keepdims=True)
    padded = _fast_length(2 * length)
    spectrum = rfft(centred, n=padded, axis=2)
    return irfft(spectrum.real**2 + spectrum.imag**2, n=padded, axis=2)[:, :, :length] / length


def _ess(block: Array) -> Array:
    """Return the effective sample size of split chains, by Geyer's initial monotone sequence, shape (K,)."""
    _, chains, length = block.shape
    covariance = _autocovariance(block)
    within = covariance[:, :, 0].mean(axis=1) * length / (length - 1)
    total = within * (length - 1) / length
    if chains > 1:
        total = total + np.var(block.mean(axis=2), axis=1, ddof=1)
    constant = total <= 0
    safe = np.where(constant, 1.0, total)
    correlation = 1.0 - (within[:, None] - covariance.mean(axis=1)) / safe[:, None]
    correlation[:, 0] = 1.0
    size = chains * length
    tau = np.maximum(_integrated_time(correlation), 1.0 / np.log10(size))
    return np.where(constant, float(size), size / tau)


def _integrated_time(correlation: Array) -> Array:
    """Sum autocorrelations, shape (K, lags), over Geyer's initial positive and monotone pairs of lags.

    The pairs (0, 1), (2, 3), ... are summed up to the first whose sum is not positive; the even member of
    that pair counts once if it is positive.
    """
    size, lags = correlation.shape
    n_pairs = max((lags - 1) // 2, 1)
    pairs = correlation[:, : 2 * n_pairs].reshape(size, n_pairs, 2).sum(axis=2)
    stop = np.where((pairs <= 0).any(axis=1), np.argmax(pairs <= 0, axis=1), n_pairs - 1)
    stop = np.maximum(stop, 1) if n_pairs > 1 else np.zeros(size, dtype=int)
    monotone = np.minimum.accumulate(pairs, axis=1)
    kept = np.where(np.arange(n_pairs)[None, :] < stop[:, None], monotone, 0.0).sum(axis=1)
    tail = np.take_along_axis(correlation, (2 * stop)[:, None], axis=1)[:, 0]
    return -1.0 + 2.0 * kept + np.maximum(tail, 0.0)


def describe(draws: NDArray[np.floating], index: pd.Index, level: float, found: Diagnostics) -> pd.DataFrame:
    """Return mean, sd, limits and diagnostics of K parameters, draws of shape (chains, draws, K)."""
    check_level(level)
    tails = [0.5 - level / 2, 0.5 + level / 2]
    limits = np.quantile(draws, tails, axis=(0, 1)) if draws.size else np.empty((2, 0))
    columns = {
        "mean": np.mean(draws, axis=(0, 1), dtype=float),
        "sd": np.std(draws, axis=(0, 1), ddof=1, dtype=float),
        "lower": limits[0],
        "upper": limits[1],
        "ess_bulk": found.ess_bulk,
        "ess_tail": found.ess_tail,
        "rhat": found.rhat,
    }
    return pd.DataFrame(columns, index=index)

r"""Several tests at once: p values and limits that hold for all of them together.

With t statistics :math:`t_1..t_m`: Bonferroni :math:`mp`, Šidák :math:`1 - (1-p)^m`, Holm's sequence, Tukey's
studentized range :math:`P(q_{k,\nu} > \sqrt2|t|)` for all pairs of k means, and "mvt",
:math:`P(\max_j|T_j| > |t|)` of the multivariate t distribution with the estimates' correlations (Dunnett's, for
comparisons with a control). The correlation matrix :math:`LL^\top` of rank r is singular where contrasts are more than
the means less one. A multivariate t vector is :math:`\rho Lu` with u uniform on the unit sphere and
:math:`\rho^2/r \sim F_{r,\nu}`, so that

.. math:: P(\max_j|T_j| > x) = E_u\bigl[P(F_{r,\nu} > x^2/(r\,m(u)^2))\bigr], \qquad m(u) = \max_j|(Lu)_j|,

over a Sobol sequence of directions, whatever the rank, and accurate in the tail (Deak 1980, *Numerische Mathematik*
35).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy  # scipy.stats takes a second to load and does so at its first use

from bayeslmm.errors import OptionError, is_word
from bayeslmm.types import Array

Adjustment = Literal["tukey", "holm", "bonferroni", "sidak", "mvt", "none"]
DIRECTIONS = 2**16  # an error of 1e-4 of p with four means, of some 1e-3 with ten
BLOCK = 2**12  # directions in memory at once
LEAST_EIGENVALUE = 1e-10  # relative to the largest, of a direction in which the statistics vary
SMALLEST = 1e-12  # share of a direction's coordinate, which must not be zero
SEED = 20


def check_adjustment(adjust: str, kind: str) -> None:
    """Refuse an adjustment that is unknown, or not for these contrasts."""
    if not is_word(adjust, get_args(Adjustment)):
        raise OptionError(f"adjust={adjust!r} is unknown; use one of {', '.join(map(repr, get_args(Adjustment)))}.")
    if adjust == "tukey" and kind != "pairwise":
        raise OptionError("adjust='tukey' is for all pairs of means; use 'mvt', 'holm', 'sidak' or 'bonferroni' here.")


def adjusted_p(t: Array, df: Array, adjust: str, means: int, correlation: Array) -> Array:
    """Return p values of one family of m tests, shape (m,).

    Parameters
    ----------
    t, df
        Statistics and degrees of freedom, shape (m,).
    adjust
        One of the adjustments.
    means
        Number of means that are compared.
    correlation
        Of the estimates, shape (m, m).
    """
    p = 2.0 * scipy.stats.t.sf(np.abs(t), df)
    m = len(p)
    if m < 2 or adjust == "none":
        return p
    if adjust == "bonferroni":
        return np.minimum(m * p, 1.0)
    if adjust == "sidak":
        return -np.expm1(m * np.log1p(-np.minimum(p, 1.0 - 1e-16)))
    if adjust == "holm":
        order = np.argsort(p)
        stepped = np.maximum.accumulate((m - np.arange(m)) * p[order])
        out = np.empty(m)
        out[order] = np.minimum(stepped, 1.0)
        return out
    if adjust == "tukey":
        return np.asarray(scipy.stats.studentized_range.sf(np.sqrt(2.0) * np.abs(t), means, df))
    largest = Largest.of(correlation)
    return np.array([largest.beyond(abs(x), nu) for x, nu in zip(t, df, strict=True)])


def critical_values(df: Array, adjust: str, means: int, correlation: Array, level: float) -> Array:
    """Return how many standard errors the limits of one family lie from the estimates, shape (m,).

    Holm's sequence has no intervals of its own: Bonferroni's stand in.
    """
    m = len(df)
    tail = 1.0 - level
    if m < 2 or adjust == "none":
        return np.asarray(scipy.stats.t.isf(tail / 2.0, df))
    if adjust in ("bonferroni", "holm"):
        return np.asarray(scipy.stats.t.isf(tail / (2.0 * m), df))
    if adjust == "sidak":
        return np.asarray(scipy.stats.t.isf(-np.expm1(np.log(level) / m) / 2.0, df))
    if adjust == "tukey":
        return np.asarray(scipy.stats.studentized_range.isf(tail, means, df) / np.sqrt(2.0))
    largest = Largest.of(correlation)
    return np.array([largest.quantile(tail, nu) for nu in df])


@dataclass(frozen=True, slots=True)
class Largest:
    """The distribution of the largest of m correlated t statistics, in absolute value.

    Attributes
    ----------
    count, rank
        Number of statistics, and rank of their correlation matrix.
    reaches
        m(u) of each direction.
    """

    count: int
    rank: int
    reaches: Array

    @classmethod
    def of(cls, correlation: Array) -> "Largest":
        """Return it for a correlation matrix, (m, m), singular or not."""
        values, vectors = np.linalg.eigh(correlation)
        varying = values > LEAST_EIGENVALUE * values[-1]
        root = vectors[:, varying] * np.sqrt(values[varying])
        rank = root.shape[1]
        if rank == 1:
            return cls(len(root), 1, np.ones(1))
        points = scipy.stats.qmc.Sobol(rank, rng=np.random.default_rng(SEED))
        reaches = []
        for _ in range(DIRECTIONS // BLOCK):
            directions = scipy.special.ndtri(np.maximum(points.random(BLOCK), SMALLEST))
            reaches.append(np.abs(directions @ root.T).max(axis=1) / np.linalg.norm(directions, axis=1))
        return cls(len(root), rank, np.concatenate(reaches))

    def beyond(self, x: float, df: float) -> float:
        """Return the probability that any of the statistics lies beyond x."""
        if not np.isfinite(x) or not df > 0:
            return float("nan")
        squares = (x / self.reaches) ** 2
        finite = np.isfinite(df)
        tails = scipy.special.fdtrc(self.rank, df, squares / self.rank) if finite else _chi2_tail(self.rank, squares)
        single = 2.0 * float(scipy.special.stdtr(df, -x) if finite else scipy.special.ndtr(-x))
        return float(np.clip(np.mean(tails), single, min(self.count * single, 1.0)))

    def quantile(self, tail: float, df: float) -> float:
        """Return the value beyond which any of the statistics lies with a probability."""
        if not df > 0:
            return float("nan")
        distribution = scipy.stats.t(df) if np.isfinite(df) else scipy.stats.norm
        low, high = distribution.isf(tail / 2.0), distribution.isf(tail / (2.0 * self.count))
        return float(scipy.optimize.brentq(lambda x: self.beyond(x, df) - tail, low - 1e-6, high + 1e-6, xtol=1e-6))


def _chi2_tail(df: int, squares: Array) -> Array:
    return np.asarray(scipy.special.chdtrc(df, squares))

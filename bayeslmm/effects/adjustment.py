r"""Several tests at once: p values and limits that hold for all of them together.

With t statistics :math:`t_1..t_m`: Bonferroni :math:`mp`, Šidák :math:`1 - (1-p)^m`, Holm's sequence, Tukey's
studentized range :math:`P(q_{k,\nu} > \sqrt2|t|)` for all pairs of k means, and "mvt", the exact
:math:`P(\max_j|T_j| > |t|)` of the multivariate t distribution with the estimates' correlations (Dunnett's, for
comparisons with a control).
"""

from typing import Literal, get_args

import numpy as np
import scipy  # scipy.stats takes a second to load and does so at its first use

from bayeslmm.errors import OptionError, is_word
from bayeslmm.types import Array

Adjustment = Literal["tukey", "holm", "bonferroni", "sidak", "mvt", "none"]
POINTS = 20_000  # of the integral over the multivariate t: an error of about 1e-4
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
    return np.array([_outside(abs(x), nu, correlation) for x, nu in zip(t, df, strict=True)])


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
    return np.array([_quantile(tail, nu, correlation) for nu in df])


def _outside(x: float, df: float, correlation: Array) -> float:
    """Return the probability that any of the statistics lies beyond x."""
    if not np.isfinite(x) or not df > 0:
        return np.nan
    if x == 0:
        return 1.0
    limits = np.full(len(correlation), x)
    inside = scipy.stats.multivariate_t.cdf(
        limits, shape=correlation, df=df, lower_limit=-limits, allow_singular=True, maxpts=POINTS,
        random_state=np.random.default_rng(SEED),
    )  # fmt: skip
    single = 2.0 * float(scipy.stats.t.sf(x, df))
    return float(np.clip(1.0 - inside, single, min(len(correlation) * single, 1.0)))


def _quantile(tail: float, df: float, correlation: Array) -> float:
    if not df > 0:
        return np.nan
    distribution = scipy.stats.t(df) if np.isfinite(df) else scipy.stats.norm
    low, high = distribution.isf(tail / 2.0), distribution.isf(tail / (2.0 * len(correlation)))
    return float(
        scipy.optimize.brentq(lambda x: _outside(x, df, correlation) - tail, low - 1e-6, high + 1e-6, xtol=1e-4)
    )

r"""Statistics of a response and of replicates of it, and what they say of a model.

The posterior predictive p value of a statistic is :math:`P(T(y^{rep}, \psi) \ge T(y, \psi) \mid y)` (Gelman, Meng and
Stern 1996, *Statistica Sinica* 6): near zero or one where the model does not make data like those at hand. It is not
uniform under the model but closer to one half, since the data were used for the fit.
"""

from dataclasses import dataclass

import numpy as np

from bayeslmm.types import Array, Codes


@dataclass(frozen=True, slots=True)
class Replicated:
    """A statistic of K values at replicates.

    Attributes
    ----------
    observed
        Of the response at each replicate's parameters, shape (R, K); all rows alike where it needs none.
    replicated
        Of the replicates, shape (R, K).
    """

    observed: Array
    replicated: Array

    @property
    def p_values(self) -> Array:
        """Share of replicates whose statistic is at least that of the response, ties counted half, shape (K,)."""
        above = self.replicated > self.observed
        ties = self.replicated == self.observed
        return np.asarray(np.mean(above + 0.5 * ties, axis=0))


def distance_of_distributions(y: Array, replicates: Array) -> Replicated:
    """Return the Kolmogorov distance of the response, and of each replicate (R, n), from all replicates together."""
    pooled = np.sort(replicates, axis=None)
    rows = np.sort(np.vstack([y, replicates]), axis=1)
    below = np.searchsorted(pooled, rows, side="right") / len(pooled)
    before = np.searchsorted(pooled, rows, side="left") / len(pooled)
    n = rows.shape[1]
    # at tied values only the last of them counts upwards and only the first downwards
    upward = np.where(np.diff(rows, axis=1, append=np.inf) > 0, np.arange(1, n + 1) / n - below, -np.inf)
    downward = np.where(np.diff(rows, axis=1, prepend=-np.inf) > 0, before - np.arange(n) / n, -np.inf)
    distance = np.maximum(upward.max(axis=1), downward.max(axis=1))
    return Replicated(np.full((len(replicates), 1), distance[0]), distance[1:, None])


def level_means(values: Array, codes: Codes, n_levels: int) -> Array:
    """Return the means of values (..., n) over the rows of each level, (..., J)."""
    counts = np.bincount(codes, minlength=n_levels)
    flat = np.atleast_2d(values)
    sums = np.array([np.bincount(codes, row, n_levels) for row in flat])
    with np.errstate(invalid="ignore"):
        return (sums / counts).reshape(*values.shape[:-1], n_levels)


def lag_one(residuals: Array, codes: Codes) -> Array:
    r"""Return the autocorrelation of residuals (R, n) with the row before in the same level, (R, 1).

    .. math:: r_1 = \frac{\sum e_i e_{i^-}}{\sum e_i^2} \cdot \frac{n}{m}

    over the m rows that have a row before them in their level, :math:`i^-`, in the order of the data.
    """
    order = np.argsort(codes, kind="stable")
    follows = np.flatnonzero(codes[order][1:] == codes[order][:-1]) + 1
    e = residuals[:, order]
    products = np.sum(e[:, follows] * e[:, follows - 1], axis=1) / max(len(follows), 1)
    return np.asarray((products / np.mean(e**2, axis=1))[:, None])

r"""Shares of the variance of the response, for one or many values of the parameters.

With :math:`v_f = \mathrm{var}(x_i^\top\beta)` over the rows (divisor n - 1), :math:`v_r` the mean over the rows of
:math:`\sum_k z_{ik}^\top\Sigma_k z_{ik}` and :math:`v_e` that of :math:`\sigma^2/w_i`,

.. math:: R^2_m = \frac{v_f}{v_f + v_r + v_e}, \qquad R^2_c = \frac{v_f + v_r}{v_f + v_r + v_e}, \qquad
          ICC = \frac{v_r}{v_r + v_e}

(Nakagawa and Schielzeth 2013, *Methods in Ecology and Evolution* 4; random slopes: Johnson 2014, the same journal 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class VarianceShares:
    """Variances of the parts of the response, each of shape (D,) for the random part, (D, K) by term.

    Attributes
    ----------
    fixed
        Variance of the fixed part over the rows, shape (D,).
    random
        Mean variance that each random term adds to a row, shape (D, K).
    residual
        Mean residual variance of a row, shape (D,).
    """

    fixed: Array
    random: Array
    residual: Array

    @property
    def total(self) -> Array:
        """Sum of all parts, shape (D,)."""
        return self.fixed + self.random.sum(axis=1) + self.residual

    @property
    def marginal(self) -> Array:
        """Share of the fixed part, shape (D,)."""
        return self.fixed / self.total

    @property
    def conditional(self) -> Array:
        """Share of the fixed and the random part, shape (D,)."""
        return (self.fixed + self.random.sum(axis=1)) / self.total

    def with_residual(self, by_row: Sequence[bool]) -> "VarianceShares":
        """Return the variances with terms that have a level for every row counted as residual."""
        moved = np.asarray(by_row, dtype=bool)
        kept = np.where(moved, 0.0, self.random)
        return VarianceShares(self.fixed, kept, self.residual + (self.random - kept).sum(axis=1))

    @property
    def intraclass(self) -> Array:
        """Share of each term in the random and the residual part, shape (D, K)."""
        return self.random / (self.random.sum(axis=1) + self.residual)[:, None]


@dataclass(frozen=True, slots=True)
class RowMoments:
    """What the shares need of the rows.

    Attributes
    ----------
    fixed
        Covariance matrix of the fixed columns over the rows, divisor n - 1, shape (p, p).
    terms
        Mean of z z' over the rows for each random term, (S, S).
    inverse_weight
        Mean of 1/w over the rows.
    """

    fixed: Array
    terms: tuple[Array, ...]
    inverse_weight: float = 1.0


def row_moments(X: Array, columns: Sequence[Array], weights: Array | None) -> RowMoments:
    """Return the moments of rows.

    Parameters
    ----------
    X, columns
        Fixed columns (n, p) and those of each term (n, S).
    weights
        Prior weights, shape (n,); None means ones.
    """
    n = len(X)
    centred = X - X.mean(axis=0)
    inverse_weight = 1.0 if weights is None else float(np.mean(1.0 / weights))
    return RowMoments(centred.T @ centred / max(n - 1, 1), tuple(Z.T @ Z / n for Z in columns), inverse_weight)


def variance_shares(moments: RowMoments, beta: Array, covariances: Sequence[Array], sigma: Array) -> VarianceShares:
    """Return the variances of the parts.

    Parameters
    ----------
    moments
        Of the rows.
    beta, covariances, sigma
        Coefficients (D, p), covariance matrix of each term (D, S, S), residual sd (D,).
    """
    fixed = np.einsum("dp,pq,dq->d", beta, moments.fixed, beta)
    parts = [np.einsum("dst,st->d", S, M) for S, M in zip(covariances, moments.terms, strict=True)]
    random = np.stack(parts, axis=1) if parts else np.zeros((len(beta), 0))
    return VarianceShares(fixed, random, sigma**2 * moments.inverse_weight)


def principal_sds(factors: Sequence[Array]) -> Array:
    """Return the principal standard deviations of the terms of one grouping factor together, largest first.

    They are the singular values of the block-diagonal matrix of the terms' factors.

    Parameters
    ----------
    factors
        A factor L of each term's covariance matrix LLᵀ, shape (D, S, S).

    Returns
    -------
    Shape (D, sum of S).
    """
    values = np.concatenate([np.linalg.svd(factor, compute_uv=False) for factor in factors], axis=1)
    return np.asarray(-np.sort(-values, axis=1))


def cumulative_shares(sds: Array) -> tuple[Array, Array]:
    """Return each principal component's share of the variance and the running sum, (D, S); NaN if all are zero."""
    variance = sds**2
    total = variance.sum(axis=1, keepdims=True)
    share = np.divide(variance, total, out=np.full_like(variance, np.nan), where=total > 0)
    return share, np.cumsum(share, axis=1)

r"""How well the coefficients are known: their covariance, and the degrees of freedom of functions of them.

An estimate :math:`\hat\beta` has a covariance C that is estimated, too. If C has the derivatives
:math:`\partial_i C` by covariance parameters whose own covariance is W, a single function :math:`l^\top\beta` has

.. math:: \mathrm{df} = \frac{2 v^2}{g^\top W g}, \qquad v = l^\top C l, \quad g_i = l^\top (\partial_i C)\, l .
"""

from dataclasses import dataclass

import numpy as np

from bayeslmm.types import Array

NEGLIGIBLE = 1e-8  # eigenvalue of the covariance of several functions, relative to the largest, that counts as zero
LARGEST_DF = 1e10  # what is larger than this is the normal distribution


@dataclass(frozen=True, slots=True)
class ErrorsOfEstimation:
    """Covariance of the coefficients, taken as known: every test is normal or chi-square.

    Attributes
    ----------
    beta
        Estimates, shape (p,).
    covariance
        Their covariance, shape (p, p).
    """

    beta: Array
    covariance: Array

    @property
    def unadjusted_covariance(self) -> Array:
        """The covariance before any adjustment for the error of the covariance parameters, shape (p, p)."""
        return self.covariance

    def df(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L (m, p), shape (m,)."""
        return np.full(len(L), np.inf)

    def joint(self, L: Array) -> tuple[float, float]:
        """Return a factor of the F statistic of all rows of L, of full rank (q, p), and its denominator's df."""
        return 1.0, np.inf


@dataclass(frozen=True, slots=True)
class ResidualErrors(ErrorsOfEstimation):
    """A covariance known up to sigma², which has `residual_df` degrees of freedom."""

    residual_df: float

    def df(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L (m, p), shape (m,)."""
        return np.full(len(L), self.residual_df)

    def joint(self, L: Array) -> tuple[float, float]:
        """Return a factor of the F statistic of all rows of L, of full rank (q, p), and its denominator's df."""
        return 1.0, self.residual_df


@dataclass(frozen=True, slots=True)
class VaryingErrors(ErrorsOfEstimation):
    """A covariance that moves with k covariance parameters.

    Attributes
    ----------
    slopes
        Derivatives of the covariance, before any adjustment, by the parameters, shape (k, p, p).
    parameter_covariance
        Covariance of the parameters' estimates, shape (k, k).
    unadjusted
        The covariance before any adjustment for the parameters' error, shape (p, p).
    """

    slopes: Array
    parameter_covariance: Array
    unadjusted: Array

    @property
    def unadjusted_covariance(self) -> Array:
        """The covariance before any adjustment for the error of the covariance parameters, shape (p, p)."""
        return self.unadjusted

    def df(self, L: Array) -> Array:
        """Return the degrees of freedom of each row of L (m, p), shape (m,)."""
        variances = np.einsum("mp,pq,mq->m", L, self.unadjusted, L)
        slopes = np.einsum("mp,kpq,mq->mk", L, self.slopes, L)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = 2.0 * variances**2 / np.einsum("mk,kl,ml->m", slopes, self.parameter_covariance, slopes)
        return np.where(found < LARGEST_DF, found, np.where(np.isnan(found), np.nan, np.inf))


def uncorrelated(L: Array, covariance: Array) -> Array:
    """Return weights (q, m) that turn m functions L beta, L (m, p), into q uncorrelated ones of positive variance."""
    values, vectors = np.linalg.eigh(L @ covariance @ L.T)
    kept = values > NEGLIGIBLE * max(values.max(initial=0.0), 0.0)
    return np.asarray(vectors[:, kept].T)

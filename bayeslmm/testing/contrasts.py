r"""Tests of linear functions of the coefficients: t of one, F of several at once."""

from dataclasses import dataclass

import numpy as np
import scipy  # scipy.stats takes a second to load and does so at its first use

from bayeslmm.testing.errors_of_estimation import ErrorsOfEstimation, uncorrelated
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class FunctionsOfCoefficients:
    """Estimates of m linear functions, each array of shape (m,).

    Attributes
    ----------
    estimate, std_error
        The functions and their standard errors.
    df
        Degrees of freedom; infinite where the distribution is normal.
    t
        ``(estimate - null) / std_error``.
    p
        Two-sided p values.
    """

    estimate: Array
    std_error: Array
    df: Array
    t: Array
    p: Array

    def limits(self, level: float) -> tuple[Array, Array]:
        """Return the limits of the two-sided interval of a probability, (m,) each."""
        half = scipy.stats.t.ppf(0.5 + level / 2.0, self.df) * self.std_error
        return self.estimate - half, self.estimate + half


@dataclass(frozen=True, slots=True)
class JointTest:
    """An F test that q linear functions are zero (or `null`) at once; df_den is infinite for a chi-square test."""

    F: float
    df_num: int
    df_den: float
    p: float


def linear_functions(L: Array, errors: ErrorsOfEstimation, null: Array | float = 0.0) -> FunctionsOfCoefficients:
    """Return estimate, standard error, df, t and p of each row of L beta, L of shape (m, p)."""
    L = np.atleast_2d(np.asarray(L, dtype=float))
    estimate = L @ errors.beta
    error = np.sqrt(np.maximum(np.einsum("mp,pq,mq->m", L, errors.covariance, L), 0.0))
    df = errors.df(L)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (estimate - null) / error
    return FunctionsOfCoefficients(estimate, error, df, t, 2.0 * scipy.stats.t.sf(np.abs(t), df))


def contrast_test(L: Array, errors: ErrorsOfEstimation, null: Array | float = 0.0) -> JointTest:
    r"""Test that L beta equals `null`, all rows at once.

    .. math:: F = s\,(L\hat\beta - c)^\top (L C L^\top)^{-1} (L\hat\beta - c) / q,

    with the factor s and the denominator's degrees of freedom of `errors`.

    Parameters
    ----------
    L
        Rows of weights, shape (m, p); rows that depend on the others do not count.
    errors
        The estimates with their covariance, by any of the methods.
    null
        What the functions equal under the hypothesis, shape (m,) or one number.
    """
    L = np.atleast_2d(np.asarray(L, dtype=float))
    weights = uncorrelated(L, errors.unadjusted_covariance)
    rows, distance = weights @ L, weights @ (L @ errors.beta - null)
    q = len(rows)
    if q == 0:
        return JointTest(np.nan, 0, np.nan, np.nan)
    scale, df = errors.joint(rows)
    F = scale * float(distance @ np.linalg.solve(rows @ errors.covariance @ rows.T, distance)) / q
    return JointTest(F, q, df, f_p_value(F, q, df))


def f_p_value(F: float, df_num: int, df_den: float) -> float:
    """Return the upper tail of an F distribution, of a chi-square one where `df_den` is infinite."""
    if np.isinf(df_den):
        return float(scipy.stats.chi2.sf(df_num * F, df_num))
    return float(scipy.stats.f.sf(F, df_num, df_den))

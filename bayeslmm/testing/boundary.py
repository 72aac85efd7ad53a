"""Likelihood-ratio tests, also of a variance that cannot be negative."""

import numpy as np
import scipy  # scipy.stats takes a second to load and does so at its first use


def likelihood_ratio_p(statistic: float, df: int) -> float:
    """Return the upper tail of chi-square; NaN without degrees of freedom."""
    return float(scipy.stats.chi2.sf(max(statistic, 0.0), df)) if df > 0 else np.nan


def boundary_p(statistic: float, df: int) -> float:
    r"""Return the upper tail of :math:`\tfrac12\chi^2_{d-1} + \tfrac12\chi^2_d`.

    That is the distribution where one variance and its d - 1 covariances with others are zero (Self and Liang 1987;
    Stram and Lee 1994); :math:`\chi^2_0` is zero.
    """
    below = likelihood_ratio_p(statistic, df - 1) if df > 1 else float(statistic <= 0)
    return (below + likelihood_ratio_p(statistic, df)) / 2.0

r"""Variance inflation of coefficients: how much of the error of each is due to the others.

With C the covariance of the coefficients but the intercept and R its correlations, the factor of coefficient j is
:math:`(R^{-1})_{jj}`; with independent rows of equal variance that is :math:`1/(1 - R_j^2)`, :math:`R_j^2` of the
regression of column j on the others (Belsley, Kuh and Welsch 1980, *Regression Diagnostics*).
"""

import numpy as np

from bayeslmm.types import Array


def variance_inflation(covariance: Array) -> Array:
    """Return the inflation of each coefficient's variance, shape (p,), for the covariance (p, p) of the coefficients.

    The intercept must be left out: it would only say how far the data are from the origin.
    """
    if not len(covariance):
        return np.zeros(0)
    scale = np.sqrt(np.diagonal(covariance))
    return np.asarray(np.diagonal(np.linalg.inv(covariance / np.outer(scale, scale))), dtype=float)

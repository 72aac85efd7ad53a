r"""Errors of the linear predictor of a generalized point fit.

Of the typical group the variance is :math:`x^\top C x`, C the covariance of the coefficients by the Hessian of the
whole. With the effects of a row's groups it is that of the joint normal approximation at the mode: with w = (Λ'z, x)
and M the matrix of the mixed-model equations at the working weights there, :math:`w^\top M^{-1} w`, the covariance
parameters and dispersions taken as known (Booth and Hobert 1998, *JASA* 93, without the correction for these). Groups
that the fit does not know add :math:`z^\top\Sigma z` where their effects are drawn.
"""

from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.errors import OptionError
from bayeslmm.likelihood.prediction_error import error_variance, predictor_rows
from bayeslmm.results.prediction import Request, known_codes, new_group_variance
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit


def predictor_errors(fit: "GeneralizedPointFit", request: Request, random: str) -> Array:
    """Return the standard error of each row's linear predictor, shape (m,).

    Raises
    ------
    OptionError
        For the mean over the population, whose error needs that of the covariance parameters.
    """
    X = request.rows.X
    if random == "none":
        return np.sqrt(np.einsum("ij,jk,ik->i", X, fit.modes.beta_cov, X))
    if random != "all":
        raise OptionError(
            'interval= is for random="all" and random="none"; for the mean over the population of groups use a '
            "posterior."
        )
    factor, columns = fit.joint_factor, fit.maximum.objective.problem.predictor
    rows = predictor_rows(columns, factor, known_codes(request), [term.columns for term in request.terms], X)
    covariances = [root @ root.T for root in fit._factors]
    return np.sqrt(error_variance(factor, rows) + new_group_variance(request, covariances))

r"""Satterthwaite's degrees of freedom, as lmerTest has them.

The covariance parameters are (theta, sigma); W is twice the inverse Hessian of the objective in them at fixed beta,
and the derivatives of C are central differences. Several functions at once are turned into uncorrelated ones, whose
degrees of freedom are pooled (Kuznetsova, Brockhoff and Christensen, 2017, J. Stat. Software 82).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.inference.optimum.curvature import STEP, hessian, theta_units
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.testing.errors_of_estimation import VaryingErrors, uncorrelated
from bayeslmm.types import Array

FLAT = 1e-8  # eigenvalue of the scaled Hessian, relative to the largest, below which the data say nothing


@dataclass(frozen=True, slots=True)
class SatterthwaiteErrors(VaryingErrors):
    """The covariance of generalised least squares with Satterthwaite's degrees of freedom."""

    def joint(self, L: Array) -> tuple[float, float]:
        """Return a factor of the F statistic of all rows of L, of full rank (q, p), and its denominator's df."""
        return 1.0, pooled_df(self.df(uncorrelated(L, self.covariance) @ L))


def pooled_df(dfs: Array) -> float:
    r"""Return the df of the mean of squared t statistics: :math:`2E/(E - q)`, :math:`E = \sum \nu/(\nu - 2)`."""
    q = len(dfs)
    if q == 0 or np.isnan(dfs).any():
        return np.nan
    if q == 1 or np.ptp(dfs) <= 1e-8 or not np.isfinite(dfs).any():
        return float(np.mean(dfs))
    if (dfs <= 2).any():
        return 2.0
    excess = float(np.sum(2.0 / (dfs - 2.0)))  # E - q
    return 2.0 * (q + excess) / excess


def satterthwaite(
    kernel: Kernel, theta: Array, method: str, beta: Array, sigma: float, *, sigma_known: bool = False
) -> SatterthwaiteErrors:
    """Return the errors of the coefficients at an optimum.

    Parameters
    ----------
    kernel
        The data.
    theta
        The optimum, shape (k,).
    method
        "ml" or "reml".
    beta
        The estimates, shape (p,).
    sigma
        Residual standard deviation there.
    sigma_known
        Whether sigma is no parameter.
    """
    theta = np.asarray(theta, dtype=float)
    relative = coefficient_covariance(kernel, theta)
    steps = STEP * theta_units(kernel)
    slopes = [
        (coefficient_covariance(kernel, theta + step) - coefficient_covariance(kernel, theta - step)) / (2.0 * STEP)
        for step in np.diag(steps)
    ]
    if not sigma_known:
        slopes.append(2.0 * relative)
    covariance = sigma**2 * relative
    by_parameter = sigma**2 * np.array(slopes).reshape(len(slopes), *relative.shape)
    weight = 2.0 * positive_inverse(scaled_hessian(kernel, theta, method, sigma, sigma_known))
    return SatterthwaiteErrors(beta, covariance, by_parameter, weight, covariance)


def coefficient_covariance(kernel: Kernel, theta: Array) -> Array:
    """Return the covariance of the coefficients in units of sigma², user's columns, shape (p, p)."""
    factor = factorise(kernel.products, kernel.lambdas(theta))
    root = kernel.fixed.matrix @ solve_triangular(factor.R_X, np.eye(kernel.p), lower=True, trans=1)
    return np.asarray(root @ root.T)


def scaled_hessian(kernel: Kernel, theta: Array, method: str, sigma: float, sigma_known: bool) -> Array:
    r"""Return the Hessian of the objective by (theta, sigma), theta in units of its columns and sigma in its own.

    At given sigma the gradient by theta is :math:`a(\theta) + \sigma^{-2}\,\partial r^2/\partial\theta`, so two values
    of sigma give the second derivative by both; the one by sigma twice is :math:`4\nu/\sigma^2`.
    """
    units = theta_units(kernel)
    by_theta = hessian(kernel, theta, method, sigma) * np.outer(units, units)
    if sigma_known:
        return by_theta
    near, far = kernel.gradient(theta, method, sigma), kernel.gradient(theta, method, 2.0 * sigma)
    by_both = -2.0 * units * (near - far) * 4.0 / 3.0
    nu = kernel.n - (kernel.p if method == "reml" else 0)
    return np.block([[by_theta, by_both[:, None]], [by_both[None, :], np.array([[4.0 * nu]])]])


def positive_inverse(matrix: Array) -> Array:
    """Return the inverse on the space of the positive eigenvalues; the rest is left out, as lmerTest does."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > FLAT * max(values.max(initial=0.0), 0.0)
    return np.asarray((vectors[:, kept] / values[kept]) @ vectors[:, kept].T)

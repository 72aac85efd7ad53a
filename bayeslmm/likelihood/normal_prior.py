r"""Fixed coefficients under a normal prior, flat directions allowed.

With :math:`K = R R^\top` the cross-products of X with Z eliminated, :math:`\hat\beta` the generalised
least-squares estimate, and a prior of precision :math:`\Pi` (singular where flat) and mean m, one eigendecomposition
:math:`R^{-1}\Pi R^{-\top} = U\,\mathrm{diag}(\pi)\,U^\top` per theta serves every sigma. With
:math:`d = U^\top R^\top (m - \hat\beta)`,

.. math::

   -2\log p(y\mid\theta,\sigma) &= \log|\Omega| + \log|K| - \log|\Pi|_+ + (n-p)\log\sigma^2 + (n-p_f)\log 2\pi
      + r^2/\sigma^2 - \textstyle\sum\log w \\
      &\quad + \textstyle\sum_i\bigl[\log(1+\sigma^2\pi_i) + \pi_i d_i^2/(1+\sigma^2\pi_i)\bigr], \\
   \beta\mid\cdot &= \hat\beta + R^{-\top}U\Bigl[\tfrac{\sigma^2\pi}{1+\sigma^2\pi}d
      + \tfrac{\sigma z}{\sqrt{1+\sigma^2\pi}}\Bigr], \qquad z \sim N(0, I),

where :math:`p_f` counts the flat directions. A flat prior has :math:`\pi_i = 0` and gives the restricted likelihood.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import Array

LOG_2PI = float(np.log(2.0 * np.pi))


class Eliminated(Protocol):
    """What is known of the coefficients once the random effects are eliminated, by a factor or without one."""

    @property
    def products(self) -> CrossProducts:
        """The cross-products."""

    @property
    def order(self) -> int:
        """Order of the largest matrix that LAPACK sees."""

    @property
    def log_det(self) -> float:
        """log|Omega|."""

    @property
    def r_squared(self) -> float:
        """The penalised residual sum of squares at its minimum."""

    @property
    def beta(self) -> Array:
        """Generalised least-squares estimate, shape (p,)."""

    @property
    def R_X(self) -> Array:
        """Lower Cholesky factor of the cross-products of X with Z eliminated, shape (p, p)."""

    @property
    def log_det_X(self) -> float:
        """Logarithm of |R_X|²."""


@dataclass(frozen=True, slots=True)
class NormalPrior:
    """A normal prior of the kernel's fixed coefficients.

    Attributes
    ----------
    precision
        Shape (p, p), positive semi-definite; zero in flat directions.
    mean
        Shape (p,).
    log_det
        Log-determinant of the precision over its proper directions.
    n_proper
        Rank of the precision.
    """

    precision: Array
    mean: Array
    log_det: float
    n_proper: int


@dataclass(frozen=True, slots=True)
class FixedPosterior:
    """The fixed coefficients given theta, for every sigma.

    Attributes
    ----------
    eliminated
        The equations of the coefficients at theta.
    estimate
        Generalised least-squares estimate, shape (p,).
    root
        ``R^-T U``, shape (p, p).
    pull
        Eigenvalues pi, shape (p,).
    distance
        d, shape (p,).
    constant
        What of ``-2 log p(y | theta, sigma)`` does not depend on sigma.
    """

    eliminated: Eliminated
    estimate: Array
    root: Array
    pull: Array
    distance: Array
    constant: float

    @property
    def factor(self) -> Factor:
        """The factor at theta, where there is one."""
        assert isinstance(self.eliminated, Factor)
        return self.eliminated

    def minus_two_log(self, sigma: Array) -> Array:
        """Return ``-2 log p(y | theta, sigma)`` for an array of sigma."""
        products = self.eliminated.products
        variance = np.square(sigma)
        value = (
            self.constant + (products.n - products.n_fixed) * np.log(variance) + self.eliminated.r_squared / variance
        )
        if len(self.pull) and self.pull.any():
            inflation = 1.0 + np.multiply.outer(variance, self.pull)
            value = value + np.sum(np.log(inflation) + self.pull * self.distance**2 / inflation, axis=-1)
        return value

    def slope(self, sigma: float) -> float:
        """Return the derivative of ``-2 log p(y | theta, sigma)`` with respect to log sigma."""
        products = self.eliminated.products
        variance = sigma**2
        inflation = 1.0 + variance * self.pull
        prior = np.sum(self.pull / inflation * (1.0 - self.pull * self.distance**2 / inflation))
        return float(
            2.0 * (products.n - products.n_fixed) - 2.0 * self.eliminated.r_squared / variance + 2.0 * variance * prior
        )

    def mean(self, sigma: float) -> Array:
        """Return the conditional mean of the coefficients, shape (p,)."""
        share = sigma**2 * self.pull / (1.0 + sigma**2 * self.pull)
        return self.estimate + self.root @ (share * self.distance)

    def precision_factor(self, sigma: float, prior: NormalPrior) -> Array:
        """Return the lower Cholesky factor of ``K + sigma**2 Pi``, shape (p, p)."""
        R = self.eliminated.R_X
        if prior.n_proper == 0:
            return R
        return np.asarray(np.linalg.cholesky(R @ R.T + sigma**2 * prior.precision), dtype=float)

    def draw(self, sigma: Array, normals: Array) -> Array:
        """Return draws of the coefficients, shape (p, m), for sigma (m,) and standard normals (p, m)."""
        inflation = 1.0 + np.multiply.outer(self.pull, sigma**2)
        moved = (inflation - 1.0) / inflation * self.distance[:, None] + sigma * normals / np.sqrt(inflation)
        return self.estimate[:, None] + self.root @ moved


@limits_threads
def fixed_posterior(eliminated: Eliminated, prior: NormalPrior) -> FixedPosterior:
    """Combine what is known of the coefficients at theta with the prior of the fixed coefficients."""
    products = eliminated.products
    p = products.n_fixed
    estimate = eliminated.beta
    constant = eliminated.log_det + eliminated.log_det_X - products.log_weights
    constant += (products.n - p + prior.n_proper) * LOG_2PI - prior.log_det
    if p == 0:
        empty = np.zeros(0)
        return FixedPosterior(eliminated, estimate, np.zeros((0, 0)), empty, empty, constant)
    R = eliminated.R_X
    inverse = solve_triangular(R, np.eye(p), lower=True)
    if prior.n_proper == 0:
        return FixedPosterior(eliminated, estimate, inverse.T, np.zeros(p), np.zeros(p), constant)
    pull, U = np.linalg.eigh(inverse @ prior.precision @ inverse.T)
    pull = np.maximum(pull, 0.0)
    distance = U.T @ (R.T @ (prior.mean - estimate))
    return FixedPosterior(eliminated, estimate, inverse.T @ U, pull, distance, constant)

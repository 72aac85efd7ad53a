r"""The Savage-Dickey ratio of a point hypothesis about the coefficients.

.. math:: \mathrm{BF}_{01} = \frac{p(l^\top\beta = c \mid y)}{p(l^\top\beta = c)}, \qquad
          p(l^\top\beta = c \mid y) = \frac1m \sum_d N\bigl(c;\; l^\top\mu_d,\; l^\top C_d\,l\bigr),

with the exact normal densities of the coefficients given theta and sigma at each draw in place of a density estimate
(Dickey 1971; the average is that of Gelfand and Smith 1990).
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy.special import logsumexp

from bayeslmm.likelihood.factor import Factor, factorise
from bayeslmm.likelihood.iterative.eliminated import PairedProducts
from bayeslmm.likelihood.iterative.solved_factor import Determinant, SolvedFactor, solve_factor
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.normal_prior import NormalPrior, fixed_posterior
from bayeslmm.types import Array

Eliminate = Callable[[Sequence[Array]], Factor | SolvedFactor]

SAME_SPACE = 1e-8  # relative: a function that lies in the prior's proper directions


def factors_of(kernel: Kernel) -> Eliminate:
    """Return the elimination by a factor."""
    return partial(factorise, kernel.products)


def solves(kernel: Kernel) -> Eliminate:
    """Return the elimination by conjugate gradients."""
    unused = Determinant(np.zeros(1), np.zeros(1))
    none = np.zeros((kernel.products.n_trailing, 0))
    return partial(solve_factor, PairedProducts.of(kernel.products), signs=none, determinant=unused)


def savage_dickey(
    kernel: Kernel,
    eliminate: Eliminate,
    prior: NormalPrior,
    weights: Array,
    value: float,
    factors: Sequence[Sequence[Array]],
    sigma: Array,
    noise: float = 0.0,
) -> float:
    """Return the ratio of posterior and prior density at a value; NaN where the prior of the function is improper.

    Parameters
    ----------
    kernel
        The data.
    eliminate
        What takes the random effects out of the equations of the coefficients, given the kernel's lambdas.
    prior
        The normal prior of the kernel's coefficients.
    weights
        l in the user's columns, shape (p,).
    value
        c.
    factors
        Relative covariance factors at each draw, any roots, user's columns.
    sigma
        Residual standard deviation at each draw, shape (m,).
    noise
        Variance of what the function has besides, normal and independent of all else.
    """
    a = kernel.fixed.matrix.T @ weights
    c = value - float(weights @ kernel.fixed.centring.constant) * kernel.y_mean
    covariance = np.linalg.pinv(prior.precision, hermitian=True)
    if np.linalg.norm(prior.precision @ (covariance @ a) - a) > SAME_SPACE * np.linalg.norm(a):
        return np.nan
    before = log_normal(c, float(a @ prior.mean), float(a @ covariance @ a) + noise)
    after = np.empty(len(sigma))
    for d, (roots, s) in enumerate(zip(factors, sigma, strict=True)):
        found = fixed_posterior(eliminate(kernel.kernel_factors(roots)), prior)
        spread = s * (found.root.T @ a) / np.sqrt(1.0 + s**2 * found.pull)
        after[d] = log_normal(c, float(a @ found.mean(float(s))), float(spread @ spread) + noise)
    return density_ratio(after, before)


def density_ratio(after: Array, before: float) -> float:
    """Return the mean of posterior densities over a prior density, all given by their logarithms."""
    return float(np.exp(logsumexp(after) - np.log(len(after)) - before))


def log_normal(x: float, mean: float, variance: float) -> float:
    """Return the log density of a normal distribution."""
    return -0.5 * (np.log(2.0 * np.pi * variance) + (x - mean) ** 2 / variance)

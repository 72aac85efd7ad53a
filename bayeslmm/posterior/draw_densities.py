r"""Log prior and log likelihood at draws of the parameters, on their natural scales.

The likelihood is that of coefficients, standard deviations, correlations and sigma, random effects integrated out,

.. math:: -2\log p(y \mid \beta, \theta, \sigma) = \log|\Omega| + n\log 2\pi\sigma^2 - \textstyle\sum\log w
          + \{r^2 + |R_X^\top(\beta - \hat\beta)|^2\}/\sigma^2 .
"""

from collections.abc import Sequence

import numpy as np

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.likelihood.conditional import fixed_modes
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.prior import Prior
from bayeslmm.types import Array

LOG_2PI = float(np.log(2.0 * np.pi))


def log_priors(
    priors: ModelPriors,
    beta: Array,
    factors: Sequence[Array],
    sigma: Array,
    dispersion: Sequence[tuple[Prior, Array]] = (),
) -> Array:
    """Return the log density of every proper prior at draws, shape (D, K), in the order of ``priors.items()``.

    Parameters
    ----------
    priors
        The priors; flat ones are left out.
    beta
        Coefficients in the user's columns, shape (D, p).
    factors
        Factors L of the random effects' covariances in the user's columns, one (D, S, S) per term.
    sigma
        Shape (D,).
    dispersion
        Prior and draws (D,) of every dispersion parameter of a generalized model, on its natural scale.
    """
    columns = []
    stated = beta @ priors.fixed_centring.inverse.T if beta.shape[1] else beta
    columns += [prior.logpdf(x) for prior, x in zip(priors.fixed, stated.T, strict=True) if prior.proper]
    for term, factor in zip(priors.terms, factors, strict=True):
        sds, correlations = sds_and_correlations(term.centring.inverse @ factor)
        if term.joint is not None:  # in equal parts, so that columns stand for parameters and add up to the density
            columns += [term.log_density(sds, sigma) / len(term.sd)] * len(term.sd)
        else:
            columns += [prior.logpdf(x) for prior, x in zip(term.sd, sds.T, strict=True) if prior.proper]
        if term.correlation is not None:
            columns.append(term.correlation.logpdf(correlations))
    if priors.sigma is not None and priors.sigma.proper:
        columns.append(priors.sigma.logpdf(sigma))
    columns += [prior.logpdf(x) for prior, x in dispersion if prior.proper]
    return np.column_stack(columns) if columns else np.zeros((len(beta), 0))


def log_likelihoods(kernel: Kernel, beta: Array, lambdas: Sequence[Array], sigma: Array) -> Array:
    """Return the log likelihood of draws, random effects integrated out, shape (D,).

    Parameters
    ----------
    kernel
        The data.
    beta
        Coefficients in the user's columns, shape (D, p).
    lambdas
        The kernel's factors, one (D, S, S) per term.
    sigma
        Shape (D,).
    """
    products, p = kernel.products, kernel.p
    shift = kernel.fixed.centring.constant * kernel.y_mean if p else np.zeros(0)
    own = np.linalg.solve(kernel.fixed.matrix, (beta - shift).T).T if p else beta
    found = np.empty(len(sigma))
    for d, s in enumerate(sigma):
        factor = factorise(products, [f[d] for f in lambdas])
        misfit = factor.r_squared
        if p:
            misfit += float(np.sum((factor.R_X.T @ (own[d] - fixed_modes(factor))) ** 2))
        value = factor.log_det + products.n * (LOG_2PI + 2.0 * np.log(s)) - products.log_weights + misfit / s**2
        found[d] = -0.5 * value
    return found

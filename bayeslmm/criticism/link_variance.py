r"""The residual variance of a response distribution on the scale of the link.

Of binary, binomial and ordered responses it is that of the latent variable: :math:`\pi^2/3` (logit), 1 (probit) or
:math:`\pi^2/6` (cloglog). Else it is that of the response y at the mean λ, taken to the scale of the link by the slope
of its mean m: :math:`r = \mathrm{Var}(y)/(dm/d\eta)^2` (the delta method), with a log link :math:`\log(1 + r)`, which
is exact for a lognormal response and gives :math:`\log(1 + 1/\lambda)` for counts (Nakagawa, Johnson and Schielzeth
2017, *Journal of the Royal Society Interface* 14).

Zero-inflated and hurdle responses are of the second kind: λ is the mean of their counts, and Var(y) and m are those of
the mixture. With a share π of extra zeros :math:`m = (1 - \pi)\lambda = dm/d\eta`, and of Poisson counts

.. math:: r = \frac{(1 - \pi)(\lambda + \pi\lambda^2)}{(1 - \pi)^2\lambda^2} = \frac{1 + \pi\lambda}{(1 - \pi)\lambda};

with zeros apart and :math:`g = e^{-\lambda}`, :math:`m = (1 - \pi)\lambda/(1 - g)` and
:math:`dm/d\eta = m\{1 - \lambda g/(1 - g)\}`. Where the share of zeros differs between rows the residual variance is
the mean over the rows.

R's performance 0.10 (insight 0.19) has other figures for these. It divides the mean of Var(y) over the rows by the
square of the counts' median in a model without predictors, and not of their mean m, so that its residual variance
falls towards zero as π grows; takes :math:`\pi^2 + \pi` for :math:`\pi - \pi^2` in zero-inflated negative binomial
responses; and of truncated counts the variance at a mean of one.
"""

from collections.abc import Sequence

import numpy as np

from bayeslmm.errors import UnavailableError
from bayeslmm.families import Family, Response
from bayeslmm.types import Array

LATENT = {"logit": np.pi**2 / 3.0, "probit": 1.0, "cloglog": np.pi**2 / 6.0}
OF_LATENT = ("bernoulli", "binomial", "cumulative")
STEP = 1e-6
BATCH = 4_000_000  # values held at once


def link_variance(family: Family, working: Array, mean: Array) -> Array:
    """Return the residual variance on the scale of the link, shape (D,).

    Parameters
    ----------
    family
        The response distribution.
    working
        Working values of its dispersion parameters, shape (m, D).
    mean
        Mean λ of the response over the population, of its counts where zeros have a part of their own, shape (D,).

    Raises
    ------
    UnavailableError
        For a link without a latent variable.
    """
    link = family.link
    if family.name in OF_LATENT:
        if link.name not in LATENT:
            raise UnavailableError(f"The link {link.name!r} of {family.name} responses has no latent variance.")
        return np.full(len(mean), LATENT[link.name])
    # a lognormal response is linear on the scale of its logarithm, whatever it calls its link
    logarithmic = link.name == "log" or family.name == "lognormal"
    eta = np.log(mean) if logarithmic else np.asarray(link.predictor(mean))
    if family.zero_columns is None:
        return _by_slope(family, eta, working, logarithmic)
    one_share, n = type(family)(link.name), len(family.zero_columns)
    return np.array(
        [
            _by_slope(one_share, np.full(n, place), family.kernel_parameters(values), logarithmic).mean()
            for place, values in zip(eta, working.T, strict=True)
        ]
    )


def _by_slope(family: Family, eta: Array, working: Array, logarithmic: bool) -> Array:
    """Return the variance of responses at linear predictors (n,), dispersions (m, n), on the scale of the link."""
    size = len(eta)
    blank = Response(np.zeros(size), np.ones(size), np.zeros(size), None)
    variance = np.asarray(family.variance(blank, eta, working), dtype=float)
    if logarithmic and not family.has_zero_part:
        return np.log1p(variance / np.asarray(family.mean(eta, working)) ** 2)
    h = STEP * np.maximum(np.abs(eta), 1.0)
    slope = (family.mean(eta + h, working) - family.mean(eta - h, working)) / (2.0 * h)
    ratio = np.asarray(variance / slope**2)
    return np.log1p(ratio) if logarithmic else ratio


def population_mean(
    family: Family, X: Array, offset: Array, columns: Sequence[Array], beta: Array, covariances: Sequence[Array]
) -> Array:
    r"""Return the mean response over the rows and the population of groups, shape (D,).

    With a log link exactly, :math:`\exp(x^\top\beta + z^\top\Sigma z/2)`; otherwise at the mean linear predictor.

    Parameters
    ----------
    family
        The response distribution.
    X, offset, columns
        Fixed columns (n, p), offset (n,), columns of each term (n, S).
    beta, covariances
        Coefficients (D, p) and covariance matrix of each term (D, S, S).
    """
    logarithmic = family.link.name == "log" or family.name == "lognormal"
    if not logarithmic:
        return np.asarray(family.link.mean(beta @ X.mean(axis=0) + float(offset.mean())))
    n = len(X)
    step = max(1, BATCH // max(n, 1))
    found = np.empty(len(beta))
    for start in range(0, len(beta), step):
        where = slice(start, start + step)
        eta = beta[where] @ X.T + offset
        for S, Z in zip(covariances, columns, strict=True):
            eta += 0.5 * np.einsum("ns,dst,nt->dn", Z, S[where], Z, optimize=True)
        found[where] = np.exp(eta).mean(axis=1)
    return found

r"""The residual variance of a response distribution on the scale of the link.

Of binary, binomial and ordered responses it is that of the latent variable: :math:`\pi^2/3` (logit), 1 (probit) or
:math:`\pi^2/6` (cloglog). Else it is that of the response at the mean λ, taken to the scale of the link: with a log
link :math:`\log(1 + \mathrm{Var}(y)/\lambda^2)`, which is exact for a lognormal response and gives
:math:`\log(1 + 1/\lambda)` for counts, otherwise by the delta method :math:`\mathrm{Var}(y)/(d\mu/d\eta)^2`
(Nakagawa, Johnson and Schielzeth 2017, *Journal of the Royal Society Interface* 14).
"""

from collections.abc import Sequence

import numpy as np

from bayeslmm.errors import UnavailableError
from bayeslmm.families import Family, Response
from bayeslmm.types import Array

LATENT = {"logit": np.pi**2 / 3.0, "probit": 1.0, "cloglog": np.pi**2 / 6.0}
OF_LATENT = ("bernoulli", "binomial", "cumulative")
WITHOUT = ("zero_inflated", "hurdle")  # beginnings of names: means of two parts have no one variance on the link
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
        Mean λ of the response over the population, shape (D,).

    Raises
    ------
    UnavailableError
        For responses with a part of zeros of their own, and a link without a latent variable.
    """
    link = family.link
    if family.name in OF_LATENT:
        if link.name not in LATENT:
            raise UnavailableError(f"The link {link.name!r} of {family.name} responses has no latent variance.")
        return np.full(len(mean), LATENT[link.name])
    if family.name.startswith(WITHOUT) or family.has_zero_part:
        raise UnavailableError(
            f"Shares of variance are not defined for {family.name} responses, whose zeros have a part of their own."
        )
    # a lognormal response is linear on the scale of its logarithm, whatever it calls its link
    logarithmic = link.name == "log" or family.name == "lognormal"
    eta = np.log(mean) if logarithmic else np.asarray(link.predictor(mean))
    size = len(eta)
    blank = Response(np.zeros(size), np.ones(size), np.zeros(size), None)
    variance = np.asarray(family.variance(blank, eta, working), dtype=float)
    if logarithmic:
        return np.log1p(variance / np.asarray(family.mean(eta, working)) ** 2)
    h = STEP * np.maximum(np.abs(eta), 1.0)
    slope = (family.mean(eta + h, working) - family.mean(eta - h, working)) / (2.0 * h)
    return np.asarray(variance / slope**2)


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

"""Priors as numbers, for compiled loops: of standard deviations, and of numbers on the real line."""

import math
from collections.abc import Sequence

import numba
import numpy as np
from scipy.special import gammaln

from bayeslmm.priors.model_priors import TermPriors
from bayeslmm.priors.positive import Exponential, Gamma, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Cauchy, Flat, Laplace, Logistic, Normal, StudentT, Uniform
from bayeslmm.types import Array

FLAT, HALF_NORMAL, HALF_T, GAMMA, INVERSE_GAMMA = range(5)
EVEN, NORMAL, STUDENT, DOUBLE_EXPONENTIAL, BOUNDED, LOGISTIC = range(6)  # on the real line


def encode(prior: Prior | None) -> tuple[float, float, float, float] | None:
    """Return (family, two parameters, log normaliser) of a prior of a standard deviation; None if it has no code.

    A missing prior (sigma known) counts as flat.
    """
    match prior:
        case None | Flat():
            return (FLAT, 0.0, 0.0, 0.0)
        case HalfNormal(sigma):
            return (HALF_NORMAL, sigma, 0.0, 0.5 * math.log(2.0 / math.pi) - math.log(sigma))
        case HalfStudentT(nu, sigma):
            return (HALF_T, nu, sigma, _half_t_normaliser(nu, sigma))
        case HalfCauchy(beta):
            return (HALF_T, 1.0, beta, _half_t_normaliser(1.0, beta))
        case Exponential(lam):
            return (GAMMA, 1.0, lam, math.log(lam))
        case Gamma(alpha, beta):
            return (GAMMA, alpha, beta, alpha * math.log(beta) - float(gammaln(alpha)))
        case InverseGamma(alpha, beta):
            return (INVERSE_GAMMA, alpha, beta, alpha * math.log(beta) - float(gammaln(alpha)))
    return None


def _half_t_normaliser(nu: float, sigma: float) -> float:
    return (
        math.log(2.0) + float(gammaln((nu + 1) / 2) - gammaln(nu / 2)) - 0.5 * math.log(nu * math.pi) - math.log(sigma)
    )


@numba.njit(cache=True, nogil=True)
def log_density(code: Array, x: float) -> tuple[float, float]:
    """Return the log density at x > 0 and its derivative by log x."""
    family = code[0]
    if family == HALF_T:
        ratio = (x / code[2]) ** 2 / code[1]
        return code[3] - 0.5 * (code[1] + 1.0) * np.log1p(ratio), -(code[1] + 1.0) * ratio / (1.0 + ratio)
    if family == HALF_NORMAL:
        square = (x / code[1]) ** 2
        return code[3] - 0.5 * square, -square
    if family == GAMMA:
        return code[3] + (code[1] - 1.0) * np.log(x) - code[2] * x, code[1] - 1.0 - code[2] * x
    if family == INVERSE_GAMMA:
        return code[3] - (code[1] + 1.0) * np.log(x) - code[2] / x, code[2] / x - code[1] - 1.0
    return 0.0, 0.0


def encode_real(prior: Prior) -> tuple[float, float, float, float] | None:
    """Return (family, location, scale, nu) of a prior on the real line, of a bounded one its ends; None without a code.

    A flat one counts as even.
    """
    match prior:
        case Flat():
            return (EVEN, 0.0, 1.0, 0.0)
        case Normal(mu, sigma):
            return (NORMAL, mu, sigma, 0.0)
        case StudentT(nu, mu, sigma):
            return (STUDENT, mu, sigma, nu)
        case Cauchy(alpha, beta):
            return (STUDENT, alpha, beta, 1.0)
        case Laplace(mu, b):
            return (DOUBLE_EXPONENTIAL, mu, b, 0.0)
        case Logistic(mu, s):
            return (LOGISTIC, mu, s, 0.0)
        case Uniform(lower, upper):
            return (BOUNDED, lower, upper, 0.0)
    return None


@numba.njit(cache=True, nogil=True)
def real_log_density(code: Array, x: float) -> tuple[float, float]:
    """Return the log density at x, less a constant, and its derivative; zero at the kink of a Laplace density."""
    family = code[0]
    if family == EVEN:
        return 0.0, 0.0
    if family == BOUNDED:
        return (0.0 if code[1] <= x <= code[2] else -np.inf), 0.0
    z = (x - code[1]) / code[2]
    if family == NORMAL:
        return -0.5 * z * z, -z / code[2]
    if family == DOUBLE_EXPONENTIAL:
        return -abs(z), -np.sign(z) / code[2]
    if family == LOGISTIC:
        return -abs(z) - 2.0 * np.log1p(np.exp(-abs(z))), -np.tanh(0.5 * z) / code[2]
    return -0.5 * (code[3] + 1.0) * np.log1p(z * z / code[3]), -(code[3] + 1.0) * z / (code[3] + z * z) / code[2]


def code_of(prior: Prior | None) -> Array | None:
    """Return the code of a prior of a positive value, shape (4,); None without one."""
    code = encode(prior)
    return None if code is None else np.array(code)


def independent_log_prior(priors: Sequence[Prior], codes: Sequence[Array | None], sds: Array) -> tuple[float, Array]:
    """Return the log prior density of the logarithms of standard deviations (S,), and its derivatives by those."""
    value, slopes = 0.0, np.empty(len(sds))
    for a, (prior, code, sd) in enumerate(zip(priors, codes, sds.tolist(), strict=True)):
        added, slopes[a] = positive_log_prior(prior, code, sd)
        value += added
    return value, slopes


def positive_log_prior(prior: Prior, code: Array | None, value: float) -> tuple[float, float]:
    """Return the log prior density of the logarithm of a positive value, and its derivative by that."""
    if code is not None:
        found, slope = log_density(code, value)
        return found + math.log(value), slope + 1.0
    return float(prior.logpdf(value)) + math.log(value), float(prior.dlogpdf(value)) * value + 1.0


def codes_of_terms(terms: Sequence[TermPriors]) -> list[list[Array | None]]:
    """Return the code of each standard deviation's prior, by term; joint priors have none."""
    return [[None if term.joint is not None else code_of(prior) for prior in term.sd] for term in terms]


def log_prior_of_sds(
    term: TermPriors, codes: Sequence[Array | None], sds: Array, sigma: float
) -> tuple[float, Array, float]:
    """Return the log prior density of the logarithms of a term's standard deviations (S,), and its derivatives.

    Those are by the logarithms, (S,), and by that of sigma, which joint priors are relative to.
    """
    if term.joint is None:
        return *independent_log_prior(term.sd, codes, sds), 0.0
    by_sd, by_scale = term.slopes(sds, sigma)
    return float(term.log_density(sds, sigma)) + float(np.sum(np.log(sds))), by_sd + 1.0, by_scale

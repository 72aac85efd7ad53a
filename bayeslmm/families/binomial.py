r"""Successes among trials: the binomial distribution.

.. math:: \ell = k\log p + (m - k)\log(1 - p), \qquad p = g^{-1}(\eta),

plus :math:`\log\binom{m}{k}`. With the complementary log-log link :math:`\log(1 - p) = -t`, :math:`t = e^\eta`, and
with :math:`r = t/(e^t - 1)` the derivatives of :math:`\log p` are r, :math:`r(1 - r - t)`, and so on.
"""

import math
from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import betaincc

from bayeslmm.families.definition import Family, Kernel
from bayeslmm.families.response import Request, Response
from bayeslmm.families.special import LARGEST, log_normal_cdf
from bayeslmm.families.trials import read_trials
from bayeslmm.families.vectorised import LOWEST, exponential, log_one_plus
from bayeslmm.types import Array

TINY = 1e-8  # number whose square does not matter beside one
SMALL = 1e-2  # argument below which a series replaces a difference


@numba.njit(cache=True, nogil=True)
def logit_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the logit link."""
    value, first, second, third = out[0], out[1], out[2], out[3]
    for i in range(len(y)):
        x, m = eta[i], size[i]
        e = math.exp(-abs(x))
        share = 1.0 / (1.0 + e)
        p = share if x >= 0.0 else e * share
        spread = m * e * share * share
        # the logarithm takes half the time of log1p, and what it loses is below the rounding of the sum over rows
        value[i] = y[i] * x - m * (max(x, 0.0) + (math.log(1.0 + e) if e > TINY else e))
        first[i] = y[i] - m * p
        second[i] = -spread
        third[i] = spread * (2.0 * p - 1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def logit_scores(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out[:2], log f and its derivative, for the logit link; out[2:] is overwritten."""
    value, first, power, share = out[0], out[1], out[2], out[3]
    # loops without branches, one function each: what the compiler can do for several rows at once
    for i in range(len(y)):
        power[i] = exponential(max(-abs(eta[i]), LOWEST))
    for i in range(len(y)):
        share[i] = 1.0 / (1.0 + power[i])
        value[i] = log_one_plus(power[i])
    for i in range(len(y)):
        x = eta[i]
        first[i] = y[i] - size[i] * (share[i] if x >= 0.0 else power[i] * share[i])
        value[i] = y[i] * x - size[i] * (0.5 * (x + abs(x)) + value[i])


@numba.njit(cache=True, nogil=True)
def probit_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the probit link."""
    for i in range(len(y)):
        k, rest = y[i], size[i] - y[i]
        out[:, i] = 0.0
        if k > 0.0:
            value, first, second, third = log_normal_cdf(eta[i])
            out[0, i] += k * value
            out[1, i] += k * first
            out[2, i] += k * second
            out[3, i] += k * third
        if rest > 0.0:
            value, first, second, third = log_normal_cdf(-eta[i])
            out[0, i] += rest * value
            out[1, i] -= rest * first
            out[2, i] += rest * second
            out[3, i] -= rest * third


@numba.njit(cache=True, nogil=True)
def log_cloglog(x: float) -> tuple[float, float, float, float]:
    """Return log(1 - exp(-exp(x))) and its first three derivatives."""
    t = math.exp(min(x, LARGEST))
    if t < SMALL:
        t2 = t * t
        value = x - 0.5 * t + t2 / 24.0 - t2 * t2 / 2880.0
        ratio = 1.0 - 0.5 * t + t2 / 12.0 - t2 * t2 / 720.0
        rest = -0.5 * t - t2 / 12.0 + t2 * t2 / 720.0
    else:
        value = math.log(-math.expm1(-t))
        ratio = t * math.exp(-t) / -math.expm1(-t)
        rest = 1.0 - ratio - t
    second = ratio * rest
    return value, ratio, second, second * rest - ratio * (second + t)


@numba.njit(cache=True, nogil=True)
def cloglog_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the complementary log-log link."""
    for i in range(len(y)):
        k, rest = y[i], size[i] - y[i]
        t = math.exp(min(eta[i], LARGEST))
        out[0, i] = -rest * t
        out[1, i] = -rest * t
        out[2, i] = -rest * t
        out[3, i] = -rest * t
        if k > 0.0:
            value, first, second, third = log_cloglog(eta[i])
            out[0, i] += k * value
            out[1, i] += k * first
            out[2, i] += k * second
            out[3, i] += k * third


class Binomial(Family):
    """Successes among trials.

    Parameters
    ----------
    link
        "logit" (default), "probit" or "cloglog".
    """

    name: ClassVar[str] = "binomial"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog")

    @property
    def kernel(self) -> Kernel:
        """The loop of the link."""
        return {"logit": logit_rows, "probit": probit_rows, "cloglog": cloglog_rows}[self.link.name]

    @property
    def score_kernel(self) -> Kernel:
        """A faster loop for the logit link."""
        return logit_scores if self.link.name == "logit" else self.kernel

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``m (dp/deta)^2/(p (1 - p))``."""
        p = np.clip(self.link.mean(eta), 1e-300, 1 - 1e-16)
        if self.link.name == "logit":
            slope = p * (1 - p)
        elif self.link.name == "probit":
            slope = np.exp(-0.5 * np.minimum(eta**2, LARGEST)) / math.sqrt(2 * math.pi)
        else:
            t = np.exp(np.minimum(eta, LARGEST))
            slope = t * np.exp(-t)
        weights = response.size * slope * slope / (p * (1 - p))
        return weights if response.weights is None else weights * response.weights

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read successes and failures, successes with trials, proportions with weights, or yes/no."""
        return read_trials(values, request)

    def start(self, response: Response) -> Array:
        """Return nothing: there is no dispersion."""
        return np.zeros(0)

    def start_predictor(self, response: Response) -> Array:
        """Return the link of the proportion, moved off zero and one."""
        return self.link.predictor((response.y + 0.5) / (response.size + 1.0))

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return ``m p (1 - p)``."""
        p = self.link.mean(eta)
        return response.size * p * (1.0 - p)

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y < k) and P(Y <= k)."""
        p = self.link.mean(eta)
        k, rest = response.y, response.size - response.y
        below = np.where(k > 0, betaincc(np.maximum(k, 1.0), rest + 1.0, p), 0.0)
        return np.array([below, np.where(rest > 0, betaincc(k + 1.0, np.maximum(rest, 1.0), p), 1.0)])

    def predictor_location(self, response: Response) -> float:
        """Return the link of the share of successes, moved off zero and one."""
        weights = 1.0 if response.weights is None else response.weights
        share = (np.sum(weights * response.y) + 0.5) / (np.sum(weights * response.size) + 1.0)
        return float(self.link.predictor(np.array(share)))

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw successes."""
        return rng.binomial(response.size.astype(np.int64), self.link.mean(eta)).astype(float)

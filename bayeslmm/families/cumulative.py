r"""Grades: ordered categories cut from a latent variable by thresholds (McCullagh 1980).

.. math:: P(y \le k) = F(\tau_k - \eta), \qquad
          \ell = \log[F(b) - F(a)], \quad b = \tau_y - \eta, \; a = \tau_{y-1} - \eta .

With :math:`L = \log F`, :math:`D = L(b) - L(a)` and :math:`r = 1/(e^D - 1)`, :math:`\ell = L(b) + \log(1 - e^{-D})`;
by a common shift of a and b its derivative is :math:`L'(b) + rD'`, and :math:`r' = -r(1 + r)D'`, so that nothing
cancels in the lower tail; intervals above the median are mirrored into it. The thresholds take the place of an
intercept: engines centre the fixed columns at their means m and search for :math:`\tau - m^\top\beta`, whose prior is
that of the thresholds; results have :math:`\tau`.
"""

import math
from typing import Any, ClassVar

import numba
import numpy as np
from scipy.special import expit, ndtr

from bayeslmm.errors import DataError, warn_user
from bayeslmm.families.definition import Family, Kernel, Parameter, to_natural
from bayeslmm.families.links import LINKS
from bayeslmm.families.response import Request, Response, multiplicities, ordered_codes
from bayeslmm.families.special import log_normal_cdf, logistic, softplus
from bayeslmm.types import Array

MANY_CATEGORIES, MANY_PER_ROW = 20, 0.25  # beyond both a response is rarely meant as categories

NO_GAP = 1e-300  # stands for the difference of log probabilities of two thresholds that coincide


@numba.njit(cache=True, nogil=True)
def log_cdf(x: float, probit: bool) -> tuple[float, float, float, float]:
    """Return the logarithm of the latent distribution function and its first three derivatives."""
    if probit:
        return log_normal_cdf(x)
    f = logistic(x) * logistic(-x)
    return -softplus(-x), logistic(-x), -f, -f * (1.0 - 2.0 * logistic(x))


@numba.njit(cache=True, nogil=True)
def log_gap(b: float, a: float, probit: bool) -> tuple[float, float, float, float, float]:
    """Return D = L(b) - L(a), r = 1/(exp(D) - 1), and the first three derivatives of D by a common shift."""
    at_b, at_a = log_cdf(b, probit), log_cdf(a, probit)
    d = max(at_b[0] - at_a[0], NO_GAP)
    r = 1.0 / math.expm1(d) if d < 600.0 else 0.0
    return d, r, at_b[1] - at_a[1], at_b[2] - at_a[2], at_b[3] - at_a[3]


@numba.njit(cache=True, nogil=True)
def interval(b: float, a: float, probit: bool) -> tuple[float, float, float, float]:
    """Return log[F(b) - F(a)], both finite, and its first three derivatives by a common shift."""
    value, first, second, third = log_cdf(b, probit)
    d, r, d1, d2, d3 = log_gap(b, a, probit)
    if r == 0.0:
        return value, first, second, third
    value += math.log(-math.expm1(-d))
    turn = r * (1.0 + r)
    first += r * d1
    second += r * d2 - turn * d1 * d1
    third += r * d3 - 3.0 * turn * d1 * d2 + turn * (1.0 + 2.0 * r) * d1 * d1 * d1
    return value, first, second, third


@numba.njit(cache=True, nogil=True)
def by_upper(b: float, a: float, probit: bool) -> tuple[float, float, float]:
    """Return d log[F(b) - F(a)]/db and its first two derivatives by a common shift."""
    _, b1, b2, b3 = log_cdf(b, probit)
    _, r, d1, d2, _ = log_gap(b, a, probit)
    if r == 0.0:
        return b1, b2, b3
    r1 = -r * (1.0 + r) * d1
    r2 = -r1 * (1.0 + 2.0 * r) * d1 - r * (1.0 + r) * d2
    return (1.0 + r) * b1, r1 * b1 + (1.0 + r) * b2, r2 * b1 + 2.0 * r1 * b2 + (1.0 + r) * b3


@numba.njit(cache=True, nogil=True)
def by_lower(b: float, a: float, probit: bool) -> tuple[float, float, float]:
    """Return d log[F(b) - F(a)]/da and its first two derivatives by a common shift."""
    _, a1, a2, a3 = log_cdf(a, probit)
    _, r, d1, d2, _ = log_gap(b, a, probit)
    if r == 0.0:
        return 0.0, 0.0, 0.0
    r1 = -r * (1.0 + r) * d1
    r2 = -r1 * (1.0 + 2.0 * r) * d1 - r * (1.0 + r) * d2
    return -r * a1, -r1 * a1 - r * a2, -r2 * a1 - 2.0 * r1 * a2 - r * a3


@numba.njit(cache=True, nogil=True)
def fill_rows(y: Array, eta: Array, phi: Array, probit: bool, out: Array) -> None:
    """Fill out (4, n); phi holds the thresholds in ascending order."""
    n_thresholds = phi.shape[0]
    for i in range(len(y)):
        k = int(y[i])
        if k == 0:
            value, first, second, third = log_cdf(phi[0, i] - eta[i], probit)
            sign = -1.0
        elif k == n_thresholds:
            value, first, second, third = log_cdf(eta[i] - phi[k - 1, i], probit)
            sign = 1.0
        else:
            b, a = phi[k, i] - eta[i], phi[k - 1, i] - eta[i]
            if b + a > 0.0:
                value, first, second, third = interval(-a, -b, probit)
                sign = 1.0
            else:
                value, first, second, third = interval(b, a, probit)
                sign = -1.0
        out[0, i] = value
        out[1, i] = sign * first
        out[2, i] = second
        out[3, i] = sign * third


@numba.njit(cache=True, nogil=True)
def fill_rows_by_thresholds(y: Array, eta: Array, phi: Array, probit: bool, out: Array) -> None:
    """Fill out (m, 3, n); only a row's own thresholds have derivatives."""
    n_thresholds = phi.shape[0]
    out[:] = 0.0
    for i in range(len(y)):
        k = int(y[i])
        if k == 0:
            _, first, second, third = log_cdf(phi[0, i] - eta[i], probit)
            out[0, 0, i], out[0, 1, i], out[0, 2, i] = first, -second, third
        elif k == n_thresholds:
            _, first, second, third = log_cdf(eta[i] - phi[k - 1, i], probit)
            out[k - 1, 0, i], out[k - 1, 1, i], out[k - 1, 2, i] = -first, -second, -third
        else:
            b, a = phi[k, i] - eta[i], phi[k - 1, i] - eta[i]
            if b + a > 0.0:  # mirrored: the upper end is minus the lower threshold
                first, second, third = by_upper(-a, -b, probit)
                out[k - 1, 0, i], out[k - 1, 1, i], out[k - 1, 2, i] = -first, -second, -third
                first, second, third = by_lower(-a, -b, probit)
                out[k, 0, i], out[k, 1, i], out[k, 2, i] = -first, -second, -third
            else:
                first, second, third = by_upper(b, a, probit)
                out[k, 0, i], out[k, 1, i], out[k, 2, i] = first, -second, third
                first, second, third = by_lower(b, a, probit)
                out[k - 1, 0, i], out[k - 1, 1, i], out[k - 1, 2, i] = first, -second, third


@numba.njit(cache=True, nogil=True)
def logit_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the logit link."""
    fill_rows(y, eta, phi, False, out)


@numba.njit(cache=True, nogil=True)
def probit_rows(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (4, n) for the probit link."""
    fill_rows(y, eta, phi, True, out)


@numba.njit(cache=True, nogil=True)
def logit_rows_by_thresholds(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (m, 3, n) for the logit link."""
    fill_rows_by_thresholds(y, eta, phi, False, out)


@numba.njit(cache=True, nogil=True)
def probit_rows_by_thresholds(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill out (m, 3, n) for the probit link."""
    fill_rows_by_thresholds(y, eta, phi, True, out)


class Cumulative(Family):
    """Ordered categories; X must not span a constant, whose place the thresholds take.

    Parameters
    ----------
    link
        "logit" (default) or "probit".
    n_categories
        Number of categories; `for_response` sets it.
    """

    name: ClassVar[str] = "cumulative"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit")
    takes_constant: ClassVar[bool] = False
    standard_rows: ClassVar[bool] = True

    def __init__(self, link: str | None = None, n_categories: int = 3) -> None:
        super().__init__(link)
        self.n_categories = n_categories

    def for_response(self, response: Response) -> "Cumulative":
        """Return the family with as many thresholds as the response asks for."""
        return Cumulative(self.link.name, len(response.categories))

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The thresholds."""
        scale = 2.5 if self.link.name == "logit" else 1.5
        reason = "the place of an intercept, wide on the link's scale; at the column means, as in brms"
        prior, size = f"StudentT(3, 0, {scale})", self.n_categories - 1
        return (Parameter("threshold", "ordered", prior, reason, size=size, holds_level=True),)

    @property
    def kernel(self) -> Kernel:
        """The loop of the link."""
        return logit_rows if self.link.name == "logit" else probit_rows

    @property
    def dispersion_kernel(self) -> Kernel | None:
        """The derivatives by the thresholds."""
        return logit_rows_by_thresholds if self.link.name == "logit" else probit_rows_by_thresholds

    def kernel_parameters(self, working: Array) -> Array:
        """Return the thresholds."""
        return to_natural(working, "ordered")

    def kernel_jacobian(self, working: Array) -> Array | None:
        """Return d threshold/d working: ones in the first column, the steps below the diagonal."""
        m = len(working)
        return np.tril(np.broadcast_to(np.concatenate([[1.0], np.exp(working[1:])]), (m, m)))

    def expected_weights(self, response: Response, eta: Array, working: Array) -> Array:
        """Return the weights of the latent distribution: the density is log-concave and they are never needed."""
        weights = np.full(len(eta), 0.25 if self.link.name == "logit" else 1.0)
        return weights if response.weights is None else weights * response.weights

    def read(self, values: Any, request: Request = Request()) -> Response:  # noqa: B008
        """Read ordered categories: their given order, a categorical column's, or ascending values."""
        y, categories = ordered_codes(values, request)
        present = np.bincount(y.astype(np.int64), minlength=len(categories))
        if len(categories) < 2:
            raise DataError(f"{request.name} has {len(categories)} category; an ordinal response needs two or more.")
        if not present.all():
            empty = ", ".join(repr(c) for c, k in zip(categories, present, strict=True) if k == 0)
            raise DataError(
                f"{request.name} has no row of category {empty}: its thresholds cannot be estimated. Leave such "
                "categories out of the list."
            )
        if len(categories) > max(MANY_CATEGORIES, MANY_PER_ROW * len(y)):
            warn_user(
                f"{request.name} has {len(categories)} categories in {len(y)} rows, and a threshold below each but the "
                "first: a measurement belongs to another family, such as 'gaussian', or into fewer categories."
            )
        return Response(y, np.ones(len(y)), np.zeros(len(y)), multiplicities(request, len(y)), categories)

    def start(self, response: Response) -> Array:
        """Return the thresholds of the shares of the categories."""
        shares = np.bincount(response.y.astype(np.int64), response.weights, minlength=self.n_categories)
        cumulated = np.cumsum(shares)[:-1] / shares.sum()
        return self.working(LINKS[self.link.name].predictor(cumulated))

    def start_predictor(self, response: Response) -> Array:
        """Return zeros: the thresholds hold the level."""
        return np.zeros(len(response.y))

    def probabilities(self, eta: Array, working: Array) -> Array:
        """Return the probability of each category, (n, K)."""
        cdf = expit if self.link.name == "logit" else ndtr
        inner = cdf(self.rows_of(working, len(eta)).T - eta[:, None])
        edges = np.column_stack([np.zeros(len(eta)), inner, np.ones(len(eta))])
        return np.diff(edges, axis=1)

    def mean(self, eta: Array, working: Array) -> Array:
        """Return the mean place of the category, counted from zero."""
        return self.probabilities(eta, working) @ np.arange(self.n_categories)

    def variance(self, response: Response, eta: Array, working: Array) -> Array:
        """Return the variance of the place of the category."""
        probabilities, places = self.probabilities(eta, working), np.arange(self.n_categories)
        return probabilities @ places**2 - (probabilities @ places) ** 2

    def cdf(self, response: Response, eta: Array, working: Array) -> Array:
        """Return P(Y < y) and P(Y <= y)."""
        cumulated = np.cumsum(np.column_stack([np.zeros(len(eta)), self.probabilities(eta, working)]), axis=1)
        place = response.y.astype(np.int64)
        rows = np.arange(len(eta))
        return np.minimum(np.array([cumulated[rows, place], cumulated[rows, place + 1]]), 1.0)

    def predictor_location(self, response: Response) -> float:
        """Return zero: the thresholds hold the level."""
        return 0.0

    def simulate(self, response: Response, eta: Array, working: Array, rng: np.random.Generator) -> Array:
        """Draw places of categories."""
        cumulated = np.cumsum(self.probabilities(eta, working)[:, :-1], axis=1)
        return np.sum(rng.random(len(eta))[:, None] > cumulated, axis=1).astype(float)

r"""Special functions for the densities, compiled, accurate in the tails and without overflow.

Digamma and its derivatives by recurrence and the asymptotic series (Abramowitz and Stegun 1964, 6.3 and 6.4), the
normal tail by the continued fraction of Mills' ratio (ibid., 26.2.14).
"""

import math

import numba

LARGEST = 600.0  # argument of an exponential: beyond, sums of such terms and their squares would overflow
SERIES_FROM = 14.0  # from here on the asymptotic series of the gamma functions has all digits
TAIL = -2.0  # below this the normal tail is computed by the continued fraction
BEYOND = 39.0  # above this the normal density is zero in double precision
LONGEST_SUM = 40  # counts up to this are summed term by term
HALF_LOG_2PI = 0.9189385332046727
INVERSE_ROOT_2PI = 0.3989422804014327
ROOT_HALF = 0.7071067811865476


@numba.njit(cache=True, nogil=True)
def bounded_exp(x: float) -> float:
    """Return exp(x), x bounded from above by `LARGEST`."""
    return math.exp(min(x, LARGEST))


@numba.njit(cache=True, nogil=True)
def softplus(x: float) -> float:
    """Return log(1 + exp(x))."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@numba.njit(cache=True, nogil=True)
def logistic(x: float) -> float:
    """Return 1/(1 + exp(-x))."""
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x >= 0.0 else e / (1.0 + e)


@numba.njit(cache=True, nogil=True)
def log_normal_cdf(x: float) -> tuple[float, float, float, float]:
    r"""Return :math:`\log\Phi(x)` and its first three derivatives.

    With :math:`\lambda = \phi/\Phi` and :math:`\delta = \lambda + x` they are :math:`\lambda`,
    :math:`-\lambda\delta` and :math:`\lambda(\delta^2 - 1 + \lambda\delta)`. In the lower tail the differences
    cancel, and successive tails :math:`\delta = 1/(|x| + t)`, :math:`t = 2/(|x| + v)`, :math:`v = 3/(|x| + \ldots)`
    of the continued fraction give them without.
    """
    if x > BEYOND:
        return 0.0, 0.0, 0.0, 0.0
    if x > TAIL:
        upper = 0.5 * math.erfc(x * ROOT_HALF)
        below = 1.0 - upper if x > 0.0 else 0.5 * math.erfc(-x * ROOT_HALF)
        value = math.log1p(-upper) if x > 0.0 else math.log(below)
        ratio = INVERSE_ROOT_2PI * math.exp(-0.5 * x * x) / below
        delta = ratio + x
        return value, ratio, -ratio * delta, ratio * (delta * delta - 1.0 + ratio * delta)
    size = -x
    v = 0.0
    for k in range(12 + int(400.0 / (size * size)), 2, -1):
        v = k / (size + v)
    t = 2.0 / (size + v)
    delta = 1.0 / (size + t)
    ratio = size + delta
    value = -0.5 * size * size - HALF_LOG_2PI - math.log(ratio)
    return value, ratio, -ratio * delta, ratio * delta * delta * t * (v - t)


@numba.njit(cache=True, nogil=True)
def scaled_polygammas(x: float) -> tuple[float, float, float]:
    r"""Return :math:`x\psi(x)`, :math:`x^2\psi'(x)` and :math:`x^3\psi''(x)`, finite for every x > 0."""
    shift = x
    first, second, third = 0.0, 0.0, 0.0
    while shift < SERIES_FROM:
        share = x / shift
        first -= share
        second += share * share
        third -= 2.0 * share * share * share
        shift += 1.0
    r = 1.0 / shift
    r2 = r * r
    first += x * (
        math.log(shift) - 0.5 * r - r2 * (1.0 / 12 - r2 * (1.0 / 120 - r2 * (1.0 / 252 - r2 * (1.0 / 240 - r2 / 132))))
    )
    share = x * r
    second += (
        x
        * share
        * (1.0 + 0.5 * r + r2 * (1.0 / 6 - r2 * (1.0 / 30 - r2 * (1.0 / 42 - r2 * (1.0 / 30 - r2 * 5.0 / 66)))))
    )
    third -= x * share * share * (1.0 + r + r2 * (0.5 - r2 * (1.0 / 6 - r2 * (1.0 / 6 - r2 * (0.3 - r2 * 5.0 / 6)))))
    return first, second, third


@numba.njit(cache=True, nogil=True)
def digamma(x: float) -> float:
    """Return the derivative of log Gamma at x > 0."""
    return scaled_polygammas(x)[0] / x


@numba.njit(cache=True, nogil=True)
def stirling_rest(x: float) -> tuple[float, float]:
    r"""Return :math:`\log\Gamma(x) - (x - 1/2)\log x + x - \tfrac12\log 2\pi` and its derivative, x >= 14."""
    r = 1.0 / x
    r2 = r * r
    value = r * (1.0 / 12 - r2 * (1.0 / 360 - r2 * (1.0 / 1260 - r2 * (1.0 / 1680 - r2 / 1188))))
    slope = -r2 * (1.0 / 12 - r2 * (1.0 / 120 - r2 * (1.0 / 252 - r2 * (1.0 / 240 - r2 / 132))))
    return value, slope


@numba.njit(cache=True, nogil=True)
def rising(y: float, k: float) -> tuple[float, float]:
    r"""Return :math:`\log\Gamma(y + k) - \log\Gamma(k) - y\log k` and its derivative by log k.

    y is a count. As a sum of :math:`\log(1 + j/k)` for small y, and as a difference of Stirling's series for large k,
    nothing cancels.
    """
    if y <= LONGEST_SUM:
        value, slope = 0.0, 0.0
        for j in range(1, int(y)):
            value += math.log1p(j / k)
            slope -= j / (k + j)
        return value, slope
    if k < SERIES_FROM:
        value = math.lgamma(y + k) - math.lgamma(k) - y * math.log(k)
        return value, k * digamma(y + k) - scaled_polygammas(k)[0] - y
    above, above_slope = stirling_rest(y + k)
    below, below_slope = stirling_rest(k)
    growth = math.log1p(y / k)
    value = (y + k - 0.5) * growth - y + above - below
    # d/dk of the above times k: growth' = -y/(k (y + k))
    slope = k * (growth - (y + k - 0.5) * y / (k * (y + k)) + above_slope - below_slope)
    return value, slope

r"""The density of log sigma given phi, on evenly spaced nodes, in compiled loops.

With the fixed coefficients' prior diagonalised (see `bayeslmm.likelihood.normal_prior`) a node costs O(p + K):

.. math::

   g(x) = \log h_\sigma(\sigma) + x + \sum_a [\log h_a(\sigma t_a) + x]
      - \tfrac12\Bigl[2\nu x + r^2/\sigma^2
      + \sum_i \log(1 + \sigma^2\pi_i) + \frac{\pi_i d_i^2}{1 + \sigma^2\pi_i}\Bigr], \qquad x = \log\sigma .

The trapezium rule is exponentially accurate for smooth densities: nodes a third of a standard deviation apart
integrate a normal density to rounding error. Between nodes the distribution function is the cubic with the density,
known there, as its slope, which is off by 2e-5 where the density is close to normal and by 1e-4 where it is least so
(one residual degree of freedom).
"""

import numba
import numpy as np

from bayeslmm.posterior.coded_priors import log_density
from bayeslmm.types import Array

REACH = 200  # nodes on either side of the middle one, at most
FEWEST_NODES = 30  # fewer cannot be trusted to follow the density
STEP = 1.0 / 3.0  # distance of nodes, in standard deviations at the peak
LOG_NEGLIGIBLE = 28.0  # density, in logs below its peak, that adds nothing to the integral
CLIMBS = 100  # steps towards the peak, at most
LONGEST_CLIMB = 2.0  # of log sigma in one step
RESCALINGS = 30  # times the nodes may be spread or gathered
LARGE_PRODUCT = 1e200  # where a product of factors is put into logs before it overflows


@numba.njit(cache=True, nogil=True, error_model="numpy")
def log_given_phi(
    x: float, residual: float, dof: float, pull: Array, distance: Array, ratios: Array, codes: Array
) -> tuple[float, float]:
    """Return g at x = log sigma and its derivative.

    Parameters
    ----------
    x
        log sigma.
    residual, dof
        r² and nu = n - p.
    pull, distance
        Eigenvalues pi of the coefficients' prior and d, shape (p,).
    ratios
        t of every standard deviation, shape (K,).
    codes
        Encoded priors of the K standard deviations and of sigma, shape (K + 1, 4).
    """
    count = ratios.shape[0]
    sigma = np.exp(x)
    variance = sigma * sigma
    value, slope = log_density(codes[count], sigma)
    for a in range(count):
        log_prior, by_log = log_density(codes[a], sigma * ratios[a])
        value += log_prior
        slope += by_log
    misfit = residual / variance
    value += (count + 1.0 - dof) * x - 0.5 * misfit
    slope += count + 1.0 - dof + misfit
    product = 1.0
    for i in range(pull.shape[0]):
        inflation = 1.0 + variance * pull[i]
        share = pull[i] * distance[i] * distance[i] / inflation
        value -= 0.5 * share
        slope -= (1.0 - 1.0 / inflation) * (1.0 - share)
        product *= inflation
        if product > LARGE_PRODUCT:
            value -= 0.5 * np.log(product)
            product = 1.0
    return value - 0.5 * np.log(product), slope


@numba.njit(cache=True, nogil=True, error_model="numpy")
def near_peak(
    residual: float, dof: float, pull: Array, distance: Array, ratios: Array, codes: Array
) -> tuple[float, float]:
    """Return an x within about a standard deviation of the peak of g, and that standard deviation."""
    spread = 1.0 / np.sqrt(2.0 * max(dof, 1.0))
    x = 0.5 * np.log(residual / max(dof, 1.0))
    for _ in range(CLIMBS):
        above = log_given_phi(x + 0.5 * spread, residual, dof, pull, distance, ratios, codes)[1]
        below = log_given_phi(x - 0.5 * spread, residual, dof, pull, distance, ratios, codes)[1]
        curvature = (below - above) / spread
        slope = 0.5 * (above + below)
        if curvature > 0.0:
            move = slope / curvature
            width = 1.0 / np.sqrt(curvature)
        else:
            move = 2.0 * spread * np.sign(slope)
            width = 2.0 * spread
        spread = min(max(width, 0.25 * spread), 4.0 * spread)
        x += min(max(move, -LONGEST_CLIMB), LONGEST_CLIMB)
        if curvature > 0.0 and abs(move) < 0.5 * spread:
            break
    return x, spread


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sigma_nodes(
    residual: float, dof: float, pull: Array, distance: Array, ratios: Array, codes: Array, logs: Array, slopes: Array
) -> tuple[float, float, int, int]:
    """Fill g and its derivative at evenly spaced nodes, outwards from the peak to where g is negligible.

    Parameters
    ----------
    logs, slopes
        Filled at the nodes used, shape (2 REACH + 1,).

    Returns
    -------
    Position of node 0, distance of nodes, first and last node used; the last is -1 where g cannot be evaluated.
    """
    middle, spread = near_peak(residual, dof, pull, distance, ratios, codes)
    step = STEP * spread
    last = 2 * REACH
    low, high = 0, -1
    for _ in range(RESCALINGS):
        logs[REACH], slopes[REACH] = log_given_phi(middle, residual, dof, pull, distance, ratios, codes)
        best = logs[REACH]
        if not np.isfinite(best):
            return middle, step, 0, -1
        low, high = REACH, REACH
        while low > 0 and logs[low] > best - LOG_NEGLIGIBLE:
            low -= 1
            x = middle + (low - REACH) * step
            logs[low], slopes[low] = log_given_phi(x, residual, dof, pull, distance, ratios, codes)
            best = max(best, logs[low])
        while high < last and logs[high] > best - LOG_NEGLIGIBLE:
            high += 1
            x = middle + (high - REACH) * step
            logs[high], slopes[high] = log_given_phi(x, residual, dof, pull, distance, ratios, codes)
            best = max(best, logs[high])
        if high - low + 1 < FEWEST_NODES:
            step *= 0.5
        elif logs[low] > best - LOG_NEGLIGIBLE or logs[high] > best - LOG_NEGLIGIBLE:
            step *= 2.0
        else:
            break
    return middle - REACH * step, step, low, high


@numba.njit(cache=True, nogil=True, error_model="numpy")
def accumulate(logs: Array, slopes: Array, step: float, low: int, high: int, cumulative: Array) -> float:
    """Fill the distribution function at nodes `low` to `high`; turn logs into the density.

    A cell's area is that of the cubic with the density and its derivative at both ends,
    ``h/2 (f + f') + h²/12 (s - s')``.

    Parameters
    ----------
    logs, slopes
        g and its derivative; the first is replaced by the density, of area one, the second is used up.
    cumulative
        Filled, shape (2 REACH + 1,).

    Returns
    -------
    The log of the whole area, by the trapezium rule.
    """
    peak = -np.inf
    for k in range(low, high + 1):
        peak = max(peak, logs[k])
    area = 0.0
    for k in range(low, high + 1):
        logs[k] = np.exp(logs[k] - peak)
        slopes[k] = slopes[k] * logs[k] if logs[k] > 0.0 else 0.0
        area += logs[k]
    area *= step
    cumulative[low] = 0.0
    for k in range(low + 1, high + 1):
        cell = 0.5 * step * (logs[k - 1] + logs[k]) + step * step / 12.0 * (slopes[k - 1] - slopes[k])
        cumulative[k] = cumulative[k - 1] + (cell if cell > 0.0 else 0.0)
    total = cumulative[high]
    for k in range(low, high + 1):
        cumulative[k] /= total
        logs[k] /= total
    return peak + np.log(area)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def quantile(
    probability: float, origin: float, step: float, low: int, high: int, density: Array, cumulative: Array
) -> float:
    """Return the x at which the distribution function reaches a probability.

    Within a cell the function is the cubic with the density as its slope at both ends, inverted by Newton's method
    kept between bounds.
    """
    left, right = low, high
    while right - left > 1:
        middle = (left + right) // 2
        if cumulative[middle] <= probability:
            left = middle
        else:
            right = middle
    rise = cumulative[right] - cumulative[left]
    if not rise > 0.0:
        return origin + (left + 0.5) * step
    wanted = (probability - cumulative[left]) / rise
    first, second = density[left] * step / rise, density[right] * step / rise
    below, above, s = 0.0, 1.0, wanted
    for _ in range(60):
        value = s * (first + s * (3.0 - 2.0 * first - second + s * (first + second - 2.0))) - wanted
        if value > 0.0:
            above = s
        else:
            below = s
        slope = first + s * (2.0 * (3.0 - 2.0 * first - second) + 3.0 * s * (first + second - 2.0))
        moved = s - value / slope
        if not below < moved < above:
            moved = 0.5 * (below + above)
        if abs(moved - s) < 1e-12:
            break
        s = moved
    return origin + (left + s) * step


@numba.njit(cache=True, nogil=True, error_model="numpy")
def integrate(
    residual: float, dof: float, pull: Array, distance: Array, ratios: Array, codes: Array
) -> tuple[float, Array, Array, Array]:
    """Return the log of the integral of exp(g), the nodes, and the density and distribution function there.

    The arguments are those of `log_given_phi`. No nodes are returned where g cannot be evaluated.
    """
    logs, slopes, cumulative = np.empty(2 * REACH + 1), np.empty(2 * REACH + 1), np.empty(2 * REACH + 1)
    origin, step, low, high = sigma_nodes(residual, dof, pull, distance, ratios, codes, logs, slopes)
    nodes = origin + step * np.arange(low, high + 1)
    area = accumulate(logs, slopes, step, low, high, cumulative) if high >= low else -np.inf
    return area, nodes, logs[low : high + 1].copy(), cumulative[low : high + 1].copy()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def quantiles(probabilities: Array, nodes: Array, density: Array, cumulative: Array) -> Array:
    """Return the x at which the distribution function reaches each of some probabilities, shape (r,)."""
    found = np.empty(probabilities.shape[0])
    last = nodes.shape[0] - 1
    step = (nodes[last] - nodes[0]) / last
    for r in range(probabilities.shape[0]):
        found[r] = quantile(probabilities[r], nodes[0], step, 0, last, density, cumulative)
    return found

"""How many independent draws weighted points are worth, for all parameters together and one by one."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bayeslmm.types import Array

TAILS = (0.05, 0.95)
NO_SHARE = 1e-12  # ranks this near to zero or one belong to points without weight


def parameter_sizes(values: Array, weights: Array) -> Array:
    r"""Return the independent draws that would estimate the mean of each parameter with the error of these points.

    .. math:: n_f = \frac{\sum_i w_i d_i^2}{\sum_i w_i^2 d_i^2}, \qquad d_i = z_i - \sum_j w_j z_j

    with z the normal scores of the parameter's weighted ranks, so that a long tail does not decide (Owen, 2013, Monte
    Carlo theory, methods and examples, section 9.2; Vehtari et al., 2021, for ranks).

    Parameters
    ----------
    values
        Parameters at the points, shape (m, K).
    weights
        Shape (m,), summing to one.

    Returns
    -------
    ndarray
        Shape (K,); infinity for a parameter that does not vary.
    """
    order = np.argsort(values, axis=0, kind="stable")
    sorted_weights = weights[order]
    ranks = np.empty_like(values)
    np.put_along_axis(ranks, order, np.cumsum(sorted_weights, axis=0) - 0.5 * sorted_weights, axis=0)
    scores = ndtri(np.clip(ranks, NO_SHARE, 1.0 - NO_SHARE))
    squares = (scores - weights @ scores) ** 2
    spread, error = weights @ squares, weights**2 @ squares
    varies = np.ptp(values, axis=0) > 0
    return np.divide(spread, error, out=np.full(values.shape[1], np.inf), where=varies & (error > 0))


def tail_sizes(values: Array, weights: Array) -> Array:
    r"""Return the independent draws that would estimate the shares beyond the 5% and 95% quantiles as well.

    The sizes of `parameter_sizes` with the indicator of a tail in place of z, the smaller of both: of Vehtari et al.
    (2021), section 4.3, for weights.

    Parameters
    ----------
    values
        Parameters at the points, shape (m, K).
    weights
        Shape (m,), summing to one.

    Returns
    -------
    ndarray
        Shape (K,); infinity for a parameter that does not vary.
    """
    order = np.argsort(values, axis=0, kind="stable")
    sums = np.cumsum(weights[order], axis=0)
    squares = np.cumsum(weights[order] ** 2, axis=0)
    total, columns = np.sum(weights**2), np.arange(values.shape[1])
    found = np.full(values.shape[1], np.inf)
    varies = np.ptp(values, axis=0) > 0
    for share in TAILS:
        place = np.argmax(sums >= share, axis=0)
        below, error = sums[place, columns], squares[place, columns]
        error = (1.0 - below) ** 2 * error + below**2 * (total - error)
        varies_here = varies & (error > 0)
        found = np.fmin(
            found, np.divide(below * (1.0 - below), error, out=np.full_like(found, np.inf), where=varies_here)
        )
    return found


def replicated_size(phi: Array, weights: Array, replicate: NDArray[np.intp]) -> float:
    r"""Return the independent draws that would estimate means and variances of phi with the error of these points.

    With R sets of points scrambled apart, the weighted mean of a function f is a ratio whose variance is estimated by

    .. math:: \hat v(f) = \frac{R}{R - 1} \sum_r \Bigl[\sum_{i \in r} w_i (f_i - \hat f)\Bigr]^2, \qquad
              n(f) = \frac{\operatorname{var}(f \mid y)}{\hat v(f)} .

    f runs over the coordinates and their squared distances from the mean, n is the harmonic mean of n(f): each has
    R - 1 degrees of freedom alone, and the harmonic mean is near the worst.

    Parameters
    ----------
    phi
        Shape (m, d).
    weights
        Shape (m,), summing to one.
    replicate
        The set of each point, shape (m,), 0 to R - 1.
    """
    count = int(replicate.max()) + 1
    centred = phi - weights @ phi
    squares = centred**2
    functions = np.hstack([centred, squares - weights @ squares])
    spread = weights @ functions**2
    sums = np.array([weights[replicate == r] @ functions[replicate == r] for r in range(count)])
    error = count / (count - 1) * np.sum(sums**2, axis=0)
    shares = np.divide(error, spread, out=np.zeros_like(error), where=spread > 0)
    return float(1.0 / max(float(np.mean(shares)), np.finfo(float).tiny))

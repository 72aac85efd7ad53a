r"""Coordinates in which a posterior is close to a standard normal distribution.

The curvature at the mode misses how a density bends away from it. In the coordinates z that it whitens, secants

.. math:: H_{a\cdot} = -\frac{\nabla_z \log p(h e_a) - \nabla_z \log p(-h e_a)}{2 h}

with h more than one standard deviation average the curvature over the posterior's bulk; H is near the identity, and
:math:`z = H^{-1/2} z'` whitens once more. It costs two gradients a coordinate.
"""

from dataclasses import replace

import numpy as np

from bayeslmm.inference.hamiltonian.scores import ScoredDensity
from bayeslmm.inference.laplace import Laplace
from bayeslmm.inference.nuts.marginal import WhitenedDensity
from bayeslmm.types import Array

SECANT = 1.3  # h, in standard deviations of the Laplace approximation
LONGEST_MOVE = 1.0  # of the centre, in standard deviations
LEAST_CURVATURE = 1.0 / 6.0  # a direction is not made wider than this says, however little it bends


def scored_laplace(scored: ScoredDensity, laplace: Laplace) -> Laplace:
    """Return the Laplace approximation in normal scores: as it is moved linearly, except that sds have scores of 0, 1.

    The mode of t pushed away from zero by the logarithm is the score 0 of the truncated normal that goes through it.
    """
    mode, slopes = scored.scores(laplace.mode)
    places = scored.sds.places
    mode[places] = 0.0
    slopes[places] = 1.0 / np.sqrt(np.diag(laplace.covariance)[places])
    return replace(laplace, mode=mode, covariance=laplace.covariance * np.outer(slopes, slopes))


def whiten(scored: ScoredDensity, laplace: Laplace) -> WhitenedDensity:
    """Return the density in coordinates that the Laplace approximation, then secants across the posterior, whiten."""
    start = scored_laplace(scored, laplace)
    first = WhitenedDensity(scored, start)
    covariance = first.root @ _inverse(secants(first)[0]) @ first.root.T
    return WhitenedDensity(scored, replace(start, covariance=0.5 * (covariance + covariance.T)))


def centred(whitened: WhitenedDensity) -> Laplace:
    r"""Return the normal approximation with its centre moved from the mode to about the mean.

    .. math:: z \leftarrow z + H^{-1} \bar g

    with :math:`\bar g` the mean of the gradients at both ends of every secant: a step of Newton's method towards the
    normal distribution under which the gradient is zero on average.
    """
    curvature, gradient = secants(whitened)
    inverse = _inverse(curvature)
    move = inverse @ gradient
    move /= max(1.0, float(np.abs(move).max(initial=0.0)) / LONGEST_MOVE)
    covariance = whitened.root @ inverse @ whitened.root.T
    return replace(whitened.laplace, mode=whitened.point(move), covariance=0.5 * (covariance + covariance.T))


def _inverse(curvature: Array) -> Array:
    values, vectors = np.linalg.eigh(curvature)
    return np.asarray((vectors / np.maximum(values, LEAST_CURVATURE)) @ vectors.T)


def secants(whitened: WhitenedDensity) -> tuple[Array, Array]:
    """Return H, symmetrised, shape (d, d), and the mean of the gradients at the ends of the secants, shape (d,).

    Where the kernel fails at either end, there is a row of the identity, and no gradient.
    """
    d = whitened.density.dimension
    rows = np.eye(d)
    total, count = np.zeros(d), 0
    for a in range(d):
        step = np.zeros(d)
        step[a] = SECANT
        above, below = whitened(step), whitened(-step)
        if np.isfinite(above[0]) and np.isfinite(below[0]):
            rows[a] = (below[1] - above[1]) / (2.0 * SECANT)
            total += above[1] + below[1]
            count += 2
    return 0.5 * (rows + rows.T), total / max(count, 1)

r"""Proposals for importance sampling of phi.

Each is a multivariate t in some coordinates x(phi): phi itself, or, for standard deviations the data hardly identify,
:math:`x = \Phi^{-1}(F(t))` with F a normal truncated at zero, in which a density that piles up at t = 0 is close to
normal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, gammaln, hyperu, log_ndtr, ndtri, ndtri_exp

from bayeslmm.types import Array

WEAK_VARIANCE = 0.06  # variance of log t from which a standard deviation counts as weakly identified
LARGEST_SHARE = 0.9  # cap on that variance when matching the truncated normal
SMALLEST_RATIO = 1e-14  # t, in units of the truncated normal's scale, below which it is zero to working precision
LOG_2PI = float(np.log(2.0 * np.pi))


class Coordinates(Protocol):
    """Coordinates in which a posterior is near normal."""

    def forward(self, phi: Array) -> tuple[Array, Array]:
        """Return x and log |dx/dphi|, shapes (m, d) and (m,)."""

    def backward(self, x: Array) -> Array:
        """Return phi for x, shape (m, d)."""


@dataclass(frozen=True, slots=True)
class TruncatedMap:
    """Maps some coordinates log t of phi to normal scores of truncated normals.

    Attributes
    ----------
    places
        Which coordinates, shape (k,).
    mean, scale
        The truncated normals' parameters, shape (k,).
    """

    places: NDArray[np.intp]
    mean: Array
    scale: Array

    def forward(self, phi: Array) -> tuple[Array, Array]:
        """Return x and log |dx/dphi|, shapes (m, d) and (m,)."""
        x = phi.copy()
        if len(self.places) == 0:
            return x, np.zeros(len(phi))
        log_t = phi[:, self.places]
        standard = (np.exp(log_t) - self.mean) / self.scale
        log_mass = log_ndtr(self.mean / self.scale)
        log_above = log_ndtr(-standard) - log_mass
        with np.errstate(divide="ignore"):
            below = ndtri(np.clip(-np.expm1(log_above), np.finfo(float).tiny, 1.0))
        scores = np.where(log_above < np.log(0.5), -ndtri_exp(np.minimum(log_above, -1e-300)), below)
        x[:, self.places] = scores
        log_density = -0.5 * standard**2 - np.log(self.scale) - log_mass
        return x, np.sum(log_density + log_t + 0.5 * scores**2, axis=1)

    def backward(self, x: Array) -> Array:
        """Return phi for x, shape (m, d)."""
        phi = x.copy()
        if len(self.places) == 0:
            return phi
        log_above = log_ndtr(-x[:, self.places]) + log_ndtr(self.mean / self.scale)
        ratios = self.mean - self.scale * ndtri_exp(log_above)
        phi[:, self.places] = np.log(np.maximum(ratios, SMALLEST_RATIO * self.scale))
        return phi


def identity_map() -> TruncatedMap:
    """Return the map that leaves phi as it is."""
    return TruncatedMap(np.zeros(0, dtype=np.intp), np.zeros(0), np.ones(0))


def truncated_map(
    mode: Array, variances: Array, sd_places: Sequence[int], weak: float = WEAK_VARIANCE
) -> TruncatedMap | None:
    """Return the map for the weakly identified standard deviations, None if there are none.

    The truncated normal has the mode and the curvature of the Laplace approximation in log t.

    Parameters
    ----------
    mode, variances
        Laplace approximation of phi, shape (d,).
    sd_places
        Coordinates that are log t.
    weak
        Variance of log t from which a standard deviation counts as weakly identified.
    """
    places = np.array([a for a in sd_places if variances[a] > weak], dtype=np.intp)
    if len(places) == 0:
        return None
    capped = np.minimum(variances[places], LARGEST_SHARE)
    ratio = np.exp(mode[places])
    scale = ratio / np.sqrt(1.0 / capped - 1.0)
    return TruncatedMap(places, (1.0 / capped - 2.0) * scale**2 / ratio, scale)


@dataclass(frozen=True, slots=True)
class StudentProposal:
    """A multivariate t with `dof` degrees of freedom in the coordinates of a map."""

    map: Coordinates
    centre: Array
    root: Array
    dof: float

    def sample(self, uniforms: Array) -> Array:
        """Return phi, shape (m, d), for uniform numbers, shape (m, d + 1); the last column scales."""
        normals = ndtri(uniforms[:, :-1])
        chi_squared = chdtri(self.dof, uniforms[:, -1])
        return self.map.backward(self.centre + (normals @ self.root.T) * np.sqrt(self.dof / chi_squared)[:, None])

    def log_density(self, phi: Array) -> Array:
        """Return the log density of phi, shape (m,)."""
        x, log_jacobian = self.map.forward(phi)
        d = len(self.centre)
        standard = np.linalg.solve(self.root, (x - self.centre).T)
        distance = np.sum(standard**2, axis=0)
        constant = gammaln((self.dof + d) / 2) - gammaln(self.dof / 2) - 0.5 * d * np.log(self.dof * np.pi)
        log_det = np.sum(np.log(np.abs(np.diag(self.root))))
        return constant - log_det - 0.5 * (self.dof + d) * np.log1p(distance / self.dof) + log_jacobian


def laplace_proposals(mode: Array, covariance: Array, sd_places: Sequence[int], dof: float) -> list[StudentProposal]:
    """Return the first proposals: the Laplace t in phi, and one in normal scores if some sd is weakly identified."""
    proposals = [StudentProposal(identity_map(), mode, cholesky_factor(covariance), dof)]
    variances = np.diag(covariance)
    scores = truncated_map(mode, variances, sd_places)
    if scores is None:
        return proposals
    spread = np.sqrt(variances)
    spread[scores.places] = 1.0
    correlation = covariance / np.sqrt(np.outer(variances, variances))
    centre = mode.copy()
    centre[scores.places] = 0.0
    root = cholesky_factor(correlation * np.outer(spread, spread))
    return [*proposals, StudentProposal(scores, centre, root, dof)]


def moment_proposal(
    previous: StudentProposal, phi: Array, weights: Array, effective_size: float, dof: float, *, careful: bool = False
) -> StudentProposal:
    """Return a proposal with the weighted moments of phi in the coordinates of a previous one.

    With few effective points the covariance is shrunk towards the previous one.

    Parameters
    ----------
    previous
        The proposal to improve on.
    phi, weights
        Points so far, shape (m, d), and their weights, shape (m,).
    effective_size
        What they are worth.
    dof
        Degrees of freedom.
    careful
        Whether the previous proposal is near already: it then counts as many points as a covariance matrix has
        entries, and the centre is shrunk towards its own, too.
    """
    x, _ = previous.map.forward(phi)
    centre = weights @ x
    centred = x - centre
    observed = (centred.T * weights) @ centred
    d = len(centre)
    worth = 0.5 * d * (d + 1.0) if careful else 2.0 * d
    faith = effective_size / (effective_size + worth)
    covariance = faith * observed + (1.0 - faith) * previous.root @ previous.root.T
    if careful:
        centre = previous.centre + effective_size / (effective_size + d) * (centre - previous.centre)
    return StudentProposal(previous.map, centre, cholesky_factor(covariance), dof)


def normal_share(dimension: int, dof: float) -> float:
    r"""Return the effective share of points when a t proposal meets a normal density of its own mean and scale.

    .. math:: \left[\int \frac{N(x; 0, I)^2}{t_\nu(x; 0, I)}\,dx\right]^{-1}, \qquad
              \int = \frac{\Gamma(\nu/2)\,\nu^d}{2^d\,\Gamma((\nu + d)/2)}\,
              U\Bigl(\frac d2,\, d + 1 + \frac\nu2,\, \nu\Bigr)

    with Tricomi's confluent hypergeometric function U.
    """
    d = dimension
    log_factor = gammaln(dof / 2) - gammaln((dof + d) / 2) + d * np.log(dof / 2)
    return float(1.0 / (np.exp(log_factor) * hyperu(d / 2, d + 1 + dof / 2, dof)))


def cholesky_factor(covariance: Array) -> Array:
    """Return the lower Cholesky factor."""
    return np.asarray(np.linalg.cholesky(covariance), dtype=float)


def mixture_log_density(proposals: Sequence[StudentProposal], counts: Sequence[int], phi: Array) -> Array:
    """Return the log density of the mixture that the points came from, shape (m,)."""
    shares = np.log(np.array(counts) / np.sum(counts))
    logs = np.array([p.log_density(phi) + share for p, share in zip(proposals, shares, strict=True)])
    return np.logaddexp.reduce(logs, axis=0)

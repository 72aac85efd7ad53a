r"""Laplace priors in the posterior mode of a generalized model: on which side of its kink each coefficient lies.

On one side of its location m a Laplace prior is :math:`-2\log p = 2 s(\gamma - m)/b` with s = 1 above and -1 below, and
smooth, so given the sides any search finds the mode, as long as no coefficient crosses to the other one. At the kink a
coefficient is known, and minimises the whole where

.. math:: \left|\frac{\partial}{\partial\gamma}\bigl(-2\log\hat p(y \mid \lambda, \phi, \gamma)\bigr)\right|
          \le \frac{2}{b}.

So sides are tried from where the data put the coefficients: those that cross are set to their kinks, and the one at a
kink that the data pull most is let go to the side they pull it to, until all are where they stay (the active set of
Osborne, Presnell and Turlach, 2000).

Source: M. R. Osborne, B. Presnell and B. A. Turlach (2000), *IMA Journal of Numerical Analysis* 20, 389-403.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Laplace
from bayeslmm.types import Array

PULLED = 1e-3  # relative excess of a slope that lets a coefficient go: a search leaves some of a slope
AT_KINK = 1e-10  # of a prior's scale: the rounding of a coefficient that was read from others


@dataclass(frozen=True, slots=True)
class OneSide:
    """The log density of a Laplace prior on one side of its kink, and the same line beyond it."""

    prior: Laplace
    side: float

    def logpdf(self, x: float) -> float:
        """Return the log density."""
        return float(-self.side * (x - self.prior.mu) / self.prior.b - np.log(2.0 * self.prior.b))

    def dlogpdf(self, x: float) -> float:
        """Return its derivative."""
        return -self.side / self.prior.b


def sides_of(priors: Sequence[Prior], values: Array) -> Array:
    """Return on which side of its kink each coefficient is, (h,): 1, -1, or zero at it; 1 where a prior has no kink."""
    return np.array([_side(prior, value) for prior, value in zip(priors, values, strict=True)])


def _side(prior: Prior, value: float) -> float:
    if not isinstance(prior, Laplace):
        return 1.0
    beyond = (value - prior.mu) / prior.b
    return 0.0 if abs(beyond) <= AT_KINK else float(np.sign(beyond))


def smooth_parts(priors: Sequence[Prior], sides: Array) -> tuple[Prior | OneSide, ...]:
    """Return the priors as a search sees them, given the sides (h,)."""
    return tuple(
        OneSide(prior, side) if isinstance(prior, Laplace) else prior for prior, side in zip(priors, sides, strict=True)
    )


def kinks_of(priors: Sequence[Prior], sides: Array) -> NDArray[np.bool_]:
    """Return which coefficients are at their kinks, (h,)."""
    return np.array([isinstance(prior, Laplace) and side == 0 for prior, side in zip(priors, sides, strict=True)])


def next_sides(priors: Sequence[Prior], sides: Array, values: Array, slopes: Array) -> Array | None:
    """Return the sides to try next; None where the mode is found.

    Parameters
    ----------
    priors
        Of the h held coefficients.
    sides
        Those that were tried, (h,).
    values, slopes
        Where the coefficients ended, and the derivatives there of minus twice the log posterior but for the priors of
        these coefficients, (h,).
    """
    crossed = (sides != 0) & (sides_of(priors, values) != sides)
    if crossed.any():
        return np.where(crossed, 0.0, sides)
    pulls = np.array(
        [abs(s) * p.b / 2.0 if isinstance(p, Laplace) else 0.0 for p, s in zip(priors, slopes, strict=True)]
    )
    pulls[~kinks_of(priors, sides)] = 0.0
    if not len(pulls) or pulls.max() <= 1.0 + PULLED:
        return None
    freed = sides.copy()
    place = int(np.argmax(pulls))
    freed[place] = -np.sign(slopes[place])
    return freed

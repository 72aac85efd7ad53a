"""Draws made at a point while its factor is there, before it is known how many the point will give.

Where points are few, chosen well and costly, their weights are nearly even: with m points each gives about n/m of n
draws. So somewhat more than that are drawn when the point is weighed, and what its weight asks for is taken from them;
only points that are to give more are factored again. Draws at a point are independent, so that those taken are
distributed as if no others had been made.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bayeslmm.inference.options import Options
from bayeslmm.posterior.conditional_draws import draw_coefficients
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.sigma_density import SigmaGrid
from bayeslmm.types import Array

SURPLUS = 1.2  # times the mean number of draws; one draw too many costs a hundredth of a factor
MOST_NUMBERS = 1 << 25  # drawn effects, a quarter of a gibibyte, above which they wait: memory holds them twice
FEWEST = 8.0  # draws a point, below which rounding would make many too many


@dataclass(frozen=True, slots=True)
class PointDraws:
    """Draws at one point on the user's columns.

    Attributes
    ----------
    sigma
        Shape (n,).
    beta
        Shape (n, p).
    effects
        Random effects, one (n, J, S) per term; (n, 0, S) where they are not kept.
    """

    sigma: Array
    beta: Array
    effects: tuple[NDArray[np.floating], ...]


@dataclass(slots=True)
class EarlyDraws:
    """Draws at the points weighed so far.

    Attributes
    ----------
    density
        The model.
    options
        The seed, and which random effects are kept in which precision.
    count
        Draws at each point.
    """

    density: CovarianceDensity
    options: Options
    count: int
    _found: dict[int, PointDraws] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, point: int, grid: SigmaGrid) -> None:
        """Draw at a point, of which the density of sigma is given."""
        keep = self.options.keep([term.name for term in self.density.priors.terms])
        rng = np.random.default_rng([self.options.seed, 4 << 20, point])
        drawn = draw_at(self.density, grid, self.count, rng, keep, self.options.dtype)
        with self._lock:
            self._found[point] = drawn

    def take(self, point: int, count: int) -> PointDraws | None:
        """Hand out the draws of a point, which are forgotten here; None if there are fewer than `count`."""
        found = self._found.pop(point, None)
        return None if found is None or len(found.sigma) < count else found

    def forget_others(self, points: Sequence[int]) -> None:
        """Forget the draws of all points but some."""
        self._found = {point: self._found[point] for point in points if point in self._found}


def early_draws(density: CovarianceDensity, options: Options, points: int) -> EarlyDraws | None:
    """Return where draws at about so many points may be kept; None where few, or memory would hold many twice."""
    draws = options.draws * options.chains
    effects = sum(shape.n_effects for shape in density.kernel.shapes)  # kept or not: the draws do not depend on that
    if draws < FEWEST * points or draws * effects > MOST_NUMBERS:
        return None
    return EarlyDraws(density, options, int(np.ceil(SURPLUS * draws / points)))


def draw_at(
    density: CovarianceDensity,
    grid: SigmaGrid,
    count: int,
    rng: np.random.Generator,
    keep: Sequence[bool],
    dtype: type = np.float64,
) -> PointDraws:
    """Draw sigma, beta and b at one point.

    Parameters
    ----------
    density
        The model.
    grid
        The density of sigma at the point, with its equations.
    count
        Number of draws.
    rng
        Source of randomness.
    keep
        Per term, whether its random effects are wanted.
    dtype
        Number type of the random effects.
    """
    sigma = grid.draw(rng.uniform(size=count))
    drawn = draw_coefficients(density, grid.posterior, sigma, rng, keep)
    return PointDraws(sigma, drawn.beta, tuple(b.astype(dtype, copy=False) for b in drawn.effects))

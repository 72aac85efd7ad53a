"""Draws made at a point while its factor is there, before it is known how many the point will give.

Where points are few, chosen well and costly, their weights are nearly even: with m points each gives about n/m of n
draws. So somewhat more than that are drawn when the point is weighed, and what its weight asks for is taken from them;
only points that are to give more are factored again. Draws at a point are independent, so that those taken are
distributed as if no others had been made.

They lie in the arrays that are returned, a fifth longer, and are moved to their places in them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import BoundedSemaphore

import numpy as np
from numpy.typing import NDArray

from bayeslmm.inference.importance.moved_rows import NOTHING, moved_rows
from bayeslmm.inference.options import Options
from bayeslmm.posterior.conditional_draws import draw_coefficients
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.sigma_density import SigmaGrid
from bayeslmm.types import Array

SURPLUS = 1.2  # times the mean number of draws; one draw too many costs a hundredth of a factor
PIECE_NUMBERS = 1 << 18  # random numbers held at once by a thread
PIECE_SHARE = 0.005  # of the draws, that it may hold whatever their number
AT_ONCE = 4  # threads that draw while others factor, where what they hold is a share of the draws
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
    """Draws at the points of the first round, in the arrays that are returned.

    Attributes
    ----------
    density
        The model.
    options
        The seed, and which random effects are kept in which precision.
    count
        Draws at each point.
    rows
        As many as there are points, one after the other, shapes (R, ...).
    """

    density: CovarianceDensity
    options: Options
    count: int = 0
    rows: PointDraws | None = None
    _made: set[int] = field(default_factory=set)
    _turns: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(AT_ONCE))

    def expect(self, points: int) -> None:
        """Make room at so many points; none where each would give few."""
        draws = self.options.draws * self.options.chains
        if draws < FEWEST * points:
            return
        self.count = int(np.ceil(SURPLUS * draws / points))
        self.rows = empty_draws(self.density, self.options, self.count * points)

    def add(self, point: int, grid: SigmaGrid) -> None:
        """Draw at a point, of which the density of sigma is given."""
        if self.rows is None or (point + 1) * self.count > len(self.rows.sigma):
            return
        keep = self.options.keep([term.name for term in self.density.priors.terms])
        rng = np.random.default_rng([self.options.seed, 4 << 20, point])
        longest = longest_piece(self.density, self.options)
        first, stop = point * self.count, (point + 1) * self.count
        for start in range(first, stop, longest):
            some = slice(start, min(start + longest, stop))
            with self._turns:
                put(self.rows, some, draw_at(self.density, grid, some.stop - some.start, rng, keep))
        self._made.add(point)

    def take(self, wanted: Sequence[tuple[int, NDArray[np.intp]]], n: int) -> tuple[PointDraws | None, list[int]]:
        """Hand out n draws, and the points whose draws are among them; all others are forgotten, and are to be filled.

        Parameters
        ----------
        wanted
            Points with the places of their draws.
        n
            Number of draws.
        """
        rows, self.rows = self.rows, None
        if rows is None or n > len(rows.sigma):
            return None, []
        served, source = [], np.full(n, NOTHING, dtype=np.intp)
        for point, places in wanted:
            if point in self._made and len(places) <= self.count:
                source[places] = point * self.count + np.arange(len(places))
                served.append(point)
        effects = tuple(moved_rows(values, source) for values in rows.effects)
        return PointDraws(moved_rows(rows.sigma, source), moved_rows(rows.beta, source), effects), served


def empty_draws(density: CovarianceDensity, options: Options, n: int) -> PointDraws:
    """Return arrays for n draws."""
    kernel = density.kernel
    keep = options.keep([term.name for term in density.priors.terms])
    return PointDraws(
        np.empty(n),
        np.empty((n, kernel.p)),
        tuple(
            np.empty((n, shape.n_levels if kept else 0, shape.n_columns), dtype=options.dtype)
            for shape, kept in zip(kernel.shapes, keep, strict=True)
        ),
    )


def longest_piece(density: CovarianceDensity, options: Options) -> int:
    """Return how many draws are made at once: what memory holds besides those kept is a few times that."""
    effects = sum(shape.n_effects for shape in density.kernel.shapes)  # kept or not: draws do not depend on that
    draws = options.draws * options.chains
    return max(1, PIECE_NUMBERS // (effects + density.kernel.p + 1), int(PIECE_SHARE * draws))


def put(found: PointDraws, places: NDArray[np.intp] | slice, drawn: PointDraws) -> None:
    """Put draws into their places."""
    found.sigma[places], found.beta[places] = drawn.sigma, drawn.beta
    for kept, effects in zip(found.effects, drawn.effects, strict=True):
        kept[places] = effects


def draw_at(
    density: CovarianceDensity,
    grid: SigmaGrid,
    count: int,
    rng: np.random.Generator,
    keep: Sequence[bool],
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
    """
    sigma = grid.draw(rng.uniform(size=count))
    drawn = draw_coefficients(density, grid.posterior, sigma, rng, keep)
    return PointDraws(sigma, drawn.beta, drawn.effects)

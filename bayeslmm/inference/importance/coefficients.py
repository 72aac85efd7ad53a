"""Exact draws of sigma and the coefficients at points chosen by their weights.

Coefficients are drawn for the draws that are returned, and the few more that early draws take, into the arrays that are
returned: what memory holds besides is a few times one piece of `PIECE_NUMBERS` numbers, or of `PIECE_SHARE` of the
draws, for each thread that draws.
"""

from collections.abc import Callable, Sequence
from threading import BoundedSemaphore

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import FittingError
from bayeslmm.inference.importance.early import (
    AT_ONCE,
    PIECE_NUMBERS,
    EarlyDraws,
    PointDraws,
    draw_at,
    empty_draws,
    longest_piece,
    put,
)
from bayeslmm.inference.options import Options
from bayeslmm.likelihood.normal_prior import Eliminated
from bayeslmm.likelihood.threads import blas_threads, idle_cores, in_threads, worker_threads
from bayeslmm.posterior.batched_density import BatchedDensity
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.posterior.surface_density import SurfaceDensity
from bayeslmm.types import Array

COMPILED_SHARE = 0.01  # of the draws, that a thread of compiled loops holds whatever their number
COMPILED_AT_ONCE = 16  # of such threads
SOLVED_AT_ONCE = 8  # draws by conjugate gradients, whose passes over the data cost less when they are shared
SOLVED_EACH = 16  # of these where each has its own point


def coefficients_at(
    density: CovarianceDensity,
    phi: Array,
    chosen: NDArray[np.intp],
    options: Options,
    report: Callable[[int], None] | None = None,
    batched: BatchedDensity | None = None,
    early: EarlyDraws | None = None,
) -> PointDraws:
    """Draw sigma, beta and b at the points chosen.

    Parameters
    ----------
    density
        The model.
    phi
        Points, shape (m, d).
    chosen
        The point of each draw, shape (n,); several draws may share one.
    options
        The seed, and which random effects are kept in which precision. The draws depend neither on the number of cores
        nor on which effects are kept.
    report
        Called with the number of points done.
    batched
        The density on a device, where the effects are then drawn, from the same random numbers.
    early
        Draws that were made when points were weighed, which serve where they are enough.

    Raises
    ------
    FittingError
        If the coefficients cannot be drawn at a point.
    """
    kernel = density.kernel
    keep = options.keep([term.name for term in density.priors.terms])
    n = len(chosen)
    longest = longest_piece(density, options)
    if early is not None:
        return _draw_general(density, phi, chosen, options, longest, report, batched, early)
    found = empty_draws(density, options, n)
    if isinstance(density, SurfaceDensity):
        _draw_on_surface(density, phi, chosen, options.seed, found, keep, report)
        return found
    if isinstance(density, IterativeDensity):
        longest = max(longest, SOLVED_AT_ONCE)
    if density.single is not None:
        longest = max(longest, int(COMPILED_SHARE * n))
        if not any(keep):  # each piece eliminates the random effects anew, and without them needs few numbers
            longest = max(1, PIECE_NUMBERS // (kernel.p + 1))
        _draw_compiled(density, phi, _pieces(chosen, longest), options.seed, found, longest)
        return found
    return _draw_general(density, phi, chosen, options, longest, report, batched, None)


def _draw_general(
    density: CovarianceDensity,
    phi: Array,
    chosen: NDArray[np.intp],
    options: Options,
    longest: int,
    report: Callable[[int], None] | None,
    batched: BatchedDensity | None,
    early: EarlyDraws | None,
) -> PointDraws:
    """Draw at one point after the other, but where there are early draws enough."""
    kernel, keep = density.kernel, options.keep([term.name for term in density.priors.terms])
    turns = BoundedSemaphore(AT_ONCE)
    drawn, served = (None, []) if early is None else early.take(_pieces(chosen, len(chosen)), len(chosen))
    found = empty_draws(density, options, len(chosen)) if drawn is None else drawn
    grouped: dict[int, list[NDArray[np.intp]]] = {}
    for point, some in _pieces(chosen, longest):
        grouped.setdefault(point, []).append(some)
    for point in served:
        del grouped[point]
    points = list(grouped.items())

    def draw(number: int, eliminated: Eliminated | None = None) -> None:
        """Draw at one point, a piece at a time."""
        point, places = points[number]
        with np.errstate(all="ignore"):
            grid = density.grid(phi[point]) if eliminated is None else density.grid_at(phi[point], eliminated)
        for k, some in enumerate(places):
            rng = np.random.default_rng([options.seed, 1 << 20, point, k])
            with turns:
                put(found, some, draw_at(density, grid, len(some), rng, keep))

    if batched is None:
        in_threads(draw, range(len(points)), worker_threads(kernel.order), report)
        return found

    def draw_there(number: int, eliminated: Eliminated | None) -> None:
        """Draw at one point on the device."""
        if eliminated is None:  # it had a density, or it would not have been chosen
            raise FittingError("The cross-products could be factored at a point before, and now cannot.")
        draw(number, eliminated)

    batched.each_point(phi[[point for point, _ in points]], draw_there, report)
    return found


def _pieces(chosen: NDArray[np.intp], longest: int) -> list[tuple[int, NDArray[np.intp]]]:
    """Return each point chosen with the places of its draws, cut into pieces of at most `longest`."""
    order = np.argsort(chosen, kind="stable")
    starts = np.flatnonzero(np.diff(chosen[order], prepend=-1))
    return [
        (int(chosen[places[0]]), places[start : start + longest])
        for places in np.split(order, starts[1:])
        for start in range(0, len(places), longest)
    ]


def _draw_on_surface(
    density: SurfaceDensity,
    phi: Array,
    chosen: NDArray[np.intp],
    seed: int,
    found: PointDraws,
    keep: Sequence[bool],
    report: Callable[[int], None] | None,
) -> None:
    """Draw at the points chosen, the random effects of several draws at once."""
    kernel = density.kernel
    shift = kernel.fixed.centring.constant * kernel.y_mean
    beta = np.empty((kernel.p, len(chosen)))
    for point, places in _pieces(chosen, len(chosen)):
        rng = np.random.default_rng([seed, 1 << 20, point])
        grid = density.grid(phi[point])
        found.sigma[places] = grid.draw(rng.uniform(size=len(places)))
        beta[:, places] = grid.posterior.draw(found.sigma[places], rng.standard_normal((kernel.p, len(places))))
    found.beta[:] = (kernel.fixed.matrix @ beta).T + shift
    if not any(keep):
        return
    with blas_threads(0):
        for start in range(0, len(chosen), SOLVED_EACH):
            some = slice(start, start + SOLVED_EACH)
            rng = np.random.default_rng([seed, 3 << 20, start])
            drawn = density.draw_effects(phi[chosen[some]], beta[:, some], found.sigma[some], rng)
            for out, effects, columns, kept in zip(found.effects, drawn, kernel.maps, keep, strict=True):
                if kept:
                    out[some] = np.einsum("st,jtm->mjs", columns.matrix, effects)
            if report is not None:
                report(min(start + SOLVED_EACH, len(chosen)))


def _draw_compiled(
    density: CovarianceDensity,
    phi: Array,
    pieces: list[tuple[int, NDArray[np.intp]]],
    seed: int,
    found: PointDraws,
    longest: int,
) -> None:
    """Draw for a single term in compiled loops, pieces of the same length in one call.

    The numbers behind sigma and beta belong to draws, not to pieces, which depend on the effects that are kept. Large
    terms are drawn in threads.
    """
    single, kernel = density.single, density.kernel
    assert single is not None
    shape = kernel.shapes[0]
    shift = kernel.fixed.centring.constant * kernel.y_mean
    rng = np.random.default_rng([seed, 1 << 20])
    uniforms, fixed = rng.uniform(size=len(found.sigma)), rng.standard_normal((len(found.sigma), kernel.p))
    by_length: dict[int, list[tuple[int, NDArray[np.intp]]]] = {}
    for piece in pieces:
        by_length.setdefault(len(piece[1]), []).append(piece)
    calls = [
        (length, start, alike[start : start + max(1, longest // length)])
        for length, alike in sorted(by_length.items())
        for start in range(0, len(alike), max(1, longest // length))
    ]

    def draw(call: tuple[int, int, list[tuple[int, NDArray[np.intp]]]]) -> None:
        """Draw the pieces of one call into their places."""
        length, start, some = call
        rows = np.ascontiguousarray(phi[[point for point, _ in some]])
        places = np.concatenate([place for _, place in some])
        rng = np.random.default_rng([seed, 1 << 20, length, start])
        noise = rng.standard_normal((len(some), length, found.effects[0].shape[1], shape.n_columns))
        own = places.reshape(len(some), length)
        _, sigma, beta, effects = single.draw(rows, uniforms[own], fixed[own], noise)
        found.sigma[places] = sigma.ravel()
        found.beta[places] = beta.reshape(len(places), kernel.p) @ kernel.fixed.matrix.T + shift
        found.effects[0][places] = effects.reshape(len(places), *effects.shape[2:])

    in_threads(draw, calls, min(idle_cores(), COMPILED_AT_ONCE) if single.is_large else 1)

"""The surface of a density whose points take solves: where its nodes are, whether it is right, when it will not do."""

from collections.abc import Callable

import numpy as np

from bayeslmm.covariance import sd_places
from bayeslmm.errors import FittingError
from bayeslmm.inference.laplace import Laplace
from bayeslmm.likelihood.memory import available_memory
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.posterior.surface import DEGREES, n_polynomials, nodes
from bayeslmm.posterior.surface_density import Node, SurfaceDensity
from bayeslmm.types import Array

MOST_NODES = 91  # six parameters by polynomials of degree three, twelve of degree two; then weighted points cost less
LARGEST_VARIANCE = 0.06  # of the log of a standard deviation, above which no polynomial will do
LARGEST_ERROR = 0.1  # of the log density, above which points are solved one by one
SMALL_ERROR = 0.05  # of it, up to which a higher degree would gain little
FEWEST_HELD_OUT = 4
SHARE_OF_MEMORY = 0.25  # that the nodes' effects may take
MOST_BEYOND = 0.01  # of the draws, that may lie beyond the nodes


def build_surface(
    density: IterativeDensity, laplace: Laplace, report: Callable[[int], None] | None = None
) -> tuple[SurfaceDensity, float] | None:
    """Interpolate a density over its posterior.

    Parameters
    ----------
    density
        The density.
    laplace
        The normal approximation of its parameters.
    report
        Called with the number of points solved.

    Returns
    -------
    tuple or None
        The surface, and the root mean square error of its log density at points of the posterior that it was not made
        of; None where a surface will not do, since a parameter is weakly identified, there are too many of them or the
        error is too large.
    """
    d = density.n_phi
    centre, covariance = laplace.mode[:d], laplace.covariance[:d, :d]
    degrees = _degrees(d)
    if not degrees or not _is_promising(density, covariance, degrees[-1]):
        return None
    root = np.asarray(np.linalg.cholesky(covariance), dtype=float)
    counts = iter(range(1, MOST_NODES + d + FEWEST_HELD_OUT))

    def solve(z: Array) -> Node:
        phi = centre + root @ z
        node = Node.of(phi, density.eliminate(phi))
        if report is not None:
            report(next(counts))
        return node

    try:
        others, places = [solve(z) for z in _held_out(d)], np.zeros((0, d))
        solved: list[Node] = []
        for degree in degrees:
            more = nodes(d, degree, places if len(places) else None)
            places, solved = np.vstack([places, more]), [*solved, *map(solve, more)]
            trial = SurfaceDensity(density, centre, root, solved, degree)
            differences = [trial.log_density_at(node) - trial.grid(node.phi).log_density for node in others]
            error = float(np.std(differences, ddof=1))
            if error <= (LARGEST_ERROR if degree == degrees[-1] else SMALL_ERROR):
                return SurfaceDensity(density, centre, root, [*solved, *others], degree), error
    except (FittingError, np.linalg.LinAlgError):
        return None
    return None


def _degrees(dimension: int) -> list[int]:
    """Return the degrees that are tried, each with the nodes of the one before."""
    return [degree for degree in DEGREES if n_polynomials(dimension, degree) <= MOST_NODES]


def _is_promising(density: IterativeDensity, covariance: Array, degree: int) -> bool:
    d = len(covariance)
    if d == 0:
        return False
    if any(covariance[place, place] > LARGEST_VARIANCE for place in sd_places(density.kernel.shapes)):
        return False
    count = n_polynomials(d, degree) + len(_held_out(d))
    needed = 8 * count * density.kernel.products.n_trailing * (density.kernel.p + 1)
    available = available_memory()
    return available is None or needed <= SHARE_OF_MEMORY * available


def _held_out(dimension: int) -> Array:
    """Return points of a standard normal distribution, the same ones always, (H, d)."""
    rng = np.random.default_rng(dimension)
    return rng.standard_normal((max(FEWEST_HELD_OUT, dimension), dimension))

"""The surface of a density whose points take solves: where its nodes are, whether it is right, when it will not do."""

from collections.abc import Callable

import numpy as np

from bayeslmm.covariance import sd_places
from bayeslmm.errors import FittingError
from bayeslmm.inference.laplace import Laplace
from bayeslmm.likelihood.memory import available_memory
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.posterior.surface import n_polynomials, nodes
from bayeslmm.posterior.surface_density import Node, SurfaceDensity
from bayeslmm.types import Array

MOST_NODES = 84  # six parameters; with more, weighted points cost less
LARGEST_VARIANCE = 0.06  # of the log of a standard deviation, above which no polynomial will do
LARGEST_ERROR = 0.1  # of the log density, above which points are solved one by one
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
    if not _is_promising(density, covariance):
        return None
    root = np.asarray(np.linalg.cholesky(covariance), dtype=float)
    held_out = _held_out(d)
    try:
        solved = []
        for z in (*nodes(d), *held_out):
            phi = centre + root @ z
            solved.append(Node.of(phi, density.eliminate(phi)))
            if report is not None:
                report(len(solved))
        first, others = solved[: -len(held_out)], solved[-len(held_out) :]
        trial = SurfaceDensity(density, centre, root, first)
        differences = [trial.log_density_at(node) - trial.grid(node.phi).log_density for node in others]
    except (FittingError, np.linalg.LinAlgError):
        return None
    error = float(np.std(differences, ddof=1))
    return (SurfaceDensity(density, centre, root, solved), error) if error <= LARGEST_ERROR else None


def _is_promising(density: IterativeDensity, covariance: Array) -> bool:
    d = len(covariance)
    if d == 0 or n_polynomials(d) > MOST_NODES:
        return False
    if any(covariance[place, place] > LARGEST_VARIANCE for place in sd_places(density.kernel.shapes)):
        return False
    needed = 8 * (n_polynomials(d) + len(_held_out(d))) * density.kernel.products.n_trailing * (density.kernel.p + 1)
    available = available_memory()
    return available is None or needed <= SHARE_OF_MEMORY * available


def _held_out(dimension: int) -> Array:
    """Return points of a standard normal distribution, the same ones always, (H, d)."""
    rng = np.random.default_rng(dimension)
    return rng.standard_normal((max(FEWEST_HELD_OUT, dimension), dimension))

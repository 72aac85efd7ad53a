r"""Log predictive densities of rows or groups left out, at draws of the covariance parameters.

Coefficients and random effects are integrated out in closed form (`bayeslmm.likelihood.left_out`), so that importance
weights live in the few covariance parameters. Where a factor is dear, the densities are evaluated at a few points only:
they are smooth functions of :math:`x = (\phi, \log\sigma)`, and the quadratic through a central composite design in the
whitened coordinates of the draws replaces them,

.. math:: \ell(x) \approx c_0 + \sum_a c_a v_a + \sum_{a \le b} c_{ab} v_a v_b, \qquad x = \bar x + Rv,

checked at a few of the draws themselves. Otherwise, and where the check fails, every draw is evaluated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.comparison.pareto_loo import LeftOut, leave_out
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.left_out import DataRows, Sets, row_parts, rows_left_out, sets_left_out
from bayeslmm.likelihood.normal_prior import fixed_posterior
from bayeslmm.likelihood.threads import in_threads, worker_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.types import Array

Report = Callable[[int], None] | None

DEAR = 40_000_000  # work of all draws, in rows and squared orders, from which a quadratic stands in for the draws
REACH = 1.5  # standard deviations from the mean at which the quadratic meets the densities
CHECKS = 2  # draws at which it is compared with them
TOLERANCE = 0.02  # of a log density: how far it may be off there
UNITS = 16_384  # whose densities are held at once


@dataclass(frozen=True, slots=True)
class CovarianceDraws:
    """Draws of the covariance parameters.

    Attributes
    ----------
    lambdas
        The kernel's factor at each draw, one (D, S, S) per term.
    sigma
        Shape (D,).
    """

    lambdas: tuple[Array, ...]
    sigma: Array

    def at(self, d: int) -> list[Array]:
        """Return the factors of one draw."""
        return [factors[d] for factors in self.lambdas]


def left_out(
    density: CovarianceDensity, draws: CovarianceDraws, data: DataRows, sets: Sets | None, report: Report = None
) -> LeftOut:
    """Return the predictive densities of rows, or of sets of rows, left out.

    Parameters
    ----------
    density
        The model.
    draws
        Draws of its covariance parameters.
    data
        All rows.
    sets
        The sets to leave out; None for every row by itself.
    report
        Called with the number of points done.
    """
    work = len(draws.sigma) * (len(data.y) + density.kernel.order**2)
    if work > DEAR and density.n_phi:
        found = _by_quadratic(density, draws, data, sets, report)
        if found is not None:
            return found

    def at(d: int) -> tuple[Array, Array]:
        return log_densities(density, draws.at(d), draws.sigma[d : d + 1], data, sets)

    values = in_threads(at, range(len(draws.sigma)), worker_threads(density.kernel.order), report)
    return leave_out(np.concatenate([out for out, _ in values]), np.concatenate([inside for _, inside in values]))


def log_densities(
    density: CovarianceDensity, lambdas: Sequence[Array], sigma: Array, data: DataRows, sets: Sets | None
) -> tuple[Array, Array]:
    """Return log densities of the units given the others and given all, both (m, U), at one theta and sigma (m,)."""
    factor = factorise(density.kernel.products, lambdas)
    posterior = fixed_posterior(factor, density.fixed_prior)
    parts = row_parts(density.kernel, posterior, data, leverages=sets is None)
    if sets is None:
        return rows_left_out(parts, posterior, sigma)
    return sets_left_out(factor, parts, posterior, sigma, sets)


def _by_quadratic(
    density: CovarianceDensity, draws: CovarianceDraws, data: DataRows, sets: Sets | None, report: Report
) -> LeftOut | None:
    """Return what `left_out` does from a few points; None where a quadratic does not follow the densities."""
    count = len(draws.sigma)
    phi = np.array([density.phi(draws.at(d)) for d in range(count)])
    x = phi if density.sigma is not None else np.column_stack([phi, np.log(draws.sigma)])
    n_phi, size = phi.shape[1], x.shape[1]
    mean = x.mean(axis=0)
    covariance = np.atleast_2d(np.cov(x, rowvar=False)) + 1e-12 * np.eye(size)
    root = np.linalg.cholesky(covariance)  # sigma last: points that differ in its coordinate only share their factor
    v = np.linalg.solve(root, (x - mean).T).T
    nodes = composite_design(size, REACH)
    places = mean + nodes @ root.T
    groups: dict[bytes, list[int]] = {}
    for place, node in enumerate(nodes):
        groups.setdefault(node[:n_phi].tobytes(), []).append(place)
    checked = np.linspace(0, count - 1, CHECKS + 2, dtype=int)[1:-1]

    def evaluate(item: tuple[list[Array], Array]) -> tuple[Array, Array]:
        return log_densities(density, item[0], item[1], data, sets)

    def sigmas(chosen: list[int]) -> Array:
        if density.sigma is not None:
            return np.full(len(chosen), density.sigma)
        return np.exp(places[chosen, n_phi])

    items = [
        (density.lambdas(density.points(places[chosen[0], :n_phi])), sigmas(chosen)) for chosen in groups.values()
    ]
    items += [(draws.at(d), draws.sigma[d : d + 1]) for d in checked]
    values = in_threads(evaluate, items, worker_threads(density.kernel.order), report)
    order = np.argsort(np.concatenate(list(groups.values())))
    basis = quadratic_basis(v)
    inverse = np.linalg.inv(quadratic_basis(nodes))
    found = []
    for kind in range(2):  # given the others, given all
        at_nodes = np.concatenate([pair[kind] for pair in values[: len(groups)]])[order]
        coefficients = inverse @ at_nodes
        exact = np.concatenate([pair[kind] for pair in values[len(groups) :]])
        if not np.isfinite(at_nodes).all() or np.abs(basis[checked] @ coefficients - exact).max() > TOLERANCE:
            return None
        found.append(coefficients)
    pieces = [
        leave_out(basis @ found[0][:, some], basis @ found[1][:, some])
        for some in (slice(first, first + UNITS) for first in range(0, found[0].shape[1], UNITS))
    ]
    return _joined(pieces)


def _joined(pieces: Sequence[LeftOut]) -> LeftOut:
    """Join units: the sums of all pieces move together with the draws."""
    return LeftOut(
        *(np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("elpd", "error", "k", "within")),
        moved=np.sum([piece.moved for piece in pieces], axis=0),
    )


def composite_design(size: int, reach: float) -> Array:
    """Return points (m, size) that determine a quadratic; those that move the last coordinate too share the others."""
    centre = np.zeros(size)
    nodes = [centre]
    for a in range(size):
        for sign in (1.0, -1.0):
            node = centre.copy()
            node[a] = sign * reach
            nodes.append(node)
    for a in range(size):
        for b in range(a):
            node = centre.copy()
            node[[a, b]] = reach
            nodes.append(node)
    return np.array(nodes)


def quadratic_basis(v: Array) -> Array:
    """Return 1, v, and the products of v (m, d) with each other, (m, (d + 1)(d + 2) / 2)."""
    a, b = np.tril_indices(v.shape[1])
    return np.column_stack([np.ones(len(v)), v, v[:, a] * v[:, b]])

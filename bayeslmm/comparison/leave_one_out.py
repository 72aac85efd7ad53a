r"""Log predictive densities of rows or groups left out, over the posterior of the covariance parameters.

Coefficients and random effects are integrated out in closed form (`bayeslmm.likelihood.left_out`), sigma by the
trapezium rule on its nodes given phi, so that importance weights live in phi alone:

.. math:: p(y_u \mid y_{-u}, \phi)^{-1} = \int p(\sigma \mid \phi, y)\,p(y_u \mid y_{-u}, \phi, \sigma)^{-1}\,d\sigma .

The points come from a Student t distribution q a little wider than the draws of a fit, so that the weights of unit u,
:math:`p(\phi \mid y_{-u}) / q(\phi)`, stay even where leaving u out moves the posterior.

Where a factor is dear, the densities are evaluated at a few points only: they are smooth functions of
:math:`x = (\phi, \log\sigma)`, and at the draws of a fit the quadratic through a central composite design in whitened
coordinates replaces them,

.. math:: \ell(x) \approx c_0 + \sum_a c_a v_a + \sum_{a \le b} c_{ab} v_a v_b, \qquad x = \bar x + Rv,

checked at a few of the draws themselves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import qmc

from bayeslmm.comparison.pareto_loo import LeftOut, leave_out
from bayeslmm.errors import FittingError
from bayeslmm.inference.importance.proposals import StudentProposal, cholesky_factor, identity_map
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.left_out import DataRows, RowParts, Sets, row_parts, rows_left_out
from bayeslmm.likelihood.normal_prior import FixedPosterior, NormalPrior, fixed_posterior
from bayeslmm.likelihood.sets_left_out import sets_left_out
from bayeslmm.likelihood.threads import in_threads, worker_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.sigma_density import SigmaGrid
from bayeslmm.types import Array

Report = Callable[[int], None] | None
# from the factors of all terms, the coefficients' prior and values of sigma (m,) to log densities of the units given
# the others and given all, (m, U) each
Evaluate = Callable[[Sequence[Array], NormalPrior, Array], tuple[Array, Array]]

DEAR = 40_000_000  # work of all draws, in rows and squared orders, from which a quadratic stands in for the draws
REACH = 1.5  # standard deviations from the mean at which the quadratic meets the densities
CHECKS = 2  # draws at which it is compared with them
TOLERANCE = 0.02  # of a log density: how far it may be off there
WIDER = 2.0  # the proposal's scale matrix over the draws' covariance
DOF = 7.0  # of the proposal
PROPOSAL_DRAWS = 256  # that its mean and covariance are taken from
FEWEST_EFFECTIVE = 0.2  # share of the points; with fewer the draws themselves are used
NEGLIGIBLE = 1e-12  # share of the largest weight that adds nothing
SPACING = 0.9  # of nodes of log sigma, in standard deviations
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
    log_mixing
        log w of priors that are scale mixtures, shape (D, K); (D, 0) where none is.
    """

    lambdas: tuple[Array, ...]
    sigma: Array
    log_mixing: Array

    def at(self, d: int) -> list[Array]:
        """Return the factors of one draw."""
        return [factors[d] for factors in self.lambdas]

    def phi(self, density: CovarianceDensity, most: int | None = None) -> Array:
        """Return phi of every draw, or of at most so many evenly spaced ones, shape (D, n_phi)."""
        count = len(self.sigma)
        chosen = np.arange(count) if most is None or count <= most else np.linspace(0, count - 1, most).astype(int)
        found = np.array([density.phi(self.at(d)) for d in chosen])
        found[:, density.n_covariance :] = self.log_mixing[chosen]
        return found


def left_out(
    density: CovarianceDensity,
    draws: CovarianceDraws,
    data: DataRows,
    sets: Sets | None,
    *,
    seed: int = 0,
    report: Report = None,
) -> LeftOut:
    """Return the predictive densities of rows, or of sets of rows, left out.

    Parameters
    ----------
    density
        The model.
    draws
        Draws of its covariance parameters, D of them.
    data
        All rows.
    sets
        The sets to leave out; None for every row by itself.
    seed
        Of the points, about as many as draws.
    report
        Called with the number of points done.
    """
    count = len(draws.sigma)
    if count * (len(data.y) + density.kernel.order**2) > DEAR and density.n_phi:
        found = by_quadratic(density, draws, partial(log_densities, density, data, sets), report)
        if found is not None:
            return found
    if density.n_phi:
        found = _by_proposal(density, draws, data, sets, seed, report)
        if found is not None:
            return found
    phi = draws.phi(density)
    values = _at_points(density, phi if density.n_phi else phi[:1], data, sets, report)
    return leave_out(np.array([at.out for at in values]), np.array([at.within for at in values]))


def _by_proposal(
    density: CovarianceDensity, draws: CovarianceDraws, data: DataRows, sets: Sets | None, seed: int, report: Report
) -> LeftOut | None:
    """Weigh points around the draws, as many as these; None where their weights are too uneven."""
    phi = draws.phi(density, PROPOSAL_DRAWS)
    proposal = StudentProposal(identity_map(), phi.mean(axis=0), cholesky_factor(WIDER * _covariance(phi)), DOF)
    sobol = qmc.Sobol(phi.shape[1] + 1, scramble=True, rng=np.random.default_rng(seed))
    uniforms = np.clip(sobol.random_base2(int(np.ceil(np.log2(len(draws.sigma))))), 1e-12, 1 - 1e-12)
    points = proposal.sample(uniforms)
    found = _at_points(density, points, data, sets, report)
    logs = np.array([at.log_density for at in found]) - proposal.log_density(points)
    weights = np.exp(logs - logs.max())
    if weights.sum() ** 2 < FEWEST_EFFECTIVE * len(points) * np.sum(weights**2):
        return None
    kept = np.flatnonzero(weights > NEGLIGIBLE)
    return leave_out(np.array([found[i].out for i in kept]), np.array([found[i].within for i in kept]), logs[kept])


@dataclass(frozen=True, slots=True)
class _AtPoint:
    """log p(phi, y), and log densities of the units given the others and given all (U,), sigma integrated out."""

    log_density: float
    out: Array
    within: Array


def _at_points(
    density: CovarianceDensity, points: Array, data: DataRows, sets: Sets | None, report: Report
) -> list[_AtPoint]:
    empty = np.zeros(len(data.y) if sets is None else len(sets.sizes))

    def at(phi: Array) -> _AtPoint:
        try:
            with np.errstate(all="ignore"):
                grid = density.grid(phi)
        except (FittingError, np.linalg.LinAlgError):
            return _AtPoint(-np.inf, empty, empty)
        sigma, shares = spaced_nodes(grid)
        parts = row_parts(density.kernel, grid.posterior, data, leverages=sets is None)
        out, within = _densities(grid.posterior, parts, sigma, sets)
        logs = np.log(shares)[:, None]
        return _AtPoint(grid.log_density, -_log_sum(logs - out), _log_sum(logs + within))

    return in_threads(at, points, worker_threads(density.kernel.order), report)


def _log_sum(logs: Array) -> Array:
    """Return the logarithm of each column's sum of exponentials, infinite where an entry is: for few rows, quickly."""
    peak = logs.max(axis=0)
    with np.errstate(invalid="ignore"):
        total = peak + np.log(np.exp(logs - peak).sum(axis=0))
    return np.where(np.isfinite(peak), total, peak)


def _covariance(x: Array) -> Array:
    """Return the covariance of draws (D, d), positive definite even where a coordinate does not move."""
    covariance = np.atleast_2d(np.cov(x, rowvar=False))
    return covariance + 1e-12 * np.eye(len(covariance))


def spaced_nodes(grid: SigmaGrid) -> tuple[Array, Array]:
    """Return nodes of sigma about a standard deviation of log sigma apart, and their shares, both (m,).

    The trapezium rule errs by exp(-2 pi^2 / h^2) for a normal density with nodes h standard deviations apart.
    """
    nodes, density = grid.log_sigma, grid.density
    if len(nodes) == 1:
        return np.exp(nodes), np.ones(1)
    shares = density / density.sum()
    sd = np.sqrt(shares @ (nodes - shares @ nodes) ** 2)
    step = max(1, int(SPACING * sd / (nodes[1] - nodes[0])))
    first = int(np.argmax(density)) % step
    nodes, shares = nodes[first::step], shares[first::step]
    kept = shares > NEGLIGIBLE * shares.max()
    return np.exp(nodes[kept]), shares[kept] / shares[kept].sum()


def log_densities(
    density: CovarianceDensity,
    data: DataRows,
    sets: Sets | None,
    lambdas: Sequence[Array],
    prior: NormalPrior,
    sigma: Array,
) -> tuple[Array, Array]:
    """Return log densities of the units given the others and given all, both (m, U), at one theta and sigma (m,)."""
    posterior = fixed_posterior(factorise(density.kernel.products, lambdas), prior)
    parts = row_parts(density.kernel, posterior, data, leverages=sets is None)
    return _densities(posterior, parts, sigma, sets)


def _densities(posterior: FixedPosterior, parts: RowParts, sigma: Array, sets: Sets | None) -> tuple[Array, Array]:
    if sets is None:
        return rows_left_out(parts, posterior, sigma)
    return sets_left_out(posterior.factor, parts, posterior, sigma, sets)


def by_quadratic(
    density: CovarianceDensity, draws: CovarianceDraws, evaluate: Evaluate, report: Report
) -> LeftOut | None:
    """Return what `left_out` does from a few points; None where a quadratic does not follow the densities."""
    count = len(draws.sigma)
    phi = draws.phi(density)
    x = phi if density.sigma is not None else np.column_stack([phi, np.log(draws.sigma)])
    n_phi, size = phi.shape[1], x.shape[1]
    mean = x.mean(axis=0)
    root = cholesky_factor(_covariance(x))  # sigma last: points that differ in its coordinate only share their factor
    v = np.linalg.solve(root, (x - mean).T).T
    nodes = composite_design(size, REACH)
    places = mean + nodes @ root.T
    groups: dict[bytes, list[int]] = {}
    for place, node in enumerate(nodes):
        groups.setdefault(node[:n_phi].tobytes(), []).append(place)
    checked = np.linspace(0, count - 1, CHECKS + 2, dtype=int)[1:-1]

    def evaluate_one(item: tuple[list[Array], NormalPrior, Array]) -> tuple[Array, Array]:
        return evaluate(*item)

    def sigmas(chosen: list[int]) -> Array:
        if density.sigma is not None:
            return np.full(len(chosen), density.sigma)
        return np.exp(places[chosen, n_phi])

    items = [
        (density.lambdas(density.points(place)), density.fixed_prior_at(place), sigmas(chosen))
        for chosen in groups.values()
        for place in (places[chosen[0], :n_phi],)
    ]
    items += [(draws.at(d), density.fixed_prior_at(phi[d]), draws.sigma[d : d + 1]) for d in checked]
    values = in_threads(evaluate_one, items, worker_threads(density.kernel.order), report)
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
        elpd=np.concatenate([piece.elpd for piece in pieces]),
        error=np.concatenate([piece.error for piece in pieces]),
        k=np.concatenate([piece.k for piece in pieces]),
        within=np.concatenate([piece.within for piece in pieces]),
        largest=np.concatenate([piece.largest for piece in pieces]),
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

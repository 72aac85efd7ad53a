"""The density of log sigma given phi on nodes; how they are placed where the priors have no compiled form."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.normal_prior import FixedPosterior
from bayeslmm.posterior.sigma_grid import quantiles
from bayeslmm.types import Array

GRID_POINTS = 200  # nodes of the trapezium rule in log sigma
SCOUT_POINTS = 48  # nodes that find where those belong
LOG_NEGLIGIBLE = 36.0  # density, in logs below its peak, that adds nothing to the integral


@dataclass(frozen=True, slots=True)
class SigmaGrid:
    """The density of log sigma given phi.

    Attributes
    ----------
    log_sigma
        Evenly spaced nodes, shape (m,); a single one where sigma is fixed.
    density
        Density of log sigma at the nodes, shape (m,).
    cumulative
        Distribution function at the nodes, shape (m,).
    log_density
        log p(phi, y), up to the constants of improper priors.
    posterior
        The fixed coefficients given phi, for every sigma.
    """

    log_sigma: Array
    density: Array
    cumulative: Array
    log_density: float
    posterior: FixedPosterior

    def draw(self, uniforms: Array) -> Array:
        """Return sigma for uniform numbers, shape (m,), by the inverse distribution function."""
        if len(self.log_sigma) == 1:
            return np.full(len(uniforms), np.exp(self.log_sigma[0]))
        return np.exp(quantiles(uniforms, self.log_sigma, self.density, self.cumulative))


def trapezium_nodes(
    log_density: Callable[[Array], Array], posterior: FixedPosterior, low: float, high: float
) -> tuple[Array, Array]:
    """Place the nodes of log sigma where its density is not negligible, within [low, high], where the priors end."""
    products = posterior.eliminated.products
    dof = max(products.n - products.n_fixed, 1)
    spread = 1.0 / np.sqrt(2.0 * dof)
    centre = min(max(0.5 * float(np.log(posterior.eliminated.r_squared / dof)), low), high)

    def within(first: float, last: float, count: int) -> Array:
        return np.linspace(max(first, low), min(last, high), count)

    scout = within(centre - 12.0 * spread, centre + (12.0 + 40.0 / np.sqrt(dof)) * spread, SCOUT_POINTS)
    for _ in range(40):
        logs = log_density(scout)
        if not np.isfinite(logs).any():
            raise FittingError("The density of sigma is zero everywhere.")
        keep = np.flatnonzero(logs > np.max(logs) - LOG_NEGLIGIBLE)
        width = scout[-1] - scout[0]
        if keep[0] == 0 and scout[0] > low:
            scout = within(scout[0] - width, scout[min(keep[-1] + 1, len(scout) - 1)], SCOUT_POINTS)
        elif keep[-1] == len(scout) - 1 and scout[-1] < high:
            scout = within(scout[max(keep[0] - 1, 0)], scout[-1] + width, SCOUT_POINTS)
        else:
            break
    step = scout[1] - scout[0]
    nodes = within(scout[max(keep[0] - 1, 0)], scout[min(keep[-1] + 1, len(scout) - 1)], GRID_POINTS)
    logs = log_density(nodes)
    if len(keep) < 6:  # the scout's step was wider than the density: look again, closer
        peak = nodes[np.argmax(logs)]
        near = within(peak - step, peak + step, GRID_POINTS)
        logs_near = log_density(near)
        kept = np.flatnonzero(logs_near > np.max(logs_near) - LOG_NEGLIGIBLE)
        nodes = within(near[max(kept[0] - 1, 0)], near[min(kept[-1] + 1, len(near) - 1)], GRID_POINTS)
        logs = log_density(nodes)
    return nodes, logs

r"""The log posterior of the covariance parameters of large crossed factors, interpolated between few points.

Where hundreds of levels tell of each variance, :math:`\log|\Omega|`, :math:`\log r^2`, the least-squares coefficients
and the root of their precision are nearly quadratic over the posterior. So they are found at some ten to ninety nodes
(`bayeslmm.posterior.surface`), and what the priors add, sigma and everything else is computed exactly from them. The
effects of X and y that random effects are drawn about are interpolated as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.iterative.coefficients import effects_by_term
from bayeslmm.likelihood.iterative.each_column import EliminatedEach
from bayeslmm.likelihood.iterative.eliminated import Eliminated
from bayeslmm.likelihood.iterative.solved_factor import Determinant, SolvedFactor
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.posterior.surface import Surface
from bayeslmm.types import Array

DRAWN_TOLERANCE = 1e-4  # of the solves of a draw


@dataclass(frozen=True, slots=True)
class InterpolatedFactor:
    """What `SolvedFactor` says of the coefficients, interpolated.

    Attributes
    ----------
    products
        The cross-products.
    determinant
        log|Omega| by probes.
    r_squared
        The penalised residual sum of squares at its minimum.
    beta
        Generalised least-squares estimate, shape (p,).
    R_X
        Lower Cholesky factor of the cross-products of X with Z eliminated, shape (p, p).
    beyond
        What the log density falls by beyond the ball of the nodes, twice.
    """

    products: CrossProducts
    determinant: Determinant
    r_squared: float
    beta: Array
    R_X: Array
    beyond: float

    @property
    def order(self) -> int:
        """Order of the equations that are left to LAPACK: X and y."""
        return self.products.n_fixed + 1

    @property
    def log_det(self) -> float:
        """Estimate of log|Omega|."""
        return self.determinant.mean + self.beyond

    @property
    def log_det_X(self) -> float:
        """Logarithm of |R_X|², in the kernel's columns."""
        return 2.0 * float(np.sum(np.log(np.abs(np.diag(self.R_X)))))


@dataclass(frozen=True, slots=True)
class Node:
    """What is kept of a point where the equations were solved.

    Attributes
    ----------
    phi
        The point, (d,).
    determinant
        log|Omega| by m probes.
    values
        log r², beta and the lower triangle of R_X.
    trailing
        Trailing effects of X and y on the scale of b, (q_T, p + 1).
    """

    phi: Array
    determinant: Determinant
    values: Array
    trailing: Array

    @classmethod
    def of(cls, phi: Array, solved: SolvedFactor) -> "Node":
        """Return what is kept of the equations solved at phi."""
        lower = np.tril_indices(len(solved.beta))
        values = np.concatenate([[np.log(solved.r_squared)], solved.beta, solved.R_X[lower]])
        return cls(phi, solved.determinant, values, solved.solved.trailing)


class SurfaceDensity(IterativeDensity):
    """A covariance density interpolated between points where it was solved.

    Parameters
    ----------
    density
        The density itself.
    centre, root
        The normal approximation: mean (d,) and a root of the covariance (d, d) of phi.
    nodes
        Points where the equations were solved.
    degree
        Degree of the polynomials.
    """

    costly = False

    def __init__(
        self, density: IterativeDensity, centre: Array, root: Array, nodes: Sequence[Node], degree: int
    ) -> None:
        kernel, probes = density.kernel, density.signs.shape[1]
        super().__init__(kernel, density.priors, density.sigma, n_probes=probes, paired=density.paired)
        z = np.linalg.solve(root, np.array([node.phi - centre for node in nodes]).T).T
        self.surface = Surface.through(centre, root, z, degree)
        self.nodes = tuple(nodes)
        self._shares = nodes[0].determinant.shares
        self._by_probe = np.array([node.determinant.by_probe for node in nodes])
        self._values = np.array([node.values for node in nodes])

    @cached_property
    def central(self) -> Eliminated:
        """The random effects eliminated at the centre."""
        return Eliminated(self.paired, self.lambdas(self.points(self.surface.centre)))

    def eliminate(self, phi: Array) -> InterpolatedFactor:  # type: ignore[override]
        """Interpolate the equations at phi."""
        weights, beyond = self.surface.place(phi)
        determinant = self._determinants[phi.tobytes()] = Determinant(weights @ self._by_probe, self._shares)
        return self._factor(determinant, weights @ self._values, beyond)

    def share_beyond(self, phi: Array) -> float:
        """Return the share of points (m, d) that lie beyond the nodes' ball."""
        return float(np.mean([self.surface.place(point)[1] > 0.0 for point in phi]))

    def log_density_at(self, node: Node) -> float:
        """Return log p(phi | y) at a node as it was solved."""
        return float(self.grid_at(node.phi, self._factor(node.determinant, node.values, 0.0)).log_density)

    def _factor(self, determinant: Determinant, values: Array, beyond: float) -> InterpolatedFactor:
        p = self.kernel.p
        root = np.zeros((p, p))
        root[np.tril_indices(p)] = values[1 + p :]
        r_squared = float(np.exp(values[0]))
        return InterpolatedFactor(self.kernel.products, determinant, r_squared, values[1 : 1 + p], root, beyond)

    def draw_effects(self, phi: Array, beta: Array, sigma: Array, rng: np.random.Generator) -> list[Array]:
        """Draw random effects on the scale of b, those of the kernel's columns, one (J, S, m) per term.

        Parameters
        ----------
        phi
            The point of each draw, shape (m, d).
        beta, sigma
            Coefficients of the kernel's columns (p, m) and residual standard deviations (m,).
        rng
            Source of randomness.
        """
        lambdas = [np.array(of_term) for of_term in zip(*(self.lambdas(self.points(x)) for x in phi), strict=True)]
        each = EliminatedEach(self.central, lambdas)
        weights = np.vstack([-beta, np.ones((1, len(sigma)))])
        trailing = sigma * each.draw_trailing(rng, DRAWN_TOLERANCE)
        shares = np.array([self.surface.place(point)[0] for point in phi])
        for node, share in zip(self.nodes, shares.T, strict=True):
            trailing += node.trailing @ (share * weights)
        # given the trailing effects, the leading ones are independent level by level
        lead = each.eliminate(self.kernel.products.nest_xy[0] @ weights - self.paired.lead_from(trailing))
        lead += sigma * each.colour_lead(rng.standard_normal(lead.shape))
        return effects_by_term(self.paired, lead, trailing)

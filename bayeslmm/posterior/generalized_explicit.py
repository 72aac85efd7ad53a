r"""The log posterior of everything in a generalized model: nothing is integrated out, nothing approximated.

Coordinates are (x, v): x as in `bayeslmm.posterior.generalized`, and v, in which the coefficients c = (u, beta) are
about independent with unit variance,

.. math:: c = \hat c + B(x - \hat x) + L^{-\top}v,

:math:`\hat c` the mode and L the factor at :math:`\hat x`, B the derivative of the mode by x. The map is linear, so
that its Jacobian is a constant, and one evaluation with its gradient is one pass over the rows and two triangular
solves. u belongs to the root :math:`T^{-1}F(x)\hat Q` of a term's covariance, T its columns' map and :math:`\hat Q` the
rotation that makes it triangular at :math:`\hat x`: a triangular factor elsewhere would turn u with x.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.generalized.laplace import Evaluation, Point, predict_mode
from bayeslmm.likelihood.generalized.mode import score
from bayeslmm.likelihood.generalized.solve import solve_lower
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.types import Array

STEP = 1e-4  # of x, in the differences of the mode's linear extrapolation


@dataclass(frozen=True, slots=True)
class ExplicitPoint:
    """All parameters at one point: x (d,), spherical effects (J, S) per term, coefficients."""

    x: Array
    u: tuple[Array, ...]
    beta: Array


class ExplicitDensity:
    """The log posterior of covariance and dispersion parameters, coefficients and effects.

    Parameters
    ----------
    density
        The density of x and its model.
    mode
        Where x is centred, (d,).
    evaluation
        The evaluation there.
    """

    def __init__(self, density: GeneralizedDensity, mode: Array, evaluation: Evaluation) -> None:
        self.density, self.mode, self.evaluation = density, mode, evaluation
        self.sizes = [shape.n_effects for shape in density.shapes]
        self.ends = np.cumsum([len(mode), *self.sizes])
        self.rotations = [
            shape.structure.rotation(root) for shape, root in zip(density.shapes, self._roots(mode), strict=True)
        ]
        self.moves = self._mode_slopes()

    @property
    def dimension(self) -> int:
        """Length of (x, v)."""
        return int(self.ends[-1]) + self.density.problem.predictor.p

    def _roots(self, x: Array) -> list[Array]:
        points, maps = self.density.term_points(x), self.density.problem.predictor.maps
        return [
            m.inverse @ (m.centring.matrix @ point.factor if term.centred else point.factor)
            for point, term, m in zip(points, self.density.terms, maps, strict=True)
        ]

    def place(self, x: Array) -> Point:
        """Return the roots of the covariances in the kernel's columns and the dispersion values at x."""
        roots = tuple(root @ turn for root, turn in zip(self._roots(x), self.rotations, strict=True))
        return Point(roots, x[self.density.n_phi :], np.zeros(self.density.problem.predictor.p))

    def _by_covariance(self, x: Array, slopes: Sequence[Array]) -> Array:
        """Turn derivatives by the roots, (S, S) per term, into those by the covariances' coordinates."""
        pieces = [np.zeros(0)]
        for point, slope, turn, term, m, shape in zip(
            self.density.term_points(x), slopes, self.rotations, self.density.terms,
            self.density.problem.predictor.maps, self.density.shapes, strict=True,
        ):  # fmt: skip
            by_factor = m.inverse.T @ slope @ turn.T
            if term.centred:
                by_factor = m.centring.matrix.T @ by_factor
            pieces.append(shape.structure.pull_back(by_factor, point))
        return np.concatenate(pieces)

    def _mode_slopes(self) -> list[tuple[list[Array], Array]]:
        """Return the derivatives of the mode (u, beta) by each coordinate of x."""
        found = []
        for axis in np.eye(len(self.mode)):
            ahead, behind = (
                predict_mode(self.density.problem, self.evaluation, self.place(self.mode + s * STEP * axis))
                for s in (1.0, -1.0)
            )
            u = [(a - b) / (2.0 * STEP) for a, b in zip(ahead[0], behind[0], strict=True)]
            found.append((u, (ahead[1] - behind[1]) / (2.0 * STEP)))
        return found

    def unpack(self, q: Array) -> ExplicitPoint:
        """Return the parameters at (x, v), shape (dimension,)."""
        factor, mode = self.evaluation.mode.factor, self.evaluation.mode
        pieces = np.split(q, self.ends)
        x, at_beta = pieces[0], pieces[-1]
        noise = [v.reshape(u.shape)[:, :, None] for v, u in zip(pieces[1:-1], mode.u, strict=True)]
        shift = solve_triangular(factor.R_X, at_beta, lower=True, trans=1) if len(at_beta) else at_beta
        away = solve_effects(factor, shift[:, None], noise)
        u = [values + moved[..., 0] for values, moved in zip(mode.u, away, strict=True)]
        beta = mode.beta + shift
        for step, (by_u, by_beta) in zip(x - self.mode, self.moves, strict=True):
            u = [values + step * slope for values, slope in zip(u, by_u, strict=True)]
            beta = beta + step * by_beta
        return ExplicitPoint(x, tuple(u), beta)

    def value_and_gradient(self, q: Array) -> tuple[float, Array]:
        """Return the log posterior density of (x, v), up to constants, and its gradient."""
        problem, density = self.density.problem, self.density
        point = self.unpack(q)
        place = self.place(point.x)
        eta = problem.predictor.eta(point.beta, point.u, place.lambdas)
        rows = problem.family.derivatives(problem.response, eta, place.working)
        value = float(np.sum(rows[0])) - 0.5 * sum(float(np.sum(u * u)) for u in point.u)
        if problem.prior is not None:
            away = point.beta - problem.prior.mean
            value -= 0.5 * float(away @ problem.prior.precision @ away)
        log_prior, by_x = density.log_prior(point.x)
        by_u, by_beta = score(problem, place.lambdas, point.u, point.beta, rows[1])
        by_level = problem.predictor.by_level(rows[1])
        slopes = [total.T @ u for total, u in zip(by_level, point.u, strict=True)]
        by_dispersion = problem.family.by_dispersion(problem.response, eta, place.working)[:, 0].sum(axis=1)
        by_x = by_x + np.concatenate([self._by_covariance(point.x, slopes), by_dispersion])
        by_x += [
            sum(float(np.sum(g * m)) for g, m in zip(by_u, moved, strict=True)) + float(by_beta @ also)
            for moved, also in self.moves
        ]
        at_u, at_beta = solve_lower(self.evaluation.mode.factor, by_u, by_beta)
        return value + log_prior, np.concatenate([by_x, *(g.ravel() for g in at_u), at_beta])


def pack_zero(density: ExplicitDensity) -> Array:
    """Return the coordinates of the mode."""
    return np.concatenate([density.mode, np.zeros(density.dimension - len(density.mode))])


def user_effects(density: ExplicitDensity, point: ExplicitPoint) -> list[Array]:
    """Return the random effects in the user's columns, (J, S) per term."""
    lambdas: Sequence[Array] = density.place(point.x).lambdas
    maps = density.density.problem.predictor.maps
    return [u @ (m.matrix @ f).T for u, m, f in zip(point.u, maps, lambdas, strict=True)]

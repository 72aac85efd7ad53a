r"""The log posterior of everything in a generalized model: nothing is integrated out, nothing approximated.

Coordinates are (x, v): x as in `bayeslmm.posterior.generalized`, and v, in which the coefficients c = (u, beta) are
about independent with unit variance wherever x lies. With :math:`\hat L` the factor at :math:`\hat x`,

.. math:: a = \hat L^{-\top}v + b^\top\tau(x - \hat x), \qquad \beta = \hat\beta + a_\beta,

and the effects of each level follow from a by the map of `bayeslmm.posterior.effect_maps`, which moves them with their
covariance. b is what that map leaves of the mode's derivative at :math:`\hat x`, and
:math:`\tau(d) = 2\tanh(d/2)` keeps far points near. Any such map is exact: its Jacobian is part of the density.

u belongs to the root :math:`R(x) = T^{-1}F(x)\hat Q` of a term's covariance, T its columns' map and :math:`\hat Q` the
rotation that makes it triangular at :math:`\hat x`: a triangular factor elsewhere would turn u with x. The maps are of
:math:`\hat Qu` and F, which is triangular everywhere. One evaluation with its gradient is one pass over the rows and
two triangular solves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from bayeslmm.covariance.coordinates import TermPoint
from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.generalized.laplace import Evaluation, Point, predict_mode
from bayeslmm.likelihood.generalized.solve import solve_lower
from bayeslmm.posterior.effect_maps import (
    PlacedMap,
    centre_map,
    log_jacobian,
    map_effects,
    place_map,
    pull_effects,
)
from bayeslmm.posterior.explicit_prior import ExplicitPrior, only_normal
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.types import Array

STEP = 1e-4  # of x, in the differences of the mode
DENSE = 250  # coefficients up to which the inverse factor as a matrix outruns triangular solves


@dataclass(frozen=True, slots=True)
class ExplicitPoint:
    """All parameters at one point: x (d,), spherical effects (J, S) per term, coefficients."""

    x: Array
    u: tuple[Array, ...]
    beta: Array


@dataclass(frozen=True, slots=True)
class _Map:
    """The map of v at one x: the terms' coordinates, their roots R (S, S), and the maps of their effects."""

    points: list[TermPoint]
    roots: list[Array]
    effects: list[PlacedMap]


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
    prior
        The prior of the coefficients, in place of the normal one that the coordinates are whitened by; None for that.
    """

    def __init__(
        self, density: GeneralizedDensity, mode: Array, evaluation: Evaluation, prior: ExplicitPrior | None = None
    ) -> None:
        self.density, self.mode, self.evaluation = density, mode, evaluation
        self.prior = only_normal(density.problem.prior) if prior is None else prior
        predictor = density.problem.predictor
        sizes = [shape.n_effects for shape in density.shapes]
        ends = np.cumsum([0, *sizes])
        self.places = [slice(a, b) for a, b in pairwise(ends)]
        self.n_effects = int(ends[-1])
        self.turns = [m.inverse @ term.centring.matrix for m, term in zip(predictor.maps, density.terms, strict=True)]
        points = density.term_points(mode)
        roots = [turn @ point.factor for turn, point in zip(self.turns, points, strict=True)]
        self.rotations = [shape.structure.rotation(root) for shape, root in zip(density.shapes, roots, strict=True)]
        self.sd_places = np.cumsum([0, *(shape.n_coordinates for shape in density.shapes)])[:-1]
        self.index, self.columns = row_effects(density, self.places)
        weights = np.maximum(-evaluation.mode.rows[2], 0.0)
        found = evaluation.mode
        self.centre = np.concatenate([*(u.ravel() for u in found.u), found.beta])
        self.maps = [
            centre_map(
                turn.T @ level_curvatures(codes, z, weights, shape.n_levels) @ turn, score @ turn, point.factor, u @ q.T
            )
            for codes, z, shape, turn, score, point, u, q in zip(
                predictor.pattern.codes, predictor.z, density.shapes, self.turns,
                predictor.by_level(evaluation.mode.rows[1]), points, found.u, self.rotations, strict=True,
            )
        ]  # fmt: skip
        self.log_centre = sum(log_jacobian(place_map(m, p.factor)) for m, p in zip(self.maps, points, strict=True))
        self.moves = self._mode_slopes()
        self.inverse = self._dense_inverse() if len(self.centre) <= DENSE else None

    @property
    def dimension(self) -> int:
        """Length of (x, v)."""
        return len(self.mode) + len(self.centre)

    # -- the map ----------------------------------------------------------------------------------------------

    def place(self, x: Array) -> Point:
        """Return the roots of the covariances in the kernel's columns and the dispersion values at x."""
        points = self.density.term_points(x)
        return Point(tuple(self._roots(points)), x[self.density.n_phi :], np.zeros(self.density.problem.predictor.p))

    def _roots(self, points: Sequence[TermPoint]) -> list[Array]:
        return [
            turn @ point.factor @ rotation
            for turn, point, rotation in zip(self.turns, points, self.rotations, strict=True)
        ]

    def _map(self, x: Array) -> _Map:
        points = self.density.term_points(x)
        placed = [place_map(centred, point.factor) for centred, point in zip(self.maps, points, strict=True)]
        return _Map(points, self._roots(points), placed)

    def _mode_slopes(self) -> Array:
        """Return what the effects' maps leave of the mode's derivative by x, (k, d)."""
        found = np.zeros((len(self.centre), len(self.mode)))
        nowhere = np.zeros(len(self.centre))
        for a, axis in enumerate(np.eye(len(self.mode))):
            ends = []
            for x in (self.mode + STEP * axis, self.mode - STEP * axis):
                effects, beta = predict_mode(self.density.problem, self.evaluation, self.place(x))
                ends.append(np.concatenate([*(u.ravel() for u in effects), beta]) - self._place(nowhere, self._map(x)))
            found[:, a] = (ends[0] - ends[1]) / (2.0 * STEP)
        return found

    def _dense_inverse(self) -> Array:
        size = len(self.centre)
        return np.ascontiguousarray(self._forward(np.eye(size)))

    def _forward(self, v: Array) -> Array:
        """Return L^-T v for the columns of v, (k, m)."""
        factor = self.evaluation.mode.factor
        at_beta = v[self.n_effects :]
        noise = [
            v[place].reshape(shape.n_levels, shape.n_columns, v.shape[1])
            for place, shape in zip(self.places, self.density.shapes, strict=True)
        ]
        shift = solve_triangular(factor.R_X, at_beta, lower=True, trans=1) if len(at_beta) else at_beta
        away = solve_effects(factor, shift, noise)
        return np.concatenate([*(values.reshape(-1, v.shape[1]) for values in away), shift])

    def _backward(self, g: Array) -> Array:
        """Return L^-1 g, (k,)."""
        if self.inverse is not None:
            return g @ self.inverse
        by_u = [
            g[place].reshape(shape.n_levels, shape.n_columns)
            for place, shape in zip(self.places, self.density.shapes, strict=True)
        ]
        at_u, at_beta = solve_lower(self.evaluation.mode.factor, by_u, g[self.n_effects :])
        return np.concatenate([*(values.ravel() for values in at_u), at_beta])

    def _away(self, x: Array, v: Array) -> Array:
        """Return a, (k,)."""
        away = self._forward(v[:, None])[:, 0] if self.inverse is None else self.inverse @ v
        return np.asarray(away + self.moves @ (2.0 * np.tanh(0.5 * (x - self.mode))))

    def _place(self, away: Array, here: _Map) -> Array:
        """Return c, (k,), for a."""
        c = self.centre + away
        for place, a, centred, placed, q in zip(
            self.places, self._by_term(away), self.maps, here.effects, self.rotations, strict=True
        ):
            c[place] = (map_effects(centred, placed, a @ q.T) @ q).ravel()
        return c

    def unpack(self, q: Array) -> ExplicitPoint:
        """Return the parameters at (x, v), shape (dimension,)."""
        x, v = q[: len(self.mode)], q[len(self.mode) :]
        c = self._place(self._away(x, v), self._map(x))
        return ExplicitPoint(x, tuple(self._by_term(c)), c[self.n_effects :])

    def _by_term(self, c: Array) -> list[Array]:
        return [
            c[place].reshape(shape.n_levels, shape.n_columns)
            for place, shape in zip(self.places, self.density.shapes, strict=True)
        ]

    def log_jacobian(self, x: Array) -> float:
        """Return log |dc/dv| less its value at the centre."""
        return self._log_jacobian(self._map(x))

    def _log_jacobian(self, here: _Map) -> float:
        return sum(map(log_jacobian, here.effects)) - self.log_centre

    # -- the density ------------------------------------------------------------------------------------------

    def value_and_gradient(self, q: Array) -> tuple[float, Array]:
        """Return the log posterior density of (x, v), up to constants, and its gradient."""
        density, problem = self.density, self.density.problem
        predictor, family, response = problem.predictor, problem.family, problem.response
        n_x = len(self.mode)
        x, v = q[:n_x], q[n_x:]
        here = self._map(x)
        c = self._place(self._away(x, v), here)
        beta, working = c[self.n_effects :], x[density.n_phi :]
        effects = self._by_term(c)
        b = np.concatenate([np.zeros(0), *((u @ root.T).ravel() for u, root in zip(effects, here.roots, strict=True))])
        eta = np.empty(predictor.n)
        predictors(self.index, self.columns, b, predictor.X, beta, predictor.offset, eta)
        rows = family.derivatives(response, eta, working)
        by_b, by_beta = np.zeros(self.n_effects), np.zeros(predictor.p)
        value = scores(self.index, self.columns, rows, predictor.X, by_b, by_beta)
        u = c[: self.n_effects]
        value += self._log_jacobian(here) - 0.5 * float(u @ u)
        of_coefficients, pull = self.prior.log_density(beta)
        value, by_beta = value + of_coefficients, by_beta + pull
        log_prior, by_x = density.log_prior(x)
        by_away, by_phi = self._pull_terms(here, effects, by_b)
        by_a = np.concatenate([*by_away, by_beta])
        by_x = by_x + (by_a @ self.moves) * (1.0 - np.tanh(0.5 * (x - self.mode)) ** 2)
        by_x[: density.n_phi] += by_phi
        if family.n_dispersion:
            by_x[density.n_phi :] += family.by_dispersion(response, eta, working)[:, 0].sum(axis=1)
        return value + log_prior, np.concatenate([by_x, self._backward(by_a)])

    def _pull_terms(self, here: _Map, effects: Sequence[Array], by_b: Array) -> tuple[list[Array], Array]:
        """Return the derivatives by a, per term, and by phi, for those of the log likelihood by b."""
        by_away, by_phi = [], [np.zeros(0)]
        for shape, place, u, point, root, centred, placed, turn, q in zip(
            self.density.shapes, self.places, effects, here.points, here.roots, self.maps, here.effects, self.turns,
            self.rotations, strict=True,
        ):  # fmt: skip
            at_levels = by_b[place].reshape(u.shape)
            turned = u @ q.T
            by_u = (at_levels @ root - u) @ q.T
            at_a, by_factor = pull_effects(centred, placed, point.factor, turned, by_u)
            by_away.append((at_a @ q).ravel())
            by_factor += turn.T @ at_levels.T @ turned
            by_phi.append(shape.structure.pull_back(by_factor, point))
        return by_away, np.concatenate(by_phi)


def row_effects(density: GeneralizedDensity, places: Sequence[slice]) -> tuple[NDArray[np.int64], Array]:
    """Return, for each row, the places of its effects among all of them, (n, K), and their columns' values."""
    predictor = density.problem.predictor
    index, columns = [np.zeros((predictor.n, 0), dtype=np.int64)], [np.zeros((predictor.n, 0))]
    for place, codes, z in zip(places, predictor.pattern.codes, predictor.z, strict=True):
        size = z.shape[1]
        index.append(place.start + size * codes[:, None].astype(np.int64) + np.arange(size))
        columns.append(z)
    return np.ascontiguousarray(np.hstack(index)), np.ascontiguousarray(np.hstack(columns))


def level_curvatures(codes: NDArray[np.int32], z: Array, weights: Array, n_levels: int) -> Array:
    """Return the sums of w z z' by level, (J, S, S)."""
    found = np.zeros((n_levels, z.shape[1], z.shape[1]))
    np.add.at(found, codes, weights[:, None, None] * z[:, :, None] * z[:, None, :])
    return found


@numba.njit(cache=True, nogil=True)
def predictors(
    index: NDArray[np.int64], columns: Array, b: Array, X: Array, beta: Array, offset: Array, out: Array
) -> None:
    """Fill out (n,) with the linear predictors; index and columns (n, K)."""
    for i in range(len(out)):
        total = offset[i]
        for j in range(len(beta)):
            total += X[i, j] * beta[j]
        for k in range(index.shape[1]):
            total += columns[i, k] * b[index[i, k]]
        out[i] = total


@numba.njit(cache=True, nogil=True)
def scores(index: NDArray[np.int64], columns: Array, rows: Array, X: Array, by_b: Array, by_beta: Array) -> float:
    """Add the derivatives by b and beta; return the sum of the log densities, rows[0]."""
    value = 0.0
    for i in range(rows.shape[1]):
        value += rows[0, i]
        slope = rows[1, i]
        for j in range(len(by_beta)):
            by_beta[j] += X[i, j] * slope
        for k in range(index.shape[1]):
            by_b[index[i, k]] += columns[i, k] * slope
    return value


def pack_zero(density: ExplicitDensity) -> Array:
    """Return the coordinates of the mode."""
    return np.concatenate([density.mode, np.zeros(density.dimension - len(density.mode))])


def user_effects(
    density: ExplicitDensity, x: Array, c: Array, keep: Sequence[bool], dtype: type
) -> tuple[NDArray[np.floating], ...]:
    """Return the random effects in the user's columns, (..., J, S) per term, at x (..., d) and c (..., k).

    Terms that are not kept have no levels.
    """
    found: list[NDArray[np.floating]] = []
    model = density.density
    points = model.term_points(x)
    maps = model.problem.predictor.maps
    for place, shape, point, turn, rotation, columns, kept in zip(
        density.places, model.shapes, points, density.turns, density.rotations, maps, keep, strict=True
    ):
        if not kept:
            found.append(np.empty((*x.shape[:-1], 0, shape.n_columns), dtype=dtype))
            continue
        u = c[..., place].reshape(*c.shape[:-1], shape.n_levels, shape.n_columns)
        roots = columns.matrix @ turn @ point.factor @ rotation
        found.append((u @ np.swapaxes(roots, -1, -2)).astype(dtype, copy=False))
    return tuple(found)

r"""The log posterior of everything in a generalized model: nothing is integrated out, nothing approximated.

Coordinates are (x, v): x as in `bayeslmm.posterior.generalized`, and v, in which the coefficients c = (u, beta) are
about independent with unit variance wherever x lies,

.. math:: c = m(x) + s(x) \odot \hat L^{-\top} v,

:math:`\hat L` the factor at :math:`\hat x`. An effect whose rows carry the curvature g at the mode has, given a root r
of its variance, the precision :math:`P(r) = 1 + r^2 g` and a mode in proportion to :math:`r/P(r)`; so

.. math:: s^2 = P(\hat r)/P(r), \qquad m = \hat u\,\frac{r/P(r)}{\hat r/P(\hat r)} + b^\top\tau(x - \hat x),

with b what is left of the mode's derivative at :math:`\hat x` and :math:`\tau(d) = 2\tanh(d/2)`, which keeps far points
near. Effects of several columns take the diagonal of :math:`I + R^\top GR` for P and the derivative alone for m. Any
such map is exact: its Jacobian, :math:`\sum\log s`, is part of the density.

u belongs to the root :math:`R(x) = T^{-1}F(x)\hat Q` of a term's covariance, T its columns' map and :math:`\hat Q` the
rotation that makes it triangular at :math:`\hat x`: a triangular factor elsewhere would turn u with x. One evaluation
with its gradient is one pass over the rows and two triangular solves.

References: Papaspiliopoulos, Roberts and Sköld (2007), Statistical Science 22, on partial non-centring.
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
    """The map of v at one x.

    Attributes
    ----------
    points, roots
        The terms' coordinates and roots R, (S, S).
    precisions
        P of every effect, (J, S) per term.
    scale
        s of every coefficient, (k,).
    shape
        Of terms of one column, r/P over its value at the centre, (J,); None for others.
    """

    points: list[TermPoint]
    roots: list[Array]
    precisions: list[Array]
    scale: Array
    shape: list[Array | None]


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
        roots = [turn @ point.factor for turn, point in zip(self.turns, density.term_points(mode), strict=True)]
        self.rotations = [shape.structure.rotation(root) for shape, root in zip(density.shapes, roots, strict=True)]
        self.sd_places = np.cumsum([0, *(shape.n_coordinates for shape in density.shapes)])[:-1]
        self.index, self.columns = row_effects(density, self.places)
        weights = np.maximum(-evaluation.mode.rows[2], 0.0)
        self.curvatures = [
            level_curvatures(codes, z, weights, shape.n_levels)
            for codes, z, shape in zip(predictor.pattern.codes, predictor.z, density.shapes, strict=True)
        ]
        found = evaluation.mode
        self.centre = np.concatenate([*(u.ravel() for u in found.u), found.beta])
        self.centre_precisions = [
            1.0 + quadratic(g, root @ q) for g, root, q in zip(self.curvatures, roots, self.rotations, strict=True)
        ]
        self.centre_roots = [root @ q for root, q in zip(roots, self.rotations, strict=True)]
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
        roots = self._roots(points)
        scale = np.ones(len(self.centre))
        precisions: list[Array] = []
        shapes: list[Array | None] = []
        for place, g, root, at_centre, root_there in zip(
            self.places, self.curvatures, roots, self.centre_precisions, self.centre_roots, strict=True
        ):
            precision = 1.0 + quadratic(g, root)
            precisions.append(precision)
            relative = at_centre / precision
            scale[place] = np.sqrt(relative).ravel()
            single = root.shape[0] == 1
            shapes.append(relative[:, 0] * (root[0, 0] / root_there[0, 0]) if single else None)
        return _Map(points, roots, precisions, scale, shapes)

    def _mode_slopes(self) -> Array:
        """Return what the shapes of single columns leave of the mode's derivative by x, (k, d)."""
        found = np.zeros((len(self.centre), len(self.mode)))
        for a, axis in enumerate(np.eye(len(self.mode))):
            ahead, behind = (
                predict_mode(self.density.problem, self.evaluation, self.place(self.mode + s * STEP * axis))
                for s in (1.0, -1.0)
            )
            ends = [np.concatenate([*(u.ravel() for u in effects), beta]) for effects, beta in (ahead, behind)]
            found[:, a] = (ends[0] - ends[1]) / (2.0 * STEP)
        for place, precision, a, shape in zip(
            self.places, self.centre_precisions, self.sd_places, self.density.shapes, strict=True
        ):
            if shape.n_columns == 1:
                found[place, a] -= self.centre[place] * (2.0 / precision[:, 0] - 1.0)
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

    def _coefficients(self, x: Array, v: Array, here: _Map) -> tuple[Array, Array]:
        """Return c, (k,), and L^-T v."""
        away = self._forward(v[:, None])[:, 0] if self.inverse is None else self.inverse @ v
        c = self.moves @ (2.0 * np.tanh(0.5 * (x - self.mode)))
        c += here.scale * away
        for place, shape in zip(self.places, here.shape, strict=True):
            c[place] += self.centre[place] if shape is None else self.centre[place] * shape
        c[self.n_effects :] += self.centre[self.n_effects :]
        return c, away

    def unpack(self, q: Array) -> ExplicitPoint:
        """Return the parameters at (x, v), shape (dimension,)."""
        x, v = q[: len(self.mode)], q[len(self.mode) :]
        c, _ = self._coefficients(x, v, self._map(x))
        return ExplicitPoint(x, tuple(self._by_term(c)), c[self.n_effects :])

    def _by_term(self, c: Array) -> list[Array]:
        return [
            c[place].reshape(shape.n_levels, shape.n_columns)
            for place, shape in zip(self.places, self.density.shapes, strict=True)
        ]

    def log_jacobian(self, x: Array) -> float:
        """Return log |dc/dv| less its value at the centre."""
        return float(np.sum(np.log(self._map(x).scale)))

    # -- the density ------------------------------------------------------------------------------------------

    def value_and_gradient(self, q: Array) -> tuple[float, Array]:
        """Return the log posterior density of (x, v), up to constants, and its gradient."""
        density, problem = self.density, self.density.problem
        predictor, family, response = problem.predictor, problem.family, problem.response
        n_x = len(self.mode)
        x, v = q[:n_x], q[n_x:]
        here = self._map(x)
        c, away = self._coefficients(x, v, here)
        beta, working = c[self.n_effects :], x[density.n_phi :]
        effects = self._by_term(c)
        b = np.concatenate([np.zeros(0), *((u @ root.T).ravel() for u, root in zip(effects, here.roots, strict=True))])
        eta = np.empty(predictor.n)
        predictors(self.index, self.columns, b, predictor.X, beta, predictor.offset, eta)
        rows = family.derivatives(response, eta, working)
        by_b, by_beta = np.zeros(self.n_effects), np.zeros(predictor.p)
        value = scores(self.index, self.columns, rows, predictor.X, by_b, by_beta)
        u = c[: self.n_effects]
        value += float(np.sum(np.log(here.scale))) - 0.5 * float(u @ u)
        of_coefficients, pull = self.prior.log_density(beta)
        value, by_beta = value + of_coefficients, by_beta + pull
        log_prior, by_x = density.log_prior(x)
        by_c = np.concatenate([by_b, by_beta])
        slopes = []
        for place, values, root in zip(self.places, effects, here.roots, strict=True):
            at_levels = by_b[place].reshape(values.shape)
            slopes.append(at_levels.T @ values)
            by_c[place] = (at_levels @ root).ravel() - c[place]
        by_x = by_x + self._by_x(x, here, by_c, away, slopes)
        if family.n_dispersion:
            by_x[density.n_phi :] += family.by_dispersion(response, eta, working)[:, 0].sum(axis=1)
        return value + log_prior, np.concatenate([by_x, self._backward(here.scale * by_c)])

    def _by_x(self, x: Array, here: _Map, by_c: Array, away: Array, slopes: Sequence[Array]) -> Array:
        """Return the derivative by x through roots, means, scales and the Jacobian."""
        tanh = np.tanh(0.5 * (x - self.mode))
        found: Array = (by_c @ self.moves) * (1.0 - tanh * tanh)
        spread = 1.0 + by_c * here.scale * away
        pieces = []
        for k, (place, point, root, precision, g) in enumerate(
            zip(self.places, here.points, here.roots, here.precisions, self.curvatures, strict=True)
        ):
            coefficients = -spread[place].reshape(precision.shape) / precision
            by_root = slopes[k] + np.einsum("js,jab,bs->as", coefficients, g, root, optimize=False)
            by_factor = self.turns[k].T @ by_root @ self.rotations[k].T
            pieces.append(self.density.shapes[k].structure.pull_back(by_factor, point))
            shape = here.shape[k]
            if shape is not None:
                change = shape * (2.0 / precision[:, 0] - 1.0)
                found[self.sd_places[k]] += float((by_c[place] * self.centre[place]) @ change)
        if pieces:
            found[: self.density.n_phi] += np.concatenate(pieces)
        return found


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


def quadratic(curvatures: Array, root: Array) -> Array:
    """Return the diagonals of R' G R, (J, S)."""
    if root.shape[0] == 1:
        return np.asarray(curvatures[:, :, 0] * (root[0, 0] * root[0, 0]))
    return np.einsum("as,jab,bs->js", root, curvatures, root)


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

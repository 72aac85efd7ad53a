r"""The density of `bayeslmm.posterior.generalized_explicit` in compiled loops, in whitened coordinates.

The same density, which stays the reference; a sampler that is compiled, too, evaluates it without a call of Python's,
and chains run at once. Coordinates are (z, v) with :math:`x = \hat x + Rz`.

A fixed column that does not vary within the levels of a term that has an intercept is added to that intercept's
effects, :math:`b_j + a_j\beta`, before they are handed to the rows: one addition per level in place of one per row.
"""

from typing import NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from bayeslmm.families import Family
from bayeslmm.likelihood.generalized.sparse_factor import solve_backward, solve_forward, sparse_factor
from bayeslmm.posterior.coded_priors import log_density
from bayeslmm.posterior.density import correlation_exponents
from bayeslmm.posterior.generalized_explicit import ExplicitDensity
from bayeslmm.posterior.single_coordinates import pull_back_single, unpack_single
from bayeslmm.types import Array

Places = NDArray[np.int64]
VECTOR, MATRIX, CUBE = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
INTEGERS, INTEGER_ROWS = types.int64[::1], types.int32[:, ::1]
KERNEL = types.FunctionType(types.void(VECTOR, VECTOR, VECTOR, MATRIX, MATRIX))
DISPERSION_KERNEL = types.FunctionType(types.void(VECTOR, VECTOR, VECTOR, MATRIX, CUBE))


class ExplicitArrays(NamedTuple):
    """A model as compiled loops take it: K terms, S columns, q effects, k coefficients (u, beta), d coordinates.

    Attributes
    ----------
    sizes, levels, effects, coordinates, correlated
        S, J, first effect, first coordinate and whether there are correlations, per term, (K,).
    turns, rotations, centre_roots
        T inverse, Q and the root at the centre, in the corners of (K, M, M), M the largest S.
    curvatures, first_curvatures
        G of all levels, one after another, and where each term's start.
    mode, root, centre, precisions, moves
        The centre of x (d,), R (d, d), the centre of c (k,), P there (q,), b (k, d).
    order, diagonal, starts, rows, entries
        The factor, as in `SparseFactor`.
    index, columns, constants
        The place of each row's effect (C, n), its column (C, n), and the column's value where it has only one (C,), else
        NaN; C columns of all terms.
    X, kept, absorbed
        Fixed columns by row of the matrix, (m, n), which they are (m,), and the others' values per effect, (q, p).
    offset, y, size, weights
        Per row, (n,); weights may be of length zero.
    precision, mean
        Prior of the coefficients, (p, p), (p,); of length zero where it is flat.
    codes, exponents
        Encoded priors of the sds and dispersions in the order of coordinates, (d, 4), flat at correlations, and the
        exponents of 1 - r² there, (d,).
    """

    sizes: Places
    levels: Places
    effects: Places
    coordinates: Places
    correlated: Places
    turns: Array
    rotations: Array
    centre_roots: Array
    curvatures: Array
    first_curvatures: Places
    mode: Array
    root: Array
    centre: Array
    precisions: Array
    moves: Array
    order: Places
    diagonal: Array
    starts: Places
    rows: Places
    entries: Array
    index: NDArray[np.int32]
    columns: Array
    constants: Array
    X: Array
    kept: Places
    absorbed: Array
    offset: Array
    y: Array
    size: Array
    weights: Array
    precision: Array
    mean: Array
    codes: Array
    exponents: Array


class Workspace(NamedTuple):
    """What one chain's evaluations overwrite.

    Attributes
    ----------
    roots, ratios, partial, lower
        The terms at x: (K, M, M), (K, M), (K, M, M), (K, M, M).
    precisions, scale, shape, away, c, b, by_b, by_c
        P (q,), s (k,), the relative shape (q,), L^-T v (k,), c (k,), b (q,), and derivatives by b (q,) and by c (k,).
    eta, out, phi, by_phi
        Per row: (n,), (4, n), (m, n), (m, 3, n).
    """

    roots: Array
    ratios: Array
    partial: Array
    lower: Array
    precisions: Array
    scale: Array
    shape: Array
    away: Array
    c: Array
    b: Array
    by_b: Array
    by_c: Array
    eta: Array
    out: Array
    phi: Array
    by_phi: Array


ARRAYS_TYPE = types.NamedTuple(
    [*[INTEGERS] * 5, *[CUBE] * 3, VECTOR, INTEGERS, VECTOR, MATRIX, VECTOR, VECTOR, MATRIX, INTEGERS, VECTOR]
    + [INTEGERS, INTEGERS, VECTOR, INTEGER_ROWS, MATRIX, VECTOR, MATRIX, INTEGERS, MATRIX, *[VECTOR] * 4]
    + [MATRIX, VECTOR, MATRIX, VECTOR],
    ExplicitArrays,
)
WORKSPACE_TYPE = types.NamedTuple(
    [CUBE, MATRIX, CUBE, CUBE, *[VECTOR] * 8, VECTOR, MATRIX, MATRIX, CUBE], Workspace
)


# -- from a model to arrays -------------------------------------------------------------------------------------


def can_compile(explicit: ExplicitDensity) -> bool:
    """Whether every part of a density has a compiled form: a family's loops as they are, priors with a code."""
    density = explicit.density
    family = density.problem.family
    plain = all(
        getattr(type(family), name) is getattr(Family, name)
        for name in ("kernel_parameters", "kernel_jacobian", "rows_of", "derivatives", "by_dispersion")
    )
    kernels = [family.score_kernel] if family.dispersion_kernel is None else [family.score_kernel, family.dispersion_kernel]
    coded = all(code is not None for codes in (*density.codes, density.dispersion_codes) for code in codes)
    logs = all(parameter.transform == "log" and parameter.size == 1 for parameter in family.parameters)
    known = all(shape.structure.name in ("full", "diagonal") for shape in density.shapes)
    loops = all(isinstance(kernel, numba.core.registry.CPUDispatcher) for kernel in kernels)
    return plain and coded and logs and known and loops and (not family.parameters or len(kernels) == 2)


def explicit_arrays(explicit: ExplicitDensity, root: Array) -> ExplicitArrays:
    """Return a density's arrays, its x whitened by a root of its covariance, (d, d)."""
    density = explicit.density
    problem, predictor, shapes = density.problem, density.problem.predictor, density.shapes
    n, p, q, d = predictor.n, predictor.p, explicit.n_effects, density.dimension
    index, columns, constants = _effect_columns(explicit)
    absorbed, kept = _absorb(explicit, constants)
    codes, exponents = np.zeros((d, 4)), np.zeros(d)
    for first, term, coded in zip(explicit.sd_places, density.terms, density.codes, strict=True):
        codes[first : first + len(coded)] = np.array(coded)
        if term.correlation is not None:
            found = correlation_exponents(term)
            exponents[first + len(coded) : first + len(coded) + len(found)] = found
    if density.dispersion_codes:
        codes[density.n_phi :] = np.array(density.dispersion_codes)
    flat = problem.prior is None
    integers = np.array(
        [
            [s.n_columns, s.n_levels, place.start, first, s.has_correlations]
            for s, place, first in zip(shapes, explicit.places, explicit.sd_places, strict=True)
        ],
        dtype=np.int64,
    ).reshape(-1, 5)
    largest = max((s.n_columns for s in shapes), default=1)
    return ExplicitArrays(
        *np.ascontiguousarray(integers.T),
        _corners(explicit.turns, largest),
        _corners(explicit.rotations, largest),
        _corners(explicit.centre_roots, largest),
        np.concatenate([np.zeros(0), *(g.ravel() for g in explicit.curvatures)]),
        np.cumsum([0, *(g.size for g in explicit.curvatures)], dtype=np.int64)[:-1].copy(),
        np.array(explicit.mode, dtype=float),
        np.ascontiguousarray(root, dtype=float).reshape(d, d),
        np.array(explicit.centre, dtype=float),
        np.concatenate([np.zeros(0), *(values.ravel() for values in explicit.centre_precisions)]),
        np.ascontiguousarray(explicit.moves, dtype=float),
        *sparse_factor(explicit.evaluation.mode.factor),
        index,
        columns,
        constants,
        np.array(predictor.X.T[kept], order="C").reshape(len(kept), n),
        kept,
        absorbed.reshape(q, p),
        np.array(predictor.offset, dtype=float),
        np.array(problem.response.y, dtype=float),
        np.array(problem.response.size, dtype=float),
        np.zeros(0) if problem.response.weights is None else np.array(problem.response.weights, dtype=float),
        np.zeros((0, 0)) if problem.prior is None else np.array(problem.prior.precision, dtype=float, order="C"),
        np.zeros(0) if flat or problem.prior is None else np.array(problem.prior.mean, dtype=float),
        codes,
        exponents,
    )


def workspace(explicit: ExplicitDensity) -> Workspace:
    """Return a new workspace."""
    density = explicit.density
    n, q, k = density.problem.predictor.n, explicit.n_effects, len(explicit.centre)
    terms, m = len(density.shapes), density.problem.family.n_dispersion
    largest = max((s.n_columns for s in density.shapes), default=1)
    square = (terms, largest, largest)
    return Workspace(
        np.zeros(square), np.zeros((terms, largest)), np.zeros(square), np.zeros(square),
        np.zeros(q), np.ones(k), np.ones(q), np.zeros(k), np.zeros(k), np.zeros(q), np.zeros(q), np.zeros(k),
        np.zeros(n), np.zeros((4, n)), np.zeros((m, n)), np.zeros((m, 3, n)),
    )  # fmt: skip


def _corners(matrices: list[Array], size: int) -> Array:
    found = np.zeros((len(matrices), size, size))
    for k, matrix in enumerate(matrices):
        found[k, : len(matrix), : len(matrix)] = matrix
    return found


def _effect_columns(explicit: ExplicitDensity) -> tuple[NDArray[np.int32], Array, Array]:
    """Return index and columns, (C, n), and the value of columns that have only one, (C,), else NaN."""
    index = np.ascontiguousarray(explicit.index.T.astype(np.int32))
    columns = np.ascontiguousarray(explicit.columns.T)
    constants = np.array([c[0] if len(c) and np.all(c == c[0]) else np.nan for c in columns])
    return index, columns, constants.reshape(len(columns))


def _absorb(explicit: ExplicitDensity, constants: Array) -> tuple[Array, Places]:
    """Return the values per effect of the fixed columns that a term's intercept can carry, and which are left."""
    predictor = explicit.density.problem.predictor
    absorbed = np.zeros((explicit.n_effects, predictor.p))
    left = list(range(predictor.p))
    start = 0
    for place, codes, shape in zip(explicit.places, predictor.pattern.codes, explicit.density.shapes, strict=True):
        own = constants[start : start + shape.n_columns]
        start += shape.n_columns
        carriers = np.flatnonzero(np.isfinite(own) & (own != 0.0))
        if not len(carriers) or 2 * shape.n_levels > predictor.n:
            continue
        levels, first = np.unique(codes, return_index=True)
        for j in list(left):
            values = np.zeros(shape.n_levels)
            values[levels] = predictor.X[first, j]
            if np.array_equal(values[codes], predictor.X[:, j]):
                where = place.start + shape.n_columns * np.arange(shape.n_levels) + carriers[0]
                absorbed[where, j] = values / own[carriers[0]]
                left.remove(j)
    return absorbed, np.array(left, dtype=np.int64)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def no_dispersion(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill nothing: a family without dispersion parameters."""


# -- compiled -----------------------------------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_terms(x: Array, a: ExplicitArrays, w: Workspace) -> float:
    """Fill roots, precisions, scales and shapes at x; return the sum of the logarithms of the scales."""
    log_scale = 0.0
    for k in range(len(a.sizes)):
        size, first = a.sizes[k], a.effects[k]
        ratios, partial, lower = np.empty(size), np.empty((size, size)), np.empty((size, size))
        unpack_single(x[a.coordinates[k] :], size, a.correlated[k] != 0, ratios, partial, lower)
        root = np.zeros((size, size))
        for i in range(size):
            w.ratios[k, i] = ratios[i]
            for j in range(size):
                w.partial[k, i, j], w.lower[k, i, j] = partial[i, j], lower[i, j]
                for s in range(size):
                    for t in range(size):
                        root[i, j] += a.turns[k, i, s] * ratios[s] * lower[s, t] * a.rotations[k, t, j]
        w.roots[k, :size, :size] = root
        at_centre = root[0, 0] / a.centre_roots[k, 0, 0]
        g = a.first_curvatures[k]
        for i in range(first, first + size * a.levels[k]):
            s = (i - first) % size
            precision = 1.0
            for t in range(size):
                for r in range(size):
                    precision += root[t, s] * a.curvatures[g + t * size + r] * root[r, s]
            if s == size - 1:
                g += size * size
            relative = a.precisions[i] / precision
            w.precisions[i] = precision
            w.scale[i] = np.sqrt(relative)
            w.shape[i] = relative * at_centre if size == 1 else 1.0
            log_scale += 0.5 * np.log(relative)
    return log_scale


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_coefficients(x: Array, v: Array, a: ExplicitArrays, w: Workspace) -> None:
    """Fill away and c for v; `place_terms` has been called at x."""
    q = len(w.shape)
    w.away[:] = v
    solve_backward(a.order, a.diagonal, a.starts, a.rows, a.entries, w.away)
    moved = 2.0 * np.tanh(0.5 * (x - a.mode))
    for i in range(len(w.c)):
        value = w.scale[i] * w.away[i] + a.centre[i] * (w.shape[i] if i < q else 1.0)
        for j in range(len(moved)):
            value += a.moves[i, j] * moved[j]
        w.c[i] = value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_rows(a: ExplicitArrays, w: Workspace) -> None:
    """Fill b with the effects, absorbed columns included, and eta."""
    q = len(w.b)
    for k in range(len(a.sizes)):
        size, first = a.sizes[k], a.effects[k]
        for j in range(first, first + size * a.levels[k], size):
            for s in range(size):
                w.b[j + s] = 0.0
                for t in range(size):
                    w.b[j + s] += w.roots[k, s, t] * w.c[j + t]
    for i in range(q):
        for j in range(a.absorbed.shape[1]):
            w.b[i] += a.absorbed[i, j] * w.c[q + j]
    w.eta[:] = a.offset
    for j in range(len(a.kept)):
        add_column(a.X[j], w.c[q + a.kept[j]], w.eta)
    for k in range(len(a.constants)):
        if np.isnan(a.constants[k]):
            for i in range(len(w.eta)):
                w.eta[i] += a.columns[k, i] * w.b[a.index[k, i]]
        else:
            for i in range(len(w.eta)):
                w.eta[i] += a.constants[k] * w.b[a.index[k, i]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_column(column: Array, coefficient: float, out: Array) -> None:
    """Add a column times its coefficient."""
    for i in range(len(out)):
        out[i] += coefficient * column[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def column_product(column: Array, values: Array) -> float:
    """Return ``column @ values``, in four sums, which a processor adds up side by side."""
    n = len(values) // 4 * 4
    first, second, third, fourth = 0.0, 0.0, 0.0, 0.0
    for i in range(0, n, 4):
        first += column[i] * values[i]
        second += column[i + 1] * values[i + 1]
        third += column[i + 2] * values[i + 2]
        fourth += column[i + 3] * values[i + 3]
    for i in range(n, len(values)):
        first += column[i] * values[i]
    return (first + second) + (third + fourth)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def collect_rows(a: ExplicitArrays, w: Workspace) -> None:
    """Fill the derivatives by b and those by beta, the last of by_c, from the rows' slopes, out[1]."""
    q = len(w.b)
    w.by_b[:] = 0.0
    slope = w.out[1]
    for k in range(len(a.constants)):
        several = np.isnan(a.constants[k])
        # rows that follow each other often share a level: its sum stays in a register until the level changes
        total, level = 0.0, a.index[k, 0]
        for i in range(len(slope)):
            if a.index[k, i] != level:
                w.by_b[level] += total
                total, level = 0.0, a.index[k, i]
            total += (a.columns[k, i] if several else a.constants[k]) * slope[i]
        w.by_b[level] += total
    w.by_c[q:] = 0.0
    for j in range(len(a.kept)):
        w.by_c[q + a.kept[j]] = column_product(a.X[j], slope)
    for i in range(q):
        for j in range(a.absorbed.shape[1]):
            w.by_c[q + j] += a.absorbed[i, j] * w.by_b[i]
    for k in range(len(a.sizes)):
        size, first = a.sizes[k], a.effects[k]
        for j in range(first, first + size * a.levels[k], size):
            for s in range(size):
                w.by_c[j + s] = -w.c[j + s]
                for t in range(size):
                    w.by_c[j + s] += w.roots[k, t, s] * w.by_b[j + t]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def pull_terms(a: ExplicitArrays, w: Workspace, by_x: Array) -> None:
    """Add the derivatives by the terms' coordinates, through roots, scales, the Jacobian and shapes."""
    for k in range(len(a.sizes)):
        size, first, g = a.sizes[k], a.effects[k], a.first_curvatures[k]
        by_root = np.zeros((size, size))
        for i in range(first, first + size * a.levels[k]):
            s = (i - first) % size
            pull = -(1.0 + w.by_c[i] * w.scale[i] * w.away[i]) / w.precisions[i]
            for t in range(size):
                bent = 0.0
                for r in range(size):
                    bent += a.curvatures[g + t * size + r] * w.roots[k, r, s]
                by_root[t, s] += w.by_b[i - s + t] * w.c[i] + pull * bent
            if s == size - 1:
                g += size * size
            if size == 1:
                change = w.shape[i] * (2.0 / w.precisions[i] - 1.0)
                by_x[a.coordinates[k]] += w.by_c[i] * a.centre[i] * change
        by_factor = np.zeros((size, size))
        for i in range(size):
            for j in range(size):
                for s in range(size):
                    for t in range(size):
                        by_factor[i, j] += a.turns[k, s, i] * by_root[s, t] * a.rotations[k, j, t]
        pull_back_single(
            by_factor, w.ratios[k, :size].copy(), w.partial[k, :size, :size].copy(),
            w.lower[k, :size, :size].copy(), a.correlated[k] != 0, by_x[a.coordinates[k] :],
        )  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_priors(x: Array, a: ExplicitArrays, w: Workspace, by_x: Array) -> float:
    """Add the derivatives of the log prior of x and of beta; return the log prior, up to a constant."""
    value, q, p = 0.0, len(w.b), len(a.mean)
    n_dispersion = len(w.phi)
    for k in range(len(a.sizes)):
        for j in range(a.coordinates[k], a.coordinates[k] + a.sizes[k]):
            found, slope = log_density(a.codes[j], np.exp(x[j]))
            value += found + x[j]
            by_x[j] += slope + 1.0
    for j in range(len(x) - n_dispersion, len(x)):
        found, slope = log_density(a.codes[j], np.exp(x[j]))
        value += found + x[j]
        by_x[j] += slope + 1.0
    for j in range(len(x)):
        if a.exponents[j] != 0.0:
            size = abs(x[j])
            value -= 2.0 * a.exponents[j] * (size + np.log1p(np.exp(-2.0 * size)) - np.log(2.0))
            by_x[j] -= 2.0 * a.exponents[j] * np.tanh(x[j])
    for i in range(p):
        pull = 0.0
        for j in range(p):
            pull += a.precision[i, j] * (w.c[q + j] - a.mean[j])
        value -= 0.5 * (w.c[q + i] - a.mean[i]) * pull
        w.by_c[q + i] -= pull
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def log_posterior(
    point: Array, kernel: object, dispersion_kernel: object, a: ExplicitArrays, w: Workspace, gradient: Array
) -> float:
    """Return the log posterior density of (z, v), up to a constant, and fill its gradient; NaN or -inf where none."""
    d, q, n_dispersion = len(a.mode), len(w.b), len(w.phi)
    x = a.mode.copy()
    for i in range(d):
        for j in range(d):
            x[i] += a.root[i, j] * point[j]
    value = place_terms(x, a, w)
    place_coefficients(x, point[d:], a, w)
    add_rows(a, w)
    for m in range(n_dispersion):
        w.phi[m] = x[d - n_dispersion + m]
    kernel(a.y, a.size, w.eta, w.phi, w.out)
    if len(a.weights):
        w.out[0] *= a.weights
        w.out[1] *= a.weights
    value += np.sum(w.out[0])
    collect_rows(a, w)
    for i in range(q):
        value -= 0.5 * w.c[i] * w.c[i]
    by_x = np.zeros(d)
    value += add_priors(x, a, w, by_x)
    pull_terms(a, w, by_x)
    for j in range(d):
        along = 0.0
        for i in range(len(w.c)):
            along += w.by_c[i] * a.moves[i, j]
        tanh = np.tanh(0.5 * (x[j] - a.mode[j]))
        by_x[j] += along * (1.0 - tanh * tanh)
    if n_dispersion:
        w.by_phi[:] = 0.0
        dispersion_kernel(a.y, a.size, w.eta, w.phi, w.by_phi)
        for m in range(n_dispersion):
            if len(a.weights):
                w.by_phi[m, 0] *= a.weights
            by_x[d - n_dispersion + m] += np.sum(w.by_phi[m, 0])
    gradient[:d] = by_x @ a.root
    v = gradient[d:]
    for i in range(len(w.c)):
        v[i] = w.scale[i] * w.by_c[i]
    solve_forward(a.order, a.diagonal, a.starts, a.rows, a.entries, v)
    return value


@numba.njit(types.void(MATRIX, ARRAYS_TYPE, WORKSPACE_TYPE, MATRIX), cache=True, nogil=True, error_model="numpy")
def coefficients(points: Array, a: ExplicitArrays, w: Workspace, out: Array) -> None:
    """Fill c, (m, k), at x and v of many points (m, d + k)."""
    d = len(a.mode)
    for m in range(len(points)):
        place_terms(points[m, :d], a, w)
        place_coefficients(points[m, :d], points[m, d:], a, w)
        out[m] = w.c

r"""The explicit density of a generalized model as arrays, which compiled loops can take.

A fixed column that does not vary within the levels of a term that has an intercept is added to that intercept's
effects, :math:`b_j + a_j\beta`, before they are handed to the rows: one addition per level in place of one per row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.families import Family
from bayeslmm.families.definition import Transform
from bayeslmm.likelihood.generalized.sparse_factor import sparse_factor
from bayeslmm.posterior.coded_priors import encode_real
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.posterior.generalized_explicit import ExplicitDensity
from bayeslmm.posterior.partial_correlations import correlation_exponents
from bayeslmm.types import Array

Places = NDArray[np.int64]


class ExplicitArrays(NamedTuple):
    """A model as compiled loops take it: K terms, S columns, q effects, k coefficients (u, beta), d coordinates.

    Attributes
    ----------
    sizes, levels, effects, coordinates, correlated
        S, J, first effect, first coordinate and whether there are correlations, per term, (K,).
    turns, rotations
        T inverse and Q, in the corners of (K, M, M), M the largest S.
    curvatures, spreads, first_curvatures
        G of all levels, one after another, B at the centre times Q, and where each term's start.
    mode, root, centre, pulls, moves
        The centre of x (d,), R (d, d), the centre of c (k,), h (q,), b (k, d).
    order, diagonal, starts, rows, entries
        The factor, as in `SparseFactor`.
    row_effects, columns, constants
        The place of each row's effect (C, n), its column (C, n), and the column's value where it has only one (C,),
        else NaN; C columns of all terms.
    X, kept, absorbed
        Fixed columns by row of the matrix, (m, n), which they are (m,), and the others' values per effect, (q, p).
    offset, y, size, weights
        Per row, (n,); weights may be of length zero.
    precision, mean
        Normal prior of the coefficients, (p, p), (p,); of length zero where it is flat.
    held_rows, held_codes
        The H coefficients with other priors as functions of all, (H, p), and those priors encoded, (H, 4).
    codes, exponents
        Encoded priors of the sds and dispersions in the order of coordinates, (d, 4), NaN at correlations, and the
        exponents of 1 - r² there, (d,). Dispersions whose scale is not the logarithm have codes of the real line.
    transforms
        Of the m dispersions, places in `TRANSFORMS`.
    zero_columns
        Columns of the logit of the share of zeros, by row of the matrix, (r, n), the coefficients of which are the last
        dispersions; r zero where there are none.
    zero_turn
        Matrix by which these coefficients become those that priors speak of, (r, r).
    """

    sizes: Places
    levels: Places
    effects: Places
    coordinates: Places
    correlated: Places
    turns: Array
    rotations: Array
    curvatures: Array
    spreads: Array
    first_curvatures: Places
    mode: Array
    root: Array
    centre: Array
    pulls: Array
    moves: Array
    order: Places
    diagonal: Array
    starts: Places
    rows: Places
    entries: Array
    row_effects: NDArray[np.int32]
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
    held_rows: Array
    held_codes: Array
    codes: Array
    exponents: Array
    transforms: Places
    zero_columns: Array
    zero_turn: Array


@dataclass(frozen=True, slots=True)
class Packed:
    """A model in four arrays: compilers are slow with functions that take many.

    Attributes
    ----------
    starts
        Where each field begins and the last one ends, of integers and of numbers, and of the memory that evaluations
        overwrite, (3, fields + 1).
    integers, numbers, index
        The fields of `ExplicitArrays`, one after another.
    """

    starts: Places
    integers: Places
    numbers: Array
    index: NDArray[np.int32]

    def memory(self) -> Array:
        """Return memory for one chain."""
        return np.zeros(self.starts[2, len(MEMORY)])


# the fields in order, by which compiled loops find them
INTEGERS = (
    "sizes", "levels", "effects", "coordinates", "correlated", "first_curvatures", "order", "starts", "rows", "kept",
    "transforms",
)  # fmt: skip
NUMBERS = (
    "turns", "rotations", "curvatures", "spreads", "mode", "root", "centre", "pulls", "moves", "diagonal", "entries",
    "columns", "constants", "X", "absorbed", "offset", "y", "size", "weights", "precision", "mean",
    "held_rows", "held_codes", "codes", "exponents", "zero_columns", "zero_turn",
)  # fmt: skip
MEMORY = (
    "roots", "factors", "ratios", "partial", "lower", "maps", "modes", "c", "b", "by_b", "by_c", "eta", "out", "phi",
    "by_phi",
)  # fmt: skip


TRANSFORMS = ("log", "logit", "none", "ordered")


def can_compile(explicit: ExplicitDensity) -> bool:
    """Whether every part of a density has a compiled form: the loops, what they take for a row, priors by codes."""
    density = explicit.density
    family = density.problem.family
    plain = family.standard_rows or all(
        getattr(type(family), name) is getattr(Family, name)
        for name in ("kernel_parameters", "kernel_jacobian", "rows_of", "derivatives", "by_dispersion")
    )
    kernels = (
        [family.score_kernel] if family.dispersion_kernel is None else [family.score_kernel, family.dispersion_kernel]
    )
    coded = all(code is not None for codes in (*density.codes, _dispersion_codes(density)) for code in codes)
    coded = coded and all(encode_real(prior) is not None for prior in explicit.prior.others)
    known = all(shape.structure.name in ("full", "diagonal") for shape in density.shapes)
    loops = all(isinstance(kernel, numba.core.registry.CPUDispatcher) for kernel in kernels)
    return plain and coded and known and loops and (not family.parameters or len(kernels) == 2)


def _dispersion_codes(density: GeneralizedDensity) -> list[Array | None]:
    """Return the encoded priors of the dispersions; on the scale of the logarithm as of standard deviations."""
    found = []
    transforms = dispersion_transforms(density.problem.family)
    for transform, prior, code in zip(transforms, density.dispersion, density.dispersion_codes, strict=True):
        if transform != "log":
            real = encode_real(prior)
            code = None if real is None else np.array(real)
        found.append(code)
    return found


def dispersion_transforms(family: Family) -> list[Transform]:
    """Return the working scale of each of the m dispersions."""
    return [parameter.transform for parameter in family.parameters for _ in range(parameter.size)]


def explicit_arrays(explicit: ExplicitDensity, root: Array) -> ExplicitArrays:
    """Return a density's arrays, its x whitened by a root of its covariance, (d, d)."""
    density = explicit.density
    problem, predictor, shapes = density.problem, density.problem.predictor, density.shapes
    n, p, q, d = predictor.n, predictor.p, explicit.n_effects, density.dimension
    normal = explicit.prior.normal
    index, columns, constants = _effect_columns(explicit)
    absorbed, kept = _absorb(explicit, constants)
    codes, exponents = np.full((d, 4), np.nan), np.zeros(d)
    for first, term, coded in zip(explicit.sd_places, density.terms, density.codes, strict=True):
        codes[first : first + len(coded)] = np.array(coded)
        if term.correlation is not None:
            found = correlation_exponents(term)
            exponents[first + len(coded) : first + len(coded) + len(found)] = found
    if density.dispersion_codes:
        codes[density.n_phi :] = np.array(_dispersion_codes(density))
    zero_columns = problem.family.zero_columns
    r, turn = (0 if zero_columns is None else zero_columns.shape[1]), problem.family.prior_turn
    transforms = [TRANSFORMS.index(transform) for transform in dispersion_transforms(problem.family)]
    integers = np.array(
        [
            [s.n_columns, s.n_levels, place.start, first, s.has_correlations]
            for s, place, first in zip(shapes, explicit.places, explicit.sd_places, strict=True)
        ],
        dtype=np.int64,
    ).reshape(-1, 5)
    rotations = explicit.rotations
    largest = max((s.n_columns for s in shapes), default=1)
    return ExplicitArrays(  # type: ignore[call-arg]
        *np.ascontiguousarray(integers.T),
        _corners(explicit.turns, largest),
        _corners(rotations, largest),
        np.concatenate([np.zeros(0), *(m.curvatures.ravel() for m in explicit.maps)]),
        np.concatenate([np.zeros(0), *((m.roots @ q).ravel() for m, q in zip(explicit.maps, rotations, strict=True))]),
        np.cumsum([0, *(m.curvatures.size for m in explicit.maps)], dtype=np.int64)[:-1].copy(),
        np.array(explicit.mode, dtype=float),
        np.ascontiguousarray(root, dtype=float).reshape(d, d),
        np.array(explicit.centre, dtype=float),
        np.concatenate([np.zeros(0), *(m.pulls.ravel() for m in explicit.maps)]),
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
        np.zeros((0, 0)) if normal is None else np.array(normal.precision, dtype=float, order="C"),
        np.zeros(0) if normal is None else np.array(normal.mean, dtype=float),
        np.array(explicit.prior.rows, dtype=float, order="C").reshape(-1, p),
        np.array([encode_real(prior) for prior in explicit.prior.others], dtype=float).reshape(-1, 4),
        codes,
        exponents,
        np.array(transforms, dtype=np.int64),
        np.zeros((0, n)) if zero_columns is None else np.array(zero_columns.T, dtype=float, order="C"),
        np.eye(r) if turn is None else np.array(turn[len(turn) - r :, len(turn) - r :], order="C"),
    )


def pack(arrays: ExplicitArrays) -> Packed:
    """Return a model's arrays one after another."""
    fields = arrays._asdict()
    terms, largest = arrays.turns.shape[:2]
    q, k, n = len(arrays.pulls), len(arrays.centre), len(arrays.y)
    square = terms * largest * largest
    memory = [square, square, terms * largest, square, square, arrays.curvatures.size, q, k, q, q, k, n]
    of_columns = len(arrays.zero_columns)
    of_rows = len(arrays.transforms) - max(of_columns - 1, 0)  # what loops take for a row: columns are combined
    memory += [4 * n, of_rows * n, 3 * of_rows * n]
    sizes = [[fields[name].size for name in names] for names in (INTEGERS, NUMBERS)] + [memory]
    starts = np.zeros((3, 1 + max(map(len, sizes))), dtype=np.int64)
    for row, lengths in zip(starts, sizes, strict=True):
        row[1 : 1 + len(lengths)] = np.cumsum(lengths)
    integers = np.concatenate([fields[name].ravel() for name in INTEGERS]).astype(np.int64)
    return Packed(starts, integers, np.concatenate([fields[name].ravel() for name in NUMBERS]), arrays.row_effects)


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

r"""The density of `bayeslmm.posterior.generalized_explicit` in compiled loops, in whitened coordinates.

The same density, which stays the reference; a sampler that is compiled, too, evaluates it without a call of Python's,
and chains run at once. Coordinates are (z, v) with :math:`x = \hat x + Rz`.

`bayeslmm.posterior.explicit_arrays` makes the arrays of a model.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from bayeslmm.likelihood.generalized.sparse_factor import solve_backward, solve_forward
from bayeslmm.posterior.coded_priors import log_density, real_log_density
from bayeslmm.posterior.compiled_dispersions import add_dispersion_priors, collect_dispersions, place_dispersions
from bayeslmm.posterior.compiled_effect_maps import place_effects, place_terms, pull_terms
from bayeslmm.posterior.explicit_arrays import INTEGERS, MEMORY, NUMBERS, Places
from bayeslmm.types import Array

VECTOR, MATRIX, CUBE = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
INTEGER_VECTOR, INTEGER_MATRIX, INDEX = types.int64[::1], types.int64[:, ::1], types.int32[:, ::1]
KERNEL = types.FunctionType(types.void(VECTOR, VECTOR, VECTOR, MATRIX, MATRIX))
DISPERSION_KERNEL = types.FunctionType(types.void(VECTOR, VECTOR, VECTOR, MATRIX, CUBE))

# the places of the fields of whole numbers, of numbers and of the memory
(SIZES, LEVELS, EFFECTS, COORDINATES, CORRELATED, FIRST_CURVATURES, ORDER, STARTS, ROWS, KEPT, KINDS) = range(
    len(INTEGERS)
)
(
    TURNS, ROTATIONS, CURVATURES, SPREADS, MODE, ROOT, CENTRE, PULLS, MOVES, DIAGONAL, ENTRIES,
    COLUMNS, CONSTANTS, X_ROWS, ABSORBED, OFFSET, Y, SIZE, WEIGHTS, PRECISION, MEAN, HELD_ROWS, HELD_CODES, CODES,
    EXPONENTS, ZERO_COLUMNS, ZERO_TURN,
) = range(len(NUMBERS))  # fmt: skip
(
    AT_ROOTS, AT_FACTORS, AT_RATIOS, AT_PARTIAL, AT_LOWER, AT_MAPS, AT_MODES, AT_C, AT_B, AT_BY_B, AT_BY_C, AT_ETA,
    AT_OUT, AT_PHI, AT_BY_PHI,
) = range(len(MEMORY))  # fmt: skip


@numba.njit(cache=True, nogil=True, error_model="numpy")
def no_dispersion(y: Array, size: Array, eta: Array, phi: Array, out: Array) -> None:
    """Fill nothing: a family without dispersion parameters."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_away(
    x: Array, v: Array, order: Places, diagonal: Array, starts: Places, rows: Places, entries: Array, mode: Array,
    moves: Array, away: Array,
) -> None:  # fmt: skip
    """Fill a for v."""
    for i in range(len(v)):
        away[i] = v[i]
    solve_backward(order, diagonal, starts, rows, entries, away)
    for j in range(len(mode)):
        moved = 2.0 * np.tanh(0.5 * (x[j] - mode[j]))
        for i in range(len(away)):
            away[i] += moves[i, j] * moved


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_rows(
    sizes: Places, levels: Places, effects: Places, kept: Places, absorbed: Array, X: Array, index: NDArray[np.int32],
    columns: Array, constants: Array, offset: Array, roots: Array, c: Array, b: Array, eta: Array,
) -> None:  # fmt: skip
    """Fill b with the effects, absorbed columns included, and eta."""
    q = len(b)
    for k in range(len(sizes)):
        size, first = sizes[k], effects[k]
        for j in range(first, first + size * levels[k], size):
            for s in range(size):
                b[j + s] = 0.0
                for t in range(size):
                    b[j + s] += roots[k, s, t] * c[j + t]
    for i in range(q):
        for j in range(absorbed.shape[1]):
            b[i] += absorbed[i, j] * c[q + j]
    for i in range(len(eta)):
        eta[i] = offset[i]
    for j in range(len(kept)):
        coefficient = c[q + kept[j]]
        for i in range(len(eta)):
            eta[i] += coefficient * X[j, i]
    for k in range(len(constants)):
        if np.isnan(constants[k]):
            for i in range(len(eta)):
                eta[i] += columns[k, i] * b[index[k, i]]
        else:
            for i in range(len(eta)):
                eta[i] += constants[k] * b[index[k, i]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def collect_rows(
    sizes: Places, levels: Places, effects: Places, kept: Places, absorbed: Array, X: Array, index: NDArray[np.int32],
    columns: Array, constants: Array, roots: Array, c: Array, slope: Array, by_b: Array, by_c: Array,
) -> None:  # fmt: skip
    """Fill the derivatives by b and by c, the log density of the effects included, from the rows' slopes."""
    q = len(by_b)
    for i in range(q):
        by_b[i] = 0.0
    for k in range(len(constants)):
        several = np.isnan(constants[k])
        # rows that follow each other often share a level: its sum stays in a register until the level changes
        total, level = 0.0, index[k, 0]
        for i in range(len(slope)):
            if index[k, i] != level:
                by_b[level] += total
                total, level = 0.0, index[k, i]
            total += (columns[k, i] if several else constants[k]) * slope[i]
        by_b[level] += total
    for j in range(q, len(by_c)):
        by_c[j] = 0.0
    for j in range(len(kept)):
        by_c[q + kept[j]] = column_product(X[j], slope)
    for i in range(q):
        for j in range(absorbed.shape[1]):
            by_c[q + j] += absorbed[i, j] * by_b[i]
    for k in range(len(sizes)):
        size, first = sizes[k], effects[k]
        for j in range(first, first + size * levels[k], size):
            for s in range(size):
                by_c[j + s] = -c[j + s]
                for t in range(size):
                    by_c[j + s] += roots[k, t, s] * by_b[j + t]


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
def add_priors(
    x: Array, kinds: Places, coded: Array, exponents: Array, precision: Array, mean: Array, held_rows: Array,
    held_codes: Array, zero_turn: Array, beta: Array, by_x: Array, by_beta: Array,
) -> float:  # fmt: skip
    """Add the derivatives of the log prior of x and of beta; return the log prior, up to a constant.

    Coordinates whose code is NaN are correlations; the last ones are dispersions.
    """
    value, p = 0.0, len(mean)
    for j in range(len(x) - len(kinds)):
        if np.isnan(coded[j, 0]):
            size = abs(x[j])
            value -= 2.0 * exponents[j] * (size + np.log1p(np.exp(-2.0 * size)) - np.log(2.0))
            by_x[j] -= 2.0 * exponents[j] * np.tanh(x[j])
        else:
            found, slope = log_density(coded[j], np.exp(x[j]))
            value += found + x[j]
            by_x[j] += slope + 1.0
    value += add_dispersion_priors(x, kinds, coded, zero_turn, by_x)
    for i in range(p):
        pull = 0.0
        for j in range(p):
            pull += precision[i, j] * (beta[j] - mean[j])
        value -= 0.5 * (beta[i] - mean[i]) * pull
        by_beta[i] -= pull
    for k in range(len(held_rows)):
        at = 0.0
        for j in range(len(beta)):
            at += held_rows[k, j] * beta[j]
        found, slope = real_log_density(held_codes[k], at)
        value += found
        for j in range(len(beta)):
            by_beta[j] += slope * held_rows[k, j]
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def integers_of(integers: Places, at: Places, field: int) -> Places:
    """Return a field of whole numbers."""
    return integers[at[0, field] : at[0, field + 1]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def numbers_of(numbers: Array, at: Places, field: int) -> Array:
    """Return a field of numbers."""
    return numbers[at[1, field] : at[1, field + 1]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def memory_of(memory: Array, at: Places, field: int) -> Array:
    """Return a field of the memory."""
    return memory[at[2, field] : at[2, field + 1]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_point(x: Array, v: Array, at: Places, integers: Places, numbers: Array, memory: Array) -> float:
    """Fill terms and coefficients at (x, v); return the log Jacobian, up to a constant."""
    sizes = integers_of(integers, at, SIZES)
    levels, effects = integers_of(integers, at, LEVELS), integers_of(integers, at, EFFECTS)
    first_curvatures = integers_of(integers, at, FIRST_CURVATURES)
    terms = len(sizes)
    largest = 1 if terms == 0 else sizes.max()
    cube = (terms, largest, largest)
    rotations = numbers_of(numbers, at, ROTATIONS).reshape(cube)
    pulls, maps, modes = numbers_of(numbers, at, PULLS), memory_of(memory, at, AT_MAPS), memory_of(memory, at, AT_MODES)
    log_jacobian = place_terms(
        x, sizes, levels, effects, integers_of(integers, at, COORDINATES), integers_of(integers, at, CORRELATED),
        first_curvatures, numbers_of(numbers, at, TURNS).reshape(cube), rotations, numbers_of(numbers, at, CURVATURES),
        pulls, memory_of(memory, at, AT_ROOTS).reshape(cube), memory_of(memory, at, AT_FACTORS).reshape(cube),
        memory_of(memory, at, AT_RATIOS).reshape((terms, largest)), memory_of(memory, at, AT_PARTIAL).reshape(cube),
        memory_of(memory, at, AT_LOWER).reshape(cube), maps, modes,
    )  # fmt: skip
    centre, c = numbers_of(numbers, at, CENTRE), memory_of(memory, at, AT_C)
    place_away(
        x, v, integers_of(integers, at, ORDER), numbers_of(numbers, at, DIAGONAL), integers_of(integers, at, STARTS),
        integers_of(integers, at, ROWS), numbers_of(numbers, at, ENTRIES), numbers_of(numbers, at, MODE),
        numbers_of(numbers, at, MOVES).reshape((len(centre), len(x))), c,
    )  # fmt: skip
    place_effects(
        sizes, levels, effects, first_curvatures, rotations, numbers_of(numbers, at, SPREADS), maps, modes, c
    )  # fmt: skip
    for i in range(len(pulls), len(c)):
        c[i] += centre[i]
    return log_jacobian


@numba.njit(cache=True, nogil=True, error_model="numpy")
def row_densities(
    kernel: Any, dispersion_kernel: Any, x: Array, at: Places, integers: Places, numbers: Array, memory: Array,
    by_x: Array,
) -> float:  # fmt: skip
    """Fill the rows' slopes; add the derivatives by the dispersions; return the sum of the log densities."""
    y, size = numbers_of(numbers, at, Y), numbers_of(numbers, at, SIZE)
    weights, eta = numbers_of(numbers, at, WEIGHTS), memory_of(memory, at, AT_ETA)
    n = len(y)
    out = memory_of(memory, at, AT_OUT).reshape((4, n))
    m = (at[2, AT_PHI + 1] - at[2, AT_PHI]) // n
    phi = memory_of(memory, at, AT_PHI).reshape((m, n))
    by_phi = memory_of(memory, at, AT_BY_PHI).reshape((m, 3, n))
    kinds = integers_of(integers, at, KINDS)
    columns = numbers_of(numbers, at, ZERO_COLUMNS)
    combined = columns.reshape((len(columns) // n, n))
    place_dispersions(x[len(x) - len(kinds) :], kinds, combined, phi)
    for j in range(m):
        for i in range(n):
            by_phi[j, 0, i] = 0.0
    kernel(y, size, eta, phi, out)
    if m:
        dispersion_kernel(y, size, eta, phi, by_phi)
    value, weighted = 0.0, len(weights) > 0
    for i in range(n):
        if weighted:
            out[0, i] *= weights[i]
            out[1, i] *= weights[i]
        value += out[0, i]
    if weighted:
        for j in range(m):
            for i in range(n):
                by_phi[j, 0, i] *= weights[i]
    collect_dispersions(x[len(x) - len(kinds) :], kinds, combined, by_phi, by_x[len(x) - len(kinds) :])
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def whitened_place(point: Array, at: Places, numbers: Array) -> Array:
    """Return x at (z, v)."""
    x = numbers_of(numbers, at, MODE).copy()
    d = len(x)
    root = numbers_of(numbers, at, ROOT).reshape((d, d))
    for i in range(d):
        for j in range(d):
            x[i] += root[i, j] * point[j]
    return x


@numba.njit(cache=True, nogil=True, error_model="numpy")
def find_coefficients(
    point: Array, at: Places, integers: Places, numbers: Array, memory: Array, out: Array
) -> None:  # fmt: skip
    """Fill out (k,) with c at (z, v)."""
    x = whitened_place(point, at, numbers)
    place_point(x, point[len(x) :], at, integers, numbers, memory)
    c = memory_of(memory, at, AT_C)
    for i in range(len(c)):
        out[i] = c[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def log_posterior(
    point: Array, kernel: Any, dispersion_kernel: Any, at: Places, integers: Places, numbers: Array,
    index: NDArray[np.int32], memory: Array, gradient: Array,
) -> float:  # fmt: skip
    """Return the log posterior density of (z, v), up to a constant, and fill its gradient; NaN or -inf where none."""
    mode, sizes = numbers_of(numbers, at, MODE), integers_of(integers, at, SIZES)
    levels, effects = integers_of(integers, at, LEVELS), integers_of(integers, at, EFFECTS)
    coordinates, kept = integers_of(integers, at, COORDINATES), integers_of(integers, at, KEPT)
    d, terms = len(mode), len(sizes)
    root = numbers_of(numbers, at, ROOT).reshape((d, d))
    x, by_x = whitened_place(point, at, numbers), np.zeros(d)
    value = place_point(x, point[d:], at, integers, numbers, memory)
    largest = 1 if terms == 0 else sizes.max()
    cube = (terms, largest, largest)
    c, b = memory_of(memory, at, AT_C), memory_of(memory, at, AT_B)
    by_b, by_c = memory_of(memory, at, AT_BY_B), memory_of(memory, at, AT_BY_C)
    q, p, n = len(b), len(c) - len(b), index.shape[1]
    absorbed = numbers_of(numbers, at, ABSORBED).reshape((q, p))
    X = numbers_of(numbers, at, X_ROWS).reshape((len(kept), n))
    constants = numbers_of(numbers, at, CONSTANTS)
    columns = numbers_of(numbers, at, COLUMNS).reshape((len(constants), n))
    roots = memory_of(memory, at, AT_ROOTS).reshape(cube)
    add_rows(
        sizes, levels, effects, kept, absorbed, X, index, columns, constants, numbers_of(numbers, at, OFFSET), roots,
        c, b, memory_of(memory, at, AT_ETA),
    )  # fmt: skip
    value += row_densities(kernel, dispersion_kernel, x, at, integers, numbers, memory, by_x)
    collect_rows(
        sizes, levels, effects, kept, absorbed, X, index, columns, constants, roots, c,
        memory_of(memory, at, AT_OUT)[n : 2 * n], by_b, by_c,
    )  # fmt: skip
    for i in range(q):
        value -= 0.5 * c[i] * c[i]
    mean, held_codes = numbers_of(numbers, at, MEAN), numbers_of(numbers, at, HELD_CODES)
    held, zero_turn = len(held_codes) // 4, numbers_of(numbers, at, ZERO_TURN)
    r = round(np.sqrt(len(zero_turn)))
    value += add_priors(
        x, integers_of(integers, at, KINDS), numbers_of(numbers, at, CODES).reshape((d, 4)),
        numbers_of(numbers, at, EXPONENTS),
        numbers_of(numbers, at, PRECISION).reshape((len(mean), len(mean))), mean,
        numbers_of(numbers, at, HELD_ROWS).reshape((held, p)), held_codes.reshape((held, 4)), zero_turn.reshape((r, r)),
        c[q:], by_x, by_c[q:],
    )  # fmt: skip
    pull_terms(
        sizes, levels, effects, coordinates, integers_of(integers, at, CORRELATED),
        integers_of(integers, at, FIRST_CURVATURES), numbers_of(numbers, at, TURNS).reshape(cube),
        numbers_of(numbers, at, ROTATIONS).reshape(cube), numbers_of(numbers, at, CURVATURES),
        numbers_of(numbers, at, PULLS), numbers_of(numbers, at, SPREADS),
        memory_of(memory, at, AT_FACTORS).reshape(cube), memory_of(memory, at, AT_RATIOS).reshape((terms, largest)),
        memory_of(memory, at, AT_PARTIAL).reshape(cube), memory_of(memory, at, AT_LOWER).reshape(cube),
        memory_of(memory, at, AT_MAPS), memory_of(memory, at, AT_MODES), c, by_b, by_c, by_x,
    )  # fmt: skip
    moves = numbers_of(numbers, at, MOVES).reshape((len(c), d))
    for j in range(d):
        along = 0.0
        for i in range(len(c)):
            along += by_c[i] * moves[i, j]
        tanh = np.tanh(0.5 * (x[j] - mode[j]))
        by_x[j] += along * (1.0 - tanh * tanh)
    for j in range(d):
        gradient[j] = 0.0
        for i in range(d):
            gradient[j] += by_x[i] * root[i, j]
    for i in range(len(c)):
        gradient[d + i] = by_c[i]
    solve_forward(
        integers_of(integers, at, ORDER), numbers_of(numbers, at, DIAGONAL), integers_of(integers, at, STARTS),
        integers_of(integers, at, ROWS), numbers_of(numbers, at, ENTRIES), gradient[d:],
    )  # fmt: skip
    return value

r"""The variance of the error of predictions, from the factor.

The error of the predictor :math:`x^\top\hat\beta + z^\top\hat b` given the covariance parameters has variance
:math:`\sigma^2 w^\top M^{-1} w`, with w = (Λ'z, x) and M the matrix of Henderson's mixed-model equations
(Henderson 1975, *Biometrics* 31, 423-447). With the factor L of M that is :math:`|L^{-1}w|^2`, and w is nearly empty:
one level of each term, and x. So a row costs what its level of the leading term meets, not what the model has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.columns import ColumnMaps
from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.selected_inverse import trailing_inverse
from bayeslmm.likelihood.sparse.rows_quadratic import rows_quadratic
from bayeslmm.likelihood.sparse.trailing import SparseTrailing
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import Array, Codes, Index

Places = NDArray[np.uint32]

RIGHT_SIDES = 256  # rows solved at once


@dataclass(frozen=True, slots=True)
class PredictorRows:
    """Rows w = (Λ'z, x) in the kernel's coordinates.

    Attributes
    ----------
    codes
        Level of each row, one (m,) per term, -1 where the row has no level that the fit knows.
    effects
        Λ'z of that level, one (m, S) per term.
    fixed
        x, shape (m, p).
    """

    codes: tuple[Codes, ...]
    effects: tuple[Array, ...]
    fixed: Array


def predictor_rows(
    kernel: ColumnMaps, factor: Factor, codes: Sequence[Codes], columns: Sequence[Array], X: Array
) -> PredictorRows:
    """Return rows of the user's columns as the kernel sees them.

    Parameters
    ----------
    kernel, factor
        The columns of the likelihood and its factor.
    codes, columns
        Level of each row (m,), -1 for none, and columns (m, S), one per term.
    X
        Fixed columns, shape (m, p).
    """
    effects = tuple(
        np.ascontiguousarray(z @ columns_map.matrix @ factor_of_term)
        for z, columns_map, factor_of_term in zip(columns, kernel.maps, factor.lambdas, strict=True)
    )
    fixed = X @ kernel.fixed.matrix if kernel.p else np.zeros((len(X), 0))
    return PredictorRows(tuple(np.ascontiguousarray(c, dtype=np.int32) for c in codes), effects, fixed)


@limits_threads
def error_variance(factor: Factor, rows: PredictorRows, R_X: Array | None = None) -> Array:
    """Return the variance of each row's error over sigma², shape (m,).

    Parameters
    ----------
    factor
        The factor.
    rows
        The rows to predict.
    R_X
        Lower Cholesky factor of the precision of beta times sigma², shape (p, p); None for flat priors.
    """
    R_X = factor.R_X if R_X is None else R_X
    m = len(rows.fixed)
    variance = np.zeros(m)
    fixed = rows.fixed.copy()
    if not factor.products.layout.trailing:
        variance += _nest_part(factor, rows, fixed)
        return variance + _squares(R_X, fixed)
    solved = _leading_part(factor, rows, fixed, variance)
    if factor.sparse is not None and m > RIGHT_SIDES:
        return variance + _trailing_where_filled(factor, rows, solved, fixed, R_X)
    if factor.sparse is not None or m <= factor.order - 1:
        return variance + _trailing_by_solves(factor, rows, solved, fixed, R_X)
    inverse = trailing_inverse(factor, R_X)
    inverse = np.triu(inverse) + np.triu(inverse, 1).T
    return variance + _trailing_by_inverse(factor, rows, solved, fixed, inverse)


def _squares(lower: Array, right: Array) -> Array:
    """Return |L^-1 w|² of each row of right, (m, p)."""
    if not right.shape[1]:
        return np.zeros(len(right))
    return np.sum(solve_triangular(lower, right.T, lower=True) ** 2, axis=0)


def _nest_part(factor: Factor, rows: PredictorRows, fixed: Array) -> Array:
    """Eliminate the terms of a nest, innermost first; return the sum of squares and take their part off `fixed`."""
    layout = factor.products.layout
    variance = np.zeros(len(fixed))
    pending = [(rows.codes[k].copy(), np.where(rows.codes[k][:, None] >= 0, rows.effects[k], 0.0)) for k in layout.nest]
    # a row can name an outer level other than that above its inner level; such rows meet more than one level of a term
    split = _rows_off_the_nest(factor, rows)
    if split.any():
        variance[split] = _off_the_nest(factor, rows, fixed, np.flatnonzero(split))
        for codes, _ in pending:
            codes[split] = -1
    for place in range(len(layout.nest)):
        codes, right = pending[place]
        z, xy = factor.nest_z[place], factor.nest_xy[place]
        forward_solve(z, codes, right)
        variance += np.where(codes >= 0, np.sum(right**2, axis=1), 0.0)
        known = codes >= 0
        first = right.shape[1]
        for ancestor, parent in enumerate(layout.parents[place], start=place + 1):
            outer_codes, outer = pending[ancestor]
            size = outer.shape[1]
            outer_codes[known] = parent[codes[known]]
            outer[known] -= np.einsum("ms,msr->mr", right[known], z[codes[known], :, first : first + size])
            first += size
        fixed[known] -= np.einsum("ms,msa->ma", right[known], xy[codes[known], :, :-1])
    return variance


def _rows_off_the_nest(factor: Factor, rows: PredictorRows) -> NDArray[np.bool_]:
    """Return which rows name an outer level that is not the one above their inner level."""
    layout = factor.products.layout
    off = np.zeros(len(rows.fixed), dtype=bool)
    for place, k in enumerate(layout.nest):
        known = rows.codes[k] >= 0
        for ancestor, parent in enumerate(layout.parents[place], start=place + 1):
            outer = rows.codes[layout.nest[ancestor]]
            off |= known & (parent[rows.codes[k]] != outer) & (outer >= 0)
    return off


def _off_the_nest(factor: Factor, rows: PredictorRows, fixed: Array, places: NDArray[np.intp]) -> Array:
    """Do for some rows what `_nest_part` does, with all levels of the outer terms."""
    layout = factor.products.layout
    found = np.zeros(len(places))
    for at, i in enumerate(places):
        shapes = [layout.shapes[k] for k in layout.nest]
        work = [np.zeros((shape.n_levels, shape.n_columns)) for shape in shapes]
        for place, k in enumerate(layout.nest):
            if rows.codes[k][i] >= 0:
                work[place][rows.codes[k][i]] += rows.effects[k][i]
        for place in range(len(layout.nest)):
            z, xy, right = factor.nest_z[place], factor.nest_xy[place], work[place]
            levels = np.flatnonzero(np.any(right != 0, axis=1)).astype(np.int32)
            solved = np.ascontiguousarray(right[levels])
            forward_solve(z, levels, solved)
            found[at] += float(np.sum(solved**2))
            first = solved.shape[1]
            for ancestor, parent in enumerate(layout.parents[place], start=place + 1):
                size = shapes[ancestor].n_columns
                np.subtract.at(
                    work[ancestor],
                    parent[levels],
                    np.einsum("ls,lsr->lr", solved, z[levels, :, first : first + size]),
                )
                first += size
            fixed[i] -= np.einsum("ls,lsa->a", solved, xy[levels, :, :-1])
    return found


def _leading_part(factor: Factor, rows: PredictorRows, fixed: Array, variance: Array) -> Array:
    """Eliminate the leading term: return L^-1 Λ'z, (m, S), add its square and take its part off `fixed`."""
    lead = factor.products.layout.nest[0]
    codes, solved = rows.codes[lead], rows.effects[lead].copy()
    forward_solve(factor.nest_z[0], codes, solved)
    known = codes >= 0
    solved[~known] = 0.0
    variance += np.sum(solved**2, axis=1)
    fixed[known] -= np.einsum("ms,msa->ma", solved[known], factor.nest_xy[0][codes[known], :, :-1])
    return solved


def _trailing_by_solves(factor: Factor, rows: PredictorRows, solved: Array, fixed: Array, R_X: Array) -> Array:
    """Solve the trailing system for each row; for few rows."""
    products = factor.products
    q, m = products.n_trailing, len(fixed)
    order = q + products.n_fixed
    lower = None
    if factor.sparse is None:
        lower = np.array(factor.trailing[:order, :order], order="F")
        lower[q:, q:] = R_X
    found = np.empty(m)
    for first in range(0, m, RIGHT_SIDES):
        some = slice(first, min(first + RIGHT_SIDES, m))
        right = np.zeros((some.stop - some.start, order))
        lead = products.layout.nest[0]
        spread_leading(
            products.entry_starts, products.entry_columns, factor.entries, rows.codes[lead][some], solved[some], right
        )
        for place, k in zip(_starts(factor), products.layout.trailing, strict=True):
            codes, values = rows.codes[k][some], rows.effects[k][some]
            known = np.flatnonzero(codes >= 0)
            size = values.shape[1]
            for s in range(size):
                right[known, place + codes[known] * size + s] += values[known, s]
        right[:, q:] = fixed[some]
        if factor.sparse is not None:
            found[some] = _sparse_squares(factor.sparse, right[:, :q], right[:, q:], R_X)
        else:
            found[some] = np.sum(solve_triangular(lower, right.T, lower=True) ** 2, axis=0)
    return found


def _sparse_squares(sparse: SparseTrailing, right: Array, fixed: Array, R_X: Array) -> Array:
    """Return |L^-1 w|² of rows w = (right, fixed), (m, q) and (m, p)."""
    rest = fixed - right @ sparse.solve_transposed(sparse.at_xy[:, : fixed.shape[1]])
    return sparse.squared_lengths(right) + _squares(R_X, rest)


def _trailing_by_inverse(factor: Factor, rows: PredictorRows, solved: Array, fixed: Array, inverse: Array) -> Array:
    """Form the quadratic of the trailing inverse with each row's few entries; for many rows."""
    products = factor.products
    places, values = _own_entries(factor, rows)
    return sparse_rows_quadratic(
        products.entry_starts, products.entry_columns, factor.entries, rows.codes[products.layout.nest[0]], solved,
        places, values, np.ascontiguousarray(fixed), inverse,
    )  # fmt: skip


def _trailing_where_filled(factor: Factor, rows: PredictorRows, solved: Array, fixed: Array, R_X: Array) -> Array:
    """Do the same with the inverse where a sparse factor has entries, and solve for rows that need others."""
    assert factor.sparse is not None
    products = factor.products
    codes = rows.codes[products.layout.nest[0]]
    places, values = _own_entries(factor, rows)
    found, rest = rows_quadratic(
        factor.sparse, products.entry_starts, factor.entries, codes, solved, places, values, fixed
    )
    found += _squares(R_X, rest)
    other = np.flatnonzero(np.isnan(found))
    if len(other):
        some = PredictorRows(tuple(c[other] for c in rows.codes), tuple(e[other] for e in rows.effects), fixed[other])
        found[other] = _trailing_by_solves(factor, some, solved[other], fixed[other], R_X)
    return found


def _own_entries(factor: Factor, rows: PredictorRows) -> tuple[Index, Array]:
    """Return each row's trailing effects, -1 for none, and its entries there, (m, k) each."""
    trailing = factor.products.layout.trailing
    sizes = [rows.effects[k].shape[1] for k in trailing]
    m = len(rows.fixed)
    places = np.full((m, sum(sizes)), -1, dtype=np.int64)
    values = np.zeros((m, sum(sizes)))
    first = 0
    for start, k, size in zip(_starts(factor), trailing, sizes, strict=True):
        codes = rows.codes[k].astype(np.int64)
        for s in range(size):
            places[:, first + s] = np.where(codes >= 0, start + codes * size + s, -1)
            values[:, first + s] = rows.effects[k][:, s]
        first += size
    return places, values


def _starts(factor: Factor) -> list[int]:
    """Return the first place of each trailing term in the trailing matrix."""
    layout = factor.products.layout
    sizes = [layout.shapes[k].n_effects for k in layout.trailing]
    return [sum(sizes[:place]) for place in range(len(sizes))]


@numba.njit(cache=True, nogil=True)
def forward_solve(z: Array, codes: Codes, right: Array) -> None:
    """Solve ``L_j v = right[i]`` in place, j = codes[i]; L in the first columns of z (J, S, w), right (m, S)."""
    size = right.shape[1]
    for i in range(right.shape[0]):
        j = codes[i]
        if j < 0:
            continue
        for s in range(size):
            value = right[i, s]
            for r in range(s):
                value -= z[j, s, r] * right[i, r]
            right[i, s] = value / z[j, s, s]


@numba.njit(cache=True, nogil=True)
def spread_leading(starts: Index, columns: Places, entries: Array, codes: Codes, solved: Array, out: Array) -> None:
    """Take the leading level's products with the trailing effects off each row, ``out[i] -= entries_j' v_i``."""
    for i in range(out.shape[0]):
        j = codes[i]
        if j >= 0:
            for e in range(starts[j], starts[j + 1]):
                for s in range(solved.shape[1]):
                    out[i, columns[e]] -= entries[s, e] * solved[i, s]


@numba.njit(cache=True, nogil=True)
def sparse_rows_quadratic(
    starts: Index, columns: Places, entries: Array, codes: Codes, solved: Array,
    places: Index, values: Array, fixed: Array, inverse: Array,
) -> Array:  # fmt: skip
    """Return ``t' P t`` of each row, P = inverse (symmetric) and t its entries: those of the leading level, own, x.

    With E_j the entries of a leading level and v what is left of the row there, t is -E_j'v and the row's own entries,
    and ``E_j P E_j'`` is the same for all rows of the level.
    """
    m, n_own, n_fixed, size = places.shape[0], places.shape[1], fixed.shape[1], solved.shape[1]
    index, value = np.empty(n_own + n_fixed, dtype=np.int64), np.empty(n_own + n_fixed)
    first_x = inverse.shape[0] - n_fixed
    of_level = np.zeros((starts.shape[0] - 1, size, size))
    known = np.zeros(starts.shape[0] - 1, dtype=np.bool_)
    out = np.empty(m)
    for i in range(m):
        count = 0
        for c in range(n_own):
            if places[i, c] >= 0:
                index[count], value[count] = places[i, c], values[i, c]
                count += 1
        for a in range(n_fixed):
            index[count], value[count] = first_x + a, fixed[i, a]
            count += 1
        total = 0.0
        j = codes[i]
        if j >= 0:
            if not known[j]:
                add_quadratic_of_level(starts[j], starts[j + 1], columns, entries, inverse, of_level[j])
                known[j] = True
            for s in range(size):
                for t in range(size):
                    total += solved[i, s] * of_level[j, s, t] * solved[i, t]
        for c in range(count):
            row = inverse[index[c]]
            inner = 0.0
            for d in range(count):
                inner += row[index[d]] * value[d]
            if j >= 0:
                for e in range(starts[j], starts[j + 1]):
                    for s in range(size):
                        inner -= 2.0 * row[columns[e]] * entries[s, e] * solved[i, s]
            total += inner * value[c]
        out[i] = total
    return out


@numba.njit(cache=True, nogil=True)
def add_quadratic_of_level(first: int, last: int, columns: Places, entries: Array, inverse: Array, out: Array) -> None:
    """Add ``E P E'`` of the entries from first to last, (S, S)."""
    size = out.shape[0]
    for e in range(first, last):
        row = inverse[columns[e]]
        for s in range(size):
            inner = 0.5 * row[columns[e]] * entries[s, e]
            for f in range(e + 1, last):
                inner += row[columns[f]] * entries[s, f]
            for t in range(size):
                out[s, t] += inner * entries[t, e]
                out[t, s] += inner * entries[t, e]

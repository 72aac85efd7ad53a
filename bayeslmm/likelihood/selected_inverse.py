r"""The diagonal blocks of the inverse, and what the gradient needs of them.

:math:`C_{jj}` are the S x S diagonal blocks, on the scale of u, of :math:`\Omega^{-1}` (ML: beta is a parameter)
or of the inverse of the augmented matrix of (u, beta) (REML: beta is integrated out). They are the conditional
variances of :math:`u_j` divided by :math:`\sigma^2`; only those blocks are formed.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.elimination import spread_entries
from bayeslmm.likelihood.factor import Factor, is_dense, require_dense
from bayeslmm.likelihood.lapack import inverse_from_cholesky, solve_lower
from bayeslmm.likelihood.sparse.trailing import inner_blocks
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import Array, Codes, Index

Places = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class InverseBlocks:
    """Diagonal blocks of the inverse, one array (J, S, S) per term, formula order."""

    blocks: tuple[Array, ...]

    def sums(self) -> list[Array]:
        """Return the sum over levels, (S, S) per term."""
        return [block.sum(axis=0) for block in self.blocks]


@limits_threads
def inverse_blocks(factor: Factor, R_X: Array | None = None) -> InverseBlocks:
    """Return the diagonal blocks of the inverse.

    Parameters
    ----------
    factor
        The factor.
    R_X
        Lower Cholesky factor of the precision of beta times sigma², shape (p, p): `factor.R_X` for a flat prior
        (REML), that of ``K + sigma**2 B^-1`` for a normal one; None treats beta as known (ML).
    """
    products = factor.products
    layout = products.layout
    found: dict[int, Array] = {}
    if factor.sparse is not None:
        found, inner = inner_blocks(products, factor.sparse, factor.entries, factor.nest_xy[0], R_X)
        found[layout.nest[0]] = sandwich(factor.nest_z[0], np.ascontiguousarray(inner))
        return InverseBlocks(tuple(found[k] for k in range(len(layout.shapes))))
    lower = trailing_factor(factor, R_X)
    inverse = _inverse(lower)
    if layout.trailing:
        start = 0
        for k in layout.trailing:
            shape = layout.shapes[k]
            found[k] = diagonal_blocks(inverse, start, shape.n_levels, shape.n_columns)
            start += shape.n_effects
        found[layout.nest[0]] = _lead_blocks(factor, lower, inverse)
    elif layout.nest:
        for k, blocks in zip(layout.nest, nest_rows(factor, inverse)[0], strict=True):
            found[k] = blocks
    return InverseBlocks(tuple(found[k] for k in range(len(layout.shapes))))


def trailing_inverse(factor: Factor, R_X: Array | None) -> Array:
    """Return the inverse over trailing effects and, unless beta is known, X; its upper triangle in C order."""
    return _inverse(trailing_factor(factor, R_X))


def trailing_factor(factor: Factor, R_X: Array | None) -> Array:
    """Return the Cholesky factor over trailing effects and, unless beta is known, X; lower triangle, column-major.

    Raises
    ------
    UnavailableError
        If the trailing effects were eliminated one by one.
    """
    require_dense(factor)
    q = factor.products.n_trailing
    order = q if R_X is None else q + factor.products.n_fixed
    lower = np.array(factor.trailing[:order, :order], order="F")
    if R_X is not None:
        lower[q:, q:] = R_X
    return lower


def _inverse(lower: Array) -> Array:
    """Return the inverse of ``L L^T``; its upper triangle in C order."""
    if len(lower) == 0:
        return np.zeros((0, 0))
    inverse = lower.copy(order="F")
    if inverse_from_cholesky(inverse) != 0:
        raise FittingError("The trailing matrix is singular to working precision.")
    return inverse.T


def _lead_blocks(factor: Factor, lower: Array, inverse: Array) -> Array:
    """Return the leading term's blocks: ``L^-T (I + W C W^T) L^-1``, C the inverse of the trailing matrix.

    With the trailing Cholesky factor R, ``C = (R R^T)^-1``, dense rows need ``V = W R^-T`` and ``V V^T`` only, half the
    work of W C.
    """
    products = factor.products
    z, xy = factor.nest_z[0], factor.nest_xy[0]
    q, order = products.n_trailing, len(inverse)
    if is_dense(products):
        rows = np.zeros((*xy.shape[:2], order))
        spread_entries(products.entry_starts, products.entry_columns, factor.entries, rows)
        rows[:, :, q:] = xy[:, :, : order - q]
        solve_lower(lower, rows.reshape(-1, order).T)
        return sandwich(z, rows @ rows.transpose(0, 2, 1))
    at_x = np.ascontiguousarray(xy[:, :, : order - q])
    inner = sparse_quadratic(products.entry_starts, products.entry_columns, factor.entries, at_x, inverse)
    by_x = np.triu(inverse[q:, q:])
    inner += at_x @ (by_x + np.triu(by_x, 1).T) @ at_x.transpose(0, 2, 1)
    return sandwich(z, inner)


@numba.njit(cache=True, nogil=True)
def diagonal_blocks(inverse: Array, start: int, n_levels: int, size: int) -> Array:
    """Return consecutive diagonal blocks (J, S, S) of a matrix given by its upper triangle."""
    out = np.empty((n_levels, size, size))
    for j in range(n_levels):
        first = start + j * size
        for s in range(size):
            for t in range(s, size):
                value = inverse[first + s, first + t]
                out[j, s, t] = value
                out[j, t, s] = value
    return out


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def sparse_quadratic(starts: Index, columns: Places, entries: Array, rows: Array, inverse: Array) -> Array:
    """Return ``W_j inverse W_j.T`` for each level, without the part of X with itself; W_j = [entries | rows at X].

    entries (S, E), rows (J, S, p or 0), inverse (q + p or q, same) upper triangle, C order; result (J, S, S).
    """
    n_levels, size, n_fixed = rows.shape
    first_x = inverse.shape[0] - n_fixed
    out = np.zeros((n_levels, size, size))
    for j in range(n_levels):
        first = starts[j]
        count = starts[j + 1] - first
        places = columns[first : first + count]
        for s in range(size):
            values = entries[s, first : first + count]
            at_x = rows[j, s]
            for e in range(count):
                row = inverse[places[e]]
                tail = row[first_x:]
                value = 0.5 * row[places[e]] * values[e]
                for f in range(e + 1, count):
                    value += row[places[f]] * values[f]
                for t in range(n_fixed):
                    value += tail[t] * at_x[t]
                for r in range(size):
                    out[j, s, r] += value * entries[r, first + e]
        for s in range(size):
            for r in range(s + 1):
                total = out[j, s, r] + out[j, r, s]
                out[j, s, r] = total
                out[j, r, s] = total
    return out


@numba.njit(cache=True, nogil=True)
def level_products(left: Array, right: Array) -> Array:
    """Return ``left[j] @ right[j].T`` for each level; both (J, S, m), result (J, S, S)."""
    n_levels, size, width = left.shape
    out = np.zeros((n_levels, size, size))
    for j in range(n_levels):
        for s in range(size):
            for r in range(size):
                total = 0.0
                for t in range(width):
                    total += left[j, s, t] * right[j, r, t]
                out[j, s, r] = total
    return out


@numba.njit(cache=True, nogil=True)
def sandwich(z: Array, inner: Array) -> Array:
    """Return ``L^-T (I + inner) L^-1`` per level; L (S, S) lower in the first columns of z (J, S, w)."""
    n_levels, size = inner.shape[0], inner.shape[1]
    out = np.empty((n_levels, size, size))
    if size == 1:
        for j in range(n_levels):
            out[j, 0, 0] = (1.0 + inner[j, 0, 0]) / (z[j, 0, 0] * z[j, 0, 0])
        return out
    inverse = np.zeros((size, size))
    for j in range(n_levels):
        _invert_lower(z[j], size, inverse)
        for s in range(size):
            for t in range(s, size):
                total = 0.0
                for a in range(s, size):
                    for b in range(t, size):
                        value = inner[j, a, b] + (1.0 if a == b else 0.0)
                        total += inverse[a, s] * value * inverse[b, t]
                out[j, s, t] = total
                out[j, t, s] = total
    return out


@numba.njit(cache=True, nogil=True)
def _invert_lower(lower: Array, size: int, out: Array) -> None:
    for t in range(size):
        out[t, t] = 1.0 / lower[t, t]
        for s in range(t + 1, size):
            total = 0.0
            for r in range(t, s):
                total -= lower[s, r] * out[r, t]
            out[s, t] = total / lower[s, s]


def nest_rows(factor: Factor, inverse: Array, *, innermost: bool = False) -> tuple[list[Array], list[Array]]:
    """Walk the nest from its outermost term inwards, carrying each level's rows of the inverse.

    Parameters
    ----------
    factor
        The factor of a model without trailing effects.
    inverse
        Upper triangle of the inverse at X, (p, p) or (0, 0).
    innermost
        Whether the rows of the innermost term are wanted too; no other term asks for them.

    Returns
    -------
    Diagonal blocks (J, S, S) and rows at the level itself, its ancestors and X, (J, S, w), per term of the nest.
    """
    layout = factor.products.layout
    n_fixed = len(inverse)
    full = inverse + np.triu(inverse, 1).T - np.tril(inverse, -1) if n_fixed else inverse
    sizes = [layout.shapes[k].n_columns for k in layout.nest]
    rows: list[Array] = [np.zeros((0, 0, 0))] * len(sizes)
    blocks: list[Array] = [np.zeros((0, 0, 0))] * len(sizes)
    for place in range(len(sizes) - 1, -1, -1):
        z, xy = factor.nest_z[place], factor.nest_xy[place]
        own = sizes[place]
        outer = sum(sizes[place + 1 :])
        if outer == 0:
            w = xy[:, :, :n_fixed]
            rest = w @ full
            inner = level_products(rest, w)
        else:
            w = np.concatenate([z[:, :, own:], xy[:, :, :n_fixed]], axis=2)
            rest = np.zeros_like(w)
            first = 0
            for ancestor in range(place + 1, len(sizes)):
                parent = layout.parents[place][ancestor - place - 1]
                spread_ancestor(w, parent, rows[ancestor], first, sizes[ancestor], rest)
                first += sizes[ancestor]
            if n_fixed:
                rest[:, :, outer:] += w[:, :, outer:] @ full
            inner = level_products(rest, w)
        blocks[place] = sandwich(z, inner)
        if place or innermost:  # the levels inside this one will ask for them
            rows[place] = _level_rows(z, blocks[place], rest)
    return blocks, rows


def _level_rows(z: Array, blocks: Array, rest: Array) -> Array:
    """Return ``[C_jj | -L^-T rest]``: the level's rows of the inverse at itself, its ancestors and X."""
    out = np.concatenate([blocks, -rest], axis=2)
    solve_transposed(z, out, blocks.shape[1])
    return out


@numba.njit(cache=True, nogil=True)
def solve_transposed(z: Array, rows: Array, first: int) -> None:
    """Solve ``L.T x = rows`` in place for the columns of rows (J, S, w) from `first` on."""
    n_levels, size, width = rows.shape
    for j in range(n_levels):
        for s in range(size - 1, -1, -1):
            for r in range(s + 1, size):
                factor = z[j, r, s]
                for t in range(first, width):
                    rows[j, s, t] -= factor * rows[j, r, t]
            pivot = 1.0 / z[j, s, s]
            for t in range(first, width):
                rows[j, s, t] *= pivot


@numba.njit(cache=True, nogil=True)
def spread_ancestor(w: Array, parent: Codes, rows: Array, first: int, size: int, out: Array) -> None:
    """Add to ``out = W C`` what one ancestor's rows of the inverse contribute, by symmetry in both directions.

    w, out (J, S, m) over ancestors and X; rows (J_a, S_a, m - first): the ancestor's own block, then what follows.
    """
    n_levels, own, width = w.shape
    for j in range(n_levels):
        a = parent[j]
        for s in range(own):
            for r in range(size):
                value = w[j, s, first + r]
                for t in range(width - first):
                    out[j, s, first + t] += value * rows[a, r, t]
                total = 0.0
                for t in range(size, width - first):
                    total += w[j, s, first + t] * rows[a, r, t]
                out[j, s, first + r] += total

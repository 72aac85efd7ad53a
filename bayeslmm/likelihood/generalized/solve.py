r"""Solving with the factor: :math:`L L^\top [u; \beta] = [r; r_X]` for any right-hand side."""

from collections.abc import Sequence

import numba
import numpy as np
from scipy.linalg.lapack import dtrtrs

from bayeslmm.likelihood.conditional import Places, solve_effects
from bayeslmm.likelihood.factor import Factor
from bayeslmm.types import Array, Codes, Index


def solve(factor: Factor, right: Sequence[Array], right_fixed: Array) -> tuple[list[Array], Array]:
    """Solve with the scaled cross-products.

    Parameters
    ----------
    factor
        The factor of a `Predictor.products`.
    right
        Right-hand sides at the random effects, (J, S) per term, formula order; not changed.
    right_fixed
        At the fixed columns of the factor, shape (p,).

    Returns
    -------
    The solution in the same form.
    """
    reduced, at_fixed = solve_lower(factor, right, right_fixed)
    beta = solve_lower_transposed(factor.R_X, at_fixed) if len(at_fixed) else at_fixed
    found = solve_effects(factor, beta[:, None], [r[:, :, None] for r in reduced])
    return [u[..., 0] for u in found], beta


def solve_lower_transposed(lower: Array, right: Array) -> Array:
    """Return the solution of ``L^T x = right``; by LAPACK itself, since these systems are small and many."""
    return np.asarray(dtrtrs(lower, right, lower=1, trans=1)[0])


def solve_lower(factor: Factor, right: Sequence[Array], right_fixed: Array) -> tuple[list[Array], Array]:
    """Solve ``L t = r``: the first half of `solve`, with the same arguments and form of result."""
    products = factor.products
    layout = products.layout
    q, p = products.n_trailing, products.n_fixed
    reduced = [np.array(r) for r in right]
    last = np.zeros((products.order, 1), order="F")
    start = 0
    for k in layout.trailing:
        last[start : start + layout.shapes[k].n_effects, 0] = reduced[k].ravel()
        start += layout.shapes[k].n_effects
    last[q : q + p, 0] = right_fixed
    _reduce_nest(factor, reduced, last)
    last = dtrtrs(factor.trailing, last, lower=1)[0]
    start = 0
    for k in layout.trailing:
        reduced[k] = last[start : start + layout.shapes[k].n_effects, 0].reshape(reduced[k].shape)
        start += layout.shapes[k].n_effects
    return reduced, last[q : q + p, 0]


def _reduce_nest(factor: Factor, reduced: list[Array], last: Array) -> None:
    """Solve ``L t = r`` down the nest, in place, and take what it leaves off the trailing right-hand side."""
    products = factor.products
    layout = products.layout
    q, p = products.n_trailing, products.n_fixed
    for place, k in enumerate(layout.nest):
        z, xy = factor.nest_z[place], factor.nest_xy[place]
        right = reduced[k]
        solve_levels(z, right)
        first = right.shape[1]
        for ancestor, parent in enumerate(layout.parents[place], start=place + 1):
            above = reduced[layout.nest[ancestor]]
            reduce_ancestor(z, right, parent, first, above)
            first += above.shape[1]
        if p:
            last[q : q + p, 0] -= xy[:, :, :p].reshape(-1, p).T @ right.ravel()
        if layout.trailing:
            reduce_trailing(products.entry_starts, products.entry_columns, factor.entries, right, last[:, 0])


@numba.njit(cache=True, nogil=True)
def solve_levels(z: Array, right: Array) -> None:
    """Solve ``L t = right`` in place; L (S, S) lower in the first columns of z (J, S, w), right (J, S)."""
    n_levels, size = right.shape
    for j in range(n_levels):
        for s in range(size):
            value = right[j, s]
            for r in range(s):
                value -= z[j, s, r] * right[j, r]
            right[j, s] = value / z[j, s, s]


@numba.njit(cache=True, nogil=True)
def reduce_ancestor(z: Array, solved: Array, parent: Codes, first: int, out: Array) -> None:
    """Subtract ``W.T @ solved[j]`` from the ancestor's right-hand side out (J_a, S_a); W = z[j, :, first:]."""
    for j in range(len(parent)):
        for s in range(solved.shape[1]):
            for r in range(out.shape[1]):
                out[parent[j], r] -= z[j, s, first + r] * solved[j, s]


@numba.njit(cache=True, nogil=True)
def reduce_trailing(starts: Index, columns: Places, entries: Array, solved: Array, out: Array) -> None:
    """Subtract the leading term's rows times its solution (J, S) from the trailing right-hand side."""
    for j in range(len(starts) - 1):
        for e in range(starts[j], starts[j + 1]):
            for s in range(solved.shape[1]):
                out[columns[e]] -= entries[s, e] * solved[j, s]

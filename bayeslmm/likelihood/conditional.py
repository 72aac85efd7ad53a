r"""Coefficients given the covariance parameters: modes and exact draws.

With the factor L of the augmented matrix, :math:`(u, \beta)` given :math:`(\theta, \sigma, y)` is normal with mean
and draws from one triangular system,

.. math:: L^\top \begin{bmatrix} u \\ \beta \end{bmatrix} = \ell_y + \sigma z, \qquad z \sim N(0, I),

where :math:`\ell_y` is the row of y and z = 0 gives the modes (Bates et al. 2015, section 3.4).
"""

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.elimination import subtract_entries
from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.lapack import solve_transposed
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import Array

Places = NDArray[np.uint32]


@limits_threads
def fixed_modes(factor: Factor) -> Array:
    """Return the generalised least-squares estimate of the kernel's coefficients, shape (p,)."""
    return factor.beta


def effect_modes(factor: Factor, beta: Array) -> tuple[Array, ...]:
    """Return the conditional modes of u given beta (p,), one array (J, S) per term."""
    return tuple(u[..., 0] for u in solve_effects(factor, beta[:, None]))


@limits_threads
def solve_effects(factor: Factor, beta: Array, noise: Sequence[Array] | None = None) -> tuple[Array, ...]:
    """Solve the triangular system for u.

    Parameters
    ----------
    factor
        The factor.
    beta
        The kernel's coefficients, one column per right-hand side, shape (p, m).
    noise
        Per term, formula order, sigma times standard normals, shape (J, S, m); None for the modes.

    Returns
    -------
    u, one array (J, S, m) per term.
    """
    products = factor.products
    layout = products.layout
    m = beta.shape[1]
    solved: list[Array] = [np.zeros((0, 0, m))] * len(layout.shapes)
    trailing = _solve_trailing(factor, beta, noise, solved)
    weights = np.vstack([-beta, np.ones((1, m))])
    for place in range(len(layout.nest) - 1, -1, -1):
        k = layout.nest[place]
        xy = factor.nest_xy[place]
        right = (xy.reshape(-1, xy.shape[2]) @ weights).reshape(*xy.shape[:2], m)
        if noise is not None:
            right += noise[k]
        first = layout.shapes[k].n_columns
        for ancestor, parent in enumerate(layout.parents[place], start=place + 1):
            size = layout.shapes[layout.nest[ancestor]].n_columns
            block = factor.nest_z[place][:, :, first : first + size]
            right -= np.einsum("jsr,jrm->jsm", block, solved[layout.nest[ancestor]][parent])
            first += size
        if layout.trailing:
            subtract_entries(products.entry_starts, products.entry_columns, factor.entries, trailing, right)
        solve_lower_transposed(factor.nest_z[place], right)
        solved[k] = right
    return tuple(solved)


def _solve_trailing(factor: Factor, beta: Array, noise: Sequence[Array] | None, solved: list[Array]) -> Array:
    """Solve for the trailing effects, store them per term, and return them stacked, shape (q_T, m)."""
    products = factor.products
    q, p = products.n_trailing, products.n_fixed
    m = beta.shape[1]
    if q == 0:
        return np.zeros((0, m))
    stacked = None if noise is None else np.concatenate([noise[k].reshape(-1, m) for k in products.layout.trailing])
    if factor.sparse is not None:
        effects = factor.sparse.effects(beta, stacked)
    else:
        # the whole system is solved with the known part (beta, -1) at its end: a triangle of the factor would be copied
        known = np.vstack([beta, np.full((1, m), -1.0)])
        right = np.zeros((q + p + 1, m), order="F")
        right[q:] = np.tril(factor.trailing[q:, q:]).T @ known
        if stacked is not None:
            right[:q] = stacked
        solve_transposed(factor.trailing, right)
        effects = right[:q]
    start = 0
    for k in products.layout.trailing:
        shape = products.layout.shapes[k]
        solved[k] = effects[start : start + shape.n_effects].reshape(shape.n_levels, shape.n_columns, m)
        start += shape.n_effects
    return np.ascontiguousarray(effects)


@numba.njit(cache=True, nogil=True)
def solve_lower_transposed(z: Array, right: Array) -> None:
    """Solve ``L.T x = right`` in place; L (S, S) in the first columns of z (J, S, w), right (J, S, m)."""
    n_levels, size, m = right.shape
    for j in range(n_levels):
        for s in range(size - 1, -1, -1):
            for r in range(s + 1, size):
                factor = z[j, r, s]
                for c in range(m):
                    right[j, s, c] -= factor * right[j, r, c]
            pivot = 1.0 / z[j, s, s]
            for c in range(m):
                right[j, s, c] *= pivot

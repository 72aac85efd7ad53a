r"""The blocked Cholesky factor of the scaled cross-products.

.. math::

   \begin{bmatrix} \Omega & \Lambda^\top Z^\top W X & \Lambda^\top Z^\top W y \\
                   \cdot & X^\top W X & X^\top W y \\ \cdot & \cdot & y^\top W y \end{bmatrix} = L L^\top,
   \qquad \Omega = \Lambda^\top Z^\top W Z \Lambda + I ,

the nest first, then the trailing random effects, X and y (Bates et al. 2015, section 3; the row of y gives
the penalised residual sum of squares as its last squared pivot).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from bayeslmm.errors import FittingError, UnavailableError
from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.elimination import (
    downdate_ancestor,
    downdate_trailing,
    eliminate_level,
    place_blocks,
    scale_entries,
    scale_rows,
    spread_entries,
)
from bayeslmm.likelihood.lapack import cholesky, solved_transposed, subtract_gram
from bayeslmm.likelihood.layout import LARGEST_DENSE
from bayeslmm.likelihood.sparse.trailing import SparseTrailing, factor_trailing
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import Array

LARGEST_FACTOR = 1e7  # beyond this the random effects leave the fixed columns no digits
DENSE_LEAD = 0.15  # above this share of meeting levels a dense rank update beats the sparse one


@dataclass(frozen=True, slots=True)
class Factor:
    r"""The factor at one value of the relative covariance factors.

    Attributes
    ----------
    products
        The cross-products it was made from.
    lambdas
        The kernel's lambda of each term, formula order.
    nest_z
        For each term of the nest: ``[L_jj | W_ancestors]``, shape (J, S, w).
    nest_xy
        For each term of the nest the rows W of X and y, shape (J, S, p + 1).
    entries
        The leading term's rows at the trailing effects it meets, shape (S_0, entries).
    trailing
        Lower Cholesky factor of the dense trailing matrix (trailing effects unless they are in `sparse`, X, y),
        column-major, shape (m, m); its upper triangle is not meaningful.
    log_det
        :math:`\log|\Omega|`.
    sparse
        The factor among the trailing effects where few of them meet; None where it is dense.
    """

    products: CrossProducts
    lambdas: tuple[Array, ...]
    nest_z: tuple[Array, ...]
    nest_xy: tuple[Array, ...]
    entries: Array
    trailing: Array
    log_det: float
    sparse: SparseTrailing | None = None

    @property
    def first_fixed(self) -> int:
        """Place of the first fixed column in the dense trailing matrix."""
        return self.products.n_trailing if self.sparse is None else 0

    @property
    def order(self) -> int:
        """Order of the dense trailing matrix."""
        return self.products.order

    @property
    def r_squared(self) -> float:
        """The penalised residual sum of squares r² at its minimum over beta and u."""
        return float(self.trailing[-1, -1] ** 2)

    @property
    def R_X(self) -> Array:
        """Lower Cholesky factor of the cross-products of X with Z eliminated, shape (p, p)."""
        q, p = self.first_fixed, self.products.n_fixed
        return np.tril(self.trailing[q : q + p, q : q + p])

    @property
    def beta(self) -> Array:
        """Generalised least-squares estimate of the kernel's coefficients, shape (p,)."""
        q, p = self.first_fixed, self.products.n_fixed
        if p == 0:
            return np.zeros(0)
        R_X = self.trailing[q : q + p, q : q + p]
        return solved_transposed(R_X, self.trailing[-1, q : q + p])

    @property
    def log_det_X(self) -> float:
        """Logarithm of |R_X|², in the kernel's columns."""
        q, p = self.first_fixed, self.products.n_fixed
        return 2.0 * float(np.sum(np.log(np.diag(self.trailing)[q : q + p])))


def is_dense(products: CrossProducts) -> bool:
    """Whether the leading term's rows are spread out for a dense rank update."""
    return products.density > DENSE_LEAD


@limits_threads
def factorise(products: CrossProducts, lambdas: Sequence[Array]) -> Factor:
    """Factor the scaled cross-products.

    Parameters
    ----------
    products
        Cross-products of the kernel's columns.
    lambdas
        The kernel's lambda (S, S) of each term, formula order.

    Raises
    ------
    FittingError
        If a pivot is not positive: collinear columns, a perfect fit, or values that are not finite.
    """
    nest_z, nest_xy = _scaled_nest(products, lambdas)
    entries = scaled_entries(products, lambdas)
    if products.sparse is not None:
        return _factor_sparse(products, lambdas, nest_z, nest_xy, entries)
    trailing = scaled_trailing(products, lambdas)
    log_det = 0.0
    first_xy = products.n_trailing
    for place, (z, xy) in enumerate(zip(nest_z, nest_xy, strict=True)):
        log_det += eliminate_level(z, xy, products.entry_starts, entries)
        _downdate_ancestors(products, nest_z, nest_xy, place)
        flat = xy.reshape(-1, xy.shape[2])
        trailing[first_xy:, first_xy:] -= flat.T @ flat
    if first_xy:
        _downdate_trailing(products, entries, nest_xy[0], trailing)
    factor = trailing.T
    info = cholesky(factor)
    if info != 0 or not np.isfinite(log_det):
        raise FittingError(_failure(products, info, log_det, lambdas))
    log_det += 2.0 * float(np.sum(np.log(np.diag(factor)[:first_xy])))
    return Factor(products, tuple(lambdas), tuple(nest_z), tuple(nest_xy), entries, factor, log_det)


def _factor_sparse(
    products: CrossProducts, lambdas: Sequence[Array], nest_z: list[Array], nest_xy: list[Array], entries: Array
) -> Factor:
    """Eliminate the leading term, then the trailing effects one by one, then X and y."""
    (z,), (xy,) = nest_z, nest_xy
    log_det = eliminate_level(z, xy, products.entry_starts, entries)
    sparse, count = factor_trailing(products, lambdas, entries, xy)
    if count < products.n_trailing or not np.isfinite(log_det):
        raise FittingError(_failure(products, count + 1, log_det, lambdas))
    flat = xy.reshape(-1, xy.shape[2])
    corner = np.asfortranarray(products.xy - flat.T @ flat - sparse.at_xy.T @ sparse.at_xy)
    info = cholesky(corner)
    if info != 0:
        raise FittingError(_failure(products, products.n_trailing + info, log_det, lambdas))
    return Factor(products, tuple(lambdas), (z,), (xy,), entries, corner, float(log_det + sparse.log_det), sparse)


def require_dense(factor: Factor) -> None:
    """Refuse a factor that is sparse among its trailing effects.

    Raises
    ------
    UnavailableError
        If it is.
    """
    if factor.sparse is not None:
        raise UnavailableError(
            f"This needs a dense matrix of the {factor.products.n_trailing:,} crossed random effects, which were "
            "eliminated one by one because few of them meet: fit a sample of the rows with at most "
            f"{LARGEST_DENSE:,} of them."
        )


def _failure(products: CrossProducts, info: int, log_det: float, lambdas: Sequence[Array]) -> str:
    if info == products.n_trailing + products.n_fixed + 1:
        return (
            "The residual sum of squares is zero: the model fits the response perfectly and sigma cannot be estimated. "
            "Look for a column or a grouping factor that determines the response."
        )
    in_reach = max((float(np.abs(scale).max(initial=0.0)) for scale in lambdas), default=0.0) <= LARGEST_FACTOR
    if np.isfinite(log_det) and in_reach and info > products.n_trailing:
        return "The fixed columns are collinear to working precision. Remove or rescale one of them."
    return "The scaled cross-products are not positive definite: the covariance parameters are too large or not finite."


def _scaled_nest(products: CrossProducts, lambdas: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    nest = products.layout.nest
    nest_z = [np.empty_like(z) for z in products.nest_z]
    nest_xy = [np.empty_like(xy) for xy in products.nest_xy]
    for place, k in enumerate(nest):
        right = lambdas[k] if place + 1 == len(nest) else block_diag(*(lambdas[m] for m in nest[place:]))
        left = np.ascontiguousarray(lambdas[k])
        scale_rows(
            products.nest_z[place],
            products.nest_xy[place],
            left,
            np.ascontiguousarray(right),
            nest_z[place],
            nest_xy[place],
        )
    return nest_z, nest_xy


def scaled_entries(products: CrossProducts, lambdas: Sequence[Array]) -> Array:
    """Return the leading term's scaled rows at the trailing effects it meets, shape (S_0, entries)."""
    nest = products.layout.nest
    size = products.layout.shapes[nest[0]].n_columns if nest else 1
    entries = np.empty((size, len(products.entry_columns)))
    for pairs in products.lead_pairs:
        scale_entries(
            pairs.blocks,
            pairs.starts,
            np.ascontiguousarray(lambdas[nest[0]]),
            np.ascontiguousarray(lambdas[pairs.term]),
            entries,
        )
    return entries


def scaled_trailing(products: CrossProducts, lambdas: Sequence[Array]) -> Array:
    """Return the scaled trailing matrix before the leading term is eliminated, (m, m); its upper triangle, C order."""
    q = products.n_trailing
    trailing = np.zeros((products.order, products.order))
    for pair in products.trailing_blocks:
        left, right = (np.ascontiguousarray(lambdas[k]) for k in pair.terms)
        place_blocks(pair.blocks, pair.rows, pair.columns, left, right, trailing)
    trailing[np.arange(q), np.arange(q)] += 1.0
    start = 0
    for k in products.layout.trailing:
        shape = products.layout.shapes[k]
        rows = slice(start, start + shape.n_effects)
        xy = products.trailing_xy[rows].reshape(shape.n_levels, shape.n_columns, -1)
        trailing[rows, q:] = (lambdas[k].T @ xy).reshape(shape.n_effects, -1)
        start += shape.n_effects
    trailing[q:, q:] = products.xy
    return trailing


def _downdate_ancestors(products: CrossProducts, nest_z: list[Array], nest_xy: list[Array], place: int) -> None:
    sizes = [products.layout.shapes[k].n_columns for k in products.layout.nest]
    for ancestor, parent in enumerate(products.layout.parents[place], start=place + 1):
        downdate_ancestor(
            nest_z[place],
            nest_xy[place],
            parent,
            sum(sizes[place:ancestor]),
            sizes[ancestor],
            nest_z[ancestor],
            nest_xy[ancestor],
        )


def _downdate_trailing(products: CrossProducts, entries: Array, xy: Array, trailing: Array) -> None:
    if not is_dense(products):
        downdate_trailing(products.entry_starts, products.entry_columns, entries, xy, trailing)
        return
    q = products.n_trailing
    rows = lead_rows(products, entries).reshape(-1, q)
    subtract_gram(rows, trailing)
    trailing[:q, q:] -= rows.T @ xy.reshape(len(rows), -1)


def lead_rows(products: CrossProducts, entries: Array) -> Array:
    """Return the leading term's rows at all trailing effects, dense, shape (J_0, S_0, q_T)."""
    rows = np.zeros((len(products.entry_starts) - 1, entries.shape[0], products.n_trailing))
    spread_entries(products.entry_starts, products.entry_columns, entries, rows)
    return rows

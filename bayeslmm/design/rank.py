"""Which columns of a matrix are linear combinations of earlier ones.

Decided on columns that are centred (where the constant is in their span) and scaled, so that neither units
nor origins matter. A Cholesky factor of the cross-products screens; columns it doubts are judged by their
residual on the rows themselves, which keeps the digits that cross-products lose.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

from bayeslmm.design.centring import Centring, find_centring
from bayeslmm.design.design import Array

TOLERANCE = 1e-7  # residual norm relative to the column's, as in lme4
ESTIMABLE = 1e-6  # how far a new row may be from the collinearity of the fit, relative to its entries
_CLEAR = 1e-4  # squared relative residual above which cross-products are precise enough to decide
_CONSTANT = 16 * np.finfo(float).eps  # spread relative to the mean below which a column is constant
CHUNK_ROWS = 32_768  # rows whose copies are held at once
_PASSES = 3  # projections on the rows; each gains the digits the cross-products have


def independent_columns(X: Array, centring: Centring, tolerance: float = TOLERANCE) -> NDArray[np.bool_]:
    """Return which columns to keep: the earliest that span all of them, shape (p,).

    Parameters
    ----------
    X
        Columns, shape (n, p).
    centring
        The constant among them.
    tolerance
        Norm of a column's residual on the earlier ones, relative to its own, below which it is dropped.
    """
    if X.shape[1] == 0:
        return np.ones(0, dtype=bool)
    if _clearly_independent(X, centred=centring.spans_constant):
        return np.ones(X.shape[1], dtype=bool)
    if not centring.spans_constant:
        return _independent(_scaled(X), tolerance)
    keep = _independent(_centred(X), tolerance)
    if not keep.all():
        _restore_constant(X, keep)
    return keep


def independent_factor(columns: Array, tolerance: float = TOLERANCE) -> NDArray[np.bool_]:
    """Return which columns of length one (or zero) to keep, shape (p,), without a look for the constant."""
    return _independent(np.ascontiguousarray(columns), tolerance)


def dependence_on(kept: Array, others: Array) -> Array:
    """Return A with ``others = kept @ A``, shape (p, q), for columns that are combinations of those kept."""
    return np.asarray(np.linalg.lstsq(kept, others, rcond=None)[0])


def estimable_rows(kept: Array, others: Array, dependence: Array) -> NDArray[np.bool_]:
    """Return whether new rows keep to the collinearity of the fit, ``others = kept @ dependence``, shape (m,)."""
    if not others.shape[1]:
        return np.ones(len(kept), dtype=bool)
    expected = kept @ dependence
    size = np.abs(others) + np.abs(kept) @ np.abs(dependence)
    return np.asarray((np.abs(others - expected) <= ESTIMABLE * size).all(axis=1))


def _clearly_independent(X: Array, *, centred: bool) -> bool:
    """Whether cross-products alone, summed in one pass without a copy of the rows, show that no column depends.

    They are about the means of the first rows and moved to those of all rows at the end: at worst that costs the
    digits of n over the rows of one chunk.
    """
    n, p = X.shape
    start = X[:CHUNK_ROWS].mean(axis=0) if centred else np.zeros(p)
    sums, cross = np.zeros(p), np.zeros((p, p))
    for first in range(0, n, CHUNK_ROWS):
        chunk = np.array(X[first : first + CHUNK_ROWS].T, order="C")  # a copy whose rows are long: numpy's fast way
        chunk -= start[:, None]
        sums += chunk.sum(axis=1)
        cross += chunk @ chunk.T
    means = start + sums / n if centred else start
    if centred:
        cross -= np.outer(sums, sums) / n
    norms = np.sqrt(np.maximum(np.diag(cross), 0.0))
    flat = norms <= _CONSTANT * np.abs(means) * np.sqrt(n)
    if centred and flat[0] and means[0] != 0:  # a leading intercept stands for the constant
        norms, cross, flat = norms[1:], cross[1:, 1:], flat[1:]
    if flat.any() or not np.isfinite(cross).all():
        return False
    factor, failed = lapack.dpotrf(cross / np.outer(norms, norms), lower=1)
    return bool(failed == 0 and (np.diag(factor) ** 2 > _CLEAR).all())


def _scaled(X: Array) -> Array:
    norms = np.linalg.norm(X, axis=0)
    return X / np.where(norms > 0, norms, 1.0)


def _centred(X: Array) -> Array:
    # With the constant in the span, the rank is one (the constant) plus that of the centred columns.
    means = X.mean(axis=0)
    centred = X - means
    centred -= centred.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    flat = norms <= _CONSTANT * np.abs(means) * np.sqrt(len(X))
    centred /= np.where(norms > 0, norms, 1.0)
    centred[:, flat] = 0.0
    if flat[0] and means[0] != 0:  # a leading intercept stands for the constant
        centred[:, 0] = 1 / np.sqrt(len(X))
    return centred


def _independent(columns: Array, tolerance: float) -> NDArray[np.bool_]:
    cross = columns.T @ columns
    p = len(cross)
    factor, failed = lapack.dpotrf(cross, lower=1)
    if failed == 0 and (np.diag(factor) ** 2).min() > _CLEAR:
        return np.ones(p, dtype=bool)
    factor = np.zeros((p, p))
    kept: list[int] = []
    for column in range(p):
        if cross[column, column] == 0:
            continue
        rank = len(kept)
        lower = factor[:rank, :rank]
        row = solve_triangular(lower, cross[kept, column], lower=True) if rank else np.empty(0)
        pivot = cross[column, column] - row @ row
        if pivot < _CLEAR:
            row, size = _residual(columns, column, kept, lower)
            if size <= tolerance:
                continue
            pivot = size**2
        factor[rank, :rank] = row
        factor[rank, rank] = np.sqrt(pivot)
        kept.append(column)
    keep = np.zeros(p, dtype=bool)
    keep[kept] = True
    return keep


def _residual(columns: Array, column: int, kept: list[int], lower: Array) -> tuple[Array, float]:
    rest = columns[:, column].copy()
    row = np.zeros(len(kept))
    coefficients = np.zeros(columns.shape[1])
    for _ in range(_PASSES if kept else 0):
        step = solve_triangular(lower, (columns.T @ rest)[kept], lower=True)
        coefficients[kept] = solve_triangular(lower, step, lower=True, trans=1)
        rest -= columns @ coefficients
        row += step
    return row, float(np.linalg.norm(rest))


def _restore_constant(X: Array, keep: NDArray[np.bool_]) -> None:
    # Centring took the constant out: the column that completes it looks dependent although it is not.
    if find_centring(X[:, keep]).spans_constant:
        return
    for column in np.flatnonzero(~keep):
        keep[column] = True
        if find_centring(X[:, keep]).spans_constant:
            return
        keep[column] = False

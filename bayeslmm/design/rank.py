"""Which columns of a matrix are linear combinations of earlier ones.

Decided on columns that are centred (where the constant is in their span) and scaled, so that neither units
nor origins matter. A Cholesky factor of the cross-products screens; columns it doubts are judged by their
residual on the rows themselves, which keeps the digits that cross-products lose.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from bayeslmm.design.centring import Centring, find_centring
from bayeslmm.design.design import Array

TOLERANCE = 1e-7  # residual norm relative to the column's, as in lme4
_CLEAR = 1e-4  # squared relative residual above which cross-products are precise enough to decide
_CONSTANT = 16 * np.finfo(float).eps  # spread relative to the mean below which a column is constant


def independent_columns(X: Array, centring: Centring, tolerance: float = TOLERANCE) -> NDArray[np.bool_]:
    """Return which columns to keep: the earliest that span all of them, shape (p,).

    Parameters
    ----------
    X
        Columns, shape (n, p).
    centring
        The constant among them.
    """
    if X.shape[1] == 0:
        return np.ones(0, dtype=bool)
    scaled = _scaled(X, centring)
    cross = scaled.T @ scaled
    factor, failed = lapack.dpotrf(cross, lower=1)
    if failed == 0 and (np.diag(factor) ** 2).min() > _CLEAR:
        return np.ones(X.shape[1], dtype=bool)
    keep = _by_rows(scaled, tolerance)
    if centring.spans_constant:
        _restore_constant(X, keep)
    return keep


def _scaled(X: Array, centring: Centring) -> Array:
    # With the constant in the span, the rank is one (the constant) plus that of the centred columns.
    if not centring.spans_constant:
        norms = np.linalg.norm(X, axis=0)
        return X / np.where(norms > 0, norms, 1.0)
    means = X.mean(axis=0)
    scaled = X - means
    scaled -= scaled.mean(axis=0)
    norms = np.linalg.norm(scaled, axis=0)
    flat = norms <= _CONSTANT * np.abs(means) * np.sqrt(len(X))
    scaled /= np.where(norms > 0, norms, 1.0)
    scaled[:, flat] = 0.0
    if flat[0] and means[0] != 0:  # a leading intercept needs no restoring
        scaled[:, 0] = 1 / np.sqrt(len(X))
    return scaled


def _by_rows(scaled: Array, tolerance: float) -> NDArray[np.bool_]:
    n, p = scaled.shape
    basis = np.empty((n, min(n, p)), order="F")
    keep = np.zeros(p, dtype=bool)
    rank = 0
    for column in range(p):
        rest = scaled[:, column].copy()
        norm = np.linalg.norm(rest)
        for _ in range(2):  # twice is enough: the second pass removes what rounding left
            rest -= basis[:, :rank] @ (basis[:, :rank].T @ rest)
        size = np.linalg.norm(rest)
        if rank < min(n, p) and norm > 0 and size > tolerance * norm:
            basis[:, rank] = rest / size
            keep[column] = True
            rank += 1
    return keep


def _restore_constant(X: Array, keep: NDArray[np.bool_]) -> None:
    # Centring took the constant out: without a constant column, the one that completes it looks dependent.
    if find_centring(X[:, keep]).spans_constant:
        return
    for column in np.flatnonzero(~keep):
        keep[column] = True
        if find_centring(X[:, keep]).spans_constant:
            return
        keep[column] = False

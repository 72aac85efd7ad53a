r"""Contrasts that test a term of the fixed part, by the three traditions of sums of squares.

Type 1: each term after those before it. Type 2: each term after all others that do not contain it. Both are rows of
the triangular factor of the columns in that order, the term's block: with X = QR, :math:`R\beta` has the means of
successive orthogonal columns. Type 3: the term's coefficients are zero in sum-to-zero coding, whatever the coding of
the fit.

Where q rows test a term, any other q rows of the same space give the same F; Satterthwaite's pooled df depends on the
rows a little, and these are lmerTest's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayeslmm.types import Array

Places = NDArray[np.intp]

SAME_SPACE = 1e-8  # relative distance of columns from a space that holds them


def sequential_contrasts(X: Array, order: Places, block: Places) -> Array:
    """Return rows L (m, p) that test a block of columns after those before it in `order`, which holds all columns.

    The columns of X are independent; rows have a one at their own column.
    """
    scale = np.sqrt(np.mean(X**2, axis=0))
    R = np.linalg.qr((X / scale)[:, order], mode="r")
    places = np.flatnonzero(np.isin(order, block))
    rows = np.zeros((len(places), X.shape[1]))
    rows[:, order] = R[places] * scale[order]
    return rows / rows[np.arange(len(places)), order[places]][:, None]


def type_1_contrasts(X: Array, terms: Sequence[Places]) -> list[Array]:
    """Return L of each term after those before it; `terms` are the places of the columns, in order."""
    order = np.concatenate(terms)
    return [sequential_contrasts(X, order, block) for block in terms]


def type_2_contrasts(X: Array, terms: Sequence[Places], containing: Sequence[Sequence[int]]) -> list[Array]:
    """Return L of each term after all that do not contain it; `containing` lists those that do."""
    found = []
    for k, block in enumerate(terms):
        if not containing[k]:
            found.append(np.eye(X.shape[1])[block])  # the term's own coefficients: the same space as the last rows of R
            continue
        later = {k, *containing[k]}
        before = [columns for i, columns in enumerate(terms) if i not in later]
        after = [terms[i] for i in containing[k]]
        found.append(sequential_contrasts(X, np.concatenate([*before, block, *after]), block))
    return found


def type_3_contrasts(
    X: Array, coded: Array, terms: Sequence[Places], differences: Sequence[Array]
) -> list[Array] | None:
    """Return L of each term in another coding: `coded` (n, p) spans the columns of X; None if it does not.

    `terms` are the places of each term's columns in `coded`, `differences` the combinations of their coefficients that
    are tested, square and invertible: F does not depend on them, Satterthwaite's df a little.
    """
    if coded.shape != X.shape:
        return None
    scale = np.sqrt(np.mean(coded**2, axis=0))
    scale[scale == 0] = 1.0
    T, _, rank, _ = np.linalg.lstsq(coded / scale, X, rcond=None)
    if rank < X.shape[1] or np.linalg.norm(coded / scale @ T - X) > SAME_SPACE * np.linalg.norm(X):
        return None
    return [D @ (T / scale[:, None])[block] for block, D in zip(terms, differences, strict=True)]

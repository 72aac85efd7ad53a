"""Rows of an array moved within it, so that draws need no second array to be put in order."""

from typing import TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=np.floating)

NOTHING = -1  # the source of a row that is to be filled later


def moved_rows(values: NDArray[F], source: NDArray[np.intp]) -> NDArray[F]:
    """Return the array of rows ``values[source]``, made in the memory of `values`, which is used up.

    Parameters
    ----------
    values
        Shape (R, ...), contiguous, an array of its own.
    source
        The row that each is to be, shape (n,) with n at most R; `NOTHING` where any will do.
    """
    n = len(source)
    shape = values.shape[1:]
    if values.size:
        _move(values.reshape(len(values), -1), source)
    values.resize((n, *shape), refcheck=False)
    return values


@numba.njit(cache=True, nogil=True)
def _move(rows: NDArray[np.floating], source: NDArray[np.intp]) -> None:
    """Move rows: first those nobody waits for, one after the other along chains, then cycles through a copy of one."""
    n = len(source)
    waiting = np.zeros(len(rows), dtype=np.int64)  # rows that are still to be made of this one
    done = np.zeros(n, dtype=np.bool_)
    for i in range(n):
        if source[i] == NOTHING or source[i] == i:
            done[i] = True
        if source[i] != NOTHING:
            waiting[source[i]] += 1
    free = np.empty(n, dtype=np.int64)
    count = 0
    for i in range(n):
        if not done[i] and waiting[i] == 0:
            free[count] = i
            count += 1
    while count > 0:
        count -= 1
        i = free[count]
        own = source[i]
        rows[i] = rows[own]
        done[i] = True
        waiting[own] -= 1
        if own < n and not done[own] and waiting[own] == 0:
            free[count] = own
            count += 1
    kept = np.empty(rows.shape[1], dtype=rows.dtype)
    for first in range(n):
        if done[first]:
            continue
        kept[:] = rows[first]
        i = first
        while source[i] != first:
            rows[i] = rows[source[i]]
            done[i] = True
            i = source[i]
        rows[i] = kept
        done[i] = True

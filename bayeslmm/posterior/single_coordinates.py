"""The coordinates phi of one random term, in compiled loops: those of `coordinates`."""

import numba
import numpy as np

from bayeslmm.types import Array


@numba.njit(cache=True, nogil=True)
def unpack_single(phi: Array, size: int, correlated: bool, ratios: Array, partial: Array, lower: Array) -> None:
    """Fill t (S,), partial correlations (S, S) and the factor L of the correlation matrix (S, S)."""
    lower[:] = 0.0
    partial[:] = 0.0
    for a in range(size):
        ratios[a] = np.exp(phi[a])
        lower[a, a] = 1.0
    if not correlated:
        return
    place = size
    for column in range(size - 1):
        for row in range(column + 1, size):
            r = np.tanh(phi[place])
            partial[row, column] = r
            lower[row, column] = r * lower[row, row]
            lower[row, row] /= np.cosh(phi[place])
            place += 1


@numba.njit(cache=True, nogil=True)
def fill_factors(phi: Array, scale: Array, turn: Array, correlated: bool, factor: Array, user: Array) -> Array:
    """Fill lambda (S, S) and what makes the user's effects of u (S, S), and return t (S,)."""
    size = len(scale)
    ratios, partial, lower = np.empty(size), np.empty((size, size)), np.empty((size, size))
    unpack_single(phi, size, correlated, ratios, partial, lower)
    for a in range(size):
        for b in range(size):
            factor[a, b] = scale[a] * ratios[a] * lower[a, b]
            value = 0.0
            for c in range(b, size):
                value += turn[a, c] * ratios[c] * lower[c, b]
            user[a, b] = value
    return ratios


@numba.njit(cache=True, nogil=True)
def pull_back_single(
    slope: Array, ratios: Array, partial: Array, lower: Array, correlated: bool, gradient: Array
) -> None:
    """Add the gradient by phi for the gradient `slope` by F = diag(t) L, shape (S, S)."""
    size = ratios.shape[0]
    for a in range(size):
        for b in range(a + 1):
            gradient[a] += slope[a, b] * ratios[a] * lower[a, b]
    if not correlated:
        return
    place = size
    for column in range(size - 1):
        for row in range(column + 1, size):
            r = partial[row, column]
            left = 1.0
            for c in range(column):
                left *= np.sqrt(1.0 - partial[row, c] ** 2)
            tail = 0.0
            for c in range(column + 1, row + 1):
                tail += slope[row, c] * lower[row, c]
            gradient[place] += ratios[row] * (slope[row, column] * left * (1.0 - r * r) - r * tail)
            place += 1


@numba.njit(cache=True, nogil=True)
def log_correlation(phi: Array, size: int, exponents: Array) -> float:
    """Return the log prior of the partial correlations, Jacobian included: log(1 - r²) = -2 log cosh."""
    total = 0.0
    for k in range(exponents.shape[0]):
        z = abs(phi[size + k])
        total -= 2.0 * exponents[k] * (z + np.log1p(np.exp(-2.0 * z)) - np.log(2.0))
    return total

r"""Dispersions of a generalized model in compiled loops: from their working values to those of rows, and their priors.

Thresholds are :math:`\tau_0 = w_0`, :math:`\tau_j = \tau_{j-1} + e^{w_j}`; the logit of the share of zeros of row i may
be :math:`\sum_k c_{ki} w_k`, its coefficients the last working values; all others are taken as they are.
"""

import numba
import numpy as np

from bayeslmm.posterior.coded_priors import log_density, real_log_density
from bayeslmm.posterior.explicit_arrays import TRANSFORMS, Places
from bayeslmm.types import Array

LOG, LOGIT, NONE, ORDERED = range(len(TRANSFORMS))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def place_dispersions(working: Array, kinds: Places, columns: Array, phi: Array) -> None:
    """Fill phi (m, n) with what the loops take at the working values: thresholds, combined columns (r, n), others."""
    n = phi.shape[1]
    plain = len(kinds) - len(columns)
    threshold = 0.0
    for j in range(plain):
        here = working[j]
        if kinds[j] == ORDERED:
            threshold = here if j == 0 else threshold + np.exp(here)
            here = threshold
        for i in range(n):
            phi[j, i] = here
    if len(columns):
        for i in range(n):
            phi[plain, i] = 0.0
        for k in range(len(columns)):
            for i in range(n):
                phi[plain, i] += working[plain + k] * columns[k, i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def collect_dispersions(working: Array, kinds: Places, columns: Array, by_phi: Array, by_working: Array) -> None:
    """Add the derivatives by the working values, (m,), from those by phi of each row, ``by_phi[:, 0]``."""
    n = by_phi.shape[2]
    plain = len(kinds) - len(columns)
    later = 0.0  # of thresholds, which all rise with the first and with every step before them
    for j in range(plain - 1, -1, -1):
        total = 0.0
        for i in range(n):
            total += by_phi[j, 0, i]
        if kinds[j] == ORDERED:
            later += total
            total = later if j == 0 else later * np.exp(working[j])
        by_working[j] += total
    for k in range(len(columns)):
        for i in range(n):
            by_working[plain + k] += columns[k, i] * by_phi[plain, 0, i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_dispersion_priors(x: Array, kinds: Places, coded: Array, turn: Array, by_x: Array) -> float:
    """Add the derivatives of the log prior of the dispersions, Jacobian included; return it, up to a constant.

    The last of them, r, become what priors speak of by `turn` (r, r).
    """
    value, first, turned = 0.0, len(x) - len(kinds), len(x) - len(turn)
    for j in range(first, len(x)):
        kind = kinds[j - first]
        if kind == LOG:
            found, slope = log_density(coded[j], np.exp(x[j]))
            value += found + x[j]
            by_x[j] += slope + 1.0
        elif kind == LOGIT:
            natural = 1.0 / (1.0 + np.exp(-x[j]))
            spread = natural * (1.0 - natural)
            found, slope = real_log_density(coded[j], natural)
            size = abs(x[j])
            value += found - size - 2.0 * np.log1p(np.exp(-size))
            by_x[j] += slope * spread + 1.0 - 2.0 * natural
        elif j >= turned:
            here = 0.0
            for k in range(len(turn)):
                here += turn[j - turned, k] * x[turned + k]
            found, slope = real_log_density(coded[j], here)
            value += found
            for k in range(len(turn)):
                by_x[turned + k] += slope * turn[j - turned, k]
        elif kind == NONE:
            found, slope = real_log_density(coded[j], x[j])
            value += found
            by_x[j] += slope
        else:
            threshold = x[first]
            for k in range(first + 1, j + 1):
                threshold += np.exp(x[k])
            found, slope = real_log_density(coded[j], threshold)
            value += found
            by_x[first] += slope
            for k in range(first + 1, j + 1):
                by_x[k] += slope * np.exp(x[k])
            if j > first:
                value += x[j]
                by_x[j] += 1.0
    return value

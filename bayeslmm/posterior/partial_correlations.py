"""Partial correlations of a term's effects: their places in the coordinates, and the exponents of an LKJ prior."""

import numpy as np
from numpy.typing import NDArray

from bayeslmm.priors.model_priors import TermPriors
from bayeslmm.types import Array

Entries = tuple[NDArray[np.intp], NDArray[np.intp]]


def correlation_exponents(term: TermPriors) -> Array:
    """Return the exponents of (1 - r²), Jacobian included, in the order of the coordinates."""
    size = len(term.sd)
    assert term.correlation is not None
    columns = np.repeat(np.arange(1, size), np.arange(size - 1, 0, -1))
    return term.correlation.eta + (size - 1 - columns) / 2


def lower_entries(size: int) -> Entries:
    """Return rows and columns below the diagonal, column by column."""
    columns, rows = np.triu_indices(size, 1)
    return rows, columns


def log_complement(r: Array) -> Array:
    """Return log(1 - r²)."""
    with np.errstate(divide="ignore"):
        return np.log1p(-(r**2))

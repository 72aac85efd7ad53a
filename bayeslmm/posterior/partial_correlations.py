"""The prior of a term's partial correlations: the exponents of an LKJ density, Jacobian included."""

import numpy as np

from bayeslmm.priors.model_priors import TermPriors
from bayeslmm.types import Array


def correlation_exponents(term: TermPriors) -> Array:
    """Return the exponents of (1 - r²), Jacobian included, in the order of the coordinates."""
    size = len(term.sd)
    assert term.correlation is not None
    columns = np.repeat(np.arange(1, size), np.arange(size - 1, 0, -1))
    return term.correlation.eta + (size - 1 - columns) / 2


def log_complement(r: Array) -> Array:
    """Return log(1 - r²)."""
    with np.errstate(divide="ignore"):
        return np.log1p(-(r**2))

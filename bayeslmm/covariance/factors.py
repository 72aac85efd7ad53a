r"""Relative covariance factors: standard deviations and correlations.

The random effects of term k have covariance :math:`\Sigma_k = \sigma^2 \lambda_k \lambda_k^\top`, with
:math:`\lambda_k` lower triangular (S x S), or diagonal for independent effects (Bates et al. 2015, section 2).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from bayeslmm.types import Array


def lower_factor(factor: Array) -> Array:
    """Return the lower triangular L with ``L @ L.T == factor @ factor.T`` and a non-negative diagonal, (..., S, S).

    From a QR decomposition, so that a singular covariance is no obstacle.
    """
    if factor.shape[-2] == 1:
        return np.asarray(np.sqrt(np.sum(factor**2, axis=-1, keepdims=True)))
    if factor.ndim == 2 and not factor[_above_diagonal(*factor.shape)].any():
        return positive_diagonal(factor[:, : len(factor)])
    r = np.asarray(np.linalg.qr(np.swapaxes(factor, -1, -2), mode="r"))
    signs = np.where(np.diagonal(r, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.swapaxes(r * signs[..., None], -1, -2)


@cache
def _above_diagonal(size: int, width: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the entries above the diagonal of a matrix (S, m)."""
    return np.triu_indices(size, 1, width)


def positive_diagonal(factor: Array) -> Array:
    """Flip the signs of columns so that the diagonal is non-negative; the covariance stays."""
    return factor * np.where(np.diag(factor) < 0, -1.0, 1.0)


def sds_and_correlations(factor: Array, sigma: Array | float = 1.0) -> tuple[Array, Array]:
    """Return standard deviations (..., S) and correlations (..., S, S) of ``sigma**2 * factor @ factor.T``.

    Correlations with an effect of zero variance are NaN. `sigma` has the leading dimensions of `factor`, (..., S, S).
    """
    relative = np.sqrt(np.einsum("...ij,...ij->...i", factor, factor))
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = factor / relative[..., None]
        correlations = np.clip(rows @ np.swapaxes(rows, -1, -2), -1.0, 1.0)
    diagonal = np.arange(factor.shape[-1])
    correlations[..., diagonal, diagonal] = 1.0
    return np.asarray(sigma)[..., None] * relative, correlations

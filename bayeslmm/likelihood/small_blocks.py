"""The small matrices of many levels at many points, S x S of (b, J, S, S), on any device.

A loop over S with operations on whole arrays of levels is faster on a card than batched LAPACK on matrices of one to
ten rows, and is the same in numpy.
"""

from typing import Any

from bayeslmm.likelihood.device import DeviceArray


def multiply(xp: Any, left: DeviceArray, right: DeviceArray) -> DeviceArray:
    """Return ``left @ right`` for matrices (..., S, S) and (..., S, k)."""
    return left * right if left.shape[-1] == 1 else xp.matmul(left, right)


def invert_cholesky(xp: Any, matrices: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """Return the inverse Cholesky factors K and the log-determinants of positive definite matrices.

    Parameters
    ----------
    xp
        The namespace of the arrays.
    matrices
        Shape (b, J, S, S).

    Returns
    -------
    ``K (b, J, S, S)``, lower triangular, with ``K A K^T = I``, and log|A| summed over J, shape (b,); NaN where a matrix
    is not positive definite.
    """
    size = matrices.shape[-1]
    lower, inverse = xp.zeros_like(matrices), xp.zeros_like(matrices)
    log_det = 0.0
    for s in range(size):
        for t in range(s):
            cross = matrices[..., s, t] - (lower[..., s, :t] * lower[..., t, :t]).sum(axis=-1)
            lower[..., s, t] = cross / lower[..., t, t]
        pivot = matrices[..., s, s] - (lower[..., s, :s] ** 2).sum(axis=-1)
        log_det = log_det + xp.log(pivot).sum(axis=-1)
        lower[..., s, s] = xp.sqrt(pivot)
    for t in range(size):
        inverse[..., t, t] = 1.0 / lower[..., t, t]
        for s in range(t + 1, size):
            inner = (lower[..., s, t:s] * inverse[..., t:s, t]).sum(axis=-1)
            inverse[..., s, t] = -inner / lower[..., s, s]
    return inverse, log_det

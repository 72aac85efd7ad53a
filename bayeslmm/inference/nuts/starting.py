r"""A first guess of the covariance parameters from sums of squares by level.

With :math:`r = y - X\hat\beta_{OLS}`, column z of a term and :math:`s^2 = r^\top W r / n`,

.. math:: E\,(z_j^\top W r)^2 \approx (s^2 - \tau^2)\, z_j^\top W z_j + \tau^2 (z_j^\top W z_j)^2,

each effect taken by itself; summed over levels this gives :math:`\tau^2/s^2`, the share of the variance that the
effect has, and the shares of all effects and of the residual are made to add to one. Nothing but the
cross-products is read, and correlations start at zero.
"""

import numpy as np

from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.types import Array

SMALLEST_SHARE, LARGEST_SHARE = 0.0025, 0.9  # of the variance: a guess away from the boundary at both ends
SMALLEST_REST = 0.1  # least share left to the residual


def starting_factors(products: CrossProducts, sigma: float | None = None) -> list[Array]:
    """Return a diagonal relative covariance factor (S, S) per term, in the kernel's columns.

    Parameters
    ----------
    products
        Cross-products of the kernel's columns.
    sigma
        Residual standard deviation, if it is known.
    """
    p = products.n_fixed
    coefficients = np.linalg.lstsq(products.xy[:p, :p], products.xy[:p, p], rcond=None)[0] if p else np.zeros(0)
    residual = np.append(-coefficients, 1.0)
    variance = float(residual @ products.xy @ residual) / products.n
    if not variance > 0.0:
        return [np.eye(shape.n_columns) for shape in products.layout.shapes]
    shares = [_shares(diagonal, scores, variance) for diagonal, scores in _sums_by_level(products, residual)]
    if sigma is not None:
        return [np.diag(np.sqrt(share * variance) / sigma) for share in shares]
    rest = max(1.0 - sum(float(share.sum()) for share in shares), SMALLEST_REST)
    return [np.diag(np.sqrt(share / rest)) for share in shares]


def starting_factors_of_responses(products: CrossProducts, responses: Array, sigma: float | None = None) -> Array:
    """Return what :func:`starting_factors` does for m responses, the terms on one diagonal, (m, S, S).

    Parameters
    ----------
    products
        Cross-products of the kernel's columns, of which those with y are not read.
    responses
        Those with each response in place of y: with all effects in the order of elimination, with X and with
        themselves, shape (m, q + p + 1).
    sigma
        Residual standard deviation, if it is known.
    """
    layout, p, m = products.layout, products.n_fixed, len(responses)
    xx, xy, yy = products.xy[:p, :p], responses[:, -p - 1 : -1], responses[:, -1]
    coefficients = np.linalg.lstsq(xx, xy.T, rcond=None)[0].T if p else np.zeros((m, 0))
    left = yy - 2.0 * np.sum(coefficients * xy, axis=1) + np.sum((coefficients @ xx) * coefficients, axis=1)
    known = left > 0.0
    variance = np.where(known, left, 1.0) / products.n
    by_level, shares = _sums_by_level(products, np.eye(p + 1)[:, :p]), [np.zeros((m, 0))] * len(layout.shapes)
    first = 0
    for k in (*layout.nest, *layout.trailing):
        (diagonal, zx), shape = by_level[k], layout.shapes[k]
        zy = responses[:, first : first + shape.n_effects].reshape(m, shape.n_levels, shape.n_columns)
        shares[k] = _shares(diagonal, zy - np.einsum("jsp,mp->mjs", zx, coefficients), variance)
        first += shape.n_effects
    together = np.concatenate(shares, axis=1)
    if sigma is not None:
        sds = np.sqrt(together * variance[:, None]) / sigma
    else:
        sds = np.sqrt(together / np.maximum(1.0 - together.sum(axis=1), SMALLEST_REST)[:, None])
    return np.where(known[:, None], sds, 1.0)[:, :, None] * np.eye(together.shape[1])


def _shares(diagonal: Array, scores: Array, variance: Array | float) -> Array:
    """Return the share of each effect, (..., S), from z'Wz (J, S) and z'Wr (..., J, S) by level; variance (...)."""
    by_residual = np.sum(diagonal, axis=0)
    above = np.sum(scores**2, axis=-2) / np.asarray(variance)[..., None] - by_residual
    share = above / np.maximum(np.sum(diagonal**2, axis=0) - by_residual, np.finfo(float).tiny)
    return np.clip(share, SMALLEST_SHARE, LARGEST_SHARE)


def _sums_by_level(products: CrossProducts, residual: Array) -> list[tuple[Array, Array]]:
    """Return z'Wz and z'Wr, (J, S) each, per term in formula order; of r in several columns (J, S, columns)."""
    layout = products.layout
    found: list[tuple[Array, Array]] = [(np.zeros((0, 0)), np.zeros((0, 0)))] * len(layout.shapes)
    for place, k in enumerate(layout.nest):
        size = layout.shapes[k].n_columns
        diagonal = np.einsum("jss->js", products.nest_z[place][:, :, :size])
        found[k] = diagonal, products.nest_xy[place] @ residual
    own = {blocks.terms[0]: blocks.blocks for blocks in products.trailing_blocks if len(set(blocks.terms)) == 1}
    first = 0
    for k in layout.trailing:
        shape = layout.shapes[k]
        scores = products.trailing_xy[first : first + shape.n_effects] @ residual
        found[k] = np.einsum("jss->js", own[k]), scores.reshape(shape.n_levels, shape.n_columns, *scores.shape[1:])
        first += shape.n_effects
    return found

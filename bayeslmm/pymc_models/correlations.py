r"""A correlation matrix as a free variable, its prior a density in the correlations themselves.

The variable holds the correlations below the diagonal, column by column; samplers move z, the inverse hyperbolic
tangent of the partial correlations r, which is one-to-one from the positive definite correlation matrices to
:math:`\mathbb{R}^{S(S-1)/2}`, with

.. math:: \log\left|\frac{\partial R}{\partial z}\right|
          = \sum_{i>j} \left(1 + \frac{S - 1 - j}{2}\right) \log(1 - r_{ij}^2),
          \qquad \log|R| = \sum_{i>j} \log(1 - r_{ij}^2),

columns j counted from one (Lewandowski, Kurowicka and Joe 2009).
"""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.logprob.transforms import Transform

from bayeslmm.covariance.pairs import pair_places
from bayeslmm.priors.lkj import LKJ


def lower_correlations(label: str, n_effects: int, prior: LKJ) -> Any:
    """Add the correlations below the diagonal to the model, shape (S(S - 1)/2,), column by column.

    Parameters
    ----------
    label
        Name of the variable.
    n_effects
        S.
    prior
        The LKJ prior.
    """

    def log_density(value: Any, *_: Any) -> Any:
        partial = partial_correlations(value, n_effects)
        inside = pt.all(pt.abs(partial) < 1)
        value = (prior.eta - 1.0) * pt.sum(pt.log1p(-(pt.switch(inside, partial, 0.0) ** 2)))
        return pt.switch(inside, value - prior.log_normaliser(n_effects), -np.inf)

    def random(_: Any, rng: np.random.Generator | None = None, size: int | tuple[int, ...] | None = None) -> Any:
        shape = () if size is None else tuple(np.atleast_1d(size))
        drawn = prior.sample(rng or np.random.default_rng(), n_effects, int(np.prod(shape, dtype=int)))
        return drawn[:, *pair_places(n_effects)].reshape(*shape, -1)

    _, columns = pair_places(n_effects)
    return pm.CustomDist(
        label,
        prior.eta + (n_effects - 2 - columns) / 2,  # of the partial correlations' beta distributions
        logp=log_density,
        random=random,
        signature="(n)->(n)",
        default_transform=PartialCorrelations(n_effects),
        class_name="LKJ",
    )


def full_matrix(lower: Any, size: int) -> Any:
    """Return the correlation matrix for what is below its diagonal, shape (S, S)."""
    rows, columns = pair_places(size)
    matrix = pt.set_subtensor(pt.eye(size)[rows, columns], lower)
    return pt.set_subtensor(matrix[columns, rows], lower)


def partial_correlations(lower: Any, size: int) -> Any:
    """Return the partial correlations given the columns before, column by column, for what is below the diagonal.

    They are the correlations in the successive Schur complements; not between -1 and 1 where the matrix is not positive
    definite.
    """
    if size == 2:
        return lower
    matrix = full_matrix(lower, size)
    pieces = []
    for _ in range(size - 1):
        first, spread = matrix[1:, 0], pt.diagonal(matrix)
        pieces.append(first / pt.sqrt(spread[0] * spread[1:]))
        matrix = matrix[1:, 1:] - first[:, None] * first / spread[0]
    return pt.concatenate(pieces)


class PartialCorrelations(Transform):
    """From correlations below the diagonal to z, the inverse hyperbolic tangent of the partial ones."""

    name = "partial"
    ndim_supp = 1

    def __init__(self, size: int) -> None:
        self.size = size

    def forward(self, value: Any, *inputs: Any) -> Any:
        """Return z for the correlations, shape (S(S - 1)/2,)."""
        return pt.arctanh(partial_correlations(value, self.size))

    def backward(self, value: Any, *inputs: Any) -> Any:
        """Return the correlations for z, shape (S(S - 1)/2,)."""
        if self.size == 2:
            return pt.tanh(value)
        factor = _factor(value, self.size)
        return pt.dot(factor, factor.T)[pair_places(self.size)]

    def log_jac_det(self, value: Any, *inputs: Any) -> Any:
        """Return the log of the Jacobian determinant of `backward`."""
        _, columns = pair_places(self.size)
        return pt.sum((1.0 + (self.size - 2.0 - columns) / 2.0) * 2.0 * _log_sech(value), axis=-1)


def _log_sech(z: Any) -> Any:
    """Return log sqrt(1 - tanh(z)^2), keeping the digits near correlations of one."""
    return np.log(2.0) - pt.abs(z) - pt.log1p(pt.exp(-2.0 * pt.abs(z)))


def _factor(z: Any, size: int) -> Any:
    """Return the Cholesky factor of the correlation matrix for z."""
    partial, sech = pt.tanh(z), pt.exp(_log_sech(z))
    left: list[Any] = [pt.constant(1.0)] * size
    factor = [[pt.constant(0.0)] * size for _ in range(size)]
    for place, (row, column) in enumerate(zip(*pair_places(size), strict=True)):
        factor[row][column] = partial[place] * left[row]
        left[row] = left[row] * sech[place]
    for row in range(size):
        factor[row][row] = left[row]
    return pt.stack([pt.stack(row) for row in factor])

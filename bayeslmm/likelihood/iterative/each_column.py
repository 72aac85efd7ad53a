r"""The system of the trailing effects with parameters of its own for every column.

Draws of a posterior have each their own covariance parameters, and a pass over the pairs of levels costs little more
for sixteen columns than for one. So with :math:`\lambda^{(c)}` the relative covariance factors of column c,

.. math:: S^{(c)} = \Lambda_2^{(c)\top}(A_{22} - A_{21}M^{(c)}A_{12})\Lambda_2^{(c)} + I

is applied to column c of the vectors, all columns in one pass. They share a preconditioner, that of parameters in their
midst, since a root of :math:`S^{-1}` may be taken about any: :math:`L^{-\top}(L^{-1}SL^{-\top})^{-1/2}`.
"""

from collections.abc import Sequence

import numpy as np

from bayeslmm.likelihood.iterative.conjugate_gradients import inverse_root
from bayeslmm.likelihood.iterative.eliminated import Eliminated
from bayeslmm.types import Array


class EliminatedEach:
    r"""The system at as many values of the relative covariance factors as there are columns.

    Parameters
    ----------
    central
        The system at parameters in their midst, whose preconditioner serves all.
    lambdas
        The kernel's lambdas of each column, (m, S, S) per term, formula order.

    Attributes
    ----------
    roots
        R with :math:`RR^\top = M`, (J_0, S_0, S_0, m).
    """

    def __init__(self, central: Eliminated, lambdas: Sequence[Array]) -> None:
        self.central, self.paired = central, central.paired
        size = central.middle.shape[1]
        own = self.paired.products.nest_z[0][:, :, :size]
        self.roots = np.stack([_lead_root(own, factor) for factor in lambdas[self.paired.lead]], axis=-1)
        self._factors = [np.moveaxis(lambdas[pairs.term], 0, -1) for pairs in self.paired.pairs]

    def _blockwise(self, stacked: Array, *, transposed: bool) -> Array:
        out = np.empty_like(stacked)
        for pairs, factor in zip(self.paired.pairs, self._factors, strict=True):
            turned = factor.transpose(1, 0, 2) if transposed else factor
            out[pairs.rows] = _columnwise(turned, self.paired.levels_of(stacked, pairs)).reshape(-1, stacked.shape[1])
        return out

    def scale(self, stacked: Array) -> Array:
        """Return ``Lambda_2 v``, (q_T, m)."""
        return self._blockwise(stacked, transposed=False)

    def eliminate(self, lead: Array) -> Array:
        """Return ``M v`` for vectors of the leading term, (J_0, S_0, m)."""
        return self.colour_lead(_columnwise(self.roots.transpose(0, 2, 1, 3), lead))

    def colour_lead(self, lead: Array) -> Array:
        """Return ``R v`` for vectors of the leading term, (J_0, S_0, m)."""
        return _columnwise(self.roots, lead)

    def __call__(self, stacked: Array) -> Array:
        """Return ``S v`` column by column, (q_T, m)."""
        scaled = self.scale(stacked)
        raw = self.paired.trailing_products(scaled)
        self.paired.add_trailing_from(-self.eliminate(self.paired.lead_from(scaled)), raw)
        out = self._blockwise(raw, transposed=True)
        out += stacked
        return out

    def draw_trailing(self, rng: np.random.Generator, tolerance: float) -> Array:
        """Draw the trailing effects about their mean, over sigma, on the scale of b, (q_T, m)."""
        central = self.central
        shape = (self.paired.products.n_trailing, self.roots.shape[-1])
        coloured = central.colour(rng.standard_normal(shape))
        return self.scale(inverse_root(self, central.precondition, coloured, tolerance))


def _lead_root(own: Array, factor: Array) -> Array:
    """Return R of each leading level, (J_0, S_0, S_0), for its cross-products and one lambda."""
    scaled = factor.T @ own @ factor + np.eye(len(factor))
    if len(factor) == 1:
        return np.asarray(factor / np.sqrt(scaled))
    return np.asarray(factor @ np.linalg.inv(np.linalg.cholesky(scaled)).transpose(0, 2, 1))


def _columnwise(blocks: Array, vectors: Array) -> Array:
    """Multiply blocks (S, S, m) or (J, S, S, m) with vectors (J, S, m), each column with its own."""
    if vectors.shape[1] == 1:
        return np.asarray(blocks[..., 0, :] * vectors)
    return np.asarray(np.einsum("...stm,...tm->...sm", blocks, vectors))

r"""What crossed factors confound most, their sums, taken out exactly before probes say the rest.

Within levels that are connected by rows, a constant may move from one factor to another: the sums W of each effect over
the levels of each connected component are nearly null vectors of the Schur complement on the scale of b. In the
preconditioner's coordinates, :math:`\tilde S = L^{-1}SL^{-\top}`, they are :math:`L^\top W`; with U an orthonormal
basis of these, :math:`\Pi = I - UU^\top`, D the part of :math:`\Pi\tilde S\Pi` on the complement,
:math:`B = \Pi\tilde SU` and :math:`C = U^\top\tilde SU - B^\top D^{-1}B`,

.. math:: \tilde S^{-1} = D^{-1} + (U - D^{-1}B)\,C^{-1}(U - D^{-1}B)^\top, \qquad
          \log|\tilde S| = \log|D| + \log|C| .

D is close to the identity, so that probes of its inverse and its logarithm have errors that are a hundredth of those of
the whole, and near normal. Here all stands in the coordinates of S: :math:`w = L^{-\top}U`, so that :math:`w^\top Pw =
I`; a right-hand side b is projected to :math:`b - Pw\,w^\top b`, and an effect v to :math:`v - w\,(Pw)^\top v`.

Every component has its own s columns, one for each effect of the trailing terms, and different components have no
rows in common. So all of them are held as s columns, of which an effect's row belongs to its component, and solved at
once.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.iterative.eliminated import Eliminated, PairedProducts
from bayeslmm.types import Array, Index

ROUNDING = 1e-12  # of a right-hand side, that counts as nothing


@dataclass(frozen=True, slots=True)
class ByComponent:
    """Columns of every component: those of component c are rows `of_rows` == c of `columns`, and zero elsewhere.

    Attributes
    ----------
    columns
        Shape (q, s).
    of_rows
        The component of each row, (q,).
    count
        Number of components.
    """

    columns: Array
    of_rows: Index
    count: int

    def matrix(self) -> Array | csr_array:
        """Return all columns, (q, count * s), component by component."""
        q, s = self.columns.shape
        if self.count == 1:
            return self.columns
        places = (self.of_rows[:, None] * s + np.arange(s)).ravel()
        starts = np.arange(0, q * s + 1, s)
        return csr_array((self.columns.ravel(), places, starts), shape=(q, self.count * s))

    def products(self, other: Array) -> Array:
        """Return the products with other columns (q, t) component by component, (count, s, t)."""
        found = np.asarray(self.matrix().T @ other)
        return found.reshape(self.count, self.columns.shape[1], other.shape[1])

    def times(self, blocks: Array) -> "ByComponent":
        """Return the columns of each component times its block, (count, s, s)."""
        turned = self.columns @ blocks[0] if self.count == 1 else self._each(blocks)
        return ByComponent(turned, self.of_rows, self.count)

    def _each(self, blocks: Array) -> Array:
        return np.asarray(np.einsum("is,ist->it", self.columns, blocks[self.of_rows]))


@dataclass(frozen=True, slots=True)
class ExactPart:
    """The part of the inverse that is known exactly.

    Attributes
    ----------
    root
        e with ``S^-1 = N + e e'``, N being the part of the projected system, (q, s) by component.
    log_det
        log|C|.
    """

    root: ByComponent
    log_det: float

    def solve(self, right: Array) -> Array:
        """Return its part of the solution for right-hand sides (q, m)."""
        root = self.root.matrix()
        return np.asarray(root @ (root.T @ right))


class CommonPart:
    """The system without the sums.

    Parameters
    ----------
    eliminated
        The system.

    Attributes
    ----------
    basis
        w, (q, s) by component.
    coupling
        PB, the right-hand sides of the projected system that the exact part needs, (q, s).
    inner
        ``U'SU`` of each component, (count, s, s).
    """

    def __init__(self, eliminated: Eliminated) -> None:
        self.eliminated = eliminated
        sums = sums_of_effects(eliminated.paired)
        coloured = ByComponent(eliminated.colour_transposed(sums.columns), sums.of_rows, sums.count)
        root = np.linalg.cholesky(coloured.products(coloured.columns))
        turn = np.linalg.inv(root).transpose(0, 2, 1)
        self.basis = sums.times(turn)
        weighted = eliminated.colour(np.ascontiguousarray(coloured.times(turn).columns))
        self._basis = self.basis.matrix()
        self._weighted = ByComponent(weighted, sums.of_rows, sums.count).matrix()
        product = eliminated(np.ascontiguousarray(self.basis.columns))
        inner = self.basis.products(product)
        self.inner = (inner + inner.transpose(0, 2, 1)) / 2
        self.coupling = self.without_sums(product)

    def project(self, right: Array) -> Array:
        """Return right-hand sides, (q, m), without the sums."""
        return np.asarray(right - self._weighted @ (self._basis.T @ right))

    def without_sums(self, right: Array) -> Array:
        """Return projected right-hand sides, (q, m); zeros where only rounding is left."""
        projected = self.project(right)
        left, before = (np.einsum("ij,ij->j", b, b) for b in (projected, right))
        projected[:, left <= ROUNDING**2 * before] = 0.0
        return projected

    def project_effects(self, effects: Array) -> Array:
        """Return effects, (q, m), without the sums."""
        return np.asarray(effects - self._basis @ (self._weighted.T @ effects))

    def __call__(self, stacked: Array) -> Array:
        """Return the projected system's product with projected effects, (q, m)."""
        return self.project(self.eliminated(stacked))

    def exact_part(self, solved: Array) -> ExactPart:
        """Return the exact part, from the solution of `coupling`, (q, s).

        Raises
        ------
        FittingError
            If the system is singular to working precision.
        """
        of_rows, count = self.basis.of_rows, self.basis.count
        left = self.inner - ByComponent(self.coupling, of_rows, count).products(solved)
        try:
            root = np.linalg.cholesky((left + left.transpose(0, 2, 1)) / 2)
        except np.linalg.LinAlgError as error:
            raise FittingError(
                "The equations of the random effects were not solved: they are not positive definite to working "
                "precision."
            ) from error
        whole = ByComponent(self.basis.columns - solved, of_rows, count)
        log_det = 2.0 * float(np.log(np.diagonal(root, axis1=1, axis2=2)).sum())
        return ExactPart(whole.times(np.linalg.inv(root).transpose(0, 2, 1)), log_det)

    def difference(self, exact: ExactPart) -> tuple[Array, Array]:
        """Return columns whose products by level are ``ee' - ww'``, (q, 2s) each: (e, -w) and (e, w)."""
        root, basis = exact.root.columns, self.basis.columns
        return np.hstack([root, -basis]), np.hstack([root, basis])

    @property
    def missed(self) -> float:
        """The trace of the projected system less the identity on its space, that of the whole being zero."""
        return float(self.inner.shape[0] * self.inner.shape[1] - np.trace(self.inner, axis1=1, axis2=2).sum())


def sums_of_effects(paired: PairedProducts) -> ByComponent:
    """Return W: per component the sums of each effect of the trailing terms over its levels."""
    count = 1 + max(int(label.max()) for label in paired.components)
    columns = np.zeros((paired.products.n_trailing, sum(pairs.own.shape[1] for pairs in paired.pairs)))
    of_rows = np.zeros(len(columns), dtype=np.int64)
    first = 0
    for pairs, label in zip(paired.pairs, paired.components, strict=True):
        size = pairs.own.shape[1]
        columns[pairs.rows, first : first + size] = np.tile(np.eye(size), (len(label), 1))
        of_rows[pairs.rows] = np.repeat(label, size)
        first += size
    return ByComponent(columns, of_rows, count)

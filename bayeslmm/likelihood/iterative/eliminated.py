r"""The Schur complement of the leading term, applied and never formed.

With the leading term's effects eliminated exactly, :math:`M_j = \lambda_1(\lambda_1^\top A_{11,j}\lambda_1 +
I)^{-1}\lambda_1^\top` level by level, the trailing effects have

.. math:: S = \Lambda_2^\top \tilde A \Lambda_2 + I, \qquad \tilde A = A_{22} - A_{21} M A_{12},

with A the cross-products of Z. A product with S is one pass over the pairs of levels that occur. Its preconditioner P
is its block diagonal, one block (S, S) per level, :math:`P = LL^\top`. Everything stands for singular lambdas too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.likelihood.crossproducts import CrossProducts, TrailingBlocks
from bayeslmm.likelihood.iterative.passes import (
    Blocks,
    Levels,
    add_between,
    add_lead_diagonal,
    gather,
    roots_of,
    scatter,
    subtract_diagonal,
    subtract_eliminated,
    subtract_eliminated_scalar,
    unite,
)
from bayeslmm.types import Array, Index

AT_ONCE = 1_000_000  # blocks compared at once


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of one trailing term with the leading one.

    Attributes
    ----------
    term, rows
        Its formula position, and its rows in the stacked trailing effects.
    starts, levels, blocks
        First pair of each leading level (J_0 + 1,); trailing level (E,) and block (E, S_0, S_k) of each pair.
    own
        The term's products with itself, (J_k, S_k, S_k).
    """

    term: int
    rows: slice
    starts: Index
    levels: Levels
    blocks: Blocks
    own: Array


@dataclass(frozen=True, slots=True)
class PairedProducts:
    """Cross-products of crossed factors as passes need them.

    Attributes
    ----------
    products
        The cross-products.
    pairs
        One item per trailing term.
    between
        Pairs of different trailing terms.
    components
        Which levels are connected by rows: the component of each level, (J_k,) per trailing term.
    """

    products: CrossProducts
    pairs: tuple[Pairs, ...]
    between: tuple[TrailingBlocks, ...]
    components: tuple[Index, ...]

    @classmethod
    def of(cls, products: CrossProducts) -> "PairedProducts":
        """Arrange the pairs by leading level."""
        layout = products.layout
        own = {b.terms[0]: b.blocks for b in products.trailing_blocks if b.terms[0] == b.terms[1]}
        pairs, first = [], 0
        for lead in products.lead_pairs:
            shape = layout.shapes[lead.term]
            wanted = products.entry_starts.astype(lead.starts.dtype)  # of another type the whole would be copied
            starts = np.searchsorted(lead.starts, wanted).astype(np.int64)
            places = products.entry_columns
            if len(products.lead_pairs) > 1 or shape.n_columns > 1:
                places = (places[lead.starts] - np.uint32(first)) // np.uint32(shape.n_columns)
            rows = slice(first, first + shape.n_effects)
            pairs.append(Pairs(lead.term, rows, starts, places, _compact(lead.blocks), own[lead.term]))
            first += shape.n_effects
        between = tuple(b for b in products.trailing_blocks if b.terms[0] != b.terms[1])
        return cls(products, tuple(pairs), between, connected(pairs))

    @property
    def lead(self) -> int:
        """Formula position of the leading term."""
        return self.products.layout.nest[0]

    def levels_of(self, stacked: Array, pairs: Pairs) -> Array:
        """Return the rows of one trailing term, a view (J, S, m)."""
        shape = self.products.layout.shapes[pairs.term]
        return stacked[pairs.rows].reshape(shape.n_levels, shape.n_columns, -1)

    def lead_from(self, stacked: Array) -> Array:
        """Return ``A_12 v``, (J_0, S_0, m), for stacked trailing vectors (q_T, m)."""
        shape = self.products.layout.shapes[self.lead]
        out = np.zeros((shape.n_levels, shape.n_columns, stacked.shape[1]))
        for pairs in self.pairs:
            gather(pairs.starts, pairs.levels, pairs.blocks, self.levels_of(stacked, pairs), out)
        return out

    def add_trailing_from(self, lead: Array, out: Array) -> None:
        """``out += A_21 v`` for vectors of the leading term (J_0, S_0, m)."""
        for pairs in self.pairs:
            scatter(pairs.starts, pairs.levels, pairs.blocks, lead, self.levels_of(out, pairs))

    def trailing_products(self, stacked: Array) -> Array:
        """Return ``A_22 v``, (q_T, m)."""
        out = np.empty_like(stacked)
        for pairs in self.pairs:
            _multiply(pairs.own, self.levels_of(stacked, pairs), self.levels_of(out, pairs))
        for pair in self.between:
            add_between(pair.rows, pair.columns, pair.blocks, stacked, out)
        return out

    def gram(self, lead: Array, trailing: Array) -> tuple[Array, Array]:
        """Return ``Z'WZ c`` for effects c of the leading term (J_0, S_0, m) and the others (q_T, m)."""
        size = lead.shape[1]
        first = np.ascontiguousarray(self.products.nest_z[0][:, :, :size]) @ lead + self.lead_from(trailing)
        rest = self.trailing_products(trailing)
        self.add_trailing_from(lead, rest)
        return first, rest


def connected(pairs: Sequence[Pairs]) -> tuple[Index, ...]:
    """Return the connected component of each level of each trailing term, numbered from 0."""
    sizes = [len(p.own) for p in pairs]
    parents = np.arange(sum(sizes))
    first_met = np.full(len(pairs[0].starts) - 1, -1)
    firsts = np.cumsum([0, *sizes])
    for p, first in zip(pairs, firsts, strict=False):
        unite(p.starts, p.levels, first, first_met, parents)
    labels = np.unique(roots_of(parents), return_inverse=True)[1]
    return tuple(np.split(labels, firsts[1:-1]))


def _multiply(blocks: Array, vectors: Array, out: Array) -> None:
    """``out = blocks @ vectors`` level by level; single numbers without the cost of a matrix product."""
    (np.multiply if vectors.shape[1] == 1 else np.matmul)(blocks, vectors, out=out)


def _compact(blocks: Blocks) -> Blocks:
    """Return the blocks in single precision where that loses nothing, as with counts."""
    if blocks.dtype == np.float32:
        return blocks
    single = np.empty(blocks.shape, dtype=np.float32)
    for first in range(0, len(blocks), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        single[some] = blocks[some]
        if not np.array_equal(single[some], blocks[some]):
            return blocks
    return single


class Eliminated:
    """The system at one value of the relative covariance factors.

    Parameters
    ----------
    paired
        The cross-products.
    lambdas
        The kernel's lambda (S, S) of each term, formula order.

    Attributes
    ----------
    paired, lambdas
        As given.
    middle
        M, (J_0, S_0, S_0).
    log_det_lead
        Log-determinant of the leading term's blocks.
    diagonal
        Diagonal blocks of the raw Schur complement, (J, S, S) per trailing term.
    roots
        L of the preconditioner's blocks, (J, S, S) per trailing term.
    """

    def __init__(self, paired: PairedProducts, lambdas: Sequence[Array]) -> None:
        self.paired, self.lambdas = paired, tuple(lambdas)
        size = paired.products.layout.shapes[paired.lead].n_columns
        own = paired.products.nest_z[0][:, :, :size]
        factor = lambdas[paired.lead]
        scaled = factor.T @ own @ factor + np.eye(size)
        self.middle = factor @ np.linalg.solve(scaled, np.broadcast_to(factor.T, scaled.shape))
        self.log_det_lead = float(np.linalg.slogdet(scaled)[1].sum())
        self.diagonal: list[Array] = []
        self.roots: list[Array] = []
        self._inverse_roots: list[Array] = []
        for pairs in paired.pairs:
            blocks = pairs.own.copy()
            subtract_diagonal(pairs.starts, pairs.levels, pairs.blocks, self.middle, blocks)
            own_factor = lambdas[pairs.term]
            preconditioner = own_factor.T @ blocks @ own_factor + np.eye(len(own_factor))
            root = np.asarray(np.linalg.cholesky(preconditioner), dtype=float)
            self.diagonal.append(blocks)
            self.roots.append(root)
            self._inverse_roots.append(np.asarray(np.linalg.inv(root), dtype=float))

    @property
    def log_det_preconditioner(self) -> float:
        """Log-determinant of P."""
        return 2.0 * sum(float(np.log(np.diagonal(root, axis1=1, axis2=2)).sum()) for root in self.roots)

    def inverse_preconditioner(self) -> list[Array]:
        """Return the blocks of the inverse of P, (J, S, S) per trailing term."""
        return [root.transpose(0, 2, 1) @ root for root in self._inverse_roots]

    def _blockwise(self, blocks: Sequence[Array], stacked: Array) -> Array:
        out = np.empty_like(stacked)
        for pairs, block in zip(self.paired.pairs, blocks, strict=True):
            _multiply(block, self.paired.levels_of(stacked, pairs), self.paired.levels_of(out, pairs))
        return out

    def colour(self, stacked: Array) -> Array:
        """Return ``L v``."""
        return self._blockwise(self.roots, stacked)

    def colour_transposed(self, stacked: Array) -> Array:
        """Return ``L' v``."""
        return self._blockwise([root.transpose(0, 2, 1) for root in self.roots], stacked)

    def whiten_transposed(self, stacked: Array) -> Array:
        """Return ``L^-T v``."""
        return self._blockwise([root.transpose(0, 2, 1) for root in self._inverse_roots], stacked)

    def precondition(self, stacked: Array) -> Array:
        """Return ``P^-1 v``."""
        return self.whiten_transposed(self._blockwise(self._inverse_roots, stacked))

    def scale(self, stacked: Array) -> Array:
        """Return ``Lambda_2 v``."""
        return self._blockwise([self.lambdas[pairs.term] for pairs in self.paired.pairs], stacked)

    def scale_transposed(self, stacked: Array) -> Array:
        """Return ``Lambda_2' v``."""
        return self._blockwise([self.lambdas[pairs.term].T for pairs in self.paired.pairs], stacked)

    def raw(self, stacked: Array) -> Array:
        """Return the raw Schur complement times v, (q_T, m)."""
        paired = self.paired
        out = paired.trailing_products(stacked)
        if len(paired.pairs) > 1:
            paired.add_trailing_from(-(self.middle @ paired.lead_from(stacked)), out)
            return out
        (pairs,) = paired.pairs
        if pairs.blocks.shape[1:] == (1, 1):
            flat, middle = pairs.blocks.reshape(-1), self.middle.reshape(-1)
            subtract_eliminated_scalar(pairs.starts, pairs.levels, flat, middle, stacked, out)
        else:
            subtract_eliminated(
                pairs.starts,
                pairs.levels,
                pairs.blocks,
                self.middle,
                paired.levels_of(stacked, pairs),
                paired.levels_of(out, pairs),
            )
        return out

    def __call__(self, stacked: Array) -> Array:
        """Return ``S v`` for stacked trailing vectors (q_T, m)."""
        out = self.scale_transposed(self.raw(self.scale(stacked)))
        out += stacked
        return out

    def reduce(self, lead: Array, trailing: Array) -> Array:
        """Return the right-hand side of the trailing effects, ``Lambda_2'(b_2 - A_21 M b_1)``, (q_T, m)."""
        right = np.array(trailing)
        self.paired.add_trailing_from(-(self.middle @ lead), right)
        return self.scale_transposed(right)

    def lead_effects(self, lead: Array, trailing: Array) -> Array:
        """Return the leading term's effects ``M(b_1 - A_12 c_2)`` given the others' c_2 (q_T, m), on the scale of b."""
        return self.middle @ (lead - self.paired.lead_from(trailing))

    def lead_diagonal(self, blocks: Sequence[Array]) -> Array:
        """Return the diagonal blocks of ``A_12 B A_21``, (J_0, S_0, S_0), for block-diagonal B (J, S, S) per term."""
        out = np.zeros_like(self.middle)
        for pairs, block in zip(self.paired.pairs, blocks, strict=True):
            add_lead_diagonal(pairs.starts, pairs.levels, pairs.blocks, block, out)
        return out

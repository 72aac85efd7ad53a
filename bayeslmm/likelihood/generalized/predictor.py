r"""The linear predictor :math:`\eta = X\beta + Z\Lambda u + \mathrm{offset}` and the products of its columns.

Columns are those of the Gaussian kernel: X centred where it spans the constant, Z where its covariance allows it, all
scaled. A set of working weights w gives the cross-products :math:`[Z\;X]^\top\mathrm{diag}(w)[Z\;X]` in one pass over
the rows, on a pattern that is laid out once. The place of the response is taken by a constant, so that the kernel's
factor can be used as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from bayeslmm.covariance import TermShape
from bayeslmm.design.centring import Centring, find_centring, no_centring
from bayeslmm.likelihood.accumulate import add_effects, add_weighted, weighted_products
from bayeslmm.likelihood.columns import ColumnMap, TermArrays, column_map, term_map
from bayeslmm.likelihood.crossproducts import CrossProducts, Sums
from bayeslmm.likelihood.layout import check_memory, choose_layout
from bayeslmm.likelihood.pattern import Pattern
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Predictor:
    """The columns of a linear predictor.

    Attributes
    ----------
    X, z
        The kernel's fixed columns, shape (n, p), and each term's columns, (n, S).
    offset
        Shape (n,).
    pattern
        Where products are added up.
    fixed, maps
        From the kernel's columns to the user's.
    names
        Names of the terms for messages.
    """

    X: Array
    z: tuple[Array, ...]
    offset: Array
    pattern: Pattern
    fixed: ColumnMap
    maps: tuple[ColumnMap, ...]
    names: tuple[str, ...]

    @classmethod
    def build(
        cls,
        X: Array,
        terms: Sequence[TermArrays],
        offset: Array | None = None,
        names: Sequence[str] | None = None,
        centring: Centring | None = None,
    ) -> "Predictor":
        """Lay out the columns.

        Parameters
        ----------
        X
            Fixed columns of full rank, shape (n, p).
        terms
            Random terms: codes (n,), columns (n, S), n_levels, covariance, centring.
        offset
            Shape (n,); None means zero.
        names
            Names of the terms for messages.
        centring
            Of X; None centres it where it spans the constant.

        Raises
        ------
        ModelError
            If the crossed random effects need more memory than there is.
        """
        X = np.asarray(X, dtype=float)
        shapes = [TermShape(t.n_levels, t.columns.shape[1], t.covariance) for t in terms]
        names = tuple(names) if names is not None else tuple(getattr(t, "name", str(k)) for k, t in enumerate(terms))
        layout = choose_layout([t.codes for t in terms], shapes)
        check_memory(layout, names, X.shape[1])
        centring = find_centring(X) if centring is None else centring
        fixed = column_map(X, centring, None) if X.shape[1] else ColumnMap(no_centring(0), np.ones(0))
        maps = tuple(term_map(t, None) for t in terms)
        return cls(
            X=np.ascontiguousarray(fixed.apply(X)),
            z=tuple(np.ascontiguousarray(m.apply(t.columns)) for t, m in zip(terms, maps, strict=True)),
            offset=np.zeros(len(X)) if offset is None else np.asarray(offset, dtype=float),
            pattern=Pattern([t.codes for t in terms], layout),
            fixed=fixed,
            maps=maps,
            names=names,
        )

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.X)

    @property
    def p(self) -> int:
        """Number of fixed columns."""
        return self.X.shape[1]

    @property
    def shapes(self) -> tuple[TermShape, ...]:
        """Shape of each term."""
        return self.pattern.layout.shapes

    def zeros(self) -> list[Array]:
        """Return effects of zero, (J, S) per term."""
        return [np.zeros((shape.n_levels, shape.n_columns)) for shape in self.shapes]

    def effects(self, b: Sequence[Array]) -> Array:
        """Return Z b, shape (n,), for random effects b, (J, S) per term."""
        out = np.zeros(self.n)
        for codes, z, values in zip(self.pattern.codes, self.z, b, strict=True):
            add_effects(codes, z, np.ascontiguousarray(values), out)
        return out

    def eta(self, beta: Array, u: Sequence[Array], lambdas: Sequence[Array]) -> Array:
        """Return the linear predictor, shape (n,)."""
        return self.offset + self.X @ beta + self.effects(scale_effects(u, lambdas))

    def by_level(self, values: Array) -> list[Array]:
        """Return Z' v, (J, S) per term, for v of shape (n,)."""
        found = self.zeros()
        for codes, z, sums in zip(self.pattern.codes, self.z, found, strict=True):
            add_values(codes, z, values, sums)
        return found

    def products(self, weights: Array, *, fixed: bool, precision: Array | None = None) -> CrossProducts:
        """Return the cross-products at working weights.

        Parameters
        ----------
        weights
            Shape (n,), of any sign.
        fixed
            Whether X is among the columns.
        precision
            Prior precision of the coefficients, (p, p), added to X's part.
        """
        p = self.p if fixed else 0
        sums = Sums(self.pattern, p)
        layout, codes = self.pattern.layout, self.pattern.codes
        for place, k in enumerate(layout.nest):
            related = (
                self.z[k] if len(layout.nest) - place == 1 else np.hstack([self.z[m] for m in layout.nest[place:]])
            )
            add_weighted(codes[k], weights, self.z[k], related, sums.nest_z[place])
        for k, pairs, blocks in zip(layout.trailing, self.pattern.lead_rows, sums.lead, strict=True):
            add_weighted(pairs, weights, self.z[layout.nest[0]], self.z[k], blocks)
        for pair, blocks in zip(self.pattern.trailing, sums.trailing, strict=True):
            add_weighted(pair.pair_of_row, weights, self.z[pair.terms[0]], self.z[pair.terms[1]], blocks)
        if p:
            for k, out in zip((*layout.nest, *layout.trailing), (*sums.nest_xy, *sums.trailing_xy), strict=True):
                add_weighted(codes[k], weights, self.z[k], self.X, out)
            sums.xy[:p, :p] = weighted_products(weights, self.X, self.X)
            if precision is not None:
                sums.xy[:p, :p] += precision
        sums.xy[p, p] = 1.0
        return sums.products(self.n, 0.0)


def scale_effects(u: Sequence[Array], lambdas: Sequence[Array]) -> list[Array]:
    """Return b = Lambda u, (J, S) per term."""
    return [times(values, factor.T) for values, factor in zip(u, lambdas, strict=True)]


def scale_back(v: Sequence[Array], lambdas: Sequence[Array]) -> list[Array]:
    """Return Lambda' v, (J, S) per term."""
    return [times(values, factor) for values, factor in zip(v, lambdas, strict=True)]


def times(rows: Array, matrix: Array) -> Array:
    """Return the product of many short rows (n, S) and a small matrix (S, S); BLAS is slow where S is one."""
    return rows * matrix[0, 0] if matrix.shape == (1, 1) else rows @ matrix


@numba.njit(cache=True, nogil=True)
def add_values(codes: Array, columns: Array, values: Array, out: Array) -> None:
    """``out[codes[i]] += columns[i] * values[i]``; columns (n, S), values (n,), out (J, S)."""
    if columns.shape[1] == 1:
        for i in range(len(values)):
            out[codes[i], 0] += columns[i, 0] * values[i]
        return
    for i in range(len(values)):
        for s in range(columns.shape[1]):
            out[codes[i], s] += columns[i, s] * values[i]

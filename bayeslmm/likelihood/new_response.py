r"""A kernel whose groups, fixed columns and weights stay while its response moves.

Refits, bootstraps and every sweep of a mixed-effects forest hand the kernel another response r. Of the
cross-products :math:`[Z\;X\;r]^\top W [Z\;X\;r]` only :math:`Z^\top W r`, :math:`X^\top W r` and
:math:`r^\top W r` change: one pass over the rows, whatever the number of groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.likelihood.accumulate import add_by_level, add_effects
from bayeslmm.likelihood.columns import TermArrays
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class KernelStructure:
    """The part of the kernel that does not depend on the response.

    Attributes
    ----------
    terms
        The random terms: codes (n,), columns (n, S).
    X
        Fixed columns, shape (n, p); p may be zero.
    weights
        Positive row weights, shape (n,), or None.
    kernel
        The kernel of any response.
    columns
        Each term's columns as the kernel sees them, times the weights, shape (n, S).
    fixed_columns
        X as the kernel sees it, times the weights, shape (n, p).
    """

    terms: tuple[TermArrays, ...]
    X: Array
    weights: Array | None
    kernel: Kernel
    columns: tuple[Array, ...]
    fixed_columns: Array

    @classmethod
    def build(
        cls,
        X: Array,
        terms: Sequence[TermArrays],
        weights: Array | None = None,
        names: Sequence[str] | None = None,
    ) -> "KernelStructure":
        """Sum the cross-products of Z and X once.

        Parameters
        ----------
        X
            Linear columns, shape (n, p).
        terms
            Random terms: codes (n,), columns (n, S), n_levels, covariance, centring.
        weights
            Positive row weights, shape (n,); None means ones.
        names
            Names of the terms for messages.
        """
        return cls.of(Kernel.build(np.zeros(len(X)), X, terms, weights, names=names), X, terms, weights)

    @classmethod
    def of(
        cls, kernel: Kernel, X: Array, terms: Sequence[TermArrays], weights: Array | None = None
    ) -> "KernelStructure":
        """Take what does not depend on the response from a kernel of the same columns, terms and weights."""
        terms = tuple(terms)
        columns = tuple(_weighted(m.apply(t.columns), weights) for m, t in zip(kernel.maps, terms, strict=True))
        fixed = _weighted(kernel.fixed.apply(X) if X.shape[1] else X, weights)
        return cls(terms, X, weights, kernel, columns, fixed)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.X)

    def at(self, residual: Array) -> Kernel:
        """Return the kernel of one response, shape (n,)."""
        kernel = self.kernel
        mean = 0.0
        if kernel.fixed.centring.spans_constant:
            mean = float(np.average(residual, weights=self.weights))
        r = np.ascontiguousarray((residual - mean)[:, None])
        products = kernel.products
        layout = products.layout
        nest_xy = tuple(self._with_response(k, r, xy) for k, xy in zip(layout.nest, products.nest_xy, strict=True))
        return replace(
            kernel,
            y_mean=mean,
            products=replace(products, nest_xy=nest_xy, trailing_xy=self._trailing(r), xy=self._squares(r[:, 0])),
        )

    def means(self, Y: Array) -> Array:
        """Return what responses (n, m) are centred by, shape (m,); zero where the constant is not among the columns."""
        if not self.kernel.fixed.centring.spans_constant:
            return np.zeros(Y.shape[1])
        return np.asarray(np.average(Y, axis=0, weights=self.weights))

    def response_products(self, Y: Array) -> Array:
        """Return the cross-products of responses (n, m), centred, with all effects, with X and with themselves.

        Effects stand in the order of elimination, level by level; shape (m, q + p + 1).
        """
        layout, shapes, p = self.kernel.products.layout, self.kernel.shapes, self.kernel.p
        r = np.ascontiguousarray(Y - self.means(Y))
        found = np.empty((r.shape[1], sum(shape.n_effects for shape in shapes) + p + 1))
        first = 0
        for k in (*layout.nest, *layout.trailing):
            own = np.zeros((shapes[k].n_levels, shapes[k].n_columns, r.shape[1]))
            add_by_level(self.terms[k].codes, self.columns[k], r, own)
            found[:, first : first + shapes[k].n_effects] = own.reshape(-1, r.shape[1]).T
            first += shapes[k].n_effects
        found[:, first : first + p] = r.T @ self.fixed_columns
        found[:, -1] = np.einsum("nm,nm->m", r, r if self.weights is None else self.weights[:, None] * r)
        return found

    def _with_response(self, k: int, r: Array, xy: Array) -> Array:
        own = np.zeros((xy.shape[0], xy.shape[1], 1))
        add_by_level(self.terms[k].codes, self.columns[k], r, own)
        return np.concatenate([xy[:, :, :-1], own], axis=2)

    def _trailing(self, r: Array) -> Array:
        trailing = self.kernel.products.trailing_xy.copy()
        start = 0
        for k in self.kernel.products.layout.trailing:
            shape = self.kernel.shapes[k]
            own = np.zeros((shape.n_levels, shape.n_columns, 1))
            add_by_level(self.terms[k].codes, self.columns[k], r, own)
            trailing[start : start + shape.n_effects, -1] = own.reshape(-1)
            start += shape.n_effects
        return trailing

    def _squares(self, r: Array) -> Array:
        xy = self.kernel.products.xy.copy()
        p = self.X.shape[1]
        xy[p, :p] = xy[:p, p] = self.fixed_columns.T @ r
        xy[p, p] = r @ r if self.weights is None else (self.weights * r) @ r
        return xy

    def linear(self, beta: Array) -> Array:
        """Return X beta, shape (n,)."""
        return self.X @ beta if len(beta) else np.zeros(self.n)

    def random(self, effects: Sequence[Array]) -> Array:
        """Return Z b, shape (n,), for b in the user's columns, one (J, S) per term."""
        return random_part(self.terms, effects, self.n)


def random_part(terms: Sequence[TermArrays], effects: Sequence[Array], n: int) -> Array:
    """Return Z b, shape (n,), zero where a code is -1 (a level the effects do not have)."""
    total = np.zeros(n)
    for term, b in zip(terms, effects, strict=True):
        add_effects(term.codes, np.ascontiguousarray(term.columns), np.ascontiguousarray(b), total)
    return total


def _weighted(columns: Array, weights: Array | None) -> Array:
    return np.ascontiguousarray(columns if weights is None else columns * weights[:, None])

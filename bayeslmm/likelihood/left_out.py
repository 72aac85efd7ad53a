r"""What the other rows say of a row, given the covariance parameters: from one factor.

With V the covariance of y under the model, coefficients and random effects integrated out, and m its mean, the rows I
given all others are normal with

.. math:: E = y_I - ([V^{-1}]_{II})^{-1} [V^{-1}(y - m)]_I, \qquad \mathrm{Var} = ([V^{-1}]_{II})^{-1},

and :math:`V^{-1} = \sigma^{-2} W^{1/2}(I - H)W^{1/2}`, :math:`V^{-1}(y - m) = \sigma^{-2} W (y - \hat y)`, where
H holds the leverages in (beta, b) under their priors and :math:`\hat y` is the conditional mean of the fit (the
deletion formula of regression; for mixed models Christensen, Pearson and Johnson 1992, *Technometrics* 34). With
:math:`\tilde X` the fixed columns less what Z explains of them, and the prior of beta diagonalised as in
`bayeslmm.likelihood.normal_prior`,

.. math:: H = W^{1/2}\bigl[Z\Lambda\Omega^{-1}\Lambda^\top Z^\top
          + T\,\mathrm{diag}\{1/(1 + \sigma^2\pi)\}\,T^\top\bigr]W^{1/2}, \qquad T = \tilde X R^{-\top}U,

so one factor serves every sigma.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.normal_prior import LOG_2PI, FixedPosterior
from bayeslmm.likelihood.prediction_error import (
    PredictorRows,
    error_variance,
    forward_solve,
    predictor_rows,
    spread_leading,
)
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import AnyArray, Array, Codes, Index

KNOWN = 1e150  # root of the precision of coefficients taken as known
IDENTIFIED = 1e-9  # of one less the leverage: what the other rows must know of a row
CELLS = 2_000_000  # numbers held at once for sets of rows


@dataclass(frozen=True, slots=True)
class DataRows:
    """The rows of a data set, in the user's columns.

    Attributes
    ----------
    y
        Response less offset, shape (n,).
    X
        Fixed columns, shape (n, p).
    codes, columns
        Level of each row (n,), and columns (n, S), one per term.
    root_weights
        Square roots of the weights, shape (n,).
    """

    y: Array
    X: Array
    codes: tuple[Codes, ...]
    columns: tuple[Array, ...]
    root_weights: Array


@dataclass(frozen=True, slots=True)
class RowParts:
    """Rows given theta, for every sigma, all times the square roots of the weights.

    Attributes
    ----------
    residual
        Residual at the generalised least-squares estimate, shape (n,).
    fixed
        T, shape (n, p).
    leverage
        Leverage in the random effects, coefficients known, shape (n,).
    rows
        The rows as the kernel sees them.
    log_weights
        Logarithms of the weights, shape (n,).
    """

    residual: Array
    fixed: Array
    leverage: Array
    rows: PredictorRows
    log_weights: Array


@limits_threads
def row_parts(kernel: Kernel, posterior: FixedPosterior, data: DataRows, *, leverages: bool = True) -> RowParts:
    """Return what the densities of left-out rows need of the factor; the leverages only where they are asked for."""
    factor, root = posterior.factor, data.root_weights
    rows = predictor_rows(kernel, factor, data.codes, data.columns, data.X)
    p = kernel.p
    X = kernel.fixed.apply(data.X) if p else data.X
    coefficients = np.column_stack([posterior.estimate, np.zeros(p), np.eye(p)])
    explained = _explained(factor, rows, coefficients)
    residual = data.y - kernel.y_mean - X @ posterior.estimate - explained[:, 0]
    fixed = (X - explained[:, [1]] + explained[:, 2:]) @ posterior.root
    rows = replace(rows, effects=tuple(e * root[:, None] for e in rows.effects), fixed=np.zeros((len(data.y), p)))
    leverage = error_variance(factor, rows, KNOWN * np.eye(p)) if leverages else np.zeros(len(data.y))
    return RowParts(residual * root, fixed * root[:, None], leverage, rows, 2.0 * np.log(root))


def _explained(factor: Factor, rows: PredictorRows, coefficients: Array) -> Array:
    """Return the rows' random parts at the modes of the effects given coefficients (p, m), shape (n, m)."""
    found = np.zeros((len(rows.fixed), coefficients.shape[1]))
    for codes, effects, u in zip(rows.codes, rows.effects, solve_effects(factor, coefficients), strict=True):
        for s in range(effects.shape[1]):
            found += effects[:, s, None] * u[codes, s]  # effects are zero where a row has no level
    return found


def without_effects(factor: Factor, rows: PredictorRows) -> Array:
    """Return the fixed columns of the rows less what the random effects explain of them, shape (n, p)."""
    p = rows.fixed.shape[1]
    explained = _explained(factor, rows, np.column_stack([np.zeros(p), np.eye(p)]))
    return rows.fixed - explained[:, [0]] + explained[:, 1:]


def rows_left_out(parts: RowParts, posterior: FixedPosterior, sigma: Array) -> tuple[Array, Array]:
    """Return log densities of every row, given the other rows and given all rows, both (m, n), for sigma (m,).

    The first is minus infinity where no other row identifies a coefficient of this one.
    """
    share = _share(posterior, sigma)
    leverage = parts.leverage + share @ (parts.fixed**2).T
    squares = _residuals(parts, posterior, share) ** 2
    left = 1.0 - leverage
    left[left < IDENTIFIED] = np.nan
    scale = LOG_2PI + 2.0 * np.log(sigma)[:, None]
    variance = sigma[:, None] ** 2
    out = 0.5 * (parts.log_weights + np.log(left) - scale - squares / (left * variance))
    within = 0.5 * (parts.log_weights - np.log1p(leverage) - scale - squares / ((1.0 + leverage) * variance))
    return np.where(np.isnan(out), -np.inf, out), within


def _share(posterior: FixedPosterior, sigma: Array) -> Array:
    return 1.0 / (1.0 + np.multiply.outer(sigma**2, posterior.pull))


def _residuals(parts: RowParts, posterior: FixedPosterior, share: Array) -> Array:
    """Return the residuals at the conditional mean of beta, (m, n)."""
    return parts.residual - ((1.0 - share) * posterior.distance) @ parts.fixed.T


@dataclass(frozen=True, slots=True)
class Sets:
    """Disjoint sets of rows.

    Attributes
    ----------
    members
        Positions of the rows, sorted by set, shape (n,).
    starts
        Where each set begins among them, and their number, shape (U + 1,).
    """

    members: Index
    starts: Index

    @classmethod
    def of(cls, codes: AnyArray, count: int) -> "Sets":
        """Return the rows of each code 0..count-1."""
        order = np.argsort(codes, kind="stable").astype(np.int64)
        return cls(order, np.searchsorted(codes[order], np.arange(count + 1)).astype(np.int64))

    @property
    def sizes(self) -> Index:
        """Number of rows of each set, shape (U,)."""
        return np.diff(self.starts)

    def batches(self, most: int) -> Iterator[tuple[Index, Index]]:
        """Yield sets of one size, some at a time: their places (G,) and their rows (G, s), at most `most` rows."""
        sizes = self.sizes
        for size in np.unique(sizes[sizes > 0]):
            places = np.flatnonzero(sizes == size)
            step = max(1, most // int(size))
            for first in range(0, len(places), step):
                some = places[first : first + step]
                yield some, self.members[self.starts[some][:, None] + np.arange(size)]


def known_covariance(factor: Factor, rows: PredictorRows, members: Index) -> Array:
    """Return the rows' leverages in the random effects with each other, (G, s, s)."""
    if not rows.codes:
        return np.zeros((*members.shape, members.shape[1]))
    flat = members.ravel()
    nest, trailing = solved_rows(factor, tuple(c[flat] for c in rows.codes), tuple(e[flat] for e in rows.effects))
    shape = (*members.shape, -1)
    t = trailing.reshape(shape)
    found = t @ t.transpose(0, 2, 1)
    for codes, vectors in nest:
        v, c = vectors.reshape(shape), codes.reshape(members.shape)
        found += (v @ v.transpose(0, 2, 1)) * (c[:, :, None] == c[:, None, :])
    return found


def solved_rows(
    factor: Factor, codes: Sequence[Codes], effects: Sequence[Array]
) -> tuple[list[tuple[Codes, Array]], Array]:
    r"""Return :math:`L^{-1}\Lambda^\top z` of rows of the fit: per term of the nest levels and (m, S), then (m, q).

    Parameters
    ----------
    factor
        The factor.
    codes, effects
        Level of each row (m,) and :math:`\Lambda^\top z` (m, S), one per term.
    """
    layout, products = factor.products.layout, factor.products
    pending = [effects[k].copy() for k in layout.nest]
    nest = []
    for place, k in enumerate(layout.nest):
        z, right = factor.nest_z[place], pending[place]
        forward_solve(z, codes[k], right)
        first = right.shape[1]
        for ancestor in range(place + 1, len(layout.nest)):
            size = pending[ancestor].shape[1]
            pending[ancestor] -= np.einsum("ms,msr->mr", right, z[codes[k], :, first : first + size])
            first += size
        nest.append((codes[k], right))
    q = products.n_trailing
    trailing = np.zeros((len(codes[0]), q))
    if q:
        lead = layout.nest[0]
        spread_leading(products.entry_starts, products.entry_columns, factor.entries, codes[lead], pending[0], trailing)
        start, every = 0, np.arange(len(trailing))
        for k in layout.trailing:
            size = effects[k].shape[1]
            for s in range(size):
                trailing[every, start + codes[k] * size + s] += effects[k][:, s]
            start += layout.shapes[k].n_effects
        if factor.sparse is not None:
            return nest, np.ascontiguousarray(factor.sparse.solve_lower(trailing.T).T)
        lower = np.asfortranarray(factor.trailing[:q, :q])
        trailing = np.ascontiguousarray(solve_triangular(lower, trailing.T, lower=True).T)
    return nest, trailing

r"""Kenward and Roger's adjusted covariance and degrees of freedom (1997, Biometrics 53), from the cross-products.

With :math:`V = \sigma^2 V_1`, directions :math:`G_i` of the marginal covariance and
:math:`\Phi = \sigma^2 (X^\top V_1^{-1} X)^{-1}`,

.. math::

   P_i = -X^\top V_1^{-1} G_i V_1^{-1} X, \quad Q_{ij} = X^\top V_1^{-1} G_i V_1^{-1} G_j V_1^{-1} X, \quad
   2 W^{-1}_{ij} = \mathrm{tr}(V_1^{-1} G_i V_1^{-1} G_j) - 2\,\mathrm{tr}(\Phi Q_{ij})
   + \mathrm{tr}(\Phi P_i \Phi P_j), \qquad
   \Phi_A = \Phi + 2\Phi \Bigl[\sum_{ij} W_{ij} (Q_{ij} - P_i \Phi P_j)\Bigr] \Phi .

No matrix of order n or q is formed. One direction is :math:`V_1` itself, for which all is known at once. The others
are :math:`Z_k (I \otimes \lambda_k E \lambda_k^\top) Z_k^\top`, E symmetric: there
:math:`U = \Omega^{-1}\Lambda^\top Z^\top W X` gives :math:`P_i = -\sum_j U_j^\top E U_j`, and
:math:`\mathrm{tr}(V_1^{-1} G_i) = \mathrm{tr}(E\,[J I - \sum_j C_{jj}])`. The second-order quantities are derivatives
of these: :math:`\partial_j \mathrm{tr}(V_1^{-1} G_i) = -\mathrm{tr}(V_1^{-1} G_i V_1^{-1} G_j)` and
:math:`\partial_j P_i = Q_{ij} + Q_{ij}^\top`, by central differences: two evaluations for each direction.

All of it is the same in any basis of directions. A singular factor is moved inside by a variance too small to matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.covariance import TermShape
from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.factor import Factor, factorise
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.testing.errors_of_estimation import VaryingErrors
from bayeslmm.types import Array

CHANGE = 1e-3  # of a covariance, relative to itself, for central differences: truncation is its square
SMALLEST = 1e-5  # variance of an effect in units of its error's, below which a factor is moved inside
FLAT = 1e-10  # eigenvalue of the scaled information, relative to the largest, that counts as zero

Direction = tuple[int, Array]  # place of a term, and E (S, S)


@dataclass(frozen=True, slots=True)
class KenwardRogerErrors(VaryingErrors):
    """The adjusted covariance of the coefficients with Kenward and Roger's degrees of freedom."""

    def joint(self, L: Array) -> tuple[float, float]:
        """Return a factor of the F statistic of all rows of L, of full rank (q, p), and its denominator's df."""
        q = len(L)
        if q == 0:
            return 1.0, np.nan
        theta = np.linalg.solve(L @ self.unadjusted @ L.T, L)  # Theta = L' (L Phi L')^-1 L
        moved = np.einsum("qp,kpr,sr->kqs", theta, self.slopes, L)
        traces = np.einsum("kqq->k", moved)
        A1 = float(traces @ self.parameter_covariance @ traces)
        A2 = float(np.einsum("kl,kqs,lsq->", self.parameter_covariance, moved, moved))
        if A2 <= 0:
            return 1.0, np.inf
        return scale_and_df(q, A1, A2)


def scale_and_df(q: int, A1: float, A2: float) -> tuple[float, float]:
    """Return the factor of F and the denominator's df that match its first two moments."""
    B = (A1 + 6.0 * A2) / (2.0 * q)
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    c1, c2, c3 = (value / (3.0 * q + 2.0 * (1.0 - g)) for value in (g, q - g, q + 2.0 - g))
    above, left, right = 1.0 + c1 * B, 1.0 - c2 * B, 1.0 - c3 * B
    if abs(above) < 1e-10:
        above = 0.0
    ratio = 1.0 if abs(left) < 1e-14 and abs(1.0 - A2 / q) < 1e-14 else (1.0 - A2 / q) / left
    rho = ratio**2 * above / (right * q)
    df = 4.0 + (q + 2.0) / (q * rho - 1.0)
    scale = 1.0 if abs(df - 2.0) < 1e-2 else df * (1.0 - A2 / q) / (df - 2.0)
    return float(scale), float(df)


def kenward_roger(
    kernel: Kernel, theta: Array, beta: Array, sigma: float, *, sigma_known: bool = False
) -> KenwardRogerErrors:
    """Return the adjusted errors of the coefficients at the REML optimum; see `satterthwaite` for the parameters."""
    lambdas = [_inside(f, s, kernel.n) for f, s in zip(kernel.lambdas(theta), kernel.shapes, strict=True)]
    directions = [(k, e) for k, shape in enumerate(kernel.shapes) for e in symmetric_basis(shape)]
    factor = factorise(kernel.products, lambdas)
    P, traces = first_order(kernel, factor, directions, lambdas)
    pairs, Q = second_order(kernel, lambdas, directions)
    K = factor.R_X @ factor.R_X.T
    if not sigma_known:
        P, pairs, Q = _with_whole(P, traces, pairs, Q, K, kernel.n)
    phi = np.linalg.inv(K)
    by_parameter = phi @ P @ phi
    information = pairs - 2.0 * np.einsum("pr,ijrp->ij", phi, Q) + np.einsum("ipr,jrp->ij", phi @ P, phi @ P)
    W = 2.0 * _scaled_inverse(information)
    inner = np.einsum("ij,ijpr->pr", W, Q) - np.einsum("ij,ipr,rs,jst->pt", W, P, phi, P)
    adjusted = phi + 2.0 * phi @ ((inner + inner.T) / 2.0) @ phi
    turn = sigma * kernel.fixed.matrix
    return KenwardRogerErrors(beta, turn @ adjusted @ turn.T, -(turn @ by_parameter @ turn.T), W, turn @ phi @ turn.T)


def symmetric_basis(shape: TermShape) -> list[Array]:
    """Return symmetric matrices (S, S) that span the relative changes of a term's covariance."""
    found = []
    for row, column in zip(*shape.free_entries, strict=True):
        e = np.zeros((shape.n_columns, shape.n_columns))
        e[row, column] = e[column, row] = 1.0
        found.append(e)
    return found


def first_order(
    kernel: Kernel, factor: Factor, directions: Sequence[Direction], lambdas: Sequence[Array]
) -> tuple[Array, Array]:
    """Return P (d, p, p) and tr(V_1^-1 G) (d,) at a factor, for the directions given by the factors `lambdas`."""
    p = kernel.p
    unit = max(np.sqrt(float(kernel.products.xy[-1, -1]) / kernel.n), 1.0)  # no digits lost beside a large response
    modes = solve_effects(factor, np.hstack([np.zeros((p, 1)), unit * np.eye(p)]))
    sums = inverse_blocks(factor).sums()
    squares, excesses = [], []
    for u, C, shape, origin, moved in zip(modes, sums, kernel.shapes, lambdas, factor.lambdas, strict=True):
        turn = np.linalg.solve(moved, origin).T  # lambda_0' lambda^-T
        U = (turn @ ((u[..., :1] - u[..., 1:]) / unit).reshape(*u.shape[:2], p)).transpose(1, 2, 0).reshape(-1, len(u))
        squares.append((U @ U.T).reshape(shape.n_columns, p, shape.n_columns, p))
        excesses.append(turn @ (shape.n_levels * np.eye(shape.n_columns) - C) @ turn.T)
    P = np.array([-np.einsum("apbr,ab->pr", squares[k], e) for k, e in directions]).reshape(-1, p, p)
    return P, np.array([float(np.sum(e * excesses[k])) for k, e in directions])


def second_order(kernel: Kernel, lambdas: Sequence[Array], directions: Sequence[Direction]) -> tuple[Array, Array]:
    """Return tr(V_1^-1 G_i V_1^-1 G_j), (d, d), and the symmetric part of Q_ij, (d, d, p, p)."""
    d, p = len(directions), kernel.p
    pairs, Q = np.zeros((d, d)), np.zeros((d, d, p, p))
    for j, (k, e) in enumerate(directions):
        ends = []
        for step in (CHANGE, -CHANGE):
            moved = list(lambdas)
            moved[k] = lambdas[k] @ np.linalg.cholesky(np.eye(len(e)) + step * e)
            ends.append(first_order(kernel, factorise(kernel.products, moved), directions, lambdas))
        (P_up, t_up), (P_down, t_down) = ends
        pairs[:, j] = (t_down - t_up) / (2.0 * CHANGE)
        Q[:, j] = (P_up - P_down) / (4.0 * CHANGE)
    return (pairs + pairs.T) / 2.0, (Q + Q.transpose(1, 0, 2, 3)) / 2.0


def _with_whole(P: Array, traces: Array, pairs: Array, Q: Array, K: Array, n: int) -> tuple[Array, Array, Array]:
    """Add the direction V_1, that of sigma²: there V_1^-1 G is the identity."""
    d, p = len(P), len(K)
    all_pairs, all_Q = np.zeros((d + 1, d + 1)), np.zeros((d + 1, d + 1, p, p))
    all_pairs[:d, :d], all_Q[:d, :d] = pairs, Q
    all_pairs[d, :d] = all_pairs[:d, d] = traces
    all_Q[d, :d] = all_Q[:d, d] = -P
    all_pairs[d, d], all_Q[d, d] = n, K
    return np.concatenate([P, -K[None]]), all_pairs, all_Q


def _inside(factor: Array, shape: TermShape, n: int) -> Array:
    least = SMALLEST * shape.n_levels / n
    if np.linalg.svd(factor, compute_uv=False).min(initial=np.inf) ** 2 >= least:
        return factor
    return shape.structure.factor_of_root(np.hstack([factor, np.sqrt(least) * np.eye(len(factor))]))


def _scaled_inverse(matrix: Array) -> Array:
    units = np.sqrt(np.maximum(np.abs(np.diag(matrix)), 1e-300))
    return np.linalg.pinv(matrix / np.outer(units, units), rcond=FLAT, hermitian=True) / np.outer(units, units)

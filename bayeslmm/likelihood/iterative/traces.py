r"""What probes say of the determinant and of the traces, the part that the sums of effects make being exact.

Traces of the inverse are estimated by Hutchinson's probes z = Lr with the same Rademacher r at every point, so that the
estimate is a smooth function of the parameters. With :math:`S^{-1} = N + ee^\top` as in `common_part`, where
:math:`\Pi P^{-1}\Pi^\top = P^{-1} - ww^\top` is what N is for a system without couplings, x = Nz and v the
projected :math:`P^{-1}z`,

.. math:: \sum_j C_{jj} = \sum_j \bigl([P^{-1}]_{jj} - w_jw_j^\top + e_je_j^\top\bigr) + E \sum_j (x - v)_j v_j^\top,
          \quad T_k = \lambda_k^{-\top}\Bigl(J_kI - \sum_j C_{jj}\Bigr)\lambda_k^{-1}

for a trailing term, where lambda is turned to :math:`UD^{1/2}` so that its directions come apart. Where a direction's
variance is small beside its data, division by it would magnify the noise; there, with
:math:`h(x) = \tilde A\Lambda_2x`,
:math:`T_k = \sum_j \tilde A_{jj} - \sum_j h(e)_jh(e)_j^\top - E\sum_j h(x)_jh(v)_j^\top`, and between the two kinds
of direction the diagonal blocks of :math:`\tilde A\Lambda_2S^{-1}\lambda_k^{-1}`. What projecting v takes from its
length is given back: with :math:`g = \tilde A_{jj}\lambda_kw_j` and :math:`c = w^\top z`, :math:`gcc^\top g^\top`,
whose mean :math:`gg^\top` is known, goes with :math:`h(x)h(v)^\top`. For the leading term, with
:math:`F = I - A_{11}M` and :math:`h(x) = F A_{12}\Lambda_2 x`,

.. math:: T_1 = \sum_j \Bigl(F A_{11} - F A_{12}\Lambda_2P^{-1}\Lambda_2^\top A_{21}F^\top\Bigr)_{jj}
                + \sum_j \bigl(h(w)_jh(w)_j^\top - h(e)_jh(e)_j^\top\bigr) - E \sum_j h(x - v)_j h(v)_j^\top .

Nothing here needs an invertible lambda. Every estimate is corrected by its regression on the projected
:math:`r^\top\tilde S r - r^\top r`, whose mean is known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.iterative.common_part import CommonPart, ExactPart
from bayeslmm.likelihood.iterative.conjugate_gradients import Solution, log_quadrature, tridiagonal
from bayeslmm.likelihood.iterative.eliminated import Eliminated
from bayeslmm.types import Array

WEAK = 1.0  # variance of an effect times its information by level, below which it counts as small
LEAST_REST = 0.05  # of one, that a probe's leverage may leave
REGRESSED = 6  # probes from which on the regression on the known mean pays


@dataclass(frozen=True, slots=True)
class Probed:
    """Traces and the determinant by probes.

    Attributes
    ----------
    traces
        Per term, formula order, each probe's estimate of ML's T, (m, S, S).
    log_dets
        Each probe's estimate of log|Omega|, (m,).
    shares
        What to multiply each probe's deviation from the mean by for its part of the mean's error, (m,): these parts'
        squares add up to the error's (the jackknife's estimate).
    iterations
        Most iterations of conjugate gradients.
    """

    traces: tuple[Array, ...]
    log_dets: Array
    shares: Array
    iterations: int


@dataclass(frozen=True, slots=True)
class _Vectors:
    """What the sums over levels are made of, on the scale of u; (q, m) of the probes and (q, 2s) exactly known.

    Attributes
    ----------
    rest, near
        x - v and v.
    left, right
        Columns whose products by level are ``ee' - ww'``: (e, -w) and (e, w).
    taken
        What was taken out of ``P^-1 z``, (q, m).
    """

    rest: Array
    near: Array
    left: Array
    right: Array
    taken: Array

    def mapped(self, change: Callable[[Array], Array]) -> "_Vectors":
        """Return the vectors each changed by a linear function."""
        return _Vectors(change(self.rest), change(self.near), change(self.left), change(self.right), change(self.taken))


def probe(common: CommonPart, exact: ExactPart, signs: Array, solution: Solution, *, derivatives: bool) -> Probed:
    """Return what the probes' columns, the first of a solution, say of the determinant and the traces.

    Parameters
    ----------
    common, exact
        The system without the sums, and the part of the inverse that these make.
    signs
        Probes, (q, m).
    solution
        The projected system solved for their colours.
    derivatives
        Whether traces are wanted.
    """
    eliminated = common.eliminated
    m = signs.shape[1]
    whole = eliminated.whiten_transposed(signs)
    near = common.project_effects(whole)
    squares = np.einsum("ij,ij->j", eliminated.colour_transposed(near), signs)
    known_zero, log_dets = np.full(m, -common.missed), np.zeros(m)
    for k in np.flatnonzero(solution.iterations[:m]).tolist():
        known_zero[k] += squares[k] * (tridiagonal(solution, k)[0][0] - 1.0)
        log_dets[k] = squares[k] * log_quadrature(solution, k)
    log_dets += eliminated.log_det_lead + eliminated.log_det_preconditioner + exact.log_det
    corrected = _Correction(known_zero)
    log_dets = corrected(log_dets)
    iterations = int(solution.iterations.max(initial=0))
    if not derivatives:
        return Probed((), log_dets, corrected.shares, iterations)
    vectors = _Vectors(solution.x[:, :m] - near, near, *common.difference(exact), whole - near)
    return Probed(_traces(eliminated, vectors, corrected), log_dets, corrected.shares, iterations)


def _traces(eliminated: Eliminated, vectors: _Vectors, corrected: "_Correction") -> tuple[Array, ...]:
    """Return each probe's estimate of ML's T per term, formula order, (m, S, S)."""
    paired = eliminated.paired
    inverse = eliminated.inverse_preconditioner()
    raw = None
    if any(
        weak.any()
        for weak in map(_weak, eliminated.diagonal, (eliminated.lambdas[pairs.term] for pairs in paired.pairs))
    ):
        raw = vectors.mapped(lambda v: eliminated.raw(eliminated.scale(v)))
    traces: list[Array] = [np.zeros((0, 0, 0))] * len(paired.products.layout.shapes)
    for place, pairs in enumerate(paired.pairs):
        diagonal, root = eliminated.diagonal[place], eliminated.lambdas[pairs.term]
        levels_of = partial(paired.levels_of, pairs=pairs)
        own, products = vectors.mapped(levels_of), None if raw is None else raw.mapped(levels_of)
        traces[pairs.term] = corrected(_trailing_traces(diagonal, root, inverse[place], own, products))
    traces[paired.lead] = corrected(_lead_traces(eliminated, vectors, inverse))
    return tuple(traces)


def _weak(diagonal: Array, root: Array) -> NDArray[np.bool_]:
    """Return which columns of a turned root have variances small beside their data, (S,)."""
    return np.asarray(np.einsum("sa,st,ta->a", root, diagonal.mean(axis=0), root) < WEAK)


def _trailing_traces(diagonal: Array, root: Array, inverse: Array, own: _Vectors, raw: _Vectors | None) -> Array:
    """Return each probe's estimate of a trailing term's T, (m, S, S).

    diagonal and inverse (J, S, S) are the blocks of the raw Schur complement and of the inverse preconditioner, own the
    vectors' levels, (J, S, m), and raw those of the raw Schur complement times the scaled vectors.
    """
    weak = _weak(diagonal, root)
    scales = np.sqrt(np.sum(root**2, axis=0))
    reciprocal = 1.0 / np.where(weak, 1.0, scales)
    each = np.einsum("jsm,jtm->mst", own.rest, own.near)
    known = inverse.sum(axis=0) + np.einsum("jsm,jtm->st", own.left, own.right)
    sums = known + (each + each.transpose(0, 2, 1)) / 2
    traces = (len(diagonal) * np.eye(len(root)) - sums) * np.outer(reciprocal, reciprocal)
    axes = np.linalg.svd(root)[0]
    if weak.any():
        assert raw is not None
        raw = raw.mapped(lambda v: axes.T @ v)
        far, close, left, s = raw.rest, raw.near, raw.left, raw.left.shape[2] // 2
        of_sums, given_back = (axes.T @ diagonal @ root @ v for v in (own.right[:, :, s:], own.taken))
        quadratic = np.einsum("jsm,jtm->mst", far + close, close) + np.einsum("jsm,jtm->mst", given_back, given_back)
        exact = np.einsum("jsm,jtm->st", left[:, :, :s], left[:, :, :s]) - np.einsum("jsm,jtm->st", of_sums, of_sums)
        small = axes.T @ diagonal.sum(axis=0) @ axes - exact - (quadratic + quadratic.transpose(0, 2, 1)) / 2
        blocks = axes.T @ np.einsum("jst,tr,jrq->sq", diagonal, root, inverse)
        mixed = np.einsum("jsm,jtm->mst", far, own.near) + blocks + np.einsum("jsm,jtm->st", left, own.right)
        mixed = mixed * reciprocal
        traces = np.where(np.outer(weak, weak), small, traces)
        traces = np.where(weak[:, None] & ~weak[None, :], mixed, traces)
        traces = np.where(~weak[:, None] & weak[None, :], mixed.transpose(0, 2, 1), traces)
    return axes @ traces @ axes.T


def _lead_traces(eliminated: Eliminated, vectors: _Vectors, inverse: Sequence[Array]) -> Array:
    """Return each probe's estimate of the leading term's T, (m, S_0, S_0)."""
    paired = eliminated.paired
    size = eliminated.middle.shape[1]
    own = paired.products.nest_z[0][:, :, :size]
    left = np.eye(size) - own @ eliminated.middle
    scaled = [
        eliminated.lambdas[pairs.term] @ block @ eliminated.lambdas[pairs.term].T
        for pairs, block in zip(paired.pairs, inverse, strict=True)
    ]
    known = (left @ own - left @ eliminated.lead_diagonal(scaled) @ left.transpose(0, 2, 1)).sum(axis=0)
    met = vectors.mapped(lambda v: left @ paired.lead_from(eliminated.scale(v)))
    known = known - np.einsum("jsm,jtm->st", met.left, met.right)
    each = np.einsum("jsm,jtm->mst", met.rest, met.near)
    return known - (each + each.transpose(0, 2, 1)) / 2


class _Correction:
    """Take from estimates, one per probe, their regression on a statistic whose mean is zero."""

    def __init__(self, known_zero: Array) -> None:
        m = len(known_zero)
        moved = known_zero - known_zero.mean()
        squares = float(moved @ moved)
        self.used = m >= REGRESSED and squares > 0.0
        self.known_zero, self.moved, self.squares = known_zero, moved, squares
        weights, leverage = np.full(m, 1.0 / max(m, 1)), np.full(m, 1.0 / max(m, 1))
        if self.used:
            weights = weights - known_zero.mean() * moved / squares
            leverage = leverage + moved**2 / squares
        # as if each probe's deviation were from a regression without it: few probes understate their error otherwise
        self.shares = weights / np.maximum(1.0 - leverage, LEAST_REST)

    def __call__(self, estimates: Array) -> Array:
        if not self.used:
            return estimates
        slope = np.tensordot(self.moved, estimates, axes=1) / self.squares
        return estimates - self.known_zero.reshape(-1, *[1] * slope.ndim) * slope

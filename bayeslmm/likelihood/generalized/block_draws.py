r"""Weighted draws of all coefficients given the covariance and dispersion parameters, exact on average.

Given v, the fixed coefficients and the effects of every term but the innermost or leading one, the levels of that term
are independent. So v is drawn from its Gaussian approximation q, the joint one with the leading term integrated out,
and each leading level's integral

.. math:: p(y_j \mid v) = \int \exp[\ell_j(u)]\,N(u; 0, I)\,du

is estimated without bias by K candidates from a heavy-tailed proposal about its own mode, of which one is kept with
probability proportional to its weight. Then

.. math:: w = \frac{p(v)}{q(v)}\prod_j \hat p(y_j \mid v), \qquad E[w] = p(y \mid \theta, \phi),

and draws weighted by w are draws from the posterior of (v, u), however rough the estimates (Andrieu and Roberts 2009).
The levels' errors do not add up as they would in one joint proposal: candidates lie on a randomly shifted lattice, each
uniform by itself, and the mean over the lattice is close to the integral.
"""

from dataclasses import dataclass
from functools import cache
from math import gcd

import numba
import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from bayeslmm.errors import FittingError
from bayeslmm.families import Response
from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.generalized.laplace import Evaluation
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.predictor import add_values
from bayeslmm.types import Array, Codes

NEWTON_STEPS = 2  # from the conditional mean of the Gaussian approximation; the proposal need not sit on the mode
LONGEST_STEP = 3.0  # of a level, in prior standard deviations
BATCH_ROWS = 100_000  # rows times draws that are worked on at once
GROUP_ROWS = 200_000  # rows times draws times candidates that are evaluated at once
HALF_LOG_2PI = 0.9189385332046727
FREEDOM = 8.0  # degrees of the t distribution that coefficients without random effects are drawn from


@dataclass(frozen=True, slots=True)
class BlockDraws:
    """Weighted draws.

    Attributes
    ----------
    u
        Spherical random effects of the kernel's factors, (m, J, S) per term.
    beta
        The kernel's coefficients, (m, p).
    log_weights
        Logarithms of w, (m,); with a proper prior their mean exponential estimates the likelihood of the covariance and
        dispersion parameters without bias. For a flat prior, whose density counts as one, that of the kernel's columns.
    """

    u: tuple[Array, ...]
    beta: Array
    log_weights: Array


def draw_blocks(
    problem: Problem, evaluation: Evaluation, n_draws: int, n_candidates: int, rng: np.random.Generator
) -> BlockDraws:
    """Draw coefficients and random effects.

    Parameters
    ----------
    problem
        A model whose coefficients are inner, with their prior.
    evaluation
        Its mode at the covariance and dispersion parameters.
    n_draws, n_candidates
        Number of draws, and of candidates for each leading level.
    rng
        Source of randomness.

    Raises
    ------
    FittingError
        If the coefficients are not inner ones.
    """
    if not problem.inner:
        raise FittingError("Draws by blocks need the coefficients in the inner loop.")
    if not problem.predictor.shapes:
        return _draw_fixed(problem, evaluation, n_draws, rng)
    upper = _draw_upper(problem, evaluation, n_draws, rng)
    lead = problem.predictor.pattern.layout.nest[0]
    shape = problem.predictor.shapes[lead]
    log_weights = upper.log_weights.copy()
    effects = np.empty((n_draws, shape.n_levels, shape.n_columns))
    size = max(1, BATCH_ROWS // max(problem.predictor.n, 1))
    for first in range(0, n_draws, size):
        batch = slice(first, min(first + size, n_draws))
        effects[batch], estimates = _draw_lead(problem, evaluation, upper, batch, n_candidates, rng)
        log_weights[batch] += estimates
    log_weights += _log_base(problem)
    u = tuple(effects if k == lead else values for k, values in enumerate(upper.u))
    return BlockDraws(u, upper.beta, log_weights)


def _log_base(problem: Problem) -> float:
    """Return the part of the log likelihood that no parameter moves."""
    weights, base = problem.response.weights, problem.response.base
    return float(np.sum(base if weights is None else base * weights))


def _draw_fixed(problem: Problem, evaluation: Evaluation, n_draws: int, rng: np.random.Generator) -> BlockDraws:
    """Draw the coefficients of a model without random effects from a t distribution at the mode.

    Its tails are heavier than the posterior's, so that weights are bounded. Those of a normal approximation, close as
    it is, are not, and Pareto's shape says so.
    """
    predictor, root = problem.predictor, evaluation.mode.factor.R_X
    p = predictor.p
    mixing = rng.chisquare(FREEDOM, n_draws) / FREEDOM
    noise = rng.standard_normal((p, n_draws)) / np.sqrt(mixing)
    beta = evaluation.mode.beta + solve_triangular(root, noise, lower=True, trans=1).T if p else noise.T
    log_q = -0.5 * (FREEDOM + p) * np.log1p(np.sum(noise**2, axis=0) / FREEDOM) + float(np.sum(np.log(np.diag(root))))
    log_q += gammaln(0.5 * (FREEDOM + p)) - gammaln(0.5 * FREEDOM) - 0.5 * p * np.log(FREEDOM * np.pi)
    logs = -log_q
    logs += _log_prior(problem, beta) + _log_base(problem)
    for m, eta in enumerate(predictor.offset + beta @ predictor.X.T):
        logs[m] += float(np.sum(problem.family.derivatives(problem.response, eta, evaluation.point.working)[0]))
    return BlockDraws((), beta, logs)


def _log_prior(problem: Problem, beta: Array) -> Array:
    """Return the log prior density of coefficients (m, p), shape (m,); one for flat ones."""
    if problem.prior is None:
        return np.zeros(len(beta))
    away = beta - problem.prior.mean
    values = -0.5 * np.einsum("ma,ab,mb->m", away, problem.prior.precision, away)
    return np.asarray(values + 0.5 * problem.prior.log_det - problem.prior.n_proper * HALF_LOG_2PI)


@dataclass(frozen=True, slots=True)
class _Upper:
    """Draws of v, the conditional means of the leading effects given them, and log p(v) - log q(v)."""

    u: tuple[Array, ...]
    beta: Array
    log_weights: Array


def _draw_upper(problem: Problem, evaluation: Evaluation, n_draws: int, rng: np.random.Generator) -> _Upper:
    mode = evaluation.mode
    factor, layout = mode.factor, problem.predictor.pattern.layout
    p, q = problem.predictor.p, factor.products.n_trailing
    lead = layout.nest[0]
    noise = [
        np.zeros((*values.shape, n_draws)) if k == lead else rng.standard_normal((*values.shape, n_draws))
        for k, values in enumerate(mode.u)
    ]
    at_beta = rng.standard_normal((p, n_draws))
    shift = solve_triangular(factor.R_X, at_beta, lower=True, trans=1) if p else at_beta
    u = tuple(
        (values[:, :, None] + moved).transpose(2, 0, 1)
        for values, moved in zip(mode.u, solve_effects(factor, shift, noise), strict=True)
    )
    beta = mode.beta + shift.T
    # log q: minus half the squared noise, and the pivots of v; the normal constants of q and of p(u) cancel
    log_q = -0.5 * np.sum(at_beta**2, axis=0) + np.sum(np.log(np.diag(factor.trailing)[: q + p]))
    log_p = np.zeros(n_draws)
    for place, k in enumerate(layout.nest[1:], start=1):
        size = layout.shapes[k].n_columns
        log_q += np.sum(np.log(np.einsum("jss->js", factor.nest_z[place][:, :, :size])))
    for k, values in enumerate(u):
        if k != lead:
            log_q = log_q - 0.5 * np.sum(noise[k] ** 2, axis=(0, 1))
            log_p -= 0.5 * np.sum(values**2, axis=(1, 2))
    log_p += _log_prior(problem, beta) + p * HALF_LOG_2PI
    return _Upper(u, beta, log_p - log_q)


def _draw_lead(
    problem: Problem,
    evaluation: Evaluation,
    upper: _Upper,
    batch: slice,
    n_candidates: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Return a draw of the leading effects, (B, J, S), and the log estimates of their integrals, (B,)."""
    predictor = problem.predictor
    lead = predictor.pattern.layout.nest[0]
    shape = predictor.shapes[lead]
    repeats = batch.stop - batch.start
    levels = _Levels(problem, evaluation, upper, batch)
    u, roots = levels.proposal(upper.u[lead][batch].reshape(-1, shape.n_columns))
    n_levels = len(u)
    shifts = rng.random((n_levels, shape.n_columns))
    uniform = np.mod(shifts + lattice(n_candidates, shape.n_columns)[:, None, :], 1.0)
    t, log_density = heavy_tailed(np.clip(uniform, 1e-12, 1 - 1e-12))
    candidates = u + solve_roots(roots, t)
    logs = -np.sum(log_density, axis=2) - np.sum(np.log(np.einsum("jss->js", roots)), axis=1)
    logs -= shape.n_columns * HALF_LOG_2PI
    size = max(1, GROUP_ROWS // max(len(levels.codes), 1))
    for first in range(0, n_candidates, size):
        logs[first : first + size] += levels.log_terms(candidates[first : first + size])
    log_sum = np.logaddexp.reduce(logs, axis=0)
    cumulated = np.cumsum(np.exp(logs - log_sum), axis=0)
    chosen = np.minimum(np.sum(cumulated < rng.random(n_levels), axis=0), n_candidates - 1)
    drawn = candidates[chosen, np.arange(n_levels)]
    estimates = (log_sum - np.log(n_candidates)).reshape(repeats, -1).sum(axis=1)
    return drawn.reshape(repeats, shape.n_levels, shape.n_columns), estimates


class _Levels:
    """The leading levels of several draws of v, side by side."""

    def __init__(self, problem: Problem, evaluation: Evaluation, upper: _Upper, batch: slice) -> None:
        predictor, point = problem.predictor, evaluation.point
        lead = predictor.pattern.layout.nest[0]
        shape, repeats = predictor.shapes[lead], batch.stop - batch.start
        self.family, self.n_levels = problem.family, repeats * shape.n_levels
        moves = shape.n_levels * np.repeat(np.arange(repeats), predictor.n)
        self.codes: Codes = (np.tile(predictor.pattern.codes[lead], repeats) + moves).astype(np.int32)
        self.z = np.tile(predictor.z[lead] @ point.lambdas[lead], (repeats, 1))
        response = problem.response
        weights = None if response.weights is None else np.tile(response.weights, repeats)
        self.response = Response(
            np.tile(response.y, repeats), np.tile(response.size, repeats), np.zeros(len(self.codes)), weights
        )
        working = np.asarray(point.working)
        self.working = working if working.ndim == 1 else np.tile(working, (1, repeats))
        fixed = predictor.offset + upper.beta[batch] @ predictor.X.T
        for m in range(repeats):
            b = [
                np.zeros_like(values[0]) if k == lead else values[batch.start + m] @ factor.T
                for k, (values, factor) in enumerate(zip(upper.u, point.lambdas, strict=True))
            ]
            fixed[m] += predictor.effects(b)
        self.fixed = fixed.ravel()
        self._repeated: dict[int, Response] = {}

    def eta(self, u: Array) -> Array:
        """Return the linear predictor at leading effects (levels, S)."""
        return self.fixed + row_products(self.codes, self.z, u)

    def log_terms(self, u: Array) -> Array:
        """Return ``l_j(u) - |u|^2/2`` for each level at k candidates (k, levels, S), shape (k, levels)."""
        count = len(u)
        eta = candidate_predictors(self.codes, self.z, u, self.fixed)
        if count not in self._repeated:
            r = self.response
            weights = None if r.weights is None else np.tile(r.weights, count)
            self._repeated[count] = Response(
                np.tile(r.y, count), np.tile(r.size, count), np.zeros(count * len(self.codes)), weights
            )
        working = self.working if self.working.ndim == 1 else np.tile(self.working, (1, count))
        rows = self.family.derivatives(self._repeated[count], eta.ravel(), working)[0].reshape(eta.shape)
        return level_sums(self.codes, rows, self.n_levels) - 0.5 * np.sum(u * u, axis=2)

    def proposal(self, u: Array) -> tuple[Array, Array]:
        """Return centres near the levels' modes, and lower Cholesky factors of the precisions there."""
        roots = np.empty((self.n_levels, u.shape[1], u.shape[1]))
        u = u.copy()
        for step in range(NEWTON_STEPS + 1):
            rows = self.family.derivatives(self.response, self.eta(u), self.working)
            level_roots(self.codes, self.z, np.maximum(-rows[2], 0.0), roots)
            if step < NEWTON_STEPS:
                right = -u
                add_values(self.codes, self.z, rows[1], right)
                newton_steps(roots, right, u)
        return u, roots


@cache
def lattice(n_points: int, size: int) -> Array:
    r"""Return the best Korobov lattice of n points, (n, S), for a mean over the unit cube.

    Its generator has the least :math:`P_2 = \tfrac1n\sum_k\prod_s[1 + 2\pi^2B_2(x_{ks})] - 1`, the squared worst error
    for smooth periodic functions (Sloan and Joe 1994, chapter 4). In one dimension the points are evenly spaced.
    """
    best, found = np.inf, np.zeros((n_points, size))
    for generator in range(1, max(n_points, 2)):
        if gcd(generator, n_points) > 1:  # each coordinate by itself shall be evenly spaced
            continue
        powers = [pow(generator, s, n_points) for s in range(size)]
        points = np.mod(np.outer(np.arange(n_points), powers) / n_points, 1.0)
        error = float(np.mean(np.prod(1.0 + 2.0 * np.pi**2 * (points**2 - points + 1.0 / 6.0), axis=1)))
        if error < best:
            best, found = error, points
    return found


def heavy_tailed(uniform: Array) -> tuple[Array, Array]:
    """Return quantiles of Student's t with four degrees of freedom, in closed form, and their log density."""
    root = 2.0 * np.sqrt(uniform * (1.0 - uniform))
    excess = np.cos(np.arccos(np.minimum(root, 1.0)) / 3.0) / root - 1.0
    t = 2.0 * np.sign(uniform - 0.5) * np.sqrt(np.maximum(excess, 0.0))
    return t, np.log(0.375) - 2.5 * np.log1p(0.25 * t * t)


@numba.njit(cache=True, nogil=True)
def row_products(codes: Codes, z: Array, u: Array) -> Array:
    """Return ``z[i] @ u[codes[i]]``, (n,)."""
    out = np.empty(len(codes))
    for i in range(len(codes)):
        total = 0.0
        for s in range(z.shape[1]):
            total += z[i, s] * u[codes[i], s]
        out[i] = total
    return out


@numba.njit(cache=True, nogil=True)
def candidate_predictors(codes: Codes, z: Array, u: Array, fixed: Array) -> Array:
    """Return ``fixed[i] + z[i] @ u[k, codes[i]]``, (k, n)."""
    out = np.empty((len(u), len(codes)))
    for k in range(len(u)):
        for i in range(len(codes)):
            total = fixed[i]
            for s in range(z.shape[1]):
                total += z[i, s] * u[k, codes[i], s]
            out[k, i] = total
    return out


@numba.njit(cache=True, nogil=True)
def level_sums(codes: Codes, rows: Array, n_levels: int) -> Array:
    """Return the sums over the rows (k, n) of each level, (k, levels)."""
    out = np.zeros((len(rows), n_levels))
    for k in range(len(rows)):
        for i in range(len(codes)):
            out[k, codes[i]] += rows[k, i]
    return out


@numba.njit(cache=True, nogil=True)
def level_roots(codes: Codes, z: Array, weights: Array, out: Array) -> None:
    """Fill out (J, S, S) with the lower Cholesky factors of ``I + sum w z z'``."""
    out[:] = 0.0
    size = z.shape[1]
    for i in range(len(codes)):
        for s in range(size):
            for t in range(s + 1):
                out[codes[i], s, t] += weights[i] * z[i, s] * z[i, t]
    for j in range(len(out)):
        for s in range(size):
            for t in range(s + 1):
                value = out[j, s, t] + (1.0 if s == t else 0.0)
                for r in range(t):
                    value -= out[j, s, r] * out[j, t, r]
                out[j, s, t] = np.sqrt(value) if s == t else value / out[j, t, t]


@numba.njit(cache=True, nogil=True)
def newton_steps(roots: Array, right: Array, u: Array) -> None:
    """Add ``(L L')^-1 right`` to u, (J, S), shortened to `LONGEST_STEP`; right is overwritten."""
    size = u.shape[1]
    for j in range(len(u)):
        length = 0.0
        for s in range(size):
            for r in range(s):
                right[j, s] -= roots[j, s, r] * right[j, r]
            right[j, s] /= roots[j, s, s]
        for s in range(size - 1, -1, -1):
            for r in range(s + 1, size):
                right[j, s] -= roots[j, r, s] * right[j, r]
            right[j, s] /= roots[j, s, s]
            length += right[j, s] * right[j, s]
        share = min(1.0, LONGEST_STEP / np.sqrt(length)) if length > 0.0 else 1.0
        for s in range(size):
            u[j, s] += share * right[j, s]


@numba.njit(cache=True, nogil=True)
def solve_roots(roots: Array, right: Array) -> Array:
    """Return ``L^-T right`` per level, right (k, J, S)."""
    out = right.copy()
    size = right.shape[2]
    for k in range(len(out)):
        for j in range(out.shape[1]):
            for s in range(size - 1, -1, -1):
                for r in range(s + 1, size):
                    out[k, j, s] -= roots[j, r, s] * out[k, j, r]
                out[k, j, s] /= roots[j, s, s]
    return out

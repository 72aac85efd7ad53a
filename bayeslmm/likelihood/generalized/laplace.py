r"""Laplace's approximation of the likelihood, and its gradient.

With :math:`\hat u` the mode of h,

.. math:: f = -2\log L \approx -2h(\hat u) + \log|\Omega(\hat u)|,

:math:`\beta` a parameter (glmer's objective), or in the inner loop with u: then the determinant is that of u alone
(glmer's start, ``nAGQ = 0``), or that of both, :math:`\beta` integrated out with its prior.

Gradient. Let C be the inverse of the matrix in the determinant, :math:`h_i` the leverages, :math:`w' = -\ell'''`, and
:math:`c_i = h_iw'_i`. h is stationary in u, so that only the determinant moves with :math:`\hat u`; its response is
taken through one solve with :math:`\Omega`, :math:`\Omega g = \Lambda^\top Z^\top c`. With
:math:`a = c - WZ\Lambda g`,

.. math::

   \partial f/\partial\beta &= X^\top(a - 2\ell'), \\
   \partial f/\partial\lambda_k &= \sum_j \bigl[(Z^\top(a - 2\ell'))_j u_j^\top + (Z^\top\ell')_j g_j^\top\bigr]
       + 2\sum_i w_i z_{ik}\,(C\tilde z_i)_k^\top, \\
   \partial f/\partial\phi &= \sum_i \bigl[-2\,\partial_\phi\ell_i + (Z\Lambda g)_i\,\partial_\phi\ell'_i
       - h_i\,\partial_\phi\ell''_i\bigr],

which stay valid for a singular :math:`\lambda`. The same assembly serves quadrature, with other explicit terms and
another C.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.accumulate import weighted_products
from bayeslmm.likelihood.factor import Factor
from bayeslmm.likelihood.generalized.mode import Mode, Problem, find_mode
from bayeslmm.likelihood.generalized.pair_inverse import PairInverse, pair_inverse, row_products
from bayeslmm.likelihood.generalized.predictor import scale_back, scale_effects, times
from bayeslmm.likelihood.generalized.solve import solve
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Point:
    """Where the objective is evaluated, in the kernel's columns.

    Attributes
    ----------
    lambdas
        Factor (S, S) of each term.
    working
        Dispersion parameters, (m,), or (m, n) where they differ between rows.
    beta
        Coefficients, (p,); where they are inner, the start of their search.
    """

    lambdas: tuple[Array, ...]
    working: Array
    beta: Array


@dataclass(frozen=True, slots=True)
class Gradient:
    """Derivatives of the objective.

    Attributes
    ----------
    lambdas
        By each full matrix lambda, (S, S).
    beta
        By the kernel's coefficients, (p,); empty where they are inner.
    working
        By the dispersion parameters of each row, (m, n): their sum over rows where one value serves all.
    response
        Of the determinant to a force t on the inner coefficients, which adds t'beta to h, (p,); empty where there are
        none.
    eta
        By a shift of each row's linear predictor, the mode moving with it, (n,).
    """

    lambdas: tuple[Array, ...]
    beta: Array
    working: Array
    response: Array
    eta: Array


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The objective at a point.

    Attributes
    ----------
    value
        Minus twice the log-likelihood, constants included.
    point, mode
        Where, and the mode there.
    gradient
        None unless asked for.
    """

    value: float
    point: Point
    mode: Mode
    gradient: Gradient | None


@dataclass(frozen=True, slots=True)
class Explicit:
    """What the objective depends on at a fixed mode and determinant.

    Attributes
    ----------
    lambdas, beta, working
        Derivatives of log L, as in `Gradient`, halved and with opposite sign.
    by_u
        By u, (J, S) per term; None where it is zero.
    """

    lambdas: tuple[Array, ...]
    beta: Array
    working: Array
    by_u: list[Array] | None


def evaluate(
    problem: Problem,
    point: Point,
    start: Sequence[Array],
    *,
    integrated: bool = False,
    gradient: bool = True,
) -> Evaluation:
    """Evaluate Laplace's objective.

    Parameters
    ----------
    problem, point
        The model and where.
    start
        Start of u, (J, S) per term.
    integrated
        Whether inner coefficients are integrated out, their columns part of the determinant.
    gradient
        Whether the gradient is wanted.

    Raises
    ------
    FittingError
        If there is no mode.
    """
    mode = find_mode(problem, point.lambdas, point.working, point.beta, start)
    log_det = mode.factor.log_det + (mode.factor.log_det_X if integrated else 0.0)
    base = problem.response.base
    constant = float(np.sum(base if problem.response.weights is None else base * problem.response.weights))
    value = -2.0 * (mode.value + constant) + log_det
    if integrated:
        n_flat = problem.n_inner
        if problem.prior is not None:
            value -= problem.prior.log_det
            n_flat -= problem.prior.n_proper
        value -= n_flat * np.log(2.0 * np.pi)
    if not gradient:
        return Evaluation(value, point, mode, None)
    if problem.inner and not integrated:
        # the determinant is that of u alone; the response of the mode needs X too
        inverse = pair_inverse(random_factor(mode), problem.predictor)
    else:
        inverse = pair_inverse(mode.factor, problem.predictor)
    by_dispersion = problem.family.by_dispersion(problem.response, mode.eta, point.working)
    return Evaluation(value, point, mode, assemble(problem, point, mode, inverse, by_dispersion, None))


def random_factor(mode: Mode) -> Factor:
    """Return the part of a factor that belongs to the random effects alone."""
    factor = mode.factor
    q, p = factor.products.n_trailing, factor.products.n_fixed
    keep = [*range(q), q + p]
    products = replace(
        factor.products,
        n_fixed=0,
        nest_xy=tuple(np.ascontiguousarray(xy[:, :, p:]) for xy in factor.products.nest_xy),
        trailing_xy=factor.products.trailing_xy[:, p:],
        xy=factor.products.xy[p:, p:],
    )
    return replace(
        factor,
        products=products,
        nest_xy=tuple(np.ascontiguousarray(xy[:, :, p:]) for xy in factor.nest_xy),
        trailing=np.asfortranarray(factor.trailing[np.ix_(keep, keep)]),
    )


def assemble(
    problem: Problem,
    point: Point,
    mode: Mode,
    inverse: PairInverse,
    by_dispersion: Array,
    explicit: Explicit | None,
) -> Gradient:
    """Put the gradient together.

    Parameters
    ----------
    problem, point, mode
        The model, where, and the mode there.
    inverse
        C.
    by_dispersion
        Derivatives by the dispersion parameters of the rows' log density and its first two derivatives, (m, 3, n).
    explicit
        What replaces the derivatives of h; None for h itself.
    """
    predictor, lambdas = problem.predictor, point.lambdas
    slopes, bends = mode.rows[1], mode.rows[2]
    scaled = [times(z, factor) for z, factor in zip(predictor.z, lambdas, strict=True)]
    products = row_products(inverse, predictor, scaled)
    c = products.leverages * mode.rows[3]
    np.negative(c, out=c)
    right = scale_back(predictor.by_level(c), lambdas)
    if explicit is not None and explicit.by_u is not None:
        right = [r - 2.0 * extra for r, extra in zip(right, explicit.by_u, strict=True)]
    g, g_fixed = solve(mode.factor, right, predictor.X.T @ c if problem.inner else np.zeros(0))
    response = predictor.effects(scale_effects(g, lambdas))
    if problem.inner:
        response += predictor.X @ g_fixed
    direct = np.multiply(bends, response)
    direct += c
    if explicit is None:
        direct -= 2.0 * slopes
    at_levels = predictor.by_level(direct)
    scores = predictor.by_level(slopes)
    by_lambda = []
    for k, z in enumerate(predictor.z):
        slope = at_levels[k].T @ mode.u[k] + scores[k].T @ g[k] - 2.0 * weighted_products(bends, z, products.terms[k])
        by_lambda.append(slope if explicit is None else slope - 2.0 * explicit.lambdas[k])
    by_beta = np.zeros(0) if problem.inner else predictor.X.T @ direct
    by_working = response * by_dispersion[:, 1] - products.leverages * by_dispersion[:, 2]
    if explicit is None:
        by_working -= 2.0 * by_dispersion[:, 0]
    else:
        by_working -= 2.0 * explicit.working
        by_beta = by_beta - 2.0 * explicit.beta
    return Gradient(tuple(by_lambda), by_beta, by_working, g_fixed, direct)


def predict_mode(
    problem: Problem, old: Evaluation, point: Point, shift: Array | None = None
) -> tuple[list[Array], Array]:
    r"""Return u and beta at a new point to first order, moved along their derivative.

    `shift` (n,) is what the offset of the new point has more than that of the old one.

    :math:`\Omega\,du = d\Lambda^\top Z^\top\ell' + \Lambda^\top Z^\top(-W(X\,d\beta + Z\,d\Lambda\,u)
    + \partial_\phi\ell'\,d\phi)`; the inner coefficients likewise.
    """
    predictor, mode = problem.predictor, old.mode
    change = [new - was for new, was in zip(point.lambdas, old.point.lambdas, strict=True)]
    moved = predictor.effects(scale_effects(mode.u, change))
    if not problem.inner:
        moved += predictor.X @ (point.beta - old.point.beta)
    if shift is not None:
        moved += shift
    source = mode.rows[2] * moved
    step = point.working - old.point.working
    if np.any(step):
        cross = problem.family.by_dispersion(problem.response, mode.eta, old.point.working)[:, 1]
        source += np.einsum("mn,mn->n", cross, np.broadcast_to(step[:, None] if step.ndim == 1 else step, cross.shape))
    scores = predictor.by_level(mode.rows[1])
    right = [
        d + r
        for d, r in zip(
            scale_back(scores, change), scale_back(predictor.by_level(source), old.point.lambdas), strict=True
        )
    ]
    try:
        du, dbeta = solve(mode.factor, right, predictor.X.T @ source if problem.inner else np.zeros(0))
    except (FittingError, ValueError):
        return mode.u, mode.beta if problem.inner else point.beta
    u = [values + d for values, d in zip(mode.u, du, strict=True)]
    return u, mode.beta + dbeta if problem.inner else point.beta

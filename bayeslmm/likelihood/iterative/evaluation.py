r"""The profiled objective, its gradient and its average information, without a factor.

With :math:`P_0 = V_0^{-1} - V_0^{-1}X(X^\top V_0^{-1}X)^{-1}X^\top V_0^{-1}` and :math:`g = Z^\top P_0 y`, the
derivative by a relative covariance :math:`\Psi_k = \lambda_k\lambda_k^\top` is

.. math:: G_k = T_k - \sum_j g_j g_j^\top/\sigma^2, \qquad T_k = \sum_j Z_j^\top M Z_j,

:math:`M = V_0^{-1}` for ML and :math:`P_0` for REML. The second sum and all of REML's are exact; the traces of ML's are
estimated by probes, as `traces` says. The average information (Gilmour, Thompson and Cullis
1995) in the free entries of lambda is :math:`q_i^\top P_0 q_j/\sigma^2` with
:math:`q_i = Z\,(\partial\Psi/\partial\lambda_i)\,g`, less what profiling sigma takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.iterative.common_part import CommonPart, ExactPart
from bayeslmm.likelihood.iterative.conjugate_gradients import Solution, conjugate_gradients
from bayeslmm.likelihood.iterative.eliminated import Eliminated, PairedProducts
from bayeslmm.likelihood.iterative.traces import Probed, probe
from bayeslmm.types import Array, Criterion

EXACT = 1e-9  # of the first residual, for X and y
SHARED = 1e-4  # for probes, whose error is squared in a trace
ROUGH = 1e-3  # for working variates: they make a matrix of steps only


@dataclass(frozen=True, slots=True)
class Solved:
    """X and y solved at one point, everything exact.

    Attributes
    ----------
    eliminated
        The system.
    lead, trailing
        Effects of the right-hand sides X and y on the scale of b, (J_0, S_0, p + 1) and (q_T, p + 1).
    lead_scores, trailing_scores
        ``Z'V_0^-1 [X y]``, same shapes.
    beta
        Generalised least-squares estimate of the kernel's coefficients, (p,).
    precision
        ``X'V_0^-1 X``, (p, p).
    r_squared
        ``y'P_0 y``.
    """

    eliminated: Eliminated
    lead: Array
    trailing: Array
    lead_scores: Array
    trailing_scores: Array
    beta: Array
    precision: Array
    r_squared: float

    def of_response(self, lead: Array, trailing: Array) -> tuple[Array, Array]:
        """Return the columns of y less those of X times beta."""
        residual = np.append(-self.beta, 1.0)
        return lead @ residual, trailing @ residual


@dataclass(frozen=True, slots=True)
class IterativeEvaluation:
    """The objective at one point, kernel's columns.

    Attributes
    ----------
    value, value_error
        f and its Monte Carlo standard error.
    sigma
        Residual standard deviation.
    slopes
        G of each term, (S, S).
    gradient, gradient_error
        Derivative by the free entries of all lambdas (k,), and the Monte Carlo covariance of it (k, k).
    information
        Average information by the same entries, sigma profiled, (k, k).
    solved
        The coefficients.
    iterations
        Most iterations of conjugate gradients.
    """

    value: float
    value_error: float
    sigma: float
    slopes: tuple[Array, ...]
    gradient: Array
    gradient_error: Array
    information: Array
    solved: Solved
    iterations: int


def rademacher(n_effects: int, count: int, first: int = 0) -> Array:
    """Return probes of signs, (n_effects, count), number `first` and following; each has a generator of its own."""
    signs = [
        np.random.default_rng([n_effects, k]).integers(0, 2, n_effects, dtype=np.int8)
        for k in range(first, first + count)
    ]
    return np.ascontiguousarray(2.0 * np.array(signs, dtype=float).reshape(count, n_effects).T - 1.0)


def evaluate_iteratively(
    paired: PairedProducts,
    lambdas: Sequence[Array],
    method: Criterion,
    sigma: float | None,
    signs: Array,
    *,
    derivatives: bool = True,
    shared: float = SHARED,
) -> IterativeEvaluation:
    """Evaluate the objective, and unless told otherwise its derivatives.

    Parameters
    ----------
    paired
        Cross-products.
    lambdas
        The kernel's lambda of each term; singular ones will do.
    method, sigma
        The criterion, and the residual standard deviation if it is known.
    signs
        Probes, (q_T, m).
    derivatives
        Whether slopes, gradient and information are wanted; else they are empty.
    shared
        Tolerance of the probes' solves.

    Raises
    ------
    FittingError
        If no degrees of freedom are left, or the equations cannot be solved.
    """
    products = paired.products
    dof = products.n - (products.n_fixed if method == "reml" else 0)
    if dof <= 0:
        raise FittingError(
            f"{products.n} rows cannot estimate {products.n_fixed} fixed coefficients by {method.upper()}."
        )
    eliminated = Eliminated(paired, [turned(f) for f in lambdas])
    found = solve_system(eliminated, signs, shared, EXACT)
    solved, probed = found.solved, found.probe(signs, derivatives=derivatives)
    r2 = solved.r_squared
    if sigma is None:
        sigma = float(np.sqrt(r2 / dof))
        residual, profiled = dof * (1.0 + np.log(2.0 * np.pi * r2 / dof)), dof
    else:
        residual, profiled = dof * np.log(2.0 * np.pi * sigma**2) + r2 / sigma**2, None
    value = float(probed.log_dets.mean()) + residual - products.log_weights
    if method == "reml" and products.n_fixed:
        value += float(np.linalg.slogdet(solved.precision)[1])
    error = float(np.linalg.norm(probed.shares * (probed.log_dets - probed.log_dets.mean())))
    if not derivatives:
        empty = np.zeros((0, 0))
        return IterativeEvaluation(value, error, sigma, (), np.zeros(0), empty, empty, solved, probed.iterations)
    slopes, gradient, spread = _gradient(solved, probed, lambdas, method, sigma)
    return IterativeEvaluation(
        value,
        error,
        sigma,
        slopes,
        gradient,
        spread,
        _information(solved, lambdas, sigma, profiled),
        solved,
        probed.iterations,
    )


@dataclass(frozen=True, slots=True)
class SolvedSystem:
    """Probes, X and y solved at one point.

    Attributes
    ----------
    common, exact
        The system without the sums of effects, and the part of the inverse that these make.
    solution
        The projected system solved for the probes, if any, and what else was wanted.
    solved
        X and y.
    """

    common: CommonPart
    exact: ExactPart
    solution: Solution
    solved: Solved

    def probe(self, signs: Array, *, derivatives: bool) -> Probed:
        """Return what the probes (q_T, m) that were solved say."""
        return probe(self.common, self.exact, signs, self.solution, derivatives=derivatives)


def solve_system(eliminated: Eliminated, signs: Array, shared: float, exact: float) -> SolvedSystem:
    """Solve for probes, X, y and the sums of effects at once.

    Parameters
    ----------
    eliminated
        The system.
    signs
        Probes, (q_T, m).
    shared, exact
        Tolerances of the probes' solves and of those of X and y.
    """
    products = eliminated.paired.products
    common = CommonPart(eliminated)
    of_xy = eliminated.reduce(products.nest_xy[0], products.trailing_xy)
    m, last = signs.shape[1], signs.shape[1] + of_xy.shape[1]
    right = np.hstack([common.without_sums(np.hstack([eliminated.colour(signs), of_xy])), common.coupling])
    # an error of the sums' part is no longer squared
    tolerance = np.repeat([shared, exact, EXACT], [m, of_xy.shape[1], common.coupling.shape[1]])
    solution = conjugate_gradients(common, eliminated.precondition, right, tolerance)
    part = common.exact_part(solution.x[:, last:])
    solved = coefficients_solved(eliminated, solution.x[:, m:last] + part.solve(of_xy))
    return SolvedSystem(common, part, solution, solved)


def coefficients_solved(eliminated: Eliminated, x: Array) -> Solved:
    """Return X and y solved, from the whitened trailing effects x of their right-hand sides, (q_T, p + 1)."""
    products = eliminated.paired.products
    lead_right, trailing_right = products.nest_xy[0], products.trailing_xy
    trailing = eliminated.scale(x)
    lead = eliminated.lead_effects(lead_right, trailing)
    lead_gram, trailing_gram = eliminated.paired.gram(lead, trailing)
    lead_scores, trailing_scores = lead_right - lead_gram, trailing_right - trailing_gram
    xy = products.xy - np.einsum("jsa,jsb->ab", lead_right, lead) - trailing_right.T @ trailing
    xy = (xy + xy.T) / 2
    p = products.n_fixed
    if not xy[p, p] > 0.0:
        raise FittingError(
            "The residual sum of squares is zero: the model fits the response perfectly and sigma cannot be estimated."
        )
    try:
        np.linalg.cholesky(xy[:p, :p])
    except np.linalg.LinAlgError as error:
        raise FittingError(
            "The fixed columns are collinear to working precision. Remove or rescale one of them."
        ) from error
    beta = np.linalg.solve(xy[:p, :p], xy[:p, p])
    r2 = float(xy[p, p] - beta @ xy[:p, p])
    return Solved(eliminated, lead, trailing, lead_scores, trailing_scores, beta, xy[:p, :p], r2)


def turned(factor: Array) -> Array:
    """Return ``U D^(1/2)``, a root of the same covariance whose columns are orthogonal."""
    left, values, _ = np.linalg.svd(factor)
    return left * values


def _gradient(
    solved: Solved, probed: Probed, lambdas: Sequence[Array], method: Criterion, sigma: float
) -> tuple[tuple[Array, ...], Array, Array]:
    """Return G of each term, the gradient by free entries, and its Monte Carlo covariance."""
    shapes = solved.eliminated.paired.products.layout.shapes
    slopes, pieces, each = [], [], []
    for k, shape in enumerate(shapes):
        by_x, by_y = term_scores(solved, k)
        trace = probed.traces[k].mean(axis=0)
        if method == "reml" and by_x.shape[2]:
            trace = trace - np.einsum("jsa,ab,jtb->st", by_x, np.linalg.inv(solved.precision), by_x, optimize=True)
        slope = trace - by_y.T @ by_y / sigma**2
        slopes.append(slope)
        rows, columns = shape.free_entries
        pieces.append(2.0 * (slope @ lambdas[k])[rows, columns])
        each.append(2.0 * (probed.traces[k] @ lambdas[k])[:, rows, columns])
    by_probe = np.hstack(each)
    moved = probed.shares[:, None] * (by_probe - by_probe.mean(axis=0))
    return tuple(slopes), np.concatenate(pieces), moved.T @ moved


def term_scores(solved: Solved, k: int) -> tuple[Array, Array]:
    """Return ``Z_k'V_0^-1 X``, (J, S, p), and ``Z_k'P_0 y``, (J, S)."""
    paired = solved.eliminated.paired
    both = solved.lead_scores if k == paired.lead else None
    for pairs in paired.pairs:
        if pairs.term == k:
            both = paired.levels_of(solved.trailing_scores, pairs)
    assert both is not None
    p = len(solved.beta)
    return both[:, :, :p], both[:, :, p] - both[:, :, :p] @ solved.beta


def _information(solved: Solved, lambdas: Sequence[Array], sigma: float, profiled: int | None) -> Array:
    """Return the average information of the free entries of all lambdas, (k, k)."""
    eliminated = solved.eliminated
    paired = eliminated.paired
    products = paired.products
    lead, trailing = _working_effects(solved, lambdas)
    lead_right, trailing_right = paired.gram(lead, trailing)
    reduced = eliminated.reduce(lead_right, trailing_right)
    tolerance = np.full(reduced.shape[1], ROUGH)
    found = conjugate_gradients(eliminated, eliminated.precondition, reduced, tolerance).x
    trailing_found = eliminated.scale(found)
    lead_found = eliminated.lead_effects(lead_right, trailing_found)
    information = np.einsum("jsa,jsb->ab", lead, lead_right) + trailing.T @ trailing_right
    information -= np.einsum("jsa,jsb->ab", lead_right, lead_found) + trailing_right.T @ trailing_found
    p = products.n_fixed
    by_xy = np.einsum("jsa,jsb->ab", solved.lead_scores, lead) + solved.trailing_scores.T @ trailing
    by_y = by_xy[p] - solved.beta @ by_xy[:p]
    if p:
        information -= by_xy[:p].T @ np.linalg.solve(solved.precision, by_xy[:p])
    information /= sigma**2
    if profiled is not None:
        information -= np.outer(by_y, by_y) / (profiled * sigma**4)
    return (information + information.T) / 2


def _working_effects(solved: Solved, lambdas: Sequence[Array]) -> tuple[Array, Array]:
    """Return c with q_i = Z c for each free entry, (J_0, S_0, k) and (q_T, k)."""
    paired = solved.eliminated.paired
    shapes = paired.products.layout.shapes
    count = sum(shape.n_theta for shape in shapes)
    lead = np.zeros((*solved.lead.shape[:2], count))
    trailing = np.zeros((len(solved.trailing), count))
    places = {pairs.term: paired.levels_of(trailing, pairs) for pairs in paired.pairs}
    column = 0
    for k, shape in enumerate(shapes):
        target = lead if k == paired.lead else places[k]
        scores = term_scores(solved, k)[1]
        for row, place in zip(*shape.free_entries, strict=True):
            change = np.zeros((shape.n_columns, shape.n_columns))
            change[row] = lambdas[k][:, place]
            target[:, :, column] = scores @ (change + change.T)
            column += 1
    return lead, trailing

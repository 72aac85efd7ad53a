r"""The profiled ML and REML objectives and their gradient, in the kernel's columns.

.. math::

   f_{ML} &= \log|\Omega| + n\,(1 + \log(2\pi r^2/n)) - \textstyle\sum\log w, \\
   f_{REML} &= \log|\Omega| + \log|R_X|^2 + \nu\,(1 + \log(2\pi r^2/\nu)) - \textstyle\sum\log w, \quad \nu = n - p,

and, with sigma given, :math:`\nu\log(2\pi\sigma^2) + r^2/\sigma^2` in place of the profiled terms (Bates et al.
2015, equations 34 and 41). The gradient is

.. math:: \partial f/\partial\lambda_k = 2\lambda_k^{-\top}
          \Bigl[J_k I - \sum_j C_{jj} - \sum_j u_j u_j^\top/\sigma^2\Bigr].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from bayeslmm.covariance import TermShape
from bayeslmm.errors import FittingError, OptionError, is_word
from bayeslmm.likelihood.conditional import effect_modes, fixed_modes
from bayeslmm.likelihood.crossproducts import CrossProducts
from bayeslmm.likelihood.factor import Factor, factorise
from bayeslmm.likelihood.lapack import solved_transposed
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.likelihood.threads import limits_threads
from bayeslmm.types import Array, Criterion

SAFE_PIVOT = 1e-6  # smallest diagonal of lambda whose inverse keeps the gradient's digits
NUDGE = 1e-4  # variance added, per unit of a level's cross-product, where lambda cannot be inverted


@dataclass(frozen=True, slots=True)
class Evaluation:
    r"""The objective at one point.

    Attributes
    ----------
    value
        f, minus twice the log-likelihood or log restricted likelihood (kernel's columns).
    sigma
        The residual standard deviation, profiled or given.
    excess
        Per term :math:`J I - \sum C_{jj} - \sum u_j u_j^\top/\sigma^2`, shape (S, S); empty if not asked for.
    inverse_sums
        Per term :math:`\sum C_{jj}`, shape (S, S); empty if the gradient was not asked for.
    factor
        The factor, for further use.
    """

    value: float
    sigma: float
    excess: tuple[Array, ...]
    inverse_sums: tuple[Array, ...]
    factor: Factor


def check_criterion(method: str) -> Criterion:
    """Return `method` if it is a likelihood criterion.

    Raises
    ------
    OptionError
        If it is neither "ml" nor "reml".
    """
    if not is_word(method, get_args(Criterion)):
        raise OptionError(f"method must be 'ml' or 'reml' here, not {method!r}.")
    return method  # type: ignore[return-value]


@limits_threads
def evaluate(
    products: CrossProducts,
    lambdas: Sequence[Array],
    method: Criterion,
    sigma: float | None = None,
    *,
    gradient: bool = False,
) -> Evaluation:
    """Evaluate the objective, and on request what its gradient is made of.

    Raises
    ------
    FittingError
        If the cross-products cannot be factored, or no degrees of freedom are left.
    """
    factor = factorise(products, lambdas)
    dof = products.n - (products.n_fixed if method == "reml" else 0)
    if dof <= 0:
        raise FittingError(
            f"{products.n} rows cannot estimate {products.n_fixed} fixed coefficients by {method.upper()}."
        )
    r2 = factor.r_squared
    if sigma is None:
        sigma = float(np.sqrt(r2 / dof))
        residual = dof * (1.0 + np.log(2.0 * np.pi * r2 / dof))
    else:
        residual = dof * np.log(2.0 * np.pi * sigma**2) + r2 / sigma**2
    value = factor.log_det + residual - products.log_weights
    if method == "reml":
        value += factor.log_det_X
    if not gradient:
        return Evaluation(float(value), sigma, (), (), factor)
    inverse_sums = inverse_blocks(factor, factor.R_X if method == "reml" else None).sums()
    excess = excess_sums(factor, fixed_modes(factor), inverse_sums, sigma)
    return Evaluation(float(value), sigma, excess, tuple(inverse_sums), factor)


def excess_sums(factor: Factor, beta: Array, inverse_sums: Sequence[Array], sigma: float) -> tuple[Array, ...]:
    r"""Return per term :math:`J I - \sum C_{jj} - \sum u_j u_j^\top/\sigma^2`, (S, S), at the modes given beta."""
    squares = [u.T @ u for u in effect_modes(factor, beta)]
    return excess_of_squares(factor.products.layout.shapes, inverse_sums, squares, sigma)


def excess_of_squares(
    shapes: Sequence[TermShape], inverse_sums: Sequence[Array], squares: Sequence[Array], sigma: float
) -> tuple[Array, ...]:
    r"""Return what `excess_sums` does, :math:`\sum_j u_j u_j^\top` given as `squares`, (S, S) per term."""
    return tuple(
        shape.n_levels * np.eye(shape.n_columns) - c - s / sigma**2
        for shape, c, s in zip(shapes, inverse_sums, squares, strict=True)
    )


@limits_threads
def factor_gradients(
    products: CrossProducts,
    lambdas: Sequence[Array],
    method: Criterion,
    sigma: float | None = None,
    evaluation: Evaluation | None = None,
) -> list[Array]:
    r"""Return :math:`2 G_k\lambda_k`, the gradient with respect to the full matrix lambda, (S, S) per term.

    For a diagonal term only the diagonal counts; for a lower triangular one the lower triangle.
    """
    if evaluation is None or not evaluation.excess:
        evaluation = evaluate(products, lambdas, method, sigma, gradient=True)
    if all(is_safe(factor) or not factor.any() for factor in lambdas):  # where lambda is zero, so is the gradient
        return [
            2.0 * solved_transposed(factor, excess) if factor.any() else np.zeros_like(excess)
            for factor, excess in zip(lambdas, evaluation.excess, strict=True)
        ]
    slopes = covariance_gradients(products, lambdas, method, sigma)
    return [2.0 * slope @ factor for slope, factor in zip(slopes, lambdas, strict=True)]


def is_safe(factor: Array) -> bool:
    """Whether lambda can be inverted without losing the gradient's digits."""
    return bool(np.min(np.abs(np.diag(factor))) >= SAFE_PIVOT)


@limits_threads
def covariance_gradients(
    products: CrossProducts, lambdas: Sequence[Array], method: Criterion, sigma: float | None = None
) -> list[Array]:
    r"""Return :math:`G_k`, the gradient with respect to :math:`\lambda_k\lambda_k^\top`, at any lambda.

    G is a smooth function of the covariance, singular or not:
    :math:`G = \lambda^{-\top}[\ldots]\lambda^{-1}` at three points moved into the interior by small multiples of the
    identity, extrapolated to the point itself. For a diagonal term only the diagonal of G is meaningful.
    """
    return extrapolate_inwards(products, lambdas, lambda inner: _interior_gradients(products, inner, method, sigma))


def extrapolate_inwards(
    products: CrossProducts, lambdas: Sequence[Array], interior: Callable[[list[Array]], Sequence[Array]]
) -> list[Array]:
    """Evaluate at singular factors what `interior` can evaluate at invertible ones only, a smooth array per term."""
    far, middle, near = (interior(_nudged_factors(products, lambdas, NUDGE * share)) for share in (1.0, 0.5, 0.25))
    return [(a - 6.0 * b + 8.0 * c) / 3.0 for a, b, c in zip(far, middle, near, strict=True)]


def _nudged_factors(products: CrossProducts, lambdas: Sequence[Array], nudge: float) -> list[Array]:
    """Add a variance that changes a level's cross-products by about `nudge`, to every term."""
    shapes = products.layout.shapes
    variances = [nudge * shape.n_levels / max(products.n, shape.n_levels) for shape in shapes]
    return [_nudged(f, s, v) for f, s, v in zip(lambdas, shapes, variances, strict=True)]


def _nudged(factor: Array, shape: TermShape, variance: float) -> Array:
    return shape.structure.factor_of_root(np.hstack([factor, np.sqrt(variance) * np.eye(len(factor))]))


def _interior_gradients(
    products: CrossProducts, lambdas: Sequence[Array], method: Criterion, sigma: float | None
) -> list[Array]:
    excess = evaluate(products, lambdas, method, sigma, gradient=True).excess
    slopes = []
    for factor, inner in zip(lambdas, excess, strict=True):
        left = solved_transposed(factor, inner)
        slopes.append(solved_transposed(factor, left.T).T)
    return slopes

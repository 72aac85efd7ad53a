r"""Conjugate gradients for many right-hand sides at once, and the quadrature that comes with them.

The coefficients of a preconditioned solve are those of Lanczos's tridiagonal matrix T of
:math:`\tilde S = L^{-1}SL^{-\top}` started at :math:`L^{-1}b`, so that
:math:`r^\top g(\tilde S)\,r \approx |r|^2\, e_1^\top g(T)\,e_1` for b = Lr (Saad 2003, section 6.7; Ubaru, Chen and
Saad 2017).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal

from bayeslmm.errors import FittingError
from bayeslmm.types import Array

MOST_ITERATIONS = 3000
KEPT_SHARE = 0.75  # solved columns are put aside once so few are left


@dataclass(frozen=True, slots=True)
class Solution:
    """What conjugate gradients found.

    Attributes
    ----------
    x
        Solutions, (q, m).
    first
        S times the first direction ``P^-1 b``, (q, m).
    steps, ratios
        Coefficients alpha and beta of each iteration, (k, m), NaN from where a column was solved.
    iterations
        Iterations of each column, (m,).
    """

    x: Array
    first: Array
    steps: Array
    ratios: Array
    iterations: Array


def conjugate_gradients(
    operator: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    right: Array,
    tolerance: Array,
    *,
    together: bool = False,
) -> Solution:
    """Solve ``S x = b`` for each column.

    Parameters
    ----------
    operator, precondition
        Products with S, and with the inverse of its preconditioner, of (q, m).
    right
        Right-hand sides b, (q, m).
    tolerance
        Per column (m,), the share of the first residual, in the norm of the preconditioner's inverse, at which to stop.
    together
        Whether solved columns are carried on to the end, so that every direction has all columns.

    Raises
    ------
    FittingError
        If the matrix is not positive definite, or some column is not solved after many iterations.
    """
    right = np.ascontiguousarray(right)
    m = right.shape[1]
    x = np.zeros_like(right)
    active = np.arange(m)
    now, residual = np.zeros_like(right), right.copy()
    direction = precondition(residual)
    size = np.einsum("ij,ij->j", residual, direction)
    goal = np.maximum(tolerance**2 * size, np.finfo(float).tiny)
    steps: list[Array] = []
    ratios: list[Array] = []
    first = None
    running = size > goal
    while running.any():
        if len(steps) == MOST_ITERATIONS:
            raise FittingError(
                "The equations of the random effects were not solved in "
                f"{MOST_ITERATIONS} steps of conjugate gradients: the covariance parameters are too large."
            )
        if steps and not together and running.mean() < KEPT_SHARE:
            x[:, active] = now
            active, running, now, residual, direction, size = (
                active[running],
                running[running],
                *(np.ascontiguousarray(a[:, running]) for a in (now, residual, direction)),
                size[running],
            )
        product = operator(direction)
        if first is None:
            first = product.copy()
        curved = np.einsum("ij,ij->j", direction, product)
        if not (curved[running] > 0.0).all():
            raise FittingError(
                "The equations of the random effects were not solved: they are not positive definite to working "
                "precision."
            )
        step = np.where(running, size / np.where(running, curved, 1.0), 0.0)
        now += step * direction
        residual -= step * product
        preconditioned = precondition(residual)
        new = np.einsum("ij,ij->j", residual, preconditioned)
        ratio = np.where(running, new / np.where(running, size, 1.0), 0.0)
        steps.append(_spread(step, running, active, m))
        ratios.append(_spread(ratio, running, active, m))
        size = np.where(running, new, size)
        running = running & (size > goal[active])
        direction *= ratio
        direction += preconditioned
    x[:, active] = now
    shape = (len(steps), m)
    alphas, betas = np.array(steps).reshape(shape), np.array(ratios).reshape(shape)
    return Solution(x, np.zeros_like(x) if first is None else first, alphas, betas, np.sum(~np.isnan(alphas), axis=0))


def inverse_root(
    operator: Callable[[Array], Array], precondition: Callable[[Array], Array], right: Array, tolerance: float
) -> Array:
    r"""Return :math:`L^{-\top}\tilde S^{-1/2} r` for ``right = L r``, (q, m).

    With r standard normal these are draws from N(0, S^-1).
    The conjugate-gradient directions span Lanczos's space, whose vectors are the preconditioned residuals; in it
    :math:`\tilde S^{-1/2}r \approx |r|\,Q\,T^{-1/2}e_1`.
    """
    kept: list[Array] = []

    def keeping(residual: Array) -> Array:
        kept.append(precondition(residual))
        return kept[-1].copy()

    m = right.shape[1]
    solution = conjugate_gradients(operator, keeping, right, np.full(m, tolerance), together=True)
    out = np.zeros_like(right)
    for column in range(m):
        diagonal, off = tridiagonal(solution, column)
        if not len(diagonal):
            continue
        nodes, vectors = eigh_tridiagonal(diagonal, off)
        weights = vectors @ (vectors[0] / np.sqrt(nodes))
        ratios = np.concatenate([[1.0], np.cumprod(np.sqrt(solution.ratios[: len(diagonal) - 1, column]))])
        signed = weights * np.where(np.arange(len(weights)) % 2, -1.0, 1.0)
        for basis, weight, ratio in zip(kept, signed, ratios, strict=False):
            out[:, column] += (weight / ratio) * basis[:, column]
    return out


def _spread(values: Array, running: np.ndarray, active: np.ndarray, m: int) -> Array:
    out = np.full(m, np.nan)
    out[active[running]] = values[running]
    return out


def tridiagonal(solution: Solution, column: int) -> tuple[Array, Array]:
    """Return diagonal (k,) and off-diagonal (k - 1,) of one column's Lanczos matrix T."""
    k = int(solution.iterations[column])
    alpha, beta = solution.steps[:k, column], solution.ratios[:k, column]
    diagonal = 1.0 / alpha
    diagonal[1:] += beta[:-1] / alpha[:-1]
    return diagonal, np.sqrt(beta[:-1]) / alpha[:-1]


def log_quadrature(solution: Solution, column: int) -> float:
    """Return ``e_1' log(T) e_1`` for one column."""
    diagonal, off = tridiagonal(solution, column)
    if len(diagonal) == 0:
        return 0.0
    nodes, vectors = eigh_tridiagonal(diagonal, off)
    return float(vectors[0] ** 2 @ np.log(np.maximum(nodes, np.finfo(float).tiny)))

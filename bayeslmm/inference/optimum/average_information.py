r"""A maximum of the likelihood by Newton steps with the average information.

Probes give a gradient whose root does not depend on the path, but no objective that belongs to it to the last digit. So
steps solve

.. math:: \bigl(A + 2\,G_+ \otimes I\bigr)\,\delta = -\partial f/\partial\lambda

with the average information A by the free entries of the relative covariance factors and the positive part of G, the
derivative by the covariance, which is the curvature that is left where a variance goes to zero. The size of the
gradient in the metric of that matrix says how far the minimum is. The same matrix turns the gradient's Monte Carlo
covariance into that of the parameters; probes are doubled until that is small beside their statistical error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.covariance import TermShape, positive_diagonal
from bayeslmm.errors import FittingError
from bayeslmm.inference.nuts.starting import starting_factors
from bayeslmm.inference.optimum.maximum import Maximum
from bayeslmm.likelihood.iterative.eliminated import PairedProducts
from bayeslmm.likelihood.iterative.evaluation import IterativeEvaluation, evaluate_iteratively, rademacher
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import check_criterion
from bayeslmm.likelihood.threads import blas_threads, limits_threads
from bayeslmm.types import Array, Criterion

FEWEST_PROBES, MOST_PROBES = 16, 128
LARGE = 2_000_000  # pairs of levels from which on half the probes do: their error falls with the number of levels
SMALL_ERROR = 0.03  # Monte Carlo error of parameters, in standard errors, at which there are probes enough
ENOUGH = 1e-5  # squared size of the gradient: parameters are then within .003 standard errors of the root
LONGEST = 1.5  # largest change of a factor in one step, as a share of it
NEGLIGIBLE = 1e-6  # rise of the objective for a variance of zero that does not matter
ESCAPES = 3  # times that a false boundary is left
MOST_STEPS = 40
MOST_HALVINGS = 6


@dataclass(frozen=True, slots=True)
class IterativeMaximum:
    """A maximum found without a factor.

    Attributes
    ----------
    maximum
        As any other.
    lambdas
        The kernel's factors, negligible diagonals exactly zero.
    evaluation
        The last evaluation.
    n_probes
        Number of probes.
    objective_error
        Monte Carlo standard error of the objective.
    theta_cov, theta_error
        Approximate covariance of the kernel's free entries by the average information, and the Monte Carlo covariance
        of their estimates, (k, k).
    """

    maximum: Maximum
    lambdas: tuple[Array, ...]
    evaluation: IterativeEvaluation
    n_probes: int
    objective_error: float
    theta_cov: Array
    theta_error: Array

    @property
    def largest_error(self) -> float:
        """Largest Monte Carlo error of a parameter, in its standard errors."""
        return relative_error(self.theta_cov, self.theta_error)


def relative_error(covariance: Array, error: Array) -> float:
    """Return the largest ratio of two standard errors; directions without information do not count."""
    statistical, made = np.diag(covariance), np.diag(error)
    known = statistical > 0
    return float(np.sqrt(np.max(made[known] / statistical[known], initial=0.0)))


def maximise_iteratively(
    kernel: Kernel,
    method: str = "reml",
    *,
    sigma: float | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> IterativeMaximum:
    """Maximise the (restricted) likelihood over theta without factoring.

    Parameters
    ----------
    kernel
        The data.
    method
        "ml" or "reml".
    sigma
        Residual standard deviation, if it is known.
    progress
        Called after every evaluation with its number and the objective.

    Raises
    ------
    FittingError
        If the objective cannot be evaluated at the start.
    """
    criterion = check_criterion(method)
    search = _Search(kernel, criterion, sigma, progress)
    with blas_threads(0):
        return search.run()


@dataclass(frozen=True, slots=True)
class _Point:
    lambdas: list[Array]
    found: IterativeEvaluation
    curvature: Array
    step: Array
    size: float  # squared size of the gradient in the metric of the curvature
    held: NDArray[np.bool_]  # diagonal entries at zero


class _Search:
    def __init__(
        self,
        kernel: Kernel,
        method: Criterion,
        sigma: float | None,
        progress: Callable[[int, float], None] | None,
    ) -> None:
        self.kernel, self.method, self.sigma, self.progress = kernel, method, sigma, progress
        self.paired = PairedProducts.of(kernel.products)
        self.shapes = kernel.shapes
        self.lambdas_seen: list[list[Array]] = []
        self.values: list[float] = []
        n_pairs = sum(len(pairs.levels) for pairs in self.paired.pairs)
        self.signs = rademacher(kernel.products.n_trailing, FEWEST_PROBES // 2 if n_pairs > LARGE else FEWEST_PROBES)

    # -- one point ------------------------------------------------------------------------------------------

    def evaluate(self, lambdas: Sequence[Array]) -> IterativeEvaluation:
        found = evaluate_iteratively(self.paired, lambdas, self.method, self.sigma, self.signs)
        self.lambdas_seen.append([f.copy() for f in lambdas])
        self.values.append(found.value)
        if self.progress is not None:
            self.progress(len(self.values), found.value)
        return found

    def point(self, lambdas: Sequence[Array]) -> _Point:
        factors = [positive_diagonal(f) for f in lambdas]
        found = self.evaluate(factors)
        curvature, held = curvature_at(factors, found, self.shapes)
        free = ~held
        step = np.zeros(len(held))
        inner = curvature[np.ix_(free, free)]
        step[free] = -np.linalg.lstsq(inner, found.gradient[free], rcond=1e-12)[0]
        size = float(-found.gradient @ step)
        return _Point(factors, found, curvature, step, size, held)

    # -- the way --------------------------------------------------------------------------------------------

    def run(self) -> IterativeMaximum:
        point = self.point(starting_factors(self.kernel.products, self.sigma))
        escapes = 0
        while True:
            point, converged = self.descend(point)
            point = self.drop_negligible(point) if converged else point
            escape = self.leave_boundary(point) if converged and escapes < ESCAPES else None
            if escape is not None:
                point, escapes = escape, escapes + 1
                continue
            covariance, error = errors_at(point.curvature, point.held, point.found)
            count = self.signs.shape[1]
            if not converged or count >= MOST_PROBES or relative_error(covariance, error) <= SMALL_ERROR:
                return self.finish(point, converged, covariance, error)
            self.signs = np.hstack([self.signs, rademacher(len(self.signs), count, count)])
            point = self.point(point.lambdas)

    def drop_negligible(self, point: _Point) -> _Point:
        r"""Set to zero the diagonals whose loss does not raise the objective.

        By the derivatives at hand :math:`f(0) - f(\lambda_{aa}) \approx \lambda_{aa}^2(A_{aa}/8 - G_{aa})`.
        """
        lambdas, changed, first = [f.copy() for f in point.lambdas], False, 0
        for k, (factor, shape) in enumerate(zip(lambdas, self.shapes, strict=True)):
            rows, columns = shape.free_entries
            for place in np.flatnonzero(rows == columns):
                a = rows[place]
                information = point.found.information[first + place, first + place]
                rise = factor[a, a] ** 2 * (information / 8 - point.found.slopes[k][a, a])
                if factor[a, a] > 0 and rise <= NEGLIGIBLE:
                    factor[a, a], changed = 0.0, True
            first += shape.n_theta
        return self.point(lambdas) if changed else point

    def leave_boundary(self, point: _Point) -> _Point | None:
        """Return a lower point off the boundary, or None if the boundary holds the minimum."""
        for k, (factor, slope, shape) in enumerate(zip(point.lambdas, point.found.slopes, self.shapes, strict=True)):
            if (np.diag(factor) > 0).all():
                continue
            for direction in shape.structure.descents(slope):
                for variance in 0.1 ** np.arange(1, 5) * shape.n_levels / self.kernel.n:
                    trial = list(point.lambdas)
                    added = np.column_stack([factor, np.sqrt(variance) * direction])
                    trial[k] = shape.structure.factor_of_root(added)
                    moved = self.point(trial)
                    if moved.found.value < point.found.value - 1e-3:
                        return moved
        return None

    def descend(self, point: _Point) -> tuple[_Point, bool]:
        for _ in range(MOST_STEPS):
            if point.size <= ENOUGH:
                return point, True
            step = point.step * min(1.0, LONGEST / max(self._length(point), 1e-300))
            moved = self._move(point, step)
            for _ in range(MOST_HALVINGS):
                if moved is not None and self._better(moved, point):
                    break
                step = step / 4
                moved = self._move(point, step)
            if moved is None or not self._better(moved, point):
                return point, False
            point = moved
        return point, False

    def _better(self, moved: _Point, point: _Point) -> bool:
        """Whether the gradient or, by more than its noise, the objective is smaller."""
        return moved.size < point.size or moved.found.value < point.found.value - max(1e-3, 0.1 * point.size)

    def _length(self, point: _Point) -> float:
        """Return the largest change of an effect's factor as a share of it."""
        longest, first = 0.0, 0
        for factor, shape in zip(point.lambdas, self.shapes, strict=True):
            rows, _ = shape.free_entries
            change = np.abs(point.step[first : first + shape.n_theta]) / np.linalg.norm(factor, axis=1)[rows]
            longest, first = max(longest, float(change.max())), first + shape.n_theta
        return longest

    def _move(self, point: _Point, step: Array) -> _Point | None:
        moved, first = [], 0
        for factor, shape in zip(point.lambdas, self.shapes, strict=True):
            changed = factor.copy()
            changed[shape.free_entries] += step[first : first + shape.n_theta]
            diagonal, before = np.diag(changed), np.diag(factor)
            np.fill_diagonal(changed, np.where(diagonal > 0, diagonal, before / 8))  # zero is approached, not crossed
            moved.append(changed)
            first += shape.n_theta
        try:
            return self.point(moved)
        except (FittingError, np.linalg.LinAlgError):
            return None

    # -- the end --------------------------------------------------------------------------------------------

    def finish(self, point: _Point, converged: bool, covariance: Array, error: Array) -> IterativeMaximum:
        kernel, criterion = self.kernel, self.method
        lambdas = tuple(point.lambdas)
        singular = any((np.diag(f) == 0).any() for f in lambdas)
        last = point.found
        shift = kernel.shift(criterion)
        size = float(np.sqrt(max(point.size, 0.0)))
        found = Maximum(
            theta=kernel.theta(lambdas),
            objective=last.value + shift,
            sigma=last.sigma,
            thetas=np.array([kernel.theta(f) for f in self.lambdas_seen]).reshape(len(self.values), -1),
            objectives=np.array(self.values) + shift,
            gradient_norm=size,
            code="failed" if not converged else "boundary" if singular else "converged",
            message=self._message(lambdas, converged, size, singular, relative_error(covariance, error), last),
        )
        return IterativeMaximum(found, lambdas, last, self.signs.shape[1], last.value_error, covariance, error)

    def _message(
        self,
        lambdas: Sequence[Array],
        converged: bool,
        size: float,
        singular: bool,
        largest: float,
        last: IterativeEvaluation,
    ) -> str:
        if not converged:
            return (
                f"The search stopped with a scaled gradient of {size:.1e}: do not trust these estimates. Simplify the "
                'random effects or rescale the columns, or use solver="exact".'
            )
        opening = f"Converged: the scaled gradient is {size:.1e}."
        if singular:
            names = [n for n, f in zip(self.kernel.names, lambdas, strict=True) if (np.diag(f) == 0).any()]
            opening = (
                f"Converged on the boundary: the covariance of {', '.join(names)} is singular (a variance of zero or a "
                "correlation of one), so the data support fewer random effects than the formula has."
            )
        return (
            f"{opening} The equations were solved by conjugate gradients with {self.signs.shape[1]} probes: the Monte "
            f"Carlo error of covariance parameters is at most {largest:.2g} of their standard errors, that of the "
            f"criterion {last.value_error:.2g}."
        )


def curvature_at(
    lambdas: Sequence[Array], found: IterativeEvaluation, shapes: Sequence[TermShape]
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the matrix of a Newton step, (k, k), and which free entries are diagonals at zero."""
    curvature = found.information.copy()
    held = np.zeros(len(curvature), dtype=bool)
    first = 0
    for factor, slope, shape in zip(lambdas, found.slopes, shapes, strict=True):
        values, vectors = np.linalg.eigh((slope + slope.T) / 2)
        positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
        rows, columns = shape.free_entries
        same = columns[:, None] == columns[None, :]
        place = slice(first, first + shape.n_theta)
        curvature[place, place] += 2.0 * np.where(same, positive[np.ix_(rows, rows)], 0.0)
        held[place] = (rows == columns) & (np.diag(factor) == 0)[rows]
        first += shape.n_theta
    return curvature, held


def errors_at(curvature: Array, held: NDArray[np.bool_], found: IterativeEvaluation) -> tuple[Array, Array]:
    """Return the covariance of the free entries, and the square of what their estimates may be off by, (k, k) each.

    The latter is the Monte Carlo covariance and the square of the Newton step at which the search was content.
    """
    free = np.flatnonzero(~held)
    k = len(held)
    covariance, error = np.zeros((k, k)), np.zeros((k, k))
    inverse = np.linalg.pinv(curvature[np.ix_(free, free)], hermitian=True)
    covariance[np.ix_(free, free)] = 2.0 * inverse
    left = inverse @ found.gradient[free]
    error[np.ix_(free, free)] = inverse @ found.gradient_error[np.ix_(free, free)] @ inverse + np.outer(left, left)
    return covariance, error


@limits_threads
def maximum_again(
    kernel: Kernel, method: str, maximum: Maximum, n_probes: int, sigma: float | None = None
) -> IterativeMaximum:
    """Return what a search had found, from its maximum and the number of its probes."""
    lambdas = kernel.lambdas(maximum.theta)
    signs = rademacher(kernel.products.n_trailing, n_probes)
    found = evaluate_iteratively(PairedProducts.of(kernel.products), lambdas, check_criterion(method), sigma, signs)
    covariance, error = errors_at(*curvature_at(lambdas, found, kernel.shapes), found)
    return IterativeMaximum(maximum, tuple(lambdas), found, n_probes, found.value_error, covariance, error)

r"""A minimum over relative covariance factors, boundary included.

The objective is even in the sign of each column of lambda, so it is minimised without bounds: one or two EM steps,
then BFGS in coordinates of unit curvature (`bayeslmm.inference.optimum.chart`). A minimum has :math:`G\lambda = 0` and
:math:`G \succeq 0`; where a singular solution has a direction v of negative curvature the search leaves it by adding
:math:`\varepsilon^2 v v^\top` to :math:`\lambda\lambda^\top`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from bayeslmm.covariance import TermShape, positive_diagonal
from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.chart import Chart
from bayeslmm.inference.optimum.quasi_newton import descend
from bayeslmm.types import Array

EM_STEPS = 2  # with several effects, whose correlations the start does not know; one without
NEGLIGIBLE_GAIN = 1e-9  # of the objective; theta is then known to 5e-5 of its standard error
SMALL_MODEL = 1000  # random effects; up to here one more evaluation costs next to nothing,
SMALL_MODEL_GAIN = 1e-12  # and theta may be known to 2e-6 of its standard error
ACCEPTED_GRADIENT = 2e-3  # what rounding may leave when no step lowers the objective any more
SMALL_PIVOT = 1e-4  # a diagonal of lambda, columns scaled, that may stand for zero
ROUNDED_PIVOT = 1e-12  # a diagonal of lambda that is zero but for rounding
NEGLIGIBLE = 2.5e-7  # rise of the objective for a zero that does not matter; a few of them stay below 1e-6
VARIANCES = tuple(10.0**-k for k in range(7))  # tried along a direction that may lead off the boundary
MAXIMUM_ROUNDS = 12
MAXIMUM_CHARTS = 40


@dataclass(frozen=True, slots=True)
class Point:
    """The objective at one set of factors.

    Attributes
    ----------
    value
        The objective.
    slopes
        Its gradient with respect to each full matrix lambda, (S, S).
    excess, inverse_sums, sigma
        As in `bayeslmm.likelihood.marginal.Evaluation`.
    """

    value: float
    slopes: Sequence[Array]
    excess: Sequence[Array]
    inverse_sums: Sequence[Array]
    sigma: float = np.nan


class Objective(Protocol):
    """What can be minimised over covariance factors."""

    shapes: Sequence[TermShape]

    def point(self, lambdas: Sequence[Array]) -> Point:
        """Return value and gradient."""

    def value(self, lambdas: Sequence[Array]) -> float:
        """Return the value alone."""

    def covariance_slopes(self, lambdas: Sequence[Array]) -> Sequence[Array]:
        """Return the gradient G with respect to each lambda lambda^T."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where the search ended.

    Attributes
    ----------
    lambdas
        The kernel's factors, diagonals non-negative, negligible ones exactly zero.
    value
        The objective there.
    gradient_norm
        Euclidean norm of the gradient in coordinates of unit curvature.
    singular
        Whether some diagonal of lambda is zero.
    converged
        Whether the gradient is small and no direction leads down.
    sigma
        The residual standard deviation there.
    """

    lambdas: tuple[Array, ...]
    value: float
    gradient_norm: float
    singular: bool
    converged: bool
    sigma: float = np.nan


@dataclass(slots=True)
class Record:
    """Every evaluation of a search, in order."""

    lambdas: list[tuple[Array, ...]] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    report: Callable[[int, float], None] | None = None

    def add(self, lambdas: Sequence[Array], value: float) -> None:
        """Keep one evaluation."""
        self.lambdas.append(tuple(f.copy() for f in lambdas))
        self.values.append(value)
        if self.report is not None:
            self.report(len(self.values), value)

    def clear(self) -> None:
        """Forget all of them: the search begins anew."""
        self.lambdas.clear()
        self.values.clear()


def minimise(objective: Objective, start: Sequence[Array], record: Record) -> Minimum:
    """Minimise over the factors from `start` and keep every evaluation in `record`."""
    search = _Search(objective, record)
    lambdas = [np.array(f) for f in start]
    point = search.point(lambdas)
    if not lambdas:
        return Minimum((), point.value, 0.0, False, True, point.sigma)
    for _ in range(EM_STEPS if any(shape.n_columns > 1 for shape in objective.shapes) else 1):
        lambdas, point = search.em_step(lambdas, point)
    norm = np.inf
    for _ in range(MAXIMUM_ROUNDS):
        lambdas, point, norm = search.descend(lambdas, point)
        lambdas, point = search.drop_negligible(lambdas, point)
        if is_singular(lambdas):
            lambdas, point, norm = search.descend(lambdas, point, square=True)
            lambdas, point = search.drop_negligible(lambdas, point)
        escape = search.leave_boundary(lambdas, point)
        if escape is not None:
            lambdas, point = escape
        elif norm <= ACCEPTED_GRADIENT:
            break
    converged = norm <= ACCEPTED_GRADIENT and escape is None
    return Minimum(tuple(lambdas), point.value, norm, is_singular(lambdas), converged, point.sigma)


def tolerance_of(shapes: Sequence[TermShape]) -> float:
    """Return the gain of the objective at which a descent stops."""
    effects = sum(shape.n_effects for shape in shapes)
    return SMALL_MODEL_GAIN if effects <= SMALL_MODEL else NEGLIGIBLE_GAIN


def is_singular(lambdas: Sequence[Array]) -> bool:
    """Whether some diagonal of lambda is zero."""
    return any((np.diag(f) == 0).any() for f in lambdas)


class _Search:
    """One search: the objective, the shapes of its terms, and the record."""

    def __init__(self, objective: Objective, record: Record) -> None:
        self.objective = objective
        self.shapes = objective.shapes
        self.record = record
        self.tolerance = tolerance_of(objective.shapes)

    def point(self, lambdas: Sequence[Array]) -> Point:
        point = self.objective.point(lambdas)
        self.record.add(lambdas, point.value)
        return point

    def value(self, lambdas: Sequence[Array]) -> float:
        value = self.objective.value(lambdas)
        self.record.add(lambdas, value)
        return value

    def em_step(self, lambdas: list[Array], point: Point) -> tuple[list[Array], Point]:
        """Move each covariance to the mean of the posterior second moments of its effects."""
        moved = []
        for factor, excess, shape in zip(lambdas, point.excess, self.shapes, strict=True):
            root = _root(np.eye(len(factor)) - excess / shape.n_levels)
            moved.append(shape.structure.factor_of_root(factor @ root))
        proposal = self.point(moved)
        return (moved, proposal) if proposal.value <= point.value else (lambdas, point)

    def descend(self, lambdas: list[Array], point: Point, square: bool = False) -> tuple[list[Array], Point, float]:
        """Run BFGS from `lambdas`; return where it ends and the gradient norm, in unit curvature, there.

        Where the factors change by multiples of themselves, the coordinates are chosen anew on the way.
        """
        for _ in range(MAXIMUM_CHARTS):
            lambdas, point, norm, limited = self._descend_in_chart(lambdas, point, square)
            if not limited:
                break
        return lambdas, point, norm

    def _descend_in_chart(
        self, lambdas: list[Array], point: Point, square: bool
    ) -> tuple[list[Array], Point, float, bool]:
        chart = Chart(lambdas, point.inverse_sums, self.shapes, square)
        start = chart.slope(point.slopes, [None] * len(lambdas))
        known = {chart.origin.tobytes(): (lambdas, point, start)}

        def both(x: Array) -> tuple[float, Array]:
            key = x.tobytes()
            if key not in known:
                moved, rotations = chart.factors(x)
                try:
                    found = self.point(moved)
                except FittingError:
                    return np.inf, np.zeros_like(x)
                known[key] = moved, found, chart.slope(found.slopes, rotations)
            return known[key][1].value, known[key][2]

        end = descend(both, chart.origin, tolerance=self.tolerance, longest=chart.longest)
        moved, found, slope = known[end.x.tobytes()]
        norm = float(np.linalg.norm(slope))
        return [positive_diagonal(f) for f in moved], _flipped(found, moved), norm, end.limited

    def drop_negligible(self, lambdas: list[Array], point: Point) -> tuple[list[Array], Point]:
        """Set small diagonals of lambda to zero where that does not raise the objective."""
        changed = False
        lambdas = [f.copy() for f in lambdas]
        for factor in lambdas:
            for a in np.flatnonzero(np.abs(np.diag(factor)) < SMALL_PIVOT):
                pivot, factor[a, a] = factor[a, a], 0.0
                if abs(pivot) <= ROUNDED_PIVOT:
                    continue
                if self.value(lambdas) <= point.value + NEGLIGIBLE:
                    changed = True
                else:
                    factor[a, a] = pivot
        return lambdas, (self.point(lambdas) if changed else point)

    def leave_boundary(self, lambdas: list[Array], point: Point) -> tuple[list[Array], Point] | None:
        """Return a lower point off the boundary, or None if the boundary holds the minimum."""
        if all((np.abs(np.diag(f)) >= SMALL_PIVOT).all() for f in lambdas):
            return None
        slopes = self.objective.covariance_slopes(lambdas)
        best: tuple[float, list[Array]] | None = None
        for k, (factor, slope, shape) in enumerate(zip(lambdas, slopes, self.shapes, strict=True)):
            for direction in shape.structure.descents(slope):
                for variance in VARIANCES:
                    trial = list(lambdas)
                    added = np.column_stack([factor, np.sqrt(variance) * direction])
                    trial[k] = shape.structure.factor_of_root(added)
                    value = self.value(trial)
                    if value < point.value - NEGLIGIBLE and (best is None or value < best[0]):
                        best = value, trial
                    elif best is not None:
                        break
        return None if best is None else (best[1], self.point(best[1]))


def _root(moments: Array) -> Array:
    """Return a root of a symmetric matrix, (S, S), negative eigenvalues taken as zero; triangular if there are none."""
    try:
        return np.asarray(np.linalg.cholesky(moments))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh((moments + moments.T) / 2)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _flipped(point: Point, lambdas: Sequence[Array]) -> Point:
    """Return the point for factors whose negative columns were turned."""
    if all((np.diag(f) >= 0).all() for f in lambdas):
        return point
    signs = [np.where(np.diag(f) < 0, -1.0, 1.0) for f in lambdas]
    return Point(
        point.value,
        [s * sign for s, sign in zip(point.slopes, signs, strict=True)],
        [e * np.outer(sign, sign) for e, sign in zip(point.excess, signs, strict=True)],
        [c * np.outer(sign, sign) for c, sign in zip(point.inverse_sums, signs, strict=True)],
        point.sigma,
    )

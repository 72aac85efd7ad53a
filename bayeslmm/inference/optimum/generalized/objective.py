"""Minus twice the log-likelihood of a generalized mixed model as a function that is minimised."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.generalized.laplace import Evaluation, Point, evaluate, predict_mode
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.quadrature import evaluate_quadrature
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.types import Array


@dataclass(frozen=True, slots=True)
class Dispersion:
    """From the free values of the dispersion parameters to those of the rows.

    The last parameter of a family may have columns of its own, as the share of extra zeros has.

    Attributes
    ----------
    n_parameters
        Number of the family's parameters m.
    columns
        Columns of the last parameter, (n, r), or None where one value serves all rows.
    """

    n_parameters: int
    columns: Array | None = None

    @property
    def n_free(self) -> int:
        """Number of free values."""
        return self.n_parameters if self.columns is None else self.n_parameters - 1 + self.columns.shape[1]

    def working(self, free: Array) -> Array:
        """Return working values: (m,), or (m, n) with columns."""
        if self.columns is None:
            return free
        head = self.n_parameters - 1
        last = self.columns @ free[head:]
        return np.vstack([np.repeat(free[:head, None], len(last), axis=1), last[None, :]])

    def slope(self, by_working: Array) -> Array:
        """Turn the derivatives by each row's working values, (m, n), into those by the free values."""
        if self.columns is None:
            return by_working.sum(axis=1)
        head = self.n_parameters - 1
        return np.concatenate([by_working[:head].sum(axis=1), by_working[head] @ self.columns])

    def start(self, working: Array) -> Array:
        """Return free values that give about the working values (m,) in every row."""
        if self.columns is None:
            return np.array(working)
        constant = np.linalg.lstsq(self.columns, np.full(len(self.columns), working[-1]), rcond=None)[0]
        return np.concatenate([working[:-1], constant])


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters in the kernel's columns: factors (S, S), coefficients (p,), free dispersion values."""

    lambdas: tuple[Array, ...]
    beta: Array
    free: Array


@dataclass(slots=True)
class Objective:
    """The objective, warm-started from the last evaluation.

    Attributes
    ----------
    problem
        The model; whether its coefficients are inner decides which objective it is.
    dispersion
        Its dispersion parameters.
    n_quad
        Points of adaptive quadrature; one or none for Laplace's approximation.
    start
        Random effects to start the first search for a mode from, (J, S) per term; None for zero.
    last
        The last evaluation.
    values
        The value of each evaluation, in order.
    """

    problem: Problem
    dispersion: Dispersion
    n_quad: int = 1
    start: Sequence[Array] | None = None
    last: Evaluation | None = None
    values: list[float] = field(default_factory=list)

    def __call__(self, parameters: Parameters, *, gradient: bool = True) -> Evaluation:
        """Evaluate.

        Raises
        ------
        FittingError
            If there is no mode at these parameters.
        """
        point = Point(parameters.lambdas, self.dispersion.working(parameters.free), parameters.beta)
        if self.last is not None and self._is_last(point) and (self.last.gradient is not None or not gradient):
            return self.last
        with (
            blas_threads(self.problem.predictor.pattern.layout.n_trailing + self.problem.n_inner + 1),
            np.errstate(over="ignore", invalid="ignore", under="ignore"),
        ):
            start: Sequence[Array]
            if self.last is None:
                start = self.problem.predictor.zeros() if self.start is None else self.start
            else:
                start, beta = self.predict(self.last, point)
                point = replace(point, beta=beta)
            found = self.evaluate(point, start, gradient=gradient)
        if not np.isfinite(found.value):
            raise FittingError("The log-likelihood is not finite.")
        self.values.append(found.value)
        self.last = found
        return found

    def _is_last(self, point: Point) -> bool:
        """Whether the last evaluation was made here, wherever the search for inner coefficients would start."""
        last = self.last
        return (
            last is not None
            and all(np.array_equal(a, b) for a, b in zip(point.lambdas, last.point.lambdas, strict=True))
            and np.array_equal(point.working, last.point.working)
            and (self.problem.inner or np.array_equal(point.beta, last.point.beta))
        )

    def predict(self, last: Evaluation, point: Point) -> tuple[list[Array], Array]:
        """Return effects and coefficients at a point to first order, from those of the last evaluation."""
        return predict_mode(self.problem, last, point)

    def evaluate(self, point: Point, start: Sequence[Array], *, gradient: bool) -> Evaluation:
        """Evaluate at a point, effects started from `start`."""
        if self.n_quad > 1:
            return evaluate_quadrature(self.problem, point, start, self.n_quad, gradient=gradient)
        return evaluate(self.problem, point, start, gradient=gradient)

r"""The maximum of the likelihood over covariance factors, coefficients and dispersion.

BFGS in coordinates of about unit curvature: the chart of the Gaussian search for the factors, the Cholesky factor of
the coefficients' precision for :math:`\beta`, differences of the gradient for the dispersion. The objective is even in
the sign of each column of a factor, so that the boundary needs no bounds; a singular solution is left where the
covariance has a direction of descent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.chart import Chart
from bayeslmm.inference.optimum.generalized.at_infinity import follow_tail
from bayeslmm.inference.optimum.generalized.objective import Objective, Parameters
from bayeslmm.inference.optimum.quasi_newton import descend
from bayeslmm.likelihood.generalized.laplace import Evaluation, random_factor
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.types import Array

NEGLIGIBLE_GAIN = 1e-9  # of the objective; parameters are then known to 5e-5 of a standard error
ROUGH_GAIN = 1e-6  # where another search follows: the gradient is then below `ACCEPTED_GRADIENT` in any case
ACCEPTED_GRADIENT = 2e-3  # in coordinates of unit curvature
SMALL_PIVOT = 1e-4  # a diagonal of lambda, columns scaled, that may stand for zero
NEGLIGIBLE = 2.5e-7  # rise of the objective for a zero that does not matter
PROBE = 1e-3  # step of a dispersion parameter's working value for its curvature
NUDGE = 1e-4  # variance added to see the slope by the covariance at a singular factor
LONGEST = 3.0  # change of a dispersion parameter's working value, and of a factor relative to itself, at once
FLATTEST = 10.0  # scale of a dispersion parameter, on its working scale, whose curvature is taken for none
MAXIMUM_ROUNDS = 8
MAXIMUM_CHARTS = 30
EM_STEPS = 2


@dataclass(frozen=True, slots=True)
class Solution:
    """Where a search ended.

    Attributes
    ----------
    parameters, evaluation
        The parameters and the objective there.
    gradient_norm
        In coordinates of about unit curvature.
    singular
        Whether some diagonal of a factor is zero.
    converged
        Whether the gradient is small and no direction leads down.
    """

    parameters: Parameters
    evaluation: Evaluation
    gradient_norm: float
    singular: bool
    converged: bool


class Coordinates:
    """Coordinates centred on one point: factors by a chart, then coefficients and dispersion through a matrix."""

    def __init__(
        self, objective: Objective, centre: Parameters, evaluation: Evaluation, spread: Array, square: bool
    ) -> None:
        shapes = objective.problem.predictor.shapes
        self.objective, self.centre, self.spread = objective, centre, spread
        self.shapes = shapes
        self.chart = Chart(centre.lambdas, effect_shares(evaluation), shapes, square) if shapes else None
        self.n_chart = len(self.chart.units) if self.chart is not None else 0
        self.n_beta = 0 if objective.problem.inner else len(centre.beta)

    def parameters(self, x: Array) -> tuple[Parameters, list[Array | None]]:
        """Return the parameters at x, and the rotations of the chart."""
        lambdas, rotations = ([], []) if self.chart is None else self.chart.factors(x[: self.n_chart])
        moved = self.spread @ x[self.n_chart :]
        beta = self.centre.beta + moved[: self.n_beta] if self.n_beta else self.centre.beta
        return Parameters(tuple(lambdas), beta, self.centre.free + moved[self.n_beta :]), rotations

    def slope(self, evaluation: Evaluation, rotations: Sequence[Array | None]) -> Array:
        """Return the gradient by x."""
        by_lambda, by_rest = split_gradient(self.objective, evaluation)
        by_chart = np.zeros(0) if self.chart is None else self.chart.slope(by_lambda, rotations)
        return np.concatenate([by_chart, self.spread.T @ by_rest])

    def longest(self, direction: Array) -> float:
        """Return the largest multiple of a direction to try at once."""
        limit = np.inf
        if self.chart is not None and np.any(direction[: self.n_chart]):
            limit = self.chart.longest(direction[: self.n_chart])
        free = (self.spread @ direction[self.n_chart :])[self.n_beta :]
        return min(limit, LONGEST / max(float(np.abs(free).max(initial=0.0)), 1e-300))


def split_gradient(objective: Objective, evaluation: Evaluation) -> tuple[tuple[Array, ...], Array]:
    """Return the gradient by the factors, and by coefficients (where they are no inner ones) and dispersion."""
    gradient = evaluation.gradient
    if gradient is None:
        raise FittingError("The gradient was not asked for.")
    return gradient.lambdas, np.concatenate([gradient.beta, objective.dispersion.slope(gradient.working)])


def effect_shares(evaluation: Evaluation) -> list[Array]:
    """Return the sums over levels of the diagonal blocks of the inverse, (S, S) per term."""
    return inverse_blocks(random_factor(evaluation.mode)).sums()


def minimise(objective: Objective, start: Parameters, spread: Array, tolerance: float = NEGLIGIBLE_GAIN) -> Solution:
    """Minimise from a start.

    Parameters
    ----------
    objective
        What is minimised.
    start
        Where to start.
    spread
        Matrix that turns coordinates of unit curvature into changes of coefficients and dispersion.
    tolerance
        Gain of the objective by a further step at which to stop.

    Raises
    ------
    FittingError
        If there is no mode at the start.
    """
    parameters, evaluation = start, objective(start)
    norm, escape = np.inf, None
    for _ in range(MAXIMUM_ROUNDS):
        parameters, evaluation, norm = _descend(objective, parameters, evaluation, spread, False, tolerance)
        parameters, evaluation = _drop_negligible(objective, parameters, evaluation)
        if is_singular(parameters):
            parameters, evaluation, norm = _descend(objective, parameters, evaluation, spread, True, tolerance)
            parameters, evaluation = _drop_negligible(objective, parameters, evaluation)
        escape = _leave_boundary(objective, parameters, evaluation)
        if escape is None and norm <= ACCEPTED_GRADIENT:
            escape = follow_tail(objective, parameters, evaluation)
        if escape is not None:
            parameters, evaluation = escape
        elif norm <= ACCEPTED_GRADIENT:
            break
    converged = norm <= ACCEPTED_GRADIENT and escape is None
    return Solution(parameters, evaluation, norm, is_singular(parameters), converged)


def is_singular(parameters: Parameters) -> bool:
    """Whether some diagonal of a factor is zero."""
    return any((np.diag(f) == 0).any() for f in parameters.lambdas)


def em_steps(objective: Objective, start: Parameters) -> Parameters:
    """Move each covariance to the mean of its effects' approximate posterior second moments, if that is lower."""
    parameters = start
    shapes = objective.problem.predictor.shapes
    if not shapes:
        return start
    evaluation = objective(start, gradient=False)
    for _ in range(EM_STEPS):
        moved = []
        for factor, inner, u, shape in zip(
            parameters.lambdas, effect_shares(evaluation), evaluation.mode.u, shapes, strict=True
        ):
            values, vectors = np.linalg.eigh((inner + u.T @ u) / shape.n_levels)
            moved.append(shape.structure.factor_of_root(factor @ vectors * np.sqrt(np.maximum(values, 0.0))))
        proposal = replace(parameters, lambdas=tuple(moved))
        found = objective(proposal, gradient=False)
        if found.value > evaluation.value:
            break
        parameters, evaluation = proposal, found
    return replace(parameters, beta=evaluation.mode.beta)


def dispersion_spread(objective: Objective, parameters: Parameters) -> Array:
    """Return the scales of unit curvature of the dispersion parameters, (r,), by differences of the gradient."""
    here = objective.dispersion.slope(_gradient(objective, parameters))
    scales = np.empty(len(here))
    for a in range(len(here)):
        free = parameters.free.copy()
        free[a] += PROBE
        moved = objective.dispersion.slope(_gradient(objective, replace(parameters, free=free)))
        scales[a] = 1.0 / np.sqrt(max(abs(moved[a] - here[a]) / PROBE, 1.0 / FLATTEST**2))
    return scales


def _gradient(objective: Objective, parameters: Parameters) -> Array:
    gradient = objective(parameters).gradient
    if gradient is None:
        raise FittingError("The gradient was not asked for.")
    return gradient.working


def _descend(
    objective: Objective, parameters: Parameters, evaluation: Evaluation, spread: Array, square: bool, tolerance: float
) -> tuple[Parameters, Evaluation, float]:
    norm = np.inf
    for _ in range(MAXIMUM_CHARTS):
        parameters, evaluation, norm, limited = _descend_in_coordinates(
            objective, parameters, evaluation, spread, square, tolerance
        )
        if not limited:
            break
    return parameters, evaluation, norm


def _descend_in_coordinates(
    objective: Objective, parameters: Parameters, evaluation: Evaluation, spread: Array, square: bool, tolerance: float
) -> tuple[Parameters, Evaluation, float, bool]:
    coordinates = Coordinates(objective, parameters, evaluation, spread, square)
    origin = np.zeros(coordinates.n_chart + spread.shape[1])
    if not len(origin):
        return parameters, evaluation, 0.0, False
    rotations: list[Array | None] = [None] * len(parameters.lambdas)
    known = {origin.tobytes(): (parameters, evaluation, coordinates.slope(evaluation, rotations))}

    def both(x: Array) -> tuple[float, Array]:
        key = x.tobytes()
        if key not in known:
            moved, turned = coordinates.parameters(x)
            try:
                found = objective(moved)
            except FittingError:
                return np.inf, np.zeros_like(x)
            if objective.problem.inner:
                moved = replace(moved, beta=found.mode.beta)
            known[key] = moved, found, coordinates.slope(found, turned)
        return known[key][1].value, known[key][2]

    end = descend(both, origin, tolerance=tolerance, longest=coordinates.longest)
    moved, found, slope = known[end.x.tobytes()]
    signs = [np.where(np.diag(f) < 0, -1.0, 1.0) for f in moved.lambdas]
    if any((sign < 0).any() for sign in signs):
        moved = replace(moved, lambdas=tuple(f * sign for f, sign in zip(moved.lambdas, signs, strict=True)))
        found = objective(moved)
    return moved, found, float(np.linalg.norm(slope)), end.limited


def _drop_negligible(
    objective: Objective, parameters: Parameters, evaluation: Evaluation
) -> tuple[Parameters, Evaluation]:
    """Set small diagonals of the factors to zero where that does not raise the objective."""
    for k, factor in enumerate(parameters.lambdas):
        for a in np.flatnonzero(np.abs(np.diag(factor)) < SMALL_PIVOT):
            if parameters.lambdas[k][a, a] == 0:
                continue
            lambdas = [f.copy() for f in parameters.lambdas]
            lambdas[k][a, a] = 0.0
            trial = replace(parameters, lambdas=tuple(lambdas))
            try:
                found = objective(trial)
            except FittingError:  # a prior has no density there
                continue
            if found.value <= evaluation.value + NEGLIGIBLE:
                parameters, evaluation = trial, found
    return parameters, evaluation


def _leave_boundary(
    objective: Objective, parameters: Parameters, evaluation: Evaluation
) -> tuple[Parameters, Evaluation] | None:
    """Return a lower point off the boundary, or None if the boundary holds the minimum."""
    if all((np.abs(np.diag(f)) >= SMALL_PIVOT).all() for f in parameters.lambdas):
        return None
    shapes = objective.problem.predictor.shapes
    best: tuple[Parameters, Evaluation] | None = None
    for k, (factor, slope) in enumerate(
        zip(parameters.lambdas, _covariance_slopes(objective, parameters), strict=True)
    ):
        for direction in shapes[k].structure.descents(slope):
            for variance in 10.0 ** np.arange(0, -7, -1):
                lambdas = list(parameters.lambdas)
                lambdas[k] = shapes[k].structure.factor_of_root(
                    np.column_stack([factor, np.sqrt(variance) * direction])
                )
                trial = replace(parameters, lambdas=tuple(lambdas))
                try:
                    found = objective(trial)
                except FittingError:
                    continue
                if found.value < evaluation.value - NEGLIGIBLE and (best is None or found.value < best[1].value):
                    best = trial, found
                elif best is not None:
                    break
    return best


def _covariance_slopes(objective: Objective, parameters: Parameters) -> list[Array]:
    """Return the gradient G by each covariance, (S, S), at factors moved a little into the interior."""
    inner = tuple(
        shape.structure.factor_of_root(np.hstack([f, np.sqrt(NUDGE) * np.eye(len(f))]))
        for f, shape in zip(parameters.lambdas, objective.problem.predictor.shapes, strict=True)
    )
    by_lambda, _ = split_gradient(objective, objective(replace(parameters, lambdas=inner)))
    return [np.asarray(0.5 * np.linalg.solve(f.T, slope.T).T, float) for f, slope in zip(inner, by_lambda, strict=True)]

r"""Estimates at infinity: where the likelihood rises for ever as a parameter grows.

A combination v of the coefficients has no finite estimate where its information vanishes: the weights W of the rows
that it moves tend to zero. It is judged in a basis that does not depend on how the columns are written. With X = QR
and Q'Q = nI the eigenvectors of Q'WQ are combinations that change the predictor by one (root mean square), and by

.. math:: \max_i |x_i^\top v|\,(v^\top X^\top WX v)^{-1/2}

in standard errors where they change it most. A dispersion parameter is at its limit where the objective stays as it is
however far its working value goes on, as the shape of counts does that vary no more than Poisson's.
"""

from dataclasses import replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.families import Family
from bayeslmm.inference.optimum.generalized.objective import Objective, Parameters
from bayeslmm.likelihood.generalized.laplace import Evaluation
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.types import Array

INFINITE = 300.0  # standard error, on the scale of the link, of a combination that has no finite estimate
FLAT = 1e-14  # information is good to rounding only, relative to the largest
MEANT = 10.0  # times a coefficient's error without such combinations: it runs to infinity with them
UNITED = 0.1  # share of a combination, in units of its column, from which on a coefficient belongs to it
STEEP = 1e-6  # slope by a working value that a further unit could gain
FURTHER = 5.0  # working units to look ahead
FAR = 8.0  # working value from which on it may be at its limit
LEFT = 1e-6  # of the objective to the limit
PROBE = 1e-3  # of the logit of a share, for its curvature


def diverging_columns(problem: Problem, weights: Array) -> tuple[int, ...]:
    """Return the user's columns whose coefficients have no finite estimate.

    Parameters
    ----------
    problem
        The model.
    weights
        Minus the second derivative of each row's log density at the end of the search, (n,).
    """
    predictor, family = problem.predictor, problem.family
    n, p = predictor.X.shape
    if not p or family.link.name == "identity":
        return ()
    if not (weights > 0).any():
        return tuple(range(p)) if family.log_concave else ()
    level = [] if family.takes_constant else [np.ones((n, 1))]  # thresholds move all rows alike
    columns = np.hstack([predictor.X, *level])
    return _endless(columns, weights, predictor.fixed.matrix, predictor.fixed.scale)


def diverging_zero_columns(problem: Problem, evaluation: Evaluation) -> tuple[int, ...]:
    """Return the columns of the share of zeros whose coefficients have no finite estimate."""
    family, response = problem.family, problem.response
    columns, kernel = family.zero_columns, family.dispersion_kernel
    if columns is None or kernel is None:
        return ()
    eta = evaluation.mode.eta
    sides = []
    for step in (-PROBE, PROBE):
        phi = np.array(family.rows_of(evaluation.point.working, len(eta)))
        phi[-1] += step
        out = np.zeros((len(phi), 3, len(eta)))
        kernel(response.y, response.size, eta, phi, out)
        sides.append(out[-1, 0])
    weights = (sides[0] - sides[1]) / (2.0 * PROBE)
    if response.weights is not None:
        weights *= response.weights
    if not (weights > 0).any():
        return tuple(range(columns.shape[1]))
    spread = columns.std(axis=0)
    size = np.where(spread > 0, spread, np.abs(columns).max(axis=0))
    return _endless(columns, weights, np.eye(columns.shape[1]), size)


def _endless(columns: Array, weights: Array, to_user: Array, scale: Array) -> tuple[int, ...]:
    """Return the user's columns that take part in combinations without information.

    Columns (n, q), of which the first p have the user's coefficients ``to_user @ c``; weights (n,), of which some are
    positive; scale (p,): what a user's column varies by.
    """
    n, p = len(columns), len(to_user)
    basis, triangle = np.linalg.qr(columns)
    basis *= np.sqrt(n)
    information, directions = np.linalg.eigh((basis.T * np.maximum(weights, 0.0)) @ basis)
    rounding = FLAT * information[-1]
    error = 1.0 / np.sqrt(np.maximum(information, rounding))
    endless = (np.abs(basis @ directions).max(axis=0) * error > INFINITE) | (information < rounding)
    if not endless.any():
        return ()
    share = np.sqrt(n) * to_user @ np.linalg.solve(triangle, directions)[:p]
    among, others = np.sqrt(((share * error) ** 2) @ np.column_stack([endless, ~endless])).T
    united = np.sqrt((share**2) @ endless) * scale
    return tuple(int(j) for j in np.flatnonzero((among > MEANT * others) & (united > UNITED * min(1.0, united.max()))))


def follow_tail(
    objective: Objective, parameters: Parameters, evaluation: Evaluation
) -> tuple[Parameters, Evaluation] | None:
    """Return a lower point further out along a dispersion parameter, or None if there is none.

    The tail towards a limit falls like exp(-t): its curvature is no larger than its slope, so that a step that trusts
    the curvature expects less than there is to gain.
    """
    if evaluation.gradient is None:
        raise FittingError("The gradient was not asked for.")
    slopes = objective.dispersion.slope(evaluation.gradient.working)
    best: tuple[Parameters, Evaluation] | None = None
    for place in _bounded(objective.problem.family):
        if abs(slopes[place]) <= STEEP or abs(parameters.free[place]) < FAR:
            continue
        trial = _moved(parameters, place, -np.sign(slopes[place]) * FURTHER)
        found = _evaluate(objective, trial)
        lowest = evaluation if best is None else best[1]
        if found is not None and found.value < lowest.value - LEFT:
            best = trial, found
    return best


def parameters_at_limits(objective: Objective, parameters: Parameters, evaluation: Evaluation) -> tuple[int, ...]:
    """Return the places of the dispersion parameters whose estimates are at infinity on their working scale.

    Coefficients of the share of zeros are not among them: see `diverging_zero_columns`.
    """
    found = []
    objective = replace(objective, last=evaluation, values=[])  # leaves the caller's as it is
    for place in _bounded(objective.problem.family):
        value = parameters.free[place]
        if abs(value) >= FAR:
            beyond = _evaluate(objective, _moved(parameters, place, np.sign(value) * 2.0 * FURTHER))
            if beyond is not None and beyond.value <= evaluation.value + LEFT:
                found.append(place)
    return tuple(found)


def _bounded(family: Family) -> list[int]:
    """Return the places of the dispersion parameters on a logarithmic or logit scale."""
    return [here.start for parameter, here in family.places() if parameter.transform in ("log", "logit")]


def _moved(parameters: Parameters, place: int, by: float) -> Parameters:
    free = parameters.free.copy()
    free[place] += by
    return replace(parameters, free=free)


def _evaluate(objective: Objective, parameters: Parameters) -> Evaluation | None:
    try:
        return objective(parameters)
    except FittingError:
        return None

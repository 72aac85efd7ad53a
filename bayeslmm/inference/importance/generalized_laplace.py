"""The Laplace approximation of a generalized model's covariance and dispersion parameters: mode and curvature."""

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.laplace import Laplace, gradient_differences, positive_inverse
from bayeslmm.inference.optimum.generalized.objective import Dispersion, Objective
from bayeslmm.inference.optimum.generalized.search import em_steps
from bayeslmm.inference.optimum.generalized.start import starting_parameters
from bayeslmm.inference.optimum.quasi_newton import Descent, Function, descend
from bayeslmm.likelihood.generalized.laplace import Evaluation
from bayeslmm.likelihood.threads import blas_threads
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.types import Array

SETTLED = 1e-8  # gain of the log density left to a step of the search for the mode
LONGEST = 8.0  # step of that search, in rough standard deviations
MOST_CLIMBS = 30  # of steps as long as that
PROBE = 0.1  # step of the differences for the curvature, in rough standard deviations


def find_generalized_laplace(density: GeneralizedDensity) -> tuple[Laplace, Evaluation]:
    """Maximise the Laplace marginal of x; return it with the evaluation at its mode.

    Raises
    ------
    FittingError
        If the likelihood cannot be evaluated at the start.
    """
    with blas_threads(0), np.errstate(all="ignore"):
        problem = density.problem
        dispersion = Dispersion(problem.family.n_dispersion)
        first = em_steps(Objective(problem, dispersion), starting_parameters(problem, dispersion))
        start = density.start(first.lambdas, first.free)
        found = density.point(start, beta=first.beta, gradient=True)
        count, anchor = 1, found.evaluation

        def negative(x: Array) -> tuple[float, Array]:
            """Return minus the log density and its gradient; infinity where there is no mode."""
            nonlocal count, anchor
            count += 1
            try:
                here = density.point(x, anchor, gradient=True)
            except (FittingError, np.linalg.LinAlgError, FloatingPointError):
                return np.inf, np.zeros_like(x)
            assert here.gradient is not None
            anchor = here.evaluation
            return -here.log_density, -here.gradient

        if density.dimension == 0:
            return Laplace(start, np.zeros((0, 0)), found.log_density, count), anchor
        unit = _units(density)

        def scaled(z: Array) -> tuple[float, Array]:
            """Return the same as a function of z, in rough standard deviations from the start."""
            value, slope = negative(start + unit * z)
            return value, unit * slope

        lowest = climb(scaled, np.zeros_like(start))
        mode = start + unit * lowest.x
        anchor = density.point(mode, anchor).evaluation
        fixed_anchor = anchor
        hessian = gradient_differences(lambda x: negative(x)[1], mode, PROBE * unit)
        return Laplace(mode, positive_inverse(hessian), -float(lowest.value), count), fixed_anchor


def climb(function: Function, start: Array) -> Descent:
    """Minimise a function of coordinates in rough standard deviations, however far it is."""
    found = descend(function, start, tolerance=SETTLED, longest=_longest)
    for _ in range(MOST_CLIMBS):
        if not found.limited:
            break
        found = descend(function, found.x, tolerance=SETTLED, longest=_longest)
    return found


def _longest(direction: Array) -> float:
    return LONGEST / max(float(np.abs(direction).max(initial=0.0)), 1e-300)


def _units(density: GeneralizedDensity) -> Array:
    """Return rough standard deviations of the coordinates, (d,)."""
    units: list[float] = []
    for shape in density.shapes:
        units += [1.0 / np.sqrt(2.0 * shape.n_levels)] * shape.n_columns
        units += [1.0 / np.sqrt(shape.n_levels)] * (shape.n_coordinates - shape.n_columns)
    rows = density.problem.predictor.n
    units += [1.0 / np.sqrt(rows)] * density.problem.family.n_dispersion
    units += [1.0] * (density.dimension - len(units))  # log w of priors that are mixtures
    scales = np.ones(density.dimension)
    density.working(scales)[:] = density.problem.family.dispersion_scales
    return np.minimum(np.array(units), 0.5) * scales

r"""Standard errors of a generalized mixed model: the Hessian of the whole, from differences of the exact gradient.

The covariance of :math:`(\theta, \beta, \phi)` is twice the inverse of the Hessian of :math:`-2\log L`. It is computed
in the kernel's columns, in units of about a standard error, with central differences, two gradients for a parameter,
and carried to the user's columns by the derivative of the map. Entries of a factor that lie on the boundary
stay there.
"""

from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.chart import Chart
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum, user_theta
from bayeslmm.inference.optimum.generalized.objective import Objective, Parameters
from bayeslmm.inference.optimum.generalized.search import dispersion_spread, effect_shares, split_gradient
from bayeslmm.likelihood.generalized.laplace import Evaluation
from bayeslmm.likelihood.generalized.mode import factor_at
from bayeslmm.types import Array

LEAST_CURVATURE = 1e-4  # of the objective by a kernel's column: longer steps say nothing about what is here
STEP = 0.002  # of a rough standard error: rounding of the gradient and the next order then cost some 1e-6 of a variance


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Covariances of the estimates by the inverse Hessian.

    Attributes
    ----------
    covariance
        Of (theta, beta, dispersion) in the user's columns, (k, k); rows of entries on the boundary are zero.
    n_theta, n_beta
        Number of each.
    positive_definite
        Whether the Hessian is.
    """

    covariance: Array
    n_theta: int
    n_beta: int
    positive_definite: bool

    @property
    def beta(self) -> Array:
        """Covariance of the coefficients, (p, p)."""
        here = slice(self.n_theta, self.n_theta + self.n_beta)
        return self.covariance[here, here]

    @property
    def dispersion(self) -> Array:
        """Covariance of the free dispersion values."""
        start = self.n_theta + self.n_beta
        return self.covariance[start:, start:]


def uncertainty(fit: GeneralizedMaximum) -> Uncertainty:
    """Return the covariances of the estimates of a fit whose coefficients are parameters (``n_quad`` of at least one).

    Raises
    ------
    FittingError
        If the coefficients were in the inner loop.
    """
    if fit.objective.problem.inner:
        raise FittingError("Standard errors need the coefficients as parameters: fit with n_quad=1 or more.")
    vector = _Vector(fit.objective, fit.solution.parameters)
    units = vector.units(fit.solution.evaluation)
    hessian = np.empty((len(units), len(units)))
    for a, unit in enumerate(units):
        axis = np.zeros(len(units))
        axis[a] = unit * STEP
        hessian[a] = (vector.gradient(axis) - vector.gradient(-axis)) / (2 * STEP) * units
    hessian = 0.5 * (hessian + hessian.T)
    values, vectors = np.linalg.eigh(hessian)
    positive = bool(values.min(initial=np.inf) > 0)
    inverse = (vectors / np.where(values > 0, values, np.inf)) @ vectors.T
    kernel = 2.0 * inverse * np.outer(units, units)
    to_user = vector.to_user(fit)
    return Uncertainty(to_user @ kernel @ to_user.T, len(fit.theta), len(fit.beta), positive)


class _Vector:
    """The parameters as one vector of changes: free entries of the factors off the boundary, beta, dispersion."""

    def __init__(self, objective: Objective, centre: Parameters) -> None:
        self.objective, self.centre = objective, centre
        self.shapes = objective.problem.predictor.shapes
        self.free = []
        for factor, shape in zip(centre.lambdas, self.shapes, strict=True):
            rows, columns = shape.free_entries
            inside = np.diag(factor)[columns] != 0
            self.free.append((rows[inside], columns[inside]))
        self.n_lambda = sum(len(rows) for rows, _ in self.free)
        self.n_beta = len(centre.beta)

    def parameters(self, change: Array) -> Parameters:
        lambdas, start = [], 0
        for factor, (rows, columns) in zip(self.centre.lambdas, self.free, strict=True):
            moved = factor.copy()
            moved[rows, columns] += change[start : start + len(rows)]
            start += len(rows)
            lambdas.append(moved)
        beta = self.centre.beta + change[start : start + self.n_beta]
        return Parameters(tuple(lambdas), beta, self.centre.free + change[start + self.n_beta :])

    def gradient(self, change: Array) -> Array:
        by_lambda, rest = split_gradient(self.objective, self.objective(self.parameters(change)))
        pieces = [slope[entries] for slope, entries in zip(by_lambda, self.free, strict=True)]
        return np.concatenate([np.zeros(0), *pieces, rest])

    def units(self, here: Evaluation) -> Array:
        """Return rough standard errors along each axis: those of the search's coordinates, from what is known here."""
        curvatures = [np.zeros(0)]
        if self.shapes:
            chart = Chart(self.centre.lambdas, effect_shares(here), self.shapes, False)
            for term, entries in zip(chart.terms, self.free, strict=True):
                scaled = np.zeros_like(term.base)
                scaled[term.entries] = term.units
                curvatures.append((scaled[entries] / np.diag(term.base)[entries[0]]) ** 2)
        curvatures.append(self._information(here))
        if len(self.centre.free):
            spread = dispersion_spread(self.objective, self.centre)
            curvatures.append(spread**-2.0)
        return np.sqrt(2.0 / np.maximum(np.concatenate(curvatures), LEAST_CURVATURE))

    def _information(self, here: Evaluation) -> Array:
        """Return twice the information about each coefficient, the others known, (p,)."""
        if not self.n_beta:
            return np.zeros(0)
        problem = replace(self.objective.problem, inner=True, prior=None)
        weights = -here.mode.rows[2]
        try:
            known = np.sum(factor_at(problem, self.centre.lambdas, weights).R_X ** 2, axis=1)
        except FittingError:  # separated, or a density that is not log-concave
            known = np.abs(weights) @ problem.predictor.X**2
        return 2.0 * known

    def to_user(self, fit: GeneralizedMaximum) -> Array:
        """Return the derivative of the user's parameters by the vector."""
        predictor = self.objective.problem.predictor
        size = self.n_lambda + self.n_beta + len(self.centre.free)
        out = np.zeros((len(fit.theta) + self.n_beta + len(self.centre.free), size))
        for a in range(self.n_lambda):
            step = np.zeros(size)
            step[a] = 1e-6
            ahead, behind = (user_theta(predictor, self.parameters(s * step)) for s in (1.0, -1.0))
            out[: len(fit.theta), a] = (ahead - behind) / 2e-6
        rows = slice(len(fit.theta), len(fit.theta) + self.n_beta)
        out[rows, self.n_lambda : self.n_lambda + self.n_beta] = predictor.fixed.matrix
        n_free = len(self.centre.free)
        if n_free:
            out[-n_free:, -n_free:] = np.eye(n_free)
            one = fit.family.with_level(np.zeros(n_free), 1.0)  # the level moves with the coefficients
            columns = slice(self.n_lambda, self.n_lambda + self.n_beta)
            out[-n_free:, columns] = np.outer(one, predictor.fixed.centring.level(predictor.fixed.matrix.T))
        return out

r"""The posterior density of a linear function of a generalized model's coefficients, from draws of everything.

Through each draw goes a line along which :math:`\xi = l^\top\beta` rises by t, coefficients and spherical effects
together, :math:`\beta_d + tv` and :math:`u_d + tz` with :math:`l^\top v = 1`, all other parameters fixed. On it the
posterior is known up to a constant, which is an integral of one dimension, so that

.. math:: p(\xi = c \mid y) = \frac1m \sum_d \frac{e^{h_d(c - \xi_d)}}{\int e^{h_d(t)}\,dt}, \qquad
          h_d(t) = \sum_i \ell_i(\eta_{di} + t e_i) + \log p(\beta_d + tv) - \tfrac12|u_d + tz|^2,

is an average of exact conditional densities (Gelfand and Smith 1990), for any direction. That of
:math:`C\,(0, l)`, C the covariance of (u, beta) at the posterior mean, makes them nearly as wide as the whole.

Source: A. E. Gelfand and A. F. M. Smith (1990), *Journal of the American Statistical Association* 85, 398-409.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from bayeslmm.families import Family, Response
from bayeslmm.likelihood.columns import factor_to_kernel
from bayeslmm.likelihood.generalized.mode import Problem, factor_at
from bayeslmm.likelihood.generalized.solve import solve
from bayeslmm.priors.prior import Prior
from bayeslmm.types import Array

STEPS = np.arange(-6.0, 6.25, 0.5)  # of conditional standard deviations: the trapezium rule errs by 1e-7 of a normal
FALLEN = 12.0  # how far the log density at both ends must be below its largest value
WIDENED = 1.6
MOST_TRIALS = 8
NEAR = 0.1  # conditional standard deviations from the top of a line at which the search for it ends


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction along which l'beta rises.

    Attributes
    ----------
    beta
        v in the user's columns, shape (p,).
    effects
        z, spherical, (J, S) per term: of factors in the user's columns.
    """

    beta: Array
    effects: tuple[Array, ...]


def widest_direction(problem: Problem, factors: Sequence[Array], weights: Array, function: Array) -> Direction:
    """Return the direction of C (0, l).

    Parameters
    ----------
    problem
        The model, a normal prior of its coefficients included.
    factors
        Typical factors of the covariances in the user's columns, (S, S) per term.
    weights
        Working weights there, (n,).
    function
        l, in the user's columns, (p,).
    """
    predictor = problem.predictor
    lambdas = [
        factor_to_kernel(own, columns, shape)
        for own, columns, shape in zip(factors, predictor.maps, predictor.shapes, strict=True)
    ]
    found, beta = solve(factor_at(problem, lambdas, weights), predictor.zeros(), predictor.fixed.matrix.T @ function)
    v = predictor.fixed.matrix @ beta
    rise = float(function @ v)
    effects: list[Array] = [
        np.asarray(np.linalg.lstsq(own, columns.matrix @ root @ u.T, rcond=None)[0].T / rise, dtype=float)
        for own, columns, root, u in zip(factors, predictor.maps, lambdas, found, strict=True)
    ]
    return Direction(v / rise, tuple(effects))


@dataclass(frozen=True, slots=True)
class Line:
    """The posterior along a line.

    Attributes
    ----------
    family, response
        The distribution and what it read.
    working
        Dispersion parameters, (m,).
    eta, steps
        Linear predictors at t = 0 and how they rise with t, (n,).
    priors
        Those of the p coefficients.
    gamma, rises
        The coefficients that these speak of at t = 0 and how they rise, (p,).
    pull, spread
        u'z and z'z.
    """

    family: Family
    response: Response
    working: Array
    eta: Array
    steps: Array
    priors: Sequence[Prior]
    gamma: Array
    rises: Array
    pull: float
    spread: float

    def log_density(self, t: float) -> float:
        """Return h(t)."""
        rows = self.family.derivatives(self.response, self.eta + t * self.steps, self.working)[0]
        at = zip(self.priors, self.gamma + t * self.rises, strict=True)
        value = float(np.sum(rows)) + sum(float(prior.logpdf(x)) for prior, x in at)
        return value - t * self.pull - 0.5 * t * t * self.spread

    def slope(self, t: float) -> tuple[float, float]:
        """Return h'(t), and a positive stand-in for -h''(t)."""
        eta = self.eta + t * self.steps
        rows = self.family.derivatives(self.response, eta, self.working)
        weights = -rows[2]
        if np.any(weights < 0.0):
            weights = np.where(weights > 0.0, weights, self.family.expected_weights(self.response, eta, self.working))
        moved = self.gamma + t * self.rises
        slopes = [float(prior.dlogpdf(x)) for prior, x in zip(self.priors, moved, strict=True)]
        slope = float(rows[1] @ self.steps) + float(np.dot(slopes, self.rises)) - self.pull - t * self.spread
        bend = float(weights @ self.steps**2) + self.spread
        for prior, rise in zip(self.priors, self.rises, strict=True):
            bend += (rise / prior.sd) ** 2 if np.isfinite(prior.sd) else 0.0
        return slope, bend

    def log_density_at(self, distance: float) -> float:
        """Return the log of the conditional density at a distance from the draw."""
        top, width = 0.0, 1.0
        for _ in range(MOST_TRIALS):
            slope, bend = self.slope(top)
            width = float(bend**-0.5)
            top += slope / bend
            if abs(slope / bend) < NEAR * width:
                break
        values = self._values(top, width)
        for _ in range(MOST_TRIALS):
            if max(values[0], values[-1]) < np.max(values) - FALLEN:
                break
            top, width = top + width * float(STEPS[np.argmax(values)]), WIDENED * width
            values = self._values(top, width)
        area = float(logsumexp(values)) + float(np.log(width * (STEPS[1] - STEPS[0])))
        return self.log_density(distance) - area

    def _values(self, top: float, width: float) -> Array:
        return np.array([self.log_density(top + width * step) for step in STEPS])

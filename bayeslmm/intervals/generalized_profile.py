r"""Profiles of a generalized mixed model's likelihood.

.. math:: d(\psi) = -2\log L(s, z, \beta, \phi)

in the sds s and partial correlations tanh z of each term, the coefficients in the user's columns and the free values of
the dispersion parameters, by the approximation the fit was made with. All but the one held are at their optimum; the
gradient is exact, so that a point costs a few evaluations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import ndtri

from bayeslmm.inference.optimum.generalized.objective import Objective, Parameters
from bayeslmm.inference.optimum.generalized.search import split_gradient
from bayeslmm.intervals.natural_parameters import (
    Order,
    covariance_parameters,
    covariance_slopes,
    term_points,
    user_orders,
    user_roots,
)
from bayeslmm.intervals.profile import LEAST_SD, MARGIN, Curve, curvature_at, follow, sd_places
from bayeslmm.likelihood.columns import factor_to_kernel, factor_to_user
from bayeslmm.types import Array

DIFFERENCE = 0.01  # of a standard error, for the curvature at the optimum


@dataclass(slots=True)
class GeneralizedDeviance:
    """Minus twice the log-likelihood by psi, counting its evaluations.

    Attributes
    ----------
    objective
        The likelihood, its coefficients parameters.
    orders
        For each term the order in which its effects' correlations are made: the first has correlations of its own.
    count
        Evaluations so far.
    """

    objective: Objective
    orders: Sequence[Order]
    count: int = field(default=0)

    def point(self, parameters: Parameters) -> Array:
        """Return psi of parameters in the kernel's columns."""
        predictor = self.objective.problem.predictor
        shapes = predictor.shapes
        factors = [factor_to_user(f, m, s) for f, m, s in zip(parameters.lambdas, predictor.maps, shapes, strict=True)]
        covariances = covariance_parameters(factors, shapes, self.orders, 1.0)
        return np.concatenate([covariances, predictor.fixed.matrix @ parameters.beta, parameters.free])

    def __call__(self, psi: Array) -> tuple[float, Array]:
        """Return d and its gradient at psi.

        Raises
        ------
        FittingError
            If there is no mode.
        """
        self.count += 1
        predictor = self.objective.problem.predictor
        shapes, maps, p = predictor.shapes, predictor.maps, predictor.p
        points = term_points(psi, shapes, 1.0)
        roots = user_roots(points, self.orders)
        start = sum(shape.n_coordinates for shape in shapes)
        parameters = Parameters(
            tuple(factor_to_kernel(r, m, s) for r, m, s in zip(roots, maps, shapes, strict=True)),
            np.asarray(np.linalg.solve(predictor.fixed.matrix, psi[start : start + p]), dtype=float),
            psi[start + p :],
        )
        found = self.objective(parameters)
        slopes, rest = split_gradient(self.objective, found)
        pieces, _ = covariance_slopes(slopes, roots, points, self.orders, maps, shapes, 1.0)
        by_beta = np.linalg.solve(predictor.fixed.matrix.T, rest[:p])
        return found.value, np.concatenate([*pieces, by_beta, rest[p:]])


class GeneralizedProfiler:
    """Profiles of one fit by ML.

    Parameters
    ----------
    objective
        The likelihood, its coefficients parameters.
    parameters
        The optimum.
    errors
        Standard errors of the coefficients, shape (p,).
    level
        Largest probability of an interval that will be asked for.
    """

    def __init__(self, objective: Objective, parameters: Parameters, errors: Array, level: float) -> None:
        self.objective = replace(objective, values=[])
        self.parameters, self.errors = parameters, errors
        self.reach = float(ndtri(0.5 + level / 2.0)) + MARGIN
        predictor = objective.problem.predictor
        self.shapes = predictor.shapes
        floors = [
            np.concatenate([LEAST_SD / m.scale, np.zeros(s.n_coordinates - s.n_columns)])
            for m, s in zip(predictor.maps, self.shapes, strict=True)
        ]
        self.n_covariance = sum(shape.n_coordinates for shape in self.shapes)
        self.floors = np.concatenate([*floors, np.zeros(predictor.p + len(parameters.free))])
        self.starts: dict[bytes, tuple[float, Array, Array]] = {}

    def coefficient(self, j: int) -> Curve:
        """Return the profile of the coefficient at place j."""
        return self.covariance(self.n_covariance + j, kind="free")

    def dispersion(self, k: int) -> Curve:
        """Return the profile of the free dispersion value at place k."""
        return self.covariance(self.n_covariance + len(self.errors) + k, kind="free")

    def covariance(self, place: int, *, term: int | None = None, first: int = 0, kind: str = "sd") -> Curve:
        """Return the profile of psi at `place`, with the effect `first` of `term` leading its correlations.

        `kind` is "sd", "z" or, for what has no bounds, "free".
        """
        deviance = GeneralizedDeviance(self.objective, user_orders(self.shapes, term, first))
        optimum = deviance.point(self.parameters)
        start, units = self._start(deviance, optimum)
        signed = sd_places(self.shapes, term) if kind == "z" else np.zeros(0, dtype=int)
        curve = follow(
            deviance, start, optimum, place, kind, float(units[place]), float(self.floors[place]), signed, self.reach
        )
        return replace(curve, n_evaluations=deviance.count)

    def _start(self, deviance: GeneralizedDeviance, optimum: Array) -> tuple[tuple[float, Array, Array], Array]:
        """Return d at the optimum, psi with its sds moved off zero, the Hessian there, and rough standard errors."""
        psi = np.where(np.abs(optimum) < self.floors, self.floors, optimum)
        units = np.where(self.floors > 0, np.abs(psi), 1.0)
        units[self.n_covariance : self.n_covariance + len(self.errors)] = self.errors
        key = b"".join(order.tobytes() for order in deviance.orders)
        if key not in self.starts:
            base, slope = deviance(optimum)
            origin = slope if np.array_equal(psi, optimum) else deviance(psi)[1]
            self.starts[key] = base, psi, curvature_at(deviance, psi, origin, DIFFERENCE * units)
        return self.starts[key], units

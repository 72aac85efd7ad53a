r"""The posterior mode of a generalized model where priors of coefficients are Student t, Cauchy, Laplace or logistic.

As for normal responses (`bayeslmm.inference.optimum.held_mode`), coefficients with normal or flat priors are integrated
out, and those with other priors, :math:`\gamma`, are parameters beside the standard deviations, correlations and
dispersions, with the densities that the user stated:

.. math:: f(\lambda, \phi, \gamma) = -2\log\hat p(y \mid \lambda, \phi, \gamma) - 2\sum_h \log p_h(\gamma_h)
          - 2\log h(\lambda, \phi).

The kernel's coefficients are :math:`\beta = A\gamma + B\delta`, :math:`\delta` those of the other columns that priors
speak of. So :math:`XA\gamma` is an offset, the columns of the inner loop are XB, and the derivative by
:math:`\gamma` is that by the offset, :math:`A^\top X^\top(a - 2\ell')` in the words of
`bayeslmm.likelihood.generalized.laplace`. Student t densities have no kink, but they are not log-concave: the search
starts where normal priors of the same scale put the coefficients. Laplace densities have one, where a coefficient may
stay; then it is known, and the others are searched for on one side of theirs (`kinks`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayeslmm.inference.optimum.generalized.kinks import kinks_of, smooth_parts
from bayeslmm.inference.optimum.generalized.mode import PosteriorObjective
from bayeslmm.inference.optimum.generalized.objective import Dispersion, Parameters
from bayeslmm.inference.optimum.generalized.search import Solution
from bayeslmm.inference.optimum.held_coefficients import standing_in
from bayeslmm.inference.optimum.held_mode import prior_of_others
from bayeslmm.likelihood.generalized.laplace import Evaluation, Point, evaluate, predict_mode
from bayeslmm.likelihood.generalized.mode import Problem, factor_at
from bayeslmm.posterior.generalized_mixture import GeneralizedMixtureDensity
from bayeslmm.posterior.scale_mixtures import as_mixture, independent_places, prior_given_mixing, stated_turn
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Flat, Laplace
from bayeslmm.types import Array


@dataclass(slots=True, kw_only=True)
class HeldObjective(PosteriorObjective):
    """Minus twice the log posterior, coefficients without normal priors among the free values, after the dispersions.

    Attributes
    ----------
    every
        The model with all its coefficients inner ones, their priors normal; `problem` has the others only.
    rows
        The held coefficients as functions of the kernel's, (h, p).
    own, others
        A, (p, h), its columns in units of a free value each, and B, (p, p - h).
    columns
        X A, (n, h), their root mean squares one.
    units
        Of the values, (h,).
    priors
        Of the held coefficients, h of them.
    sides
        On which side of its kink each is, (h,); those at it are known, the others are free values.
    """

    every: Problem
    rows: Array
    own: Array
    others: Array
    columns: Array
    units: Array
    priors: tuple[Prior, ...]
    sides: Array

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which of the held coefficients are at their kinks, (h,)."""
        return kinks_of(self.priors, self.sides)

    def held(self, free: Array) -> Array:
        """Return all held coefficients, in units, for the free values, (h,)."""
        known = self.known
        values = np.array([p.mu if isinstance(p, Laplace) else 0.0 for p in self.priors]) / self.units
        values[~known] = free
        return values

    @property
    def n_dispersion(self) -> int:
        """Number of dispersion values."""
        return self.problem.family.n_dispersion

    def parameters(self, lambdas: tuple[Array, ...], beta: Array, free: Array) -> Parameters:
        """Return the parameters at all of the kernel's coefficients (p,)."""
        values = (self.rows @ beta / self.units)[~self.known]
        rest = np.linalg.lstsq(self.others, beta - self.own @ self.held(values), rcond=None)[0]
        return Parameters(lambdas, np.asarray(rest, dtype=float), np.append(free, values))

    def coefficients(self, point: Point, others: Array) -> Array:
        """Return all of the kernel's coefficients, (p,)."""
        return np.asarray(self.own @ self.held(point.working[self.n_dispersion :]) + self.others @ others)

    def predict(self, last: Evaluation, point: Point) -> tuple[list[Array], Array]:
        """Return effects and coefficients at a point to first order, from those of the last evaluation."""
        m = self.n_dispersion
        old, new = (replace(p, working=p.working[:m]) for p in (last.point, point))
        shift = self.columns[:, ~self.known] @ (point.working[m:] - last.point.working[m:])
        return predict_mode(self.problem, replace(last, point=old), new, shift)

    def evaluate(self, point: Point, start: Sequence[Array], *, gradient: bool) -> Evaluation:
        """Evaluate at a point, effects started from `start`."""
        m = self.n_dispersion
        held = self.held(point.working[m:])
        predictor = self.problem.predictor
        problem = replace(self.problem, predictor=replace(predictor, offset=predictor.offset + self.columns @ held))
        known = replace(point, working=point.working[:m])
        found = self.with_priors(evaluate(problem, known, start, integrated=True, gradient=gradient))
        parts, values = smooth_parts(self.priors, self.sides), held * self.units
        value = found.value - 2.0 * sum(float(part.logpdf(v)) for part, v in zip(parts, values, strict=True))
        if found.gradient is None:
            return replace(found, value=value, point=point)
        slopes = self.units * [float(part.dlogpdf(v)) for part, v in zip(parts, values, strict=True)]
        by_held = self.columns.T * found.gradient.eta - 2.0 * slopes[:, None] / predictor.n
        moved = replace(found.gradient, working=np.vstack([found.gradient.working, by_held[~self.known]]))
        return replace(found, value=value, point=point, gradient=moved)

    def ends(self, solution: Solution) -> tuple[Array, Array]:
        """Return where a search left the held coefficients, and the derivatives by them but for their priors, (h,)."""
        evaluation = solution.evaluation
        if evaluation.gradient is None:
            evaluation = self(solution.parameters)
        assert evaluation.gradient is not None
        values = self.units * self.held(evaluation.point.working[self.n_dispersion :])
        return values, self.columns.T @ evaluation.gradient.eta / self.units


def held_objective(density: GeneralizedMixtureDensity, sides: Array) -> HeldObjective:
    """Return what the posterior mode minimises, given the sides of kinks that coefficients lie on, (h,)."""
    stated, problem = density.stated, density.problem
    predictor = problem.predictor
    places, priors = np.array(independent_places(density.mixtures, stated)), held_priors(density)
    flat = tuple(Flat() if as_mixture(place, prior) else prior for place, prior in enumerate(stated.fixed))
    inverse = np.linalg.inv(stated_turn(stated, predictor.fixed))
    own, others = inverse[:, places], np.delete(inverse, places, axis=1)
    sizes = np.sqrt(np.mean((predictor.X @ own) ** 2, axis=0))
    units = 1.0 / np.where(sizes > 0, sizes, 1.0)
    rest = replace(predictor, X=np.ascontiguousarray(predictor.X @ others))
    return HeldObjective(
        problem=replace(problem, predictor=rest, prior=prior_of_others(replace(stated, fixed=flat), places)),
        dispersion=Dispersion(problem.family.n_dispersion + int(np.sum(~kinks_of(priors, sides)))),
        density=density,
        every=problem,
        rows=density.rows,
        own=own * units,
        others=others,
        columns=predictor.X @ own * units,
        units=units,
        priors=priors,
        sides=sides,
    )


def held_priors(density: GeneralizedMixtureDensity) -> tuple[Prior, ...]:
    """Return the priors of the held coefficients."""
    return tuple(density.stated.fixed[mixture.place] for mixture in density.mixtures)


def every_coefficient(objective: HeldObjective, solution: Solution) -> tuple[PosteriorObjective, Solution]:
    """Return where a search ended as that of a model with normal priors, and what it would have minimised.

    Normal priors stand for the others, with their slopes at the mode; the covariance of the coefficients is that under
    priors of this width.
    """
    point, mode = solution.evaluation.point, solution.evaluation.mode
    beta = objective.coefficients(point, mode.beta)
    values = objective.rows @ beta
    normal = [standing_in(prior, float(v)) for prior, v in zip(objective.priors, values, strict=True)]
    mixtures = objective.density.mixtures  # type: ignore[attr-defined]  # a density of mixtures, as it was made from
    log_w = np.array([2.0 * np.log(m.normal.sigma / n.sigma) for m, n in zip(mixtures, normal, strict=True)])
    assert objective.every.prior is not None
    problem = replace(objective.every, prior=prior_given_mixing(objective.every.prior, mixtures, objective.rows, log_w))
    free = solution.parameters.free[: objective.n_dispersion]
    found = replace(mode, beta=beta, factor=factor_at(problem, point.lambdas, -mode.rows[2]))
    evaluation = replace(solution.evaluation, point=replace(point, working=free, beta=beta), mode=found)
    parameters = replace(solution.parameters, beta=beta, free=free)
    dispersion = Dispersion(objective.n_dispersion)
    whole = PosteriorObjective(problem=problem, dispersion=dispersion, density=objective.density)
    return whole, replace(solution, parameters=parameters, evaluation=evaluation)

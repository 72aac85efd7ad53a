r"""What the posterior mode of a generalized model's (sd, correlations, dispersion) minimises.

.. math:: f(\lambda, \phi) = -2\log\hat p(y \mid \lambda, \phi) - 2\sum_a \log h_a(\mathrm{sd}_a)
          - 2(\eta - 1)\log|R| - 2\sum_k \log h_k(\phi_k^*),

coefficients and random effects integrated out by Laplace's approximation, :math:`\phi^*` the dispersion parameters on
their natural scale. As for normal responses there are no Jacobians, so a variance may be zero at the mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.covariance_prior import log_correlation_prior, prior_factor_slope, ratios
from bayeslmm.inference.optimum.generalized.objective import Objective, Parameters
from bayeslmm.likelihood.generalized.laplace import Evaluation, Point, evaluate
from bayeslmm.posterior.generalized import GeneralizedDensity, log_dispersion_prior
from bayeslmm.types import Array

STARTS = 2.0 ** np.array([0, -1, 1, -2, 2, -4, 4, -6, 6, -8, 8])  # multiples of the first sds, for bounded priors


@dataclass(slots=True, kw_only=True)
class PosteriorObjective(Objective):
    """Minus twice the log posterior, up to the constants of the priors.

    Attributes
    ----------
    density
        The model with its priors.
    """

    density: GeneralizedDensity

    def evaluate(self, point: Point, start: Sequence[Array], *, gradient: bool) -> Evaluation:
        """Evaluate at a point, effects started from `start`."""
        return self.with_priors(evaluate(self.problem, point, start, integrated=True, gradient=gradient))

    def with_priors(self, found: Evaluation) -> Evaluation:
        """Add the priors of covariances and dispersion to an evaluation of the likelihood."""
        point = found.point
        value, by_lambda = self._covariances(point)
        by_working = np.zeros(len(point.working))
        turn = self.problem.family.prior_turn
        working = point.working if turn is None else turn @ point.working
        for parameter, here in self.problem.family.places():
            added, slopes = log_dispersion_prior(
                self.density.dispersion[here], working[here], parameter.transform, jacobian=False
            )
            value += added
            by_working[here] = slopes
        by_working = by_working if turn is None else by_working @ turn
        if found.gradient is None:
            return replace(found, value=found.value - 2.0 * value)
        slope = found.gradient
        lambdas = tuple(a - 2.0 * b for a, b in zip(slope.lambdas, by_lambda, strict=True))
        share = by_working[:, None] / self.problem.predictor.n  # the derivatives by each row's value are summed
        moved = replace(slope, lambdas=lambdas, working=slope.working - 2.0 * share)
        return replace(found, value=found.value - 2.0 * value, gradient=moved)

    def _covariances(self, point: Point) -> tuple[float, list[Array]]:
        """Return the log prior of the covariances, and its derivatives by the kernel's factors."""
        value, slopes = 0.0, []
        for factor, columns, term in zip(
            point.lambdas, self.problem.predictor.maps, self.density.terms, strict=True
        ):  # fmt: skip
            turn = term.centring.inverse @ columns.matrix
            moved = turn @ factor
            with np.errstate(divide="ignore"):
                value += float(term.log_density(ratios(moved), 1.0)) + log_correlation_prior(moved, term)
            if not np.isfinite(value):
                raise FittingError("The density of a prior is not finite here.")
            slope = turn.T @ prior_factor_slope(moved, term, 1.0)
            if term.correlation is not None and term.correlation.eta != 1.0:
                slope = slope + 2.0 * (term.correlation.eta - 1.0) * np.linalg.inv(factor).T
            slopes.append(slope)
        return value, slopes


def possible_start(objective: PosteriorObjective, first: Parameters) -> Parameters:
    """Return a start at which the priors have a density.

    Raises
    ------
    FittingError
        If they have none at any.
    """
    for ratio in STARTS:
        trial = replace(first, lambdas=tuple(ratio * factor for factor in first.lambdas))
        try:
            objective(trial, gradient=False)
        except FittingError:
            continue
        return trial
    raise FittingError(
        "No start with a finite posterior density was found: the priors of standard deviations or dispersions rule out "
        "what the data say. State wider priors."
    )

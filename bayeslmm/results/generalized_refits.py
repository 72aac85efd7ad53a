"""Fits of a generalized model to responses simulated from a fit of it: the parametric bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.covariance.pairs import pair_values
from bayeslmm.errors import DataError, FittingError
from bayeslmm.families import Response
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum
from bayeslmm.inference.optimum.generalized.refit import maximise_again
from bayeslmm.results.generalized_profiles import single_dispersions
from bayeslmm.results.working_model import fit_without
from bayeslmm.types import Array, Index

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit


def parameters(fit: "GeneralizedPointFit", maximum: GeneralizedMaximum) -> Array:
    """Return coefficients, sds, correlations and single dispersion parameters of a maximum of the fit's model."""
    values = [maximum.beta]
    lambdas, maps = maximum.solution.parameters.lambdas, maximum.objective.problem.predictor.maps
    for term, factor, columns in zip(fit.design.terms, lambdas, maps, strict=True):
        sds, correlations = sds_and_correlations(columns.matrix @ factor, 1.0)
        values.append(sds)
        if term.has_correlations:
            values.append(pair_values(correlations))
    natural = maximum.family.natural(maximum.dispersion)
    return np.concatenate([*values, [float(natural[name]) for name in single_dispersions(fit)]])


def response_at(fit: "GeneralizedPointFit", y: Array) -> Response:
    """Return the response of the fit's rows with other values: successes of the same trials, places of categories.

    Raises
    ------
    FittingError
        If a value lies outside the family's support, as where it was rounded to the end of it.
    """
    outcome = fit.outcome
    if outcome.categories:
        return outcome.with_y(y, np.zeros(len(y)))
    values = np.column_stack([y, outcome.size - y]) if (outcome.size != 1).any() else y
    try:
        return outcome.with_y(y, fit.family.read(values).base)
    except DataError as error:
        raise FittingError(f"A simulated response cannot be fitted: {error}") from error


@dataclass(frozen=True)
class Replicate:
    """A fit to a response simulated with new groups: how it ended, and its parameters or a statistic of it."""

    fit: "GeneralizedPointFit"
    statistic: Callable[[Any], Array] | None = None

    def __call__(self, rng: np.random.Generator) -> tuple[str, Array]:
        """Return it for one generator."""
        fit = self.fit
        y = fit.simulate(1, random="new", seed=rng).to_numpy(dtype=float)[:, 0]
        response = response_at(fit, y)
        found = maximise_again(fit.maximum, response)
        if found.status == "failed":
            raise FittingError("The search for the optimum failed.")
        if self.statistic is None:
            return found.status, parameters(fit, found)
        from bayeslmm.results.generalized import fit_with_message

        design = replace(fit.design, y=response.y, outcome=response)
        return found.status, self.statistic(fit_with_message(design, fit.spec, found, ""))


def parameters_without(fit: "GeneralizedPointFit", rows: Index) -> Array:
    """Return the parameters of the fit without some rows."""
    return parameters(fit, fit_without(fit, rows).maximum)

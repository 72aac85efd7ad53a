"""Fits of a generalized model to another response or to other rows: each is searched from where the fit ended."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.covariance.pairs import pair_values
from bayeslmm.design.design import Design
from bayeslmm.errors import DataError, FittingError
from bayeslmm.families import Family, Request, Response
from bayeslmm.inference.optimum.generalized.maximum import GeneralizedMaximum, maximise_design
from bayeslmm.inference.optimum.generalized.refit import maximise_again, moved_to
from bayeslmm.intervals.bootstrap import design_of_levels, outermost, rows_of_levels
from bayeslmm.results.generalized_profiles import single_dispersions
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


def simulated_response(family: Family, outcome: Response, y: Array) -> Response:
    """Return a response with other values as simulations give them: successes of the same trials, places of categories.

    Raises
    ------
    FittingError
        If a value lies outside the family's support, as where it was rounded to the end of it.
    """
    if outcome.categories:
        return outcome.with_y(y, np.zeros(len(y)))
    trials = family.trials(outcome)
    values = np.column_stack([y, trials - y]) if (trials != 1).any() else y
    of_variance = None if np.array_equal(trials, outcome.size) else outcome.size
    try:
        return outcome.with_y(y, family.read(values, Request(weights=of_variance)).base)
    except DataError as error:
        raise FittingError(f"A simulated response cannot be fitted: {error}") from error


def family_at(family: Family, rows: Index) -> Family:
    """Return the family with the columns of its share of zeros at some rows, if it has such columns."""
    columns = family.zero_columns
    return family if columns is None else family.with_zero_columns(columns[rows])  # type: ignore[attr-defined,no-any-return]


def maximum_for(maximum: GeneralizedMaximum, design: Design, response: Response) -> GeneralizedMaximum:
    """Return the maximum for another response of the rows of a design, whose maximum for its own response is known.

    Raises
    ------
    FittingError
        If neither the known maximum nor rough estimates are a start.
    """
    try:
        found = maximise_again(maximum, response)
        if found.status != "failed":
            return found
    except FittingError:
        pass
    return maximise_design(maximum.family, replace(design, outcome=response), maximum.n_quad)


def maximum_of_rows(maximum: GeneralizedMaximum, design: Design, family: Family) -> GeneralizedMaximum:
    """Return the maximum for other rows: a design of the same columns and effects, the family of its rows.

    Raises
    ------
    FittingError
        As `maximum_for`.
    """
    try:
        found = maximise_again(at_design(maximum, design, family), design.outcome)
        if found.status != "failed":
            return found
    except FittingError:
        pass
    return maximise_design(family, design, maximum.n_quad)


def at_design(
    maximum: GeneralizedMaximum, design: Design, family: Family, beta: Array | None = None
) -> GeneralizedMaximum:
    """Return the likelihood of other rows at the estimates of a maximum, or with other coefficients (p,)."""
    names = [term.name for term in design.terms]
    return moved_to(
        maximum, family, design.outcome, design.X, design.terms, offset=design.offset, names=names, beta=beta
    )


@dataclass(frozen=True)
class Replicate:
    """A fit to a response simulated with new groups: how it ended, and its parameters or a statistic of it."""

    fit: "GeneralizedPointFit"
    statistic: Callable[[Any], Array] | None = None

    def __call__(self, rng: np.random.Generator) -> tuple[str, Array]:
        """Return it for one generator."""
        fit = self.fit
        y = fit.simulate(1, random="new", seed=rng).to_numpy(dtype=float)[:, 0]
        response = simulated_response(fit.family, fit.outcome, y)
        found = _trusted(maximum_for(fit.maximum, fit.design, response))
        if self.statistic is None:
            return found.status, parameters(fit, found)
        design = replace(fit.design, y=response.y, outcome=response)
        return found.status, self.statistic(_fit_at(fit, design, found))


@dataclass(frozen=True)
class ReplicateOfGroups:
    """A fit to the rows of levels drawn with replacement: how it ended, and its parameters or a statistic of it."""

    fit: "GeneralizedPointFit"
    statistic: Callable[[Any], Array] | None = None

    def __call__(self, rng: np.random.Generator) -> tuple[str, Array]:
        """Return it for one generator."""
        fit = self.fit
        codes = fit.design.terms[outermost(fit.design)].codes
        n_levels = int(codes.max()) + 1
        levels = rng.integers(0, n_levels, n_levels)
        design = design_of_levels(fit.design, codes, levels)
        family = family_at(fit.family, rows_of_levels(codes, levels)[0])
        found = _trusted(maximum_of_rows(fit.maximum, design, family))
        if self.statistic is None:
            return found.status, parameters(fit, found)
        return found.status, self.statistic(_fit_at(fit, design, found))


def fit_without(fit: "GeneralizedPointFit", left_out: Index) -> "GeneralizedPointFit":
    """Return the fit without some rows; levels that lose all their rows add nothing to the likelihood.

    Raises
    ------
    FittingError
        If the search for the optimum fails.
    """
    design, keep = fit.design, np.delete(np.arange(fit.design.n), left_out)
    kept = replace(
        design,
        fixed_columns=np.ascontiguousarray(design.X[keep]),
        terms=tuple(term.at_rows(term.codes[keep], np.ascontiguousarray(term.columns[keep])) for term in design.terms),
        offset=None if design.offset is None else design.offset[keep],
        outcome=fit.outcome.at_rows(keep),
    )
    return _fit_at(fit, design, _trusted(maximum_of_rows(fit.maximum, kept, family_at(fit.family, keep))))


def parameters_without(fit: "GeneralizedPointFit", rows: Index) -> Array:
    """Return the parameters of the fit without some rows."""
    return parameters(fit, fit_without(fit, rows).maximum)


def _trusted(found: GeneralizedMaximum) -> GeneralizedMaximum:
    if found.status == "failed":
        raise FittingError("The search for the optimum failed.")
    return found


def _fit_at(fit: "GeneralizedPointFit", design: Design, found: GeneralizedMaximum) -> "GeneralizedPointFit":
    from bayeslmm.results.generalized import fit_with_message

    return fit_with_message(design, fit.spec, found, "")

"""Another response on the structure of a fit."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslmm.design.columns import holds_text
from bayeslmm.design.design import Design
from bayeslmm.design.table import dotted_names
from bayeslmm.errors import DataError, OptionError
from bayeslmm.families import Family
from bayeslmm.formula import parse
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.likelihood.deferred import DeferredConditional
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.results.family_response import NEW_RESPONSE, at_rows_of, read_family_response, with_family_response
from bayeslmm.results.point import PointFit
from bayeslmm.results.spec import ModelSpec
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit


def refit(fit: PointFit, y: Any) -> PointFit:
    """Fit the model of a fit to another response; see :meth:`PointFit.refit`."""
    if fit.method == "map":
        raise OptionError(
            "The priors of a posterior mode follow the scale of the response: fit a new Model, or refit "
            "method='ml' or 'reml'."
        )
    return fit_response(fit.design, fit.spec, fit.kernel, fit.method, y)


def fit_response(design: Design, spec: ModelSpec, kernel: Kernel, method: str, y: Any) -> PointFit:
    """Fit a design to another response by "ml" or "reml", with the cross-products of X and Z in a kernel."""
    response = read_response(y, design)
    structure = KernelStructure.of(kernel, design.X, design.terms, design.weights)
    kernel = structure.at(response if design.offset is None else response - design.offset)
    optimum = maximise(kernel, method, sigma=spec.sigma)
    modes = DeferredConditional(kernel, optimum.theta, method, spec.sigma, optimum.sigma)
    design = with_response(design, response)
    spec = replace(spec, formula=design.formula.text)
    return PointFit(design, spec, method, optimum, modes, model_kernel=kernel)


def refit_generalized(fit: "GeneralizedPointFit", y: Any) -> "GeneralizedPointFit":
    """Fit the model of a generalized fit to another response, from where that ended."""
    from bayeslmm.results.generalized import generalized_fit
    from bayeslmm.results.generalized_refits import maximum_for

    if fit.method == "map":
        raise OptionError("The priors of a posterior mode follow the response: fit a new Model, or refit method='ml'.")
    design = family_design(fit.design, fit.family, y)
    spec = replace(fit.spec, formula=design.formula.text)
    return generalized_fit(design, spec, maximum_for(fit.maximum, fit.design, design.outcome))


def fit_family_response(
    design: Design, spec: ModelSpec, family: Family, y: Any, notes: tuple[str, ...]
) -> "GeneralizedPointFit":
    """Fit a generalized model's design to another response by maximum likelihood."""
    from bayeslmm.inference.optimum.generalized.maximum import maximise_design
    from bayeslmm.results.generalized import generalized_fit

    design = family_design(design, family, y)
    found = maximise_design(family, design)
    return generalized_fit(design, replace(spec, formula=design.formula.text), found, notes)


def family_design(design: Design, family: Family, y: Any) -> Design:
    """Return a generalized model's design with another response.

    Raises
    ------
    DataError
        If it has another length, other labels, or values outside the family's support.
    """
    values = at_rows_of(y, design, "the new response")
    return with_family_response(design, read_family_response(values, design, family, "The new response"), family)


def by_criterion(fit: PointFit, method: str) -> PointFit:
    """Return the fit of the same model to the same data by "ml" or "reml"; the fit itself if it is one."""
    if fit.method == method:
        return fit
    optimum = maximise(fit.kernel, method, sigma=fit.spec.sigma)
    modes = DeferredConditional(fit.kernel, optimum.theta, method, fit.spec.sigma, optimum.sigma)
    return PointFit(fit.design, fit.spec, method, optimum, modes, model_kernel=fit.kernel)


def read_response(y: Any, design: Design) -> Array:
    """Return a response of the rows used, shape (n,).

    Raises
    ------
    DataError
        If it has another length, other labels, or values that are not finite.
    """
    y = at_rows_of(y, design, "the new response")
    if holds_text(y):
        raise DataError("The new response holds texts, and must hold numbers: convert it with pandas.to_numeric.")
    try:
        values = np.asarray(y, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError("The new response must hold numbers: convert it with pandas.to_numeric.") from error
    if values.shape != (design.n,):
        raise DataError(
            f"The new response has shape {values.shape}; it needs one value for each of {design.n} rows used."
        )
    if not np.isfinite(values).all():
        first = design.index[int(np.argmin(np.isfinite(values)))]
        raise DataError(f"The new response is missing or infinite in row {first!r}; replace such values.")
    if np.all(values == values[0]):
        raise DataError(f"The new response is constant ({values[0]:g}), so there is nothing to model.")
    return values


def with_response(design: Design, y: Array) -> Design:
    """Return a design with another response, which its data and formula hold, too, so that it can be built again."""
    name, formula = design.response, design.formula
    if name not in design.data.columns:
        name = NEW_RESPONSE
        formula = parse(
            f"`{name}` ~ {formula.text.split('~', 1)[1]}", tuple(design.functions), dotted_names(design.data)
        )
    column = np.full(len(design.data), np.nan)
    column[design.rows] = y
    return replace(design, y=y, data=design.data.assign(**{name: column}), formula=formula, response=name)

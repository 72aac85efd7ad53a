r"""The hierarchical model of any response distribution, every random effect a variable.

.. math:: y_i \sim f(\cdot \mid \eta_i, \phi), \quad \eta = o + X\beta + \sum_k Z_k b_k, \; b_{kj} \sim N(0, \Sigma_k)
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions import transforms

from bayeslmm.design.design import Design
from bayeslmm.errors import ModelError
from bayeslmm.families import Family, Parameter, Response
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Flat
from bayeslmm.pymc_models.compiled_response import compiled_response
from bayeslmm.pymc_models.coordinates import term_coordinates
from bayeslmm.pymc_models.distributions import parameters, pymc_family
from bayeslmm.pymc_models.linear_predictor import Units, linear_predictor
from bayeslmm.pymc_models.responses import DISTRIBUTIONS, Predicted

WORKING = {"log": transforms.log, "logit": transforms.logodds, "ordered": transforms.ordered}
SUPPORTS = {"log": (0.0, np.inf), "logit": (0.0, 1.0)}


def build_generalized(design: Design, family: Family, priors: ModelPriors, *, centered: bool = False) -> pm.Model:
    """Return the hierarchical PyMC model of a design whose response a family has read.

    Parameters
    ----------
    design
        Response, columns and random terms; no indicator matrix is formed.
    family
        The response distribution, with as many parameters as the response asks for.
    priors
        A prior for every parameter.
    centered
        Whether random effects are drawn from their covariance directly or as standard normals times its factor.

    Returns
    -------
    pm.Model
        With ``beta`` (dim ``fixed``), the dispersion parameters by name (several values: dim ``NAME_number``), and
        per term g ``sd_g`` (``g_effect``), ``cor_g`` (``g_pair``; where there are correlations) and ``r_g`` (levels of
        the factor, ``g_effect``), all on the user's columns; the response is ``y``. Weights that multiply log
        densities are a potential.

    Raises
    ------
    ModelError
        When a grouping factor gives a dimension the name of another, or of a dispersion parameter.
    """
    response: Response = design.outcome
    offset = 0.0 if design.offset is None else float(np.mean(design.offset))
    units = Units(family.predictor_location(response) - offset, family.predictor_scale(response))
    with pm.Model(coords=_coordinates(design, family)) as model:
        eta = linear_predictor(design, priors, units, centered=centered)
        level = pt.dot(priors.fixed_centring.means, model["beta"]) if design.p else 0.0
        values = _dispersion(family, response, dict(priors.dispersion), level)
        if family.zero_columns is not None:
            coefficients = [values[p.name] for p in family.parameters[-family.zero_columns.shape[1] :]]
            logit = pt.dot(pm.Data("data[zero]", family.zero_columns), pt.stack(coefficients))
            values["zero"] = pt.sigmoid(logit)
        if family.name in DISTRIBUTIONS:
            _add_response(response, DISTRIBUTIONS[family.name](Predicted(family.link.name, eta, response.size, values)))
        else:
            working = [_working(parameter, values[parameter.name]) for parameter in family.parameters]
            compiled_response("y", family, response, eta, pt.concatenate([pt.zeros(0), *working]))
    return model


def _coordinates(design: Design, family: Family) -> dict[str, Any]:
    coordinates = term_coordinates(design)
    for parameter in family.parameters:
        several = f"{parameter.name}_number"
        for name in (parameter.name, several):
            if name in coordinates:
                raise ModelError(
                    f"The grouping factor {name!r} has the name of a dispersion parameter of the family "
                    f"{family.name!r}; rename the column."
                )
        if parameter.size > 1:
            coordinates[several] = range(parameter.size)
    return coordinates


def _dispersion(family: Family, response: Response, priors: Mapping[str, Prior], level: Any) -> dict[str, Any]:
    """Add the dispersion parameters; return them by name, as they go with centred columns.

    Those of the model go with the user's columns, whose linear predictor is higher by `level`.
    """
    starts = family.natural(family.start(response))
    found = {}
    for parameter in family.parameters:
        prior, start = priors[parameter.name], starts[parameter.name]
        unit = family.predictor_scale(response) if parameter.in_response_units else 1.0
        raw = _free(parameter, prior.affine(0.0, 1.0 / unit), np.asarray(start) / unit)
        found[parameter.name] = raw[0] if parameter.transform == "ordered" and parameter.size == 1 else unit * raw
    found |= _zero_coefficients(family, found)
    for parameter in family.parameters:
        value = found[parameter.name]
        dims = (f"{parameter.name}_number",) if parameter.size > 1 else None
        pm.Deterministic(parameter.name, value + level if parameter.holds_level else value, dims=dims)
    return found


def _zero_coefficients(family: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the coefficients of the share of zeros by name, from those that priors speak of."""
    if family.zero_columns is None or family.prior_turn is None:
        return {}
    r = family.zero_columns.shape[1]
    names = [parameter.name for parameter in family.parameters[-r:]]
    back = np.linalg.inv(family.prior_turn[-r:, -r:])
    moved = pt.dot(back, pt.stack([values[name] for name in names]))
    return {name: moved[k] for k, name in enumerate(names)}


def _free(parameter: Parameter, prior: Prior, start: Any) -> Any:
    """Add the free variable of one parameter, (size,) where it has several values."""
    label = f"raw[{parameter.name}]"
    positive = parameter.transform == "log"
    options: dict[str, Any] = {}
    if parameter.transform != "none" and (
        parameter.transform not in SUPPORTS or isinstance(prior, Flat) or not _within(prior, parameter.transform)
    ):
        options["transform"] = WORKING[parameter.transform]
    if np.all(np.isfinite(prior.logpdf(start))):
        options["initval"] = start
    shape = (parameter.size,) if parameter.transform == "ordered" else ()
    return pymc_family(prior, positive=positive)(label, **parameters([prior]), shape=shape, **options)


def _within(prior: Prior, transform: str) -> bool:
    """Whether a prior's support, which decides PyMC's transform, lies within that of the parameter."""
    low, high = SUPPORTS[transform]
    return prior.support[0] >= low and prior.support[1] <= high


def _working(parameter: Parameter, values: Any) -> Any:
    """Return working values of natural ones, (size,)."""
    values = pt.atleast_1d(values)
    if parameter.transform == "log":
        return pt.log(values)
    if parameter.transform == "none":
        return values
    if parameter.transform == "logit":
        return pt.log(values) - pt.log1p(-values)
    return pt.concatenate([values[:1], pt.log(pt.diff(values))])


def _add_response(response: Response, law: Any) -> None:
    """Add the response, and what weights add to its log density."""
    observed = pm.Data("data[y]", response.y.astype(np.int64) if law.counts else response.y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyMC's truncation calls PyTensor by an older interface
        law.kind("y", **law.parameters, observed=observed)
        if response.weights is not None:
            weights = pm.Data("data[weights]", response.weights)
            pm.Potential("weights[y]", pt.sum((weights - 1.0) * pm.logp(law.kind.dist(**law.parameters), observed)))

"""ADVI of a generalized model: a normal distribution of everything in its explicit hierarchy."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.design.design import Design
from bayeslmm.errors import OptionError
from bayeslmm.families import Family
from bayeslmm.inference.advi.sampling import (
    approximate,
    check_iterations,
    check_room,
    coefficients_and_scales,
    doubtful,
    explicit_draws,
    variable_names,
)
from bayeslmm.inference.generalized_draws import ChainedDraws
from bayeslmm.inference.options import Options

if TYPE_CHECKING:
    from bayeslmm.priors.model_priors import ModelPriors


def generalized_advi(design: Design, family: Family, priors: "ModelPriors", options: Options) -> ChainedDraws:
    """Approximate the posterior by a normal distribution of unconstrained coordinates and draw from it.

    Parameters
    ----------
    design
        Columns, random terms, and the response as the family reads it.
    family
        The response distribution.
    priors
        A prior for every parameter.
    options
        As for normal responses; the parametrization is "noncentered", which None means, or "centered".

    Raises
    ------
    OptionError
        When an option has an impossible value.
    ModelError
        When memory does not hold the draws.
    FittingError
        When the optimiser leaves the region where the density is finite.
    KeyboardInterrupt
        When fitting was interrupted.
    """
    from bayeslmm.pymc_models import build_generalized

    parametrization = options.parametrization or "noncentered"
    if parametrization == "marginal":
        raise OptionError(
            f"The effects of the family {family.name!r} cannot be integrated out; use parametrization='noncentered' or "
            "'centered'."
        )
    check_iterations(options.iterations)
    check_room(design, options)
    started = time.perf_counter()
    model = build_generalized(design, family, priors, centered=parametrization == "centered")
    dispersions = [parameter.name for parameter in family.parameters]
    found = approximate(model, {name: model[name] for name in [*variable_names(design), *dispersions]}, options)
    shape = found.stats["lp"].shape
    drawn = replace(explicit_draws(design, found.values, found.stats, 1.0, options), sigma=np.ones(shape))
    columns = [found.values[name].reshape(*shape, -1) for name in dispersions]
    dispersion = np.concatenate([np.empty((*shape, 0)), *columns], axis=2)
    named = {
        name if column.shape[2] == 1 else f"{name}[{k + 1}]": column[..., k]
        for name, column in zip(dispersions, columns, strict=True)
        for k in range(column.shape[2])
    }
    doubts = doubtful(coefficients_and_scales(design, drawn) | named, found.approximation, found.weights)
    info = {"parametrization": parametrization, **found.info(options, doubts, time.perf_counter() - started)}
    return ChainedDraws(replace(drawn, info=info), dispersion)

"""Profiles of a generalized point fit's likelihood, by parameter name."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.errors import OptionError
from bayeslmm.families.definition import to_natural
from bayeslmm.intervals.generalized_profile import GeneralizedProfiler
from bayeslmm.intervals.profile import Curve, transformed
from bayeslmm.results import effects
from bayeslmm.results.profiles import curve_at
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.results.generalized import GeneralizedPointFit

STILL = 1e-6  # of the largest derivative of the natural value by the working one, below which it does not move
STEP = 1e-6  # of a working value, for the derivative of the natural one


def single_dispersions(fit: "GeneralizedPointFit") -> list[str]:
    """Return the names of dispersion parameters of one value each; none where columns describe one of them."""
    if fit.family.zero_columns is not None or any(parameter.size > 1 for parameter in fit.family.parameters):
        return []
    return [parameter.name for parameter in fit.family.parameters]


def parameter_names(fit: "GeneralizedPointFit") -> list[str]:
    """Return the names of coefficients, sds, correlations and single dispersion parameters."""
    return [*effects.parameter_names(fit.design, fit.varcorr()), *single_dispersions(fit)]


def generalized_curves(fit: "GeneralizedPointFit", names: Sequence[str], level: float) -> dict[str, Curve]:
    """Return the profiles of named parameters.

    Raises
    ------
    OptionError
        If the coefficients of the fit were in the inner loop.
    """
    if fit.maximum.n_quad == 0:
        raise OptionError("A profile needs the coefficients as parameters: fit the model with n_quad=1 or more.")
    if fit.design.dropped_columns:
        raise OptionError(
            f"The columns {', '.join(fit.design.dropped_columns)} depend on the others, so the likelihood has no "
            "profile: leave them out of the formula."
        )
    maximum = fit.maximum
    errors = np.sqrt(np.diag(fit.modes.beta_cov))
    profiler = GeneralizedProfiler(maximum.objective, maximum.solution.parameters, errors, level)
    return {name: _curve(fit, profiler, name) for name in names}


def _curve(fit: "GeneralizedPointFit", profiler: GeneralizedProfiler, name: str) -> Curve:
    def dispersion(_: int, place: int) -> Curve:
        transform = fit.family.parameters[place].transform

        def natural(working: Array) -> Array:
            return to_natural(working, transform)

        def slope(working: Array) -> Array:
            return (natural(working + STEP) - natural(working - STEP)) / (2 * STEP)

        found = profiler.dispersion(place)
        # a share of zeros near none, say: its working value runs far where the parameter itself stands still
        moving = slope(found.values) > STILL * slope(found.values).max()
        found = replace(found, values=found.values[moving], zeta=found.zeta[moving], slopes=found.slopes[moving])
        return transformed(found, natural, slope)

    return curve_at(fit, profiler, parameter_names(fit).index(name), dispersion)

r"""The hierarchical model of a normal response, every random effect a variable.

.. math:: y \sim N(o + X\beta + \sum_k Z_k b_k,\ \sigma^2 W^{-1}), \qquad b_{kj} \sim N(0, \Sigma_k)
"""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayeslmm.design.design import Design
from bayeslmm.errors import ModelError
from bayeslmm.priors.model_priors import ModelPriors
from bayeslmm.priors.moments import mean_and_sd
from bayeslmm.priors.rules import net_response
from bayeslmm.pymc_models.coordinates import term_coordinates
from bayeslmm.pymc_models.distributions import random_vector
from bayeslmm.pymc_models.linear_predictor import Units, linear_predictor


def build_hierarchical(
    design: Design, priors: ModelPriors, *, sigma: float | None = None, centered: bool = False
) -> pm.Model:
    """Return the hierarchical PyMC model of a design.

    Parameters
    ----------
    design
        Response, columns and random terms; no indicator matrix is formed.
    priors
        A prior for every parameter.
    sigma
        The residual standard deviation, where it is fixed.
    centered
        Whether random effects are drawn from their covariance directly (centred: better where every level has
        much data) or as standard normals times its factor (non-centred: better where levels have little).

    Returns
    -------
    pm.Model
        With ``beta`` (dim ``fixed``), ``sigma``, and per term g ``sd_g`` (``g_effect``), ``cor_g``
        (``g_pair``; where there are correlations) and ``r_g`` (levels of the factor,
        ``g_effect``), all on the user's columns; the response is ``y``.

    Raises
    ------
    ModelError
        When grouping factors would give two dimensions one name, or nothing is left to estimate.
    """
    if design.p == 0 and not design.terms and sigma is not None:
        raise ModelError("The model has no coefficient, no random term and a fixed sigma: nothing to estimate.")
    mean, sd = mean_and_sd(net_response(design), design.weights)
    units = Units(mean, sd if sd > 0 else 1.0)
    with pm.Model(coords=term_coordinates(design)) as model:
        residual = _residual_sd(design, priors, units, sigma)
        eta = linear_predictor(design, priors, units, residual, centered=centered)
        if design.weights is not None:
            residual = residual / pt.sqrt(pm.Data("data[weights]", design.weights))
        pm.Normal("y", eta, residual, observed=pm.Data("data[y]", design.y))
    return model


def _residual_sd(design: Design, priors: ModelPriors, units: Units, sigma: float | None) -> Any:
    if sigma is not None:
        return pm.Data("sigma", float(sigma))
    if priors.sigma is None:
        raise ModelError("sigma has neither a prior nor a fixed value.")
    unit = units.scale  # of an observation of weight one
    if design.weights is not None:
        unit *= float(np.sqrt(design.weights.mean()))
    raw = random_vector("raw[sigma]", [priors.sigma.affine(0.0, 1 / unit)], positive=True)
    return pm.Deterministic("sigma", unit * raw[0])

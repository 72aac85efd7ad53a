r"""The marginal model: coefficients and random effects integrated out.

.. math:: p(\mathrm{sd}, R, \sigma \mid y) \propto p(y \mid \theta, \sigma)\, h_\sigma(\sigma)
          \prod_k p(R_k) \prod_a h_a(\mathrm{sd}_a)

The free variables are the standard deviations, the correlations and sigma themselves, so that the density without
PyMC's Jacobians is that of the posterior mode, equal to REML under flat priors; a joint prior of a term's standard
deviations, in units of sigma, is stated by its tau and shares instead. The likelihood is the potential
``log_likelihood``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayeslmm.covariance.pairs import pair_places
from bayeslmm.design.design import Design, RandomTerm
from bayeslmm.design.names import safe_name
from bayeslmm.errors import ModelError
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.posterior.marginal_likelihood import MarginalLikelihood
from bayeslmm.priors.model_priors import ModelPriors, TermPriors
from bayeslmm.priors.moments import response_spread, term_summary
from bayeslmm.priors.prior import Prior
from bayeslmm.priors.real_line import Flat
from bayeslmm.pymc_models.coordinates import term_coordinates
from bayeslmm.pymc_models.correlations import full_matrix, lower_correlations, partial_correlations
from bayeslmm.pymc_models.covariance import joint_deviations
from bayeslmm.pymc_models.distributions import parameters, pymc_family
from bayeslmm.pymc_models.kernel_op import KernelLikelihood
from bayeslmm.types import Array

POTENTIAL = "log_likelihood"


def build_marginal(kernel: Kernel, priors: ModelPriors, design: Design, *, sigma: float | None = None) -> pm.Model:
    """Return the PyMC model of the covariance parameters, coefficients and random effects integrated out.

    Parameters
    ----------
    kernel
        The design's likelihood.
    priors
        A prior for every parameter; those of coefficients must be Normal or Flat.
    design
        Names and levels; its arrays give starting points their units.
    sigma
        The residual standard deviation, where it is fixed.

    Returns
    -------
    pm.Model
        With ``sigma`` and per term g ``sd_g`` (dim ``g_effect``) and ``cor_g`` (``g_pair``; where
        there are correlations) on the user's columns. Where the priors speak of them these are the free variables, the
        correlations as ``lower[cor_g]``, those below the diagonal column by column; where the priors speak of centred
        columns the free variables are ``centred[sd_g]`` and ``centred[lower[cor_g]]``.

    Raises
    ------
    PriorError
        When the prior of a coefficient cannot be integrated out.
    ModelError
        When nothing is left to estimate, or grouping factors would give two dimensions one name.
    """
    operation = KernelLikelihood(MarginalLikelihood(kernel, priors, sigma))
    if operation.likelihood.dimension == 0:
        raise ModelError("The model has no random term and a fixed sigma: no covariance parameter is left to sample.")
    spread = response_spread(design)
    unit = spread.sd or 1.0
    with pm.Model(coords=term_coordinates(design)) as model:
        residual = _residual_sd(priors, spread.residual_sd or 1.0, sigma)
        pieces: list[Any] = []
        for term, own in zip(design.terms, priors.terms, strict=True):
            pieces += _term_coordinates(term, own, unit / _sizes(design, term, own), residual)
        if sigma is None:
            pieces.append(pt.log(residual)[None])
        pm.Potential(POTENTIAL, operation(pt.concatenate(pieces))[0])
    return model


def marginal_coordinates(model: pm.Model) -> Any:
    """Return x = (phi, log sigma) of a marginal model as a function of its variables, shape (d,)."""
    return model[POTENTIAL].owner.inputs[0]


def kernel_operation(model: pm.Model) -> KernelLikelihood:
    """Return the likelihood of a marginal model, which counts its evaluations and failures."""
    operation: KernelLikelihood = model[POTENTIAL].owner.op
    return operation


def _residual_sd(priors: ModelPriors, start: float, sigma: float | None) -> Any:
    if sigma is not None:
        return pm.Data("sigma", float(sigma))
    if priors.sigma is None:
        raise ModelError("sigma has neither a prior nor a fixed value.")
    return _positive("sigma", [priors.sigma], start)


def _sizes(design: Design, term: RandomTerm, priors: TermPriors) -> Array:
    """Return the root mean square of a term's columns where its priors hold, one for a column of zeros, shape (S,)."""
    summary = term_summary(design, term)
    spread = np.sqrt((summary.mean - priors.centring.means) ** 2 + np.nan_to_num(summary.sd) ** 2)
    return np.where(spread > 0, spread, 1.0)


def _term_coordinates(term: RandomTerm, priors: TermPriors, start: Array, residual: Any) -> list[Any]:
    """Add one term's variables; return its coordinates, log sd/sigma and atanh of the partial correlations."""
    name, size = safe_name(term.name), term.n_columns
    effect, pair = f"{name}_effect", f"{name}_pair"
    wrapped = "moved[{}]" if priors.moved else "{}"  # only correlated terms ever are
    label = wrapped.format(f"sd_{name}")
    if priors.joint is None:
        sd = _standard_deviations(label, priors, start, effect)
    else:
        sd = pm.Deterministic(label, joint_deviations(name, priors, residual), dims=effect)
    ratios = pt.log(sd) - pt.log(residual)
    if priors.correlation is None:
        return [ratios]
    lower = lower_correlations(wrapped.format(f"lower[cor_{name}]"), size, priors.correlation)
    correlation = full_matrix(lower, size)
    if priors.moved:
        turn = priors.centring.matrix
        covariance = pt.dot(pt.dot(turn, sd[:, None] * correlation * sd), turn.T)
        user_sd = pt.sqrt(pt.diagonal(covariance))
        pm.Deterministic(f"sd_{name}", user_sd, dims=effect)
        pm.Deterministic(f"cor_{name}", (covariance / (user_sd[:, None] * user_sd))[pair_places(size)], dims=pair)
    else:
        pm.Deterministic(f"cor_{name}", correlation[pair_places(size)], dims=pair)
    return [ratios, pt.arctanh(partial_correlations(lower, size))]


def _standard_deviations(label: str, priors: TermPriors, start: Array, dims: str) -> Any:
    """Add the S standard deviations: one variable, or where the priors are of several families one per effect."""
    if len({type(prior) for prior in priors.sd}) == 1:
        return _positive(label, priors.sd, start, dims=dims)
    each = [
        _positive(f"{label}[{safe_name(effect)}]", [prior], value)
        for effect, prior, value in zip(priors.effects, priors.sd, start, strict=True)
    ]
    return pm.Deterministic(label, pt.stack(each), dims=dims)


def _positive(label: str, priors: Sequence[Prior], start: Any, **options: Any) -> Any:
    """Add a positive variable; a flat prior has no scale of its own to start at, so it starts at the data's."""
    if isinstance(priors[0], Flat):
        options["initval"] = start
    return pymc_family(priors[0], positive=True)(label, **parameters(priors), **options)

"""Priors of a random-effects covariance as PyMC variables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.model_priors import TermPriors
from bayeslmm.priors.prior import Prior
from bayeslmm.pymc_models.distributions import parameters, pymc_family, random_vector


def joint_deviations(name: str, priors: TermPriors, sigma: Any) -> Any:
    """Add a term's standard deviations under a joint prior given sigma, as tau and the shares of the variance.

    Parameters
    ----------
    name
        The term's name, used in the names of the free variables.
    priors
        With `joint`.
    sigma
        The residual standard deviation, a variable or a number.

    Returns
    -------
    The standard deviations, shape (S,).
    """
    joint, size = priors.joint, len(priors.sd)
    assert joint is not None
    count = 1 if priors.together else size
    tau = pm.Gamma(f"raw[tau_{name}]", alpha=joint.shape, beta=1.0 / joint.scale, shape=count)
    if size == 1 or not priors.together:
        return sigma * tau
    shares = pm.Dirichlet(f"raw[shares_{name}]", np.full(size, joint.concentration))
    return sigma * tau * pt.sqrt(size * shares)


def correlation_factor(name: str, size: int, correlation: LKJ) -> Any:
    """Add a correlation matrix to the model and return its Cholesky factor, shape (S, S)."""
    return _vine_factor(f"raw[cor_{name}]", size, correlation)


def covariance_factor(name: str, sds: Sequence[Prior], correlation: LKJ) -> Any:
    """Add a covariance matrix to the model and return its Cholesky factor, shape (S, S).

    ``LKJCholeskyCov`` where one family of unbounded priors covers all standard deviations, which is all it
    takes; otherwise standard deviations and partial correlations as variables of their own, the same prior.

    Parameters
    ----------
    name
        The term's name, used in the names of the free variables.
    sds
        Priors of the S standard deviations.
    correlation
        The prior of the correlation matrix.
    """
    one_family = len({type(prior) for prior in sds}) == 1
    unbounded = all(np.isinf(prior.support[1]) for prior in sds)
    if one_family and unbounded:
        return _lkj_cholesky_cov(f"raw[cov_{name}]", sds, correlation)
    sd = random_vector(f"raw[sd_{name}]", sds, positive=True)
    return sd[:, None] * _vine_factor(f"raw[cor_{name}]", len(sds), correlation)


def _lkj_cholesky_cov(label: str, sds: Sequence[Prior], correlation: LKJ) -> Any:
    size = len(sds)
    packed = pm.LKJCholeskyCov(
        label,
        n=size,
        eta=correlation.eta,
        sd_dist=pymc_family(sds[0], positive=True).dist(**parameters(sds), shape=size),
        compute_corr=False,
        initval=np.eye(size)[np.tril_indices(size)],  # PyMC's own start draws from the prior, which may be flat
    )
    return pm.expand_packed_triangular(size, packed, lower=True)


def _vine_factor(label: str, size: int, correlation: LKJ) -> Any:
    """Return the Cholesky factor of an LKJ correlation matrix built from independent partial correlations."""
    columns, rows = np.triu_indices(size, k=1)  # pairs in column-major order of the lower triangle
    shape = correlation.eta + (size - 2 - columns) / 2
    halves = pm.Beta(label, shape, shape, shape=len(rows))  # (z + 1) / 2
    partial = 2 * halves - 1
    left = [pt.constant(1.0)] * size
    factor = [[pt.constant(0.0)] * size for _ in range(size)]
    place = 0
    for column in range(size):
        factor[column][column] = left[column]
        for row in range(column + 1, size):
            factor[row][column] = partial[place] * left[row]
            left[row] = left[row] * pt.sqrt(1 - partial[place] ** 2)
            place += 1
    return pt.stack([pt.stack(row) for row in factor])

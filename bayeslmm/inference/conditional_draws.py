"""Exact draws of the coefficients given the covariance parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.covariance import sds_and_correlations
from bayeslmm.likelihood.normal_prior import FixedPosterior
from bayeslmm.priors.density import CovarianceDensity

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Draws on the user's columns.

    Attributes
    ----------
    beta
        Fixed coefficients, shape (m, p).
    effects
        Random effects, one (m, J, S) per term.
    """

    beta: Array
    effects: tuple[Array, ...]


def draw_coefficients(
    density: CovarianceDensity, posterior: FixedPosterior, sigma: Array, rng: np.random.Generator
) -> Coefficients:
    """Draw (beta, b) given theta and each sigma: beta with b integrated out, then b given beta.

    Parameters
    ----------
    density
        The model.
    posterior
        The fixed coefficients at theta.
    sigma
        Residual standard deviations, shape (m,).
    rng
        Source of randomness.
    """
    kernel = density.kernel
    m = len(sigma)
    beta = posterior.draw(sigma, rng.standard_normal((kernel.p, m)))
    noise = [sigma * rng.standard_normal((shape.n_levels, shape.n_columns, m)) for shape in kernel.shapes]
    spherical = solve_effects(posterior.factor, beta, noise)
    effects = tuple(
        np.einsum("st,jtm->mjs", columns.matrix @ factor, u)
        for u, columns, factor in zip(spherical, kernel.maps, posterior.factor.lambdas, strict=True)
    )
    user_beta = kernel.fixed.matrix @ beta + (kernel.fixed.centring.constant * kernel.y_mean)[:, None]
    return Coefficients(np.ascontiguousarray(user_beta.T), effects)


def covariance_parameters(density: CovarianceDensity, phi: Array, sigma: float) -> tuple[list[Array], list[Array]]:
    """Return standard deviations (S,) and correlations (S, S) of each term on the user's columns."""
    found = [sds_and_correlations(factor, sigma) for factor in density.user_factors(density.points(phi))]
    return [sd for sd, _ in found], [correlation for _, correlation in found]


def stack_parameters(
    density: CovarianceDensity, phis: Sequence[Array], sigmas: Array
) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
    """Return per term sds (m, S) and correlations (m, S, S), or None where a term has none."""
    found = [covariance_parameters(density, phi, sigma) for phi, sigma in zip(phis, sigmas, strict=True)]
    sds = tuple(np.array([sd[k] for sd, _ in found]) for k in range(len(density.sizes)))
    correlations = tuple(
        np.array([cor[k] for _, cor in found]) if correlated and size > 1 else None
        for k, (size, correlated) in enumerate(density.sizes)
    )
    return sds, correlations

"""Exact draws of the coefficients given the covariance parameters."""

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


def covariance_parameters(
    density: CovarianceDensity, phi: Array, sigma: Array
) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
    """Return per term sds (m, S) and correlations (m, S, S), None where a term has none, on the user's columns.

    Parameters
    ----------
    density
        The model.
    phi, sigma
        Shapes (m, n_phi) and (m,).
    """
    found = [sds_and_correlations(factor, sigma) for factor in density.user_factors(density.points(phi))]
    correlated = [has_correlations and size > 1 for size, has_correlations in density.sizes]
    return tuple(sd for sd, _ in found), tuple(c if has else None for (_, c), has in zip(found, correlated, strict=True))

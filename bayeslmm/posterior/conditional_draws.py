"""Exact draws of the coefficients given the covariance parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.covariance import sds_and_correlations
from bayeslmm.likelihood.batched import PointOfBatch
from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.iterative.coefficients import draw_effects
from bayeslmm.likelihood.iterative.solved_factor import SolvedFactor
from bayeslmm.likelihood.normal_prior import FixedPosterior
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.types import Array

COMPLETION = 0x636F6C  # keeps the numbers that complete draws apart from those that made them


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Draws on the user's columns.

    Attributes
    ----------
    beta
        Fixed coefficients, shape (m, p).
    effects
        Random effects, one (m, J, S) per term; (m, 0, S) where they are not wanted.
    """

    beta: Array
    effects: tuple[Array, ...]


def draw_coefficients(
    density: CovarianceDensity,
    posterior: FixedPosterior,
    sigma: Array,
    rng: np.random.Generator,
    keep: Sequence[bool] | None = None,
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
    keep
        Per term, whether its random effects are wanted; None for all. The draws of beta do not depend on it.
    """
    kernel = density.kernel
    m = len(sigma)
    beta = posterior.draw(sigma, rng.standard_normal((kernel.p, m)))
    user_beta = kernel.fixed.matrix @ beta + (kernel.fixed.centring.constant * kernel.y_mean)[:, None]
    wanted = (True,) * len(kernel.shapes) if keep is None else keep
    if not any(wanted):
        return Coefficients(np.ascontiguousarray(user_beta.T), nothing_kept(density, m))
    if isinstance(posterior.eliminated, SolvedFactor):
        drawn = draw_effects(posterior.eliminated.solved, beta, sigma, rng)
        effects = tuple(
            np.einsum("st,jtm->mjs", columns.matrix, b if kept else b[:0])
            for b, columns, kept in zip(drawn, kernel.maps, wanted, strict=True)
        )
        return Coefficients(np.ascontiguousarray(user_beta.T), effects)
    noise = [sigma * rng.standard_normal((shape.n_levels, shape.n_columns, m)) for shape in kernel.shapes]
    if isinstance(posterior.eliminated, PointOfBatch):
        point = posterior.eliminated
        transforms = [columns.matrix @ factor for columns, factor in zip(kernel.maps, point.lambdas, strict=True)]
        return Coefficients(np.ascontiguousarray(user_beta.T), point.draw(beta, noise, transforms, wanted))
    spherical = solve_effects(posterior.factor, beta, noise)
    effects = tuple(
        np.einsum("st,jtm->mjs", columns.matrix @ factor, u if kept else u[:0])
        for u, columns, factor, kept in zip(spherical, kernel.maps, posterior.factor.lambdas, wanted, strict=True)
    )
    return Coefficients(np.ascontiguousarray(user_beta.T), effects)


def all_coefficients(density: CovarianceDensity, beta: Array, phi: Array, seed: int) -> Array:
    """Add the coefficients of collinear columns to draws of those of independent ones.

    Parameters
    ----------
    density
        The model.
    beta, phi
        Draws on the user's columns, shape (m, r), and the point of each, shape (m, n_phi).
    seed
        That of the draws.
    """
    return density.complete(beta, phi, np.random.default_rng([seed, COMPLETION]))


def nothing_kept(density: CovarianceDensity, m: int, dtype: type = np.float64) -> tuple[Array, ...]:
    """Return the arrays of m draws of random effects of which none is kept."""
    return tuple(np.empty((m, 0, shape.n_columns), dtype=dtype) for shape in density.kernel.shapes)


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
    return tuple(sd for sd, _ in found), tuple(
        c if shape.has_correlations else None for (_, c), shape in zip(found, density.kernel.shapes, strict=True)
    )

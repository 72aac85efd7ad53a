"""The compiled form of the density of a single term, and its gradient."""

from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.tiled_levels import levels_last
from bayeslmm.posterior.partial_correlations import correlation_exponents
from bayeslmm.posterior.single_density import SingleTerm, likelihood_constant
from bayeslmm.types import Array

if TYPE_CHECKING:
    from bayeslmm.posterior.density import CovarianceDensity

LARGEST_COMPILED_FIXED = 12  # above this number of fixed columns LAPACK beats the compiled loops


def compiled_gradient(single: SingleTerm, x: Array) -> tuple[float, Array]:
    """Return the compiled log density of x with its gradient.

    Raises
    ------
    FittingError
        Where it cannot be evaluated.
    """
    value, gradient = single.value_and_gradient(np.ascontiguousarray(x))
    if not np.isfinite(value):
        raise FittingError("The log posterior cannot be evaluated here: a pivot is not positive or a value not finite.")
    return value, gradient


def compile_single(density: "CovarianceDensity") -> SingleTerm | None:
    """Return the compiled density of a single term; None where the general path is needed."""
    products, priors = density.kernel.products, density.priors
    if len(priors.terms) != 1 or products.n_fixed > LARGEST_COMPILED_FIXED:
        return None
    term, columns = priors.terms[0], density.kernel.maps[0]
    if density.codes is None:
        return None
    prior = density.fixed_prior
    # from the kernel's columns to those that the priors speak of, with the kernel's scale
    move = columns.inverse @ term.centring.matrix / columns.scale
    moved = not np.array_equal(term.centring.means, columns.centring.means)
    z, xy = products.nest_z[0], products.nest_xy[0]
    if moved:
        z, xy = np.ascontiguousarray(move.T @ z @ move), np.ascontiguousarray(move.T @ xy)
    return SingleTerm(
        z=z,
        xy=xy,
        total=products.xy,
        z_last=levels_last(z),
        xy_last=levels_last(xy),
        scale=columns.scale,
        turn=np.ascontiguousarray(term.centring.matrix, dtype=float),
        codes=density.codes,
        exponents=correlation_exponents(term) if term.correlation is not None else np.zeros(0),
        precision=np.ascontiguousarray(prior.precision),
        mean=prior.mean,
        constant=likelihood_constant(products.n, products.n_fixed, prior.n_proper, prior.log_det, products.log_weights)
        + 2.0 * density.log_normaliser,
        n_rows=products.n,
        sigma=np.nan if density.sigma is None else density.sigma,
    )

r"""Exact Gibbs steps for variances, linear coefficients and random effects given f(X).

Given the residuals r = y - f(X) the model is a linear mixed model, and one sweep draws, in this order,

.. math::

   \phi \mid \sigma, r \;\text{(slice steps, } \beta, b \text{ integrated out)}, \quad
   \sigma \mid \phi, r \;\text{(from its distribution on a grid)}, \quad
   \beta, b \mid \phi, \sigma, r \;\text{(exactly)},

:math:`\phi = (\log t, \mathrm{atanh}\,\rho)`, t = sd/sigma. Integrating b out first is what lets an intercept
and the mean of b move. Slice steps need no tuning and are valid at any width: Neal (2003), Slice sampling,
Annals of Statistics 31, 705-767.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.likelihood.new_response import KernelStructure
from bayeslmm.posterior.conditional_draws import covariance_parameters, draw_coefficients
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors import ModelPriors
from bayeslmm.types import Array

SLICE_WIDTH = 1.0  # first guess of an interval in log t or atanh r; it is widened until it holds the slice
MOST_WIDENINGS = 12
MOST_SHRINKINGS = 60
SPREAD = 0.5  # of the chains' starting points around the likeliest, in log t


@dataclass(frozen=True, slots=True)
class Block:
    """Everything but f at one point of the chain.

    Attributes
    ----------
    phi
        Coordinates of the covariance parameters, shape (n_phi,).
    sigma
        Residual standard deviation.
    beta
        Linear coefficients, shape (p,).
    effects
        Random effects, one (J, S) per term.
    sds, correlations
        Standard deviations (S,) and correlations (S, S) of each term, on the user's columns.
    """

    phi: Array
    sigma: float
    beta: Array
    effects: tuple[Array, ...]
    sds: tuple[Array, ...]
    correlations: tuple[Array, ...]


def first_block(rows: KernelStructure, priors: ModelPriors, residual: Array, rng: np.random.Generator) -> Block:
    """Return a point around the likeliest covariance parameters, with coefficients drawn at it."""
    kernel = rows.at(residual)
    density = CovarianceDensity(kernel, priors)
    found = maximise(kernel, "reml")
    phi = density.phi(kernel.lambdas(found.theta))
    return draw_block(density, phi + SPREAD * rng.standard_normal(len(phi)), rng)


def next_block(
    rows: KernelStructure, priors: ModelPriors, residual: Array, block: Block, rng: np.random.Generator
) -> Block:
    """Take one Gibbs step given the residuals y - f(X), shape (n,)."""
    density = CovarianceDensity(rows.at(residual), priors)
    phi = slice_step(lambda phi: log_density_at(density, phi, block.sigma), block.phi, rng)
    return draw_block(density, phi, rng)


def log_density_at(density: CovarianceDensity, phi: Array, sigma: float) -> float:
    """Return log p(phi, sigma | r) up to a constant, -inf where it cannot be evaluated."""
    x = np.append(phi, np.log(sigma))
    try:  # the compiled loops of a single term give the gradient too, and are faster by far
        value = density.value(x) if density.single is None else density.value_and_gradient(x)[0]
    except (FittingError, FloatingPointError, np.linalg.LinAlgError):
        return -np.inf
    return value if np.isfinite(value) else -np.inf


def draw_block(density: CovarianceDensity, phi: Array, rng: np.random.Generator) -> Block:
    """Draw sigma given phi, then the coefficients given both."""
    grid = density.grid(phi)
    sigma = float(grid.draw(rng.random(1))[0])
    coefficients = draw_coefficients(density, grid.posterior, np.array([sigma]), rng)
    sds, correlations = covariance_parameters(density, phi, np.asarray(sigma))
    return Block(
        phi=phi,
        sigma=sigma,
        beta=np.asarray(coefficients.beta[0], dtype=float),
        effects=tuple(np.asarray(b[0], dtype=float) for b in coefficients.effects),
        sds=tuple(np.asarray(sd, dtype=float) for sd in sds),
        correlations=tuple(
            np.eye(len(sd)) if cor is None else np.asarray(cor, dtype=float)
            for sd, cor in zip(sds, correlations, strict=True)
        ),
    )


def redraw_coefficients(
    rows: KernelStructure, priors: ModelPriors, residual: Array, block: Block, rng: np.random.Generator
) -> Block:
    """Draw beta and b given other residuals, at the block's variances."""
    density = CovarianceDensity(rows.at(residual), priors)
    posterior = density.grid(block.phi).posterior
    coefficients = draw_coefficients(density, posterior, np.array([block.sigma]), rng)
    return replace(
        block,
        beta=np.asarray(coefficients.beta[0], dtype=float),
        effects=tuple(np.asarray(b[0], dtype=float) for b in coefficients.effects),
    )


def slice_step(log_density: Callable[[Array], float], x: Array, rng: np.random.Generator) -> Array:
    """Update every coordinate in turn by a univariate slice step with stepping out."""
    x = x.copy()
    value = log_density(x)
    for k in rng.permutation(len(x)):
        level = value - rng.exponential()
        centre = x[k]
        lower = centre - SLICE_WIDTH * rng.random()
        upper = lower + SLICE_WIDTH
        left = int(rng.integers(MOST_WIDENINGS))
        right = MOST_WIDENINGS - 1 - left
        while left > 0 and _moved(log_density, x, k, lower) > level:
            lower -= SLICE_WIDTH
            left -= 1
        while right > 0 and _moved(log_density, x, k, upper) > level:
            upper += SLICE_WIDTH
            right -= 1
        for _ in range(MOST_SHRINKINGS):
            candidate = lower + (upper - lower) * rng.random()
            found = _moved(log_density, x, k, candidate)
            if found > level:
                x[k], value = candidate, found
                break
            if candidate < centre:
                lower = candidate
            else:
                upper = candidate
    return x


def _moved(log_density: Callable[[Array], float], x: Array, k: int, value: float) -> float:
    moved = x.copy()
    moved[k] = value
    return log_density(moved)

r"""Posterior means, standard deviations and quantiles of all random effects, without draws of them.

Given phi and sigma an effect is normal, :math:`b \mid \phi_k, \sigma_k, y \sim N(m_k, v_k)`, so that its posterior is
the mixture over the points k with their weights,

.. math:: \operatorname{E} b = \sum_k w_k m_k, \qquad
          \operatorname{var} b = \sum_k w_k (v_k + m_k^2) - (\operatorname{E} b)^2,

and a quantile q solves :math:`\sum_k w_k \Phi((q - m_k) / \sqrt{v_k}) = p`. Nothing is random but the points.
"""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.errors import ModelError
from bayeslmm.likelihood.conditional import effect_modes
from bayeslmm.likelihood.memory import available_memory
from bayeslmm.likelihood.normal_prior import Eliminated, FixedPosterior, fixed_posterior
from bayeslmm.likelihood.selected_inverse import inverse_blocks
from bayeslmm.likelihood.threads import idle_cores, in_threads, worker_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.effect_summary import EffectSummary
from bayeslmm.posterior.mixture_quantiles import mixture_quantiles
from bayeslmm.posterior.sigma_density import SigmaGrid
from bayeslmm.posterior.single_density import SingleTerm
from bayeslmm.posterior.single_moments import NormalParts
from bayeslmm.types import Array

MOST_POINTS = 512  # of phi
PART_BYTES = 8  # of an effect's normal distribution, two numbers of four
NEGLIGIBLE = 1e-6  # share of the largest weight that adds nothing
NARROW = 0.005  # sd of log sigma below which one node serves
NODES = np.array([-math.sqrt(3.0), 0.0, math.sqrt(3.0)])  # Gauss and Hermite's, for a standard normal
SHARES = np.array([1.0, 4.0, 1.0]) / 6.0
CHUNK = 4096  # effects whose quantiles a thread solves in one call


@dataclass(frozen=True, slots=True)
class Component:
    """A point phi of the mixture, with normal distributions at one or more values of sigma.

    Attributes
    ----------
    phi
        Shape (d,).
    sigma, weights
        Residual standard deviations and the weights of the distributions there, shape (r,).
    posterior
        The coefficients at phi, where they are known and small enough to be kept.
    """

    phi: Array
    sigma: Array
    weights: Array
    posterior: FixedPosterior | None = None


def components_of_points(density: CovarianceDensity, phi: Array, weights: Array, seed: int) -> list[Component]:
    """Return the mixture over weighted points of phi (m, d), sigma at up to three nodes of each.

    More than `MOST_POINTS` points are thinned systematically.
    """
    kept = np.flatnonzero(weights > NEGLIGIBLE * weights.max())
    shares = weights[kept] / weights[kept].sum()
    if len(kept) > MOST_POINTS:
        places = (np.arange(MOST_POINTS) + np.random.default_rng([seed, 3 << 20]).uniform()) / MOST_POINTS
        kept, counts = np.unique(
            kept[np.minimum(np.searchsorted(np.cumsum(shares), places), len(kept) - 1)], return_counts=True
        )
        shares = counts / MOST_POINTS

    def at(place: int) -> Component:
        """Return one point with its values of sigma."""
        point = phi[kept[place]]
        with np.errstate(all="ignore"):
            grid = density.grid_at(point, _eliminate(density, point))
            nodes, own = _sigma_nodes(grid)
        return Component(point, nodes, shares[place] * own, None if density.single is None else grid.posterior)

    return in_threads(at, range(len(kept)), _threads(density))


def _eliminate(density: CovarianceDensity, phi: Array) -> Eliminated:
    """Eliminate the random effects at phi, in compiled loops where there is one term."""
    if density.single is None:
        return density.eliminate(phi)
    return density.single.eliminate(phi, density.kernel.products)


def _threads(density: CovarianceDensity) -> int:
    large = density.single is not None and density.single.is_large
    return idle_cores() if large else worker_threads(density.kernel.order)


def _sigma_nodes(grid: SigmaGrid) -> tuple[Array, Array]:
    """Return values of sigma and their shares, with the mean and the variance of log sigma."""
    if len(grid.log_sigma) == 1:
        return np.exp(grid.log_sigma), np.ones(1)
    shares = grid.density * np.gradient(grid.log_sigma)
    shares /= shares.sum()
    mean = float(shares @ grid.log_sigma)
    sd = float(np.sqrt(shares @ (grid.log_sigma - mean) ** 2))
    if sd < NARROW:
        return np.exp([mean]), np.ones(1)
    return np.exp(mean + sd * NODES), SHARES


def summarise_effects(
    density: CovarianceDensity,
    components: Sequence[Component],
    probabilities: Sequence[float],
    report: Callable[[int], None] | None = None,
) -> tuple[EffectSummary, ...]:
    """Return the summary of every term.

    Parameters
    ----------
    density
        The model.
    components
        Points of the mixture with K normal distributions. What memory holds besides the results is two numbers of four
        bytes for each of them and each effect, and nothing of a single term.
    probabilities
        Of the quantiles.
    report
        Called with the number of points done.
    """
    weights = np.concatenate([component.weights for component in components])
    weights = weights / weights.sum()
    asked = np.array(sorted(probabilities), dtype=float)
    if density.single is not None:
        return (_summarise_single(density, density.single, components, weights, asked, report),)
    return _summarise_stored(density, components, weights, asked, report)


def _summarise_single(
    density: CovarianceDensity,
    single: SingleTerm,
    components: Sequence[Component],
    weights: Array,
    probabilities: Array,
    report: Callable[[int], None] | None = None,
) -> EffectSummary:
    """Summarise a single term, a few of its levels after the others."""
    with np.errstate(all="ignore"):
        parts = _normal_parts(density, single, components, weights)
    levels, columns = single.z.shape[:2]
    means, sds = np.empty((levels, columns)), np.empty((levels, columns))
    quantiles = np.empty((len(probabilities), levels, columns))

    def summarise(start: int) -> None:
        """Summarise some levels."""
        some = slice(start, min(start + CHUNK, levels))
        single.summarise(parts, probabilities, some, means, sds, quantiles)

    in_threads(summarise, range(0, levels, CHUNK), idle_cores() if single.is_large else 1, report)
    return EffectSummary(means, sds, probabilities, quantiles)


def _normal_parts(
    density: CovarianceDensity, single: SingleTerm, components: Sequence[Component], weights: Array
) -> NormalParts:
    """Return the normal distributions of a single term's effects at all components."""
    found: list[tuple[Array, Array, Array, float]] = []
    for component in components:
        prior = density.fixed_prior_at(component.phi)
        posterior = component.posterior
        if posterior is None:
            posterior = fixed_posterior(_eliminate(density, component.phi), prior)
        found += [
            (component.phi, posterior.mean(s), posterior.precision_factor(s, prior), float(s)) for s in component.sigma
        ]
    phi, betas, roots, sigmas = zip(*found, strict=True)
    return single.parts(phi, betas, roots, np.array(sigmas), weights)


def _summarise_stored(
    density: CovarianceDensity,
    components: Sequence[Component],
    weights: Array,
    asked: Array,
    report: Callable[[int], None] | None = None,
) -> tuple[EffectSummary, ...]:
    """Summarise all terms at once, two numbers of four bytes kept for each effect and distribution."""
    shapes = [(shape.n_levels, shape.n_columns) for shape in density.kernel.shapes]
    sizes = [levels * columns for levels, columns in shapes]
    total = sum(sizes)
    _check_room(len(weights) * total, len(components))
    ends = np.cumsum([0, *(len(component.weights) for component in components)])
    means, sds = (np.empty((len(weights), total), dtype=np.float32) for _ in range(2))
    first, second = np.zeros(total), np.zeros(total)
    centre = np.zeros(total)
    lock = threading.Lock()

    def evaluate(k: int) -> None:
        """Find the normal distributions of a point; what is common to all is kept apart, so that four bytes suffice."""
        own = slice(ends[k], ends[k + 1])
        mean, variance = effect_moments(density, components[k])
        if k == 0:
            centre[:] = mean[0]
        means[own], sds[own] = mean - centre, np.sqrt(variance)
        with lock:
            np.add(first, weights[own] @ (mean - centre), out=first)
            np.add(second, weights[own] @ (variance + (mean - centre) ** 2), out=second)

    with np.errstate(all="ignore"):
        evaluate(0)
        in_threads(evaluate, range(1, len(components)), _threads(density), report)
    sd = np.sqrt(np.maximum(second - first**2, 0.0))
    quantiles = np.empty((len(asked), total))

    def solve(start: int) -> None:
        """Solve for the quantiles of some effects."""
        some = slice(start, start + CHUNK)
        quantiles[:, some] = mixture_quantiles(means[:, some], sds[:, some], weights, first[some], sd[some], asked)

    in_threads(solve, range(0, total, CHUNK), idle_cores())
    places = np.cumsum([0, *sizes])
    return tuple(
        EffectSummary(
            mean=(centre + first)[start:stop].reshape(shape),
            sd=sd[start:stop].reshape(shape),
            probabilities=asked,
            quantiles=(centre + quantiles)[:, start:stop].reshape(len(asked), *shape),
        )
        for start, stop, shape in zip(places[:-1], places[1:], shapes, strict=True)
    )


def _check_room(numbers: int, points: int) -> None:
    """Refuse arrays of two numbers of four bytes for each effect and distribution that memory does not hold.

    Raises
    ------
    ModelError
        With the sizes and the remedy.
    """
    available, needed = available_memory(), PART_BYTES * numbers
    if available is not None and needed > available:
        raise ModelError(
            f"store='summary' needs {needed / 2**30:.1f} GiB for the random effects at {points} points; "
            f"{available / 2**30:.1f} GiB are free. Keep nothing of them with store=(), or draws of some terms."
        )


def effect_moments(density: CovarianceDensity, component: Component) -> tuple[Array, Array]:
    """Return means and variances of all effects given phi and each sigma, terms one after the other, each (r, q)."""
    prior = density.fixed_prior_at(component.phi)
    posterior = fixed_posterior(density.factor(component.phi), prior)
    factor = posterior.factor
    turns = [columns.matrix @ own for columns, own in zip(density.kernel.maps, factor.lambdas, strict=True)]
    means, variances = [], []
    for sigma in component.sigma:
        modes = effect_modes(factor, posterior.mean(sigma))
        blocks = inverse_blocks(factor, posterior.precision_factor(sigma, prior)).blocks
        means.append(np.hstack([np.zeros(0), *((u @ turn.T).ravel() for u, turn in zip(modes, turns, strict=True))]))
        spreads = [
            sigma**2 * np.einsum("st,jtr,sr->js", turn, block, turn, optimize=True).ravel()
            for block, turn in zip(blocks, turns, strict=True)
        ]
        variances.append(np.hstack([np.zeros(0), *spreads]))
    return np.array(means), np.array(variances)

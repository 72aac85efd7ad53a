r"""Posteriors by quadrature, written from the equations and sharing no code with the kernel.

For one or two standard deviations (and their correlation), with :math:`\beta \sim N(m, B)`,

.. math:: y \mid \psi \sim N(X m, C), \qquad C = \sigma^2 I + \sum_k Z_k (I \otimes \Sigma_k) Z_k^\top + X B X^\top,

and :math:`a = (\beta, b)` given :math:`\psi` and y is normal with mean :math:`a_0 + P A^\top C^{-1}(y - X m)`
and variance :math:`P - P A^\top C^{-1} A P`, A = [X Z]. C is formed and factored whole, n by n, at every
node. :math:`\psi` = (sds, correlation, sigma) is integrated by the trapezium rule after the substitutions sd
= c exp(x - exp(-x)), r = tanh x, sigma = c exp(x), under which smooth densities vanish at both ends and the
rule converges exponentially.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayeslmm.types import Array

LogDensity = Callable[[Array], Array]

SCOUT_NODES = 9  # per dimension, while looking for the mass
NEGLIGIBLE = 18.0  # log density below the peak that adds nothing
MOST_SCOUTS = 12
BATCH_NUMBERS = 1 << 22  # numbers held at once


@dataclass(frozen=True, slots=True)
class ExactTerm:
    """A random term: codes (n,) in 0..J-1, columns (n, S), J levels, and whether its effects are correlated."""

    codes: NDArray[np.integer]
    columns: Array
    n_levels: int
    correlated: bool = False

    def indicator(self) -> Array:
        """Return Z, shape (n, J S), level by level."""
        n, size = self.columns.shape
        z = np.zeros((n, self.n_levels, size))
        z[np.arange(n), self.codes] = self.columns
        return z.reshape(n, -1)


@dataclass(frozen=True, slots=True)
class ExactModel:
    """Data and priors of a small model.

    Attributes
    ----------
    y, X
        Response (n,) and fixed columns (n, p).
    terms
        At most two standard deviations in all.
    beta_mean, beta_cov
        Normal prior of beta on the columns of X: (p,), (p, p).
    sd_priors
        Normalised log density of each standard deviation, on the terms' columns.
    sigma_prior
        That of sigma.
    correlation_prior
        That of the correlation of a term with two correlated effects.
    """

    y: Array
    X: Array
    terms: Sequence[ExactTerm]
    beta_mean: Array
    beta_cov: Array
    sd_priors: Sequence[LogDensity]
    sigma_prior: LogDensity
    correlation_prior: LogDensity | None = None

    @property
    def dimension(self) -> int:
        """Number of covariance parameters, sigma included."""
        return len(self.sd_priors) + 1 + (self.correlation_prior is not None)


@dataclass(frozen=True, slots=True)
class ExactPosterior:
    """Posterior moments and evidence.

    Attributes
    ----------
    mean, sd
        Of every sd, the correlation if there is one, sigma, beta, and the random effects term by term, level by
        level: shape (K,), the order of `quantities.all_parameters`.
    log_evidence
        log p(y).
    error
        Largest change of a mean or sd, in sds, and of the log evidence, when every other node is left out:
        the error itself is about its square, as the rule converges exponentially.
    """

    mean: Array
    sd: Array
    log_evidence: float
    error: float


def exact_posterior(model: ExactModel, nodes: int = 33) -> ExactPosterior:
    """Integrate.

    Parameters
    ----------
    model
        Data and priors; n up to about fifty.
    nodes
        Nodes per dimension, odd.
    """
    axes = _box(model, nodes)
    log_density, first, second = _evaluate(model, axes)
    fine = _integrate(axes, log_density, first, second, 1)
    coarse = _integrate(axes, log_density, first, second, 2)
    moved = max(np.max(np.abs(fine[0] - coarse[0]) / fine[1]), np.max(np.abs(fine[1] / coarse[1] - 1.0)))
    return ExactPosterior(*fine, error=float(max(moved, abs(fine[2] - coarse[2]))))


def _parameters(model: ExactModel, x: Array) -> tuple[Array, Array]:
    """Return psi and the log Jacobian for nodes x, shapes (m, d) and (m,)."""
    scale = float(np.std(model.y))
    psi, log_jacobian = np.empty_like(x), np.zeros(len(x))
    count = len(model.sd_priors)
    for a in range(count):
        psi[:, a] = scale * np.exp(x[:, a] - np.exp(-x[:, a]))
        log_jacobian += np.log(psi[:, a]) + np.log1p(np.exp(-x[:, a]))
    if model.correlation_prior is not None:
        psi[:, count] = np.tanh(x[:, count])
        log_jacobian -= 2.0 * np.log(np.cosh(x[:, count]))
    psi[:, -1] = scale * np.exp(x[:, -1])
    return psi, log_jacobian + np.log(psi[:, -1])


def _log_prior(model: ExactModel, psi: Array) -> Array:
    value = np.asarray(model.sigma_prior(psi[:, -1]), dtype=float)
    for a, prior in enumerate(model.sd_priors):
        value = value + prior(psi[:, a])
    if model.correlation_prior is not None:
        value = value + model.correlation_prior(psi[:, len(model.sd_priors)])
    return value


def _effect_covariance(model: ExactModel, psi: Array) -> Array:
    """Return the prior covariance of all random effects, shape (m, q, q)."""
    q = sum(term.n_levels * term.columns.shape[1] for term in model.terms)
    covariance = np.zeros((len(psi), q, q))
    start, first = 0, 0
    for term in model.terms:
        size = term.columns.shape[1]
        sd = psi[:, first : first + size]
        block = np.einsum("ms,mt,st->mst", sd, sd, np.eye(size))
        if term.correlated and size == 2:
            block[:, 0, 1] = block[:, 1, 0] = psi[:, len(model.sd_priors)] * sd[:, 0] * sd[:, 1]
        for level in range(term.n_levels):
            at = slice(start + level * size, start + (level + 1) * size)
            covariance[:, at, at] = block
        start, first = start + term.n_levels * size, first + size
    return covariance


def _conditional(model: ExactModel, x: Array) -> tuple[Array, Array, Array]:
    """Return log p(y, x), and mean and variance of (psi, beta, b) given x, for nodes x (m, d)."""
    psi, log_jacobian = _parameters(model, x)
    Z = np.column_stack([np.zeros((len(model.y), 0)), *(term.indicator() for term in model.terms)])
    n, p = model.X.shape
    A = np.column_stack([model.X, Z])
    P = np.zeros((len(x), A.shape[1], A.shape[1]))
    P[:, :p, :p] = model.beta_cov
    P[:, p:, p:] = _effect_covariance(model, psi)
    PA = P @ A.T
    C = A @ PA + psi[:, -1, None, None] ** 2 * np.eye(n)
    residual = model.y - model.X @ model.beta_mean
    right = np.concatenate([np.broadcast_to(residual[:, None], (len(x), n, 1)), PA.swapaxes(1, 2)], axis=2)
    solved = np.linalg.solve(C, right)
    log_det = np.linalg.slogdet(C)[1]
    log_likelihood = -0.5 * (n * np.log(2.0 * np.pi) + log_det + solved[:, :, 0] @ residual)
    mean = np.einsum("mqn,mn->mq", PA, solved[:, :, 0])
    mean[:, :p] += model.beta_mean
    variance = np.einsum("mqq->mq", P) - np.einsum("mqn,mnq->mq", PA, solved[:, :, 1:])
    log_density = log_likelihood + _log_prior(model, psi) + log_jacobian
    return log_density, np.column_stack([psi, mean]), np.column_stack([np.zeros_like(psi), variance])


def _log_density(model: ExactModel, x: Array) -> Array:
    step = _batch(model)
    return np.concatenate([_conditional(model, x[i : i + step])[0] for i in range(0, len(x), step)])


def _batch(model: ExactModel) -> int:
    q = model.X.shape[1] + sum(term.n_levels * term.columns.shape[1] for term in model.terms)
    return max(1, BATCH_NUMBERS // (len(model.y) + q) ** 2)


def _grid(axes: Sequence[Array]) -> Array:
    return np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")], axis=1)


def _box(model: ExactModel, nodes: int) -> list[Array]:
    """Find the nodes outside which nothing is left, by coarse grids that grow or shrink."""
    low, high = np.full(model.dimension, -2.5), np.full(model.dimension, 2.5)
    for _ in range(MOST_SCOUTS):
        axes = [np.linspace(a, b, SCOUT_NODES) for a, b in zip(low, high, strict=True)]
        logs = _log_density(model, _grid(axes)).reshape([SCOUT_NODES] * model.dimension)
        keep = logs > logs.max() - NEGLIGIBLE
        settled = True
        for d in range(model.dimension):
            others = tuple(k for k in range(model.dimension) if k != d)
            inside = np.flatnonzero(keep.any(axis=others))
            step = axes[d][1] - axes[d][0]
            new_low, new_high = axes[d][inside[0]] - step, axes[d][inside[-1]] + step
            settled &= abs(new_low - low[d]) <= 2.1 * step and abs(new_high - high[d]) <= 2.1 * step
            settled &= bool(inside[0] > 0 and inside[-1] < SCOUT_NODES - 1)
            low[d], high[d] = new_low, new_high
        if settled:
            break
    return [np.linspace(a, b, nodes) for a, b in zip(low, high, strict=True)]


def _evaluate(model: ExactModel, axes: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Return the log density, first and second moments at all nodes, the grid's dimensions first."""
    x = _grid(axes)
    step = _batch(model)
    pieces = [_conditional(model, x[i : i + step]) for i in range(0, len(x), step)]
    log_density, mean, variance = (np.concatenate([piece[k] for piece in pieces]) for k in range(3))
    shape = [len(axis) for axis in axes]
    width = mean.shape[1]
    return (
        log_density.reshape(shape),
        mean.reshape(*shape, width),
        (variance + mean**2).reshape(*shape, width),
    )


def _integrate(
    axes: Sequence[Array], log_density: Array, first: Array, second: Array, stride: int
) -> tuple[Array, Array, float]:
    """Return mean, sd and log evidence from every `stride`-th node."""
    every = tuple(slice(None, None, stride) for _ in axes)
    logs = log_density[every]
    peak = logs.max()
    weights = np.exp(logs - peak)
    log_volume = sum(np.log(stride * (axis[1] - axis[0])) for axis in axes)
    total = weights.sum()
    width = first.shape[-1]
    share = (weights / total).ravel()
    mean = share @ first[every].reshape(-1, width)
    square = share @ (second[every].reshape(-1, width) - 2.0 * mean * first[every].reshape(-1, width)) + mean**2
    return mean, np.sqrt(square), float(peak + np.log(total) + log_volume)

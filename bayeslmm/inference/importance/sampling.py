r"""Importance sampling of the covariance parameters, every coefficient drawn exactly.

Points phi come from Student t proposals around the Laplace approximation, refined by up to three rounds of weighted
moments; all points are kept with the weights of the mixture they came from and Pareto-smoothed. At each point sigma
is drawn from its grid and (beta, b) from their normal distribution, so the only error is that of the weights, which
k̂ and the effective size measure.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from bayeslmm.covariance import sd_places
from bayeslmm.errors import FittingError, warn_user
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.importance.handover import capitalised, duration, nuts_seconds
from bayeslmm.inference.importance.proposals import (
    StudentProposal,
    laplace_proposals,
    mixture_log_density,
    moment_proposal,
    normal_share,
)
from bayeslmm.inference.importance.psis import SmoothedWeights, smooth_weights
from bayeslmm.inference.laplace import Laplace, find_laplace
from bayeslmm.inference.nuts.marginal import sample_marginal
from bayeslmm.inference.options import Options
from bayeslmm.inference.progress import progress_bar
from bayeslmm.likelihood.threads import in_threads, worker_threads
from bayeslmm.posterior.conditional_draws import covariance_parameters, draw_coefficients
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.types import Array

Effects = tuple[NDArray[np.floating], ...]

FIRST_POINTS = 512
MOST_POINTS = 4096
SMALL_ORDER = 200  # below this order of the trailing matrix points are cheap: as many as draws are taken
LAPLACE_DOF = 7.0
MOMENT_DOF = 12.0
MOMENT_ROUNDS = 3
GOOD_K_HAT = 0.5
BAD_K_HAT = 0.7
LARGEST_WEIGHT = 50.0  # a weight this many times the average carries the estimate alone
ENOUGH_EFFECTIVE = 400.0
SPARE_POINTS = 1.06  # points beyond those a normal posterior would need
POINTS_STEP = 32
CHUNK_NUMBERS = 1 << 22  # random numbers held at once by the compiled loop
PICKED_NUMBERS = 1 << 17  # effects copied at once besides those kept
HANDOVER_TUNE = 1000  # warm-up iterations of NUTS where it takes over
SPARE_DRAWS = 1.5  # draws of the coefficients made at each point, per draw expected from it


@dataclass(frozen=True, slots=True)
class WeightedPoints:
    """Every point, its weight, and the draws made there.

    Attributes
    ----------
    phi
        Shape (m, d).
    log_density
        log p(phi, y), shape (m,); -inf where the kernel failed.
    smoothed
        Normalised weights with k̂ and effective size.
    sigma
        Draws of sigma, shape (m, r).
    beta
        Draws of beta, shape (m, r, p).
    effects
        Draws of the random effects, per batch of m_k points one (m_k r, J, S) per term, those of a point together, or
        (m_k r, 0, S) where they were not kept. Not one array: that would be a copy of the largest thing there is.
    log_evidence, log_evidence_error
        log p(y), up to the constants of improper priors, and its standard error were the points drawn independently;
        they are more even than that, so it is less.
    laplace
        Where the proposals started.
    failures
        Points at which the kernel failed.
    rounds
        Proposal rounds, the first included.
    """

    phi: Array
    log_density: Array
    smoothed: SmoothedWeights
    sigma: Array
    beta: Array
    effects: tuple[Effects, ...]
    log_evidence: float
    log_evidence_error: float
    laplace: Laplace
    failures: int
    rounds: int

    @property
    def trouble(self) -> str:
        """Say in a sentence why the weights should not be used; empty if they are fine."""
        if self.smoothed.effective_size < ENOUGH_EFFECTIVE:
            return (
                f"importance sampling reached an effective size of {self.smoothed.effective_size:.0f} of "
                f"{len(self.phi)} points, fewer than {ENOUGH_EFFECTIVE:.0f}"
            )
        if self.smoothed.k_hat > BAD_K_HAT and self.smoothed.largest > LARGEST_WEIGHT:
            return (
                f"importance sampling has k-hat {self.smoothed.k_hat:.2f} and one point with "
                f"{self.smoothed.largest:.0f} times the average weight"
            )
        return ""


def weighted_points(
    density: CovarianceDensity, options: Options, *, report: Callable[[int], None] | None = None
) -> WeightedPoints:
    """Sample the covariance parameters and draw the coefficients at every point.

    Parameters
    ----------
    density
        The model.
    options
        How many draws will be taken from the points, the seed, and which random effects are kept in which precision.
        The same seed gives the same draws whatever the number of cores.
    report
        Called with the number of points done.
    """
    laplace = find_laplace(density)
    sampler = _Sampler(density, options, report)
    d = density.n_phi
    if d == 0:
        sampler.add([], np.zeros((sampler.wanted, 0)))
        return sampler.finish(laplace)
    covariance = laplace.covariance[:d, :d]
    proposals = laplace_proposals(laplace.mode[:d], covariance, sd_places(density.kernel.shapes), LAPLACE_DOF)
    sampler.round(proposals, sampler.first_count(len(proposals)))
    for _ in range(MOMENT_ROUNDS):
        if sampler.satisfied:
            break
        smoothed = sampler.weights()
        proposals = [
            moment_proposal(p, sampler.phi, smoothed.weights, smoothed.effective_size, MOMENT_DOF) for p in proposals
        ]
        sampler.round(proposals, sampler.next_count())
    return sampler.finish(laplace)


class _Sampler:
    """Points so far and the proposals they came from."""

    def __init__(
        self,
        density: CovarianceDensity,
        options: Options,
        report: Callable[[int], None] | None,
    ) -> None:
        self.density = density
        self.seed = options.seed
        self.dtype = options.dtype
        self.keep = options.keep([term.name for term in density.priors.terms])
        n_draws = options.draws * options.chains
        self.report = report
        order = density.kernel.products.order
        self.cheap = order < SMALL_ORDER
        self.wanted = (
            _power_of_two(min(max(n_draws, FIRST_POINTS), MOST_POINTS)) if self.cheap else fewest_points(density.n_phi)
        )
        self.per_point = max(1, int(np.ceil(SPARE_DRAWS * n_draws / self.wanted)))
        self.proposals: list[StudentProposal] = []
        self.counts: list[int] = []
        self.phi = np.zeros((0, density.n_phi))
        self.batches: list[_Batch] = []
        self.rounds = 0

    def round(self, proposals: Sequence[StudentProposal], count: int) -> None:
        """Add `count` points, shared among the proposals."""
        share = count // len(proposals)
        for k, proposal in enumerate(proposals):
            sobol = qmc.Sobol(
                self.phi.shape[1] + 1, scramble=True, rng=np.random.default_rng([self.seed, self.rounds, k])
            )
            uniforms = np.clip(sobol.random(_power_of_two(share))[:share], 1e-12, 1 - 1e-12)
            self.add([proposal], proposal.sample(uniforms))
        self.rounds += 1

    def add(self, proposals: Sequence[StudentProposal], phi: Array) -> None:
        """Evaluate points and keep them."""
        self.batches.append(_evaluate_all(self, phi, len(self.phi)))
        self.phi = np.vstack([self.phi, phi])
        self.proposals += list(proposals)
        self.counts += [len(phi)] * len(proposals)

    @property
    def logs(self) -> Array:
        """Log density at every point so far, shape (m,)."""
        return np.concatenate([batch.log_density for batch in self.batches])

    def weights(self) -> SmoothedWeights:
        """Return the smoothed weights of all points so far."""
        logs = self.logs
        if not np.isfinite(logs).any():
            raise FittingError("The kernel failed at every point of importance sampling.")
        if not self.proposals:
            count = len(logs)
            return SmoothedWeights(np.full(count, 1.0 / count), -np.inf, float(count))
        return smooth_weights(logs - mixture_log_density(self.proposals, self.counts, self.phi))

    @property
    def satisfied(self) -> bool:
        """Whether the points are many enough and their weights even enough."""
        if len(self.phi) < self.wanted:
            return False
        smoothed = self.weights()
        return smoothed.k_hat < GOOD_K_HAT and smoothed.effective_size >= ENOUGH_EFFECTIVE

    def first_count(self, n_proposals: int) -> int:
        """Points of the first round: where they are costly, as many as a posterior close to normal needs."""
        if self.cheap:
            return FIRST_POINTS
        return self.wanted if n_proposals == 1 else max(FIRST_POINTS, self.wanted)

    def next_count(self) -> int:
        """Points of the next round."""
        return max(FIRST_POINTS, min(self.wanted, _power_of_two(len(self.phi))))

    def finish(self, laplace: Laplace) -> WeightedPoints:
        """Gather everything."""
        logs = self.logs
        smoothed = self.weights()
        evidence, error = (
            (float(logs[0]), 0.0)
            if not self.proposals
            else log_mean(logs - mixture_log_density(self.proposals, self.counts, self.phi))
        )
        return WeightedPoints(
            phi=self.phi,
            log_density=logs,
            smoothed=smoothed,
            sigma=np.concatenate([batch.sigma for batch in self.batches]),
            beta=np.concatenate([batch.beta for batch in self.batches]),
            effects=tuple(batch.effects for batch in self.batches),
            log_evidence=evidence,
            log_evidence_error=error,
            laplace=laplace,
            failures=int(np.sum(~np.isfinite(logs))),
            rounds=self.rounds,
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    """Points evaluated together: log densities (m,), draws of sigma (m, r), beta (m, r, p), effects (m r, J, S)."""

    log_density: Array
    sigma: Array
    beta: Array
    effects: Effects

    @classmethod
    def empty(cls, sampler: _Sampler, count: int) -> "_Batch":
        """Room for a number of points, as if the kernel failed at all of them."""
        kernel, m = sampler.density.kernel, sampler.per_point
        effects: Effects = tuple(
            np.zeros((count * m, shape.n_levels if kept else 0, shape.n_columns), dtype=sampler.dtype)
            for shape, kept in zip(kernel.shapes, sampler.keep, strict=True)
        )
        return cls(np.full(count, -np.inf), np.ones((count, m)), np.zeros((count, m, kernel.p)), effects)


def _evaluate_all(sampler: _Sampler, phi: Array, first: int) -> _Batch:
    """Evaluate points: in one compiled loop, or in threads where the kernel's work outweighs Python's."""
    batch = _Batch.empty(sampler, len(phi))
    if sampler.density.single is not None:
        _evaluate_compiled(sampler, phi, first, batch)
        return batch

    def evaluate(place: int) -> None:
        """Evaluate one point into its place of the batch."""
        _evaluate(sampler, first + place, phi[place], batch, place)

    def report(done: int) -> None:
        """Tell how many points of all are done."""
        if sampler.report is not None:
            sampler.report(first + done)

    in_threads(evaluate, range(len(phi)), worker_threads(sampler.density.kernel.order), report)
    return batch


def _evaluate_compiled(sampler: _Sampler, phi: Array, first: int, batch: _Batch) -> None:
    density, m = sampler.density, sampler.per_point
    kernel, single = density.kernel, density.single
    assert single is not None
    shape = kernel.shapes[0]
    shift = kernel.fixed.centring.constant * kernel.y_mean
    chunk = max(1, CHUNK_NUMBERS // (m * (shape.n_effects + kernel.p + 1)))
    for start in range(0, len(phi), chunk):
        rows = np.ascontiguousarray(phi[start : start + chunk])
        stop = start + len(rows)
        rng = np.random.default_rng([sampler.seed, 1 << 20, first + start])
        uniforms = rng.uniform(size=(len(rows), m))
        fixed = rng.standard_normal((len(rows), m, kernel.p))
        n_levels = shape.n_levels if sampler.keep[0] else 0
        noise = rng.standard_normal((len(rows), m, n_levels, shape.n_columns))
        logs, sigma, beta, effects = single.draw(rows, uniforms, fixed, noise)
        batch.log_density[start:stop] = logs
        batch.sigma[start:stop] = sigma
        batch.beta[start:stop] = (beta.reshape(-1, kernel.p) @ kernel.fixed.matrix.T).reshape(beta.shape) + shift
        batch.effects[0][start * m : stop * m] = effects.reshape(len(rows) * m, *effects.shape[2:])
        if sampler.report is not None:
            sampler.report(first + stop)


def _evaluate(sampler: _Sampler, index: int, phi: Array, batch: _Batch, place: int) -> None:
    density, m = sampler.density, sampler.per_point
    try:
        with np.errstate(all="ignore"):
            grid = density.grid(phi)
    except (FittingError, np.linalg.LinAlgError):
        return
    if not np.isfinite(grid.log_density):
        return
    rng = np.random.default_rng([sampler.seed, 1 << 20, index])
    sigma = grid.draw(rng.uniform(size=m))
    drawn = draw_coefficients(density, grid.posterior, sigma, rng, sampler.keep)
    batch.log_density[place] = grid.log_density
    batch.sigma[place] = sigma
    batch.beta[place] = drawn.beta
    for kept, effects in zip(batch.effects, drawn.effects, strict=True):
        kept[place * m : (place + 1) * m] = effects


def resample(points: WeightedPoints, n_draws: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose draws in proportion to the weights: (point, draw within the point), each of shape (n_draws,), shuffled."""
    rng = np.random.default_rng([seed, 2 << 20])
    places = (np.arange(n_draws) + rng.uniform()) / n_draws
    chosen = np.minimum(np.searchsorted(np.cumsum(points.smoothed.weights), places), len(points.phi) - 1)
    first = np.concatenate([[True], chosen[1:] != chosen[:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(n_draws), 0))
    within = (np.arange(n_draws) - start) % points.sigma.shape[1]
    order = rng.permutation(n_draws)
    return chosen[order], within[order]


def importance_draws(density: CovarianceDensity, points: WeightedPoints, options: Options) -> Draws:
    """Return equally weighted draws from weighted points, cut into chains for arviz."""
    draws, chains = options.draws, options.chains
    chosen, within = resample(points, draws * chains, options.seed)
    sigma = points.sigma[chosen, within]
    sds, correlations = covariance_parameters(density, points.phi[chosen], sigma)

    def cut(values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Cut draws into chains."""
        return values.reshape(chains, draws, *values.shape[1:])

    return Draws(
        beta=cut(points.beta[chosen, within]),
        sigma=cut(sigma),
        sd=tuple(cut(sd) for sd in sds),
        cor=tuple(None if c is None else cut(c) for c in correlations),
        effects=tuple(cut(_gather(points, k, chosen, within)) for k in range(len(density.kernel.shapes))),
        stats={"lp": cut(points.log_density[chosen])},
        method="importance",
        info={
            "k_hat": points.smoothed.k_hat if np.isfinite(points.smoothed.k_hat) else None,
            "effective_size": points.smoothed.effective_size,
            "points": len(points.phi),
            "rounds": points.rounds,
            "kernel_failures": points.failures,
            "kernel_evaluations": len(points.phi),
            "log_evidence": points.log_evidence,
            "log_evidence_error": points.log_evidence_error,
            "evaluations": points.laplace.evaluations + len(points.phi),
            "seed": options.seed,
        },
    )


def _gather(
    points: WeightedPoints, term: int, chosen: NDArray[np.intp], within: NDArray[np.intp]
) -> NDArray[np.floating]:
    """Return the draws chosen of a term's random effects, shape (n_draws, J, S)."""
    r = points.sigma.shape[1]
    one = points.effects[0][term]
    found = np.empty((len(chosen), *one.shape[1:]), dtype=one.dtype)
    first, piece = 0, max(1, PICKED_NUMBERS // max(one[0].size, 1))
    for batch in points.effects:
        last = first + len(batch[term]) // r
        here = np.flatnonzero((chosen >= first) & (chosen < last))
        for start in range(0, len(here), piece):  # in pieces: what is picked is copied once more
            some = here[start : start + piece]
            found[some] = batch[term][(chosen[some] - first) * r + within[some]]
        first = last
    return found


def sample_importance(density: CovarianceDensity, options: Options) -> Draws:
    """Sample the posterior by importance sampling, or by NUTS where the weights are too uneven.

    Parameters
    ----------
    density
        The model.
    options
        Equally weighted draws to return, cut into chains for arviz; seed; cores, should NUTS take over.

    Returns
    -------
    Draws
        `info` holds k_hat, effective_size, points, rounds and log_evidence; after a hand-over, sampler is "nutpie"
        and a message says why.
    """
    started = time.perf_counter()
    with progress_bar(None, "points", options.progressbar) as report:
        points = weighted_points(density, options, report=report)
    if not points.trouble or options.handover == "keep":
        found = importance_draws(density, points, options)
        return replace(found, info={**found.info, "seconds": time.perf_counter() - started})
    if options.handover == "error":
        raise FittingError(
            f"{capitalised(points.trouble)}. Use method='nuts', handover='nuts' to be handed over to it, or "
            "handover='keep' for the weighted draws as they are."
        )
    options = replace(options, tune=HANDOVER_TUNE)
    warn_user(
        f"{capitalised(points.trouble)}, so NUTS takes over, for about "
        f"{duration(nuts_seconds(density, points.laplace.mode, options))}. handover='error' or 'keep' prevents it."
    )
    with progress_bar(options.chains, "chains", options.progressbar) as report:
        sampled = sample_marginal(density, options, report=report)
    info = {
        "sampler": "nutpie",
        "parametrization": "marginal",
        "tune": HANDOVER_TUNE,
        "importance_k_hat": points.smoothed.k_hat,
        "importance_effective_size": points.smoothed.effective_size,
        "messages": (f"NUTS took over because {points.trouble}.",),
        "seconds": time.perf_counter() - started,
    }
    return replace(sampled, info={**sampled.info, **info})


def log_mean(logs: Array) -> tuple[float, float]:
    r"""Return the logarithm of the mean of weights given by their logarithms (m,), and its standard error.

    The error is :math:`(1/m_e - 1/m)^{1/2}`, with :math:`m_e = (\sum w)^2 / \sum w^2`.
    """
    peak = np.max(logs)
    weights = np.exp(logs - peak)
    total = weights.sum()
    excess = np.sum(weights**2) / total**2 - 1.0 / len(logs)
    return float(peak + np.log(total / len(logs))), float(np.sqrt(max(excess, 0.0)))


def fewest_points(dimension: int) -> int:
    """Return the points that have ENOUGH_EFFECTIVE effective ones, and some to spare, where the posterior is normal."""
    if dimension == 0:
        return FIRST_POINTS
    needed = SPARE_POINTS * ENOUGH_EFFECTIVE / normal_share(dimension, LAPLACE_DOF)
    return min(MOST_POINTS, POINTS_STEP * int(np.ceil(needed / POINTS_STEP)))


def _power_of_two(count: int) -> int:
    return 1 << int(np.ceil(np.log2(count)))

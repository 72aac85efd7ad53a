r"""Points of the covariance parameters and their weights.

Points phi come from Student t proposals around the Laplace approximation, refined by rounds of weighted moments; all
points are kept with the weights of the mixture they came from and Pareto-smoothed. sigma and every coefficient are
integrated out at each point, so the only error is that of the weights.

Scrambled Sobol points integrate a smooth density of few dimensions far better than independent ones do: on InstEval's
two parameters 64 points give posterior means as precise as 600 independent draws would. Where a point is costly they
are therefore few, and come in `REPLICATES` sets scrambled apart, whose spread measures the error (Owen, 1998, ACM
TOMACS 8(1)): see `replicated_size`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy  # scipy.stats takes a second to load and does so at its first use

from bayeslmm.covariance import sd_places
from bayeslmm.covariance.pairs import pair_values
from bayeslmm.errors import FittingError
from bayeslmm.inference.importance.early import EarlyDraws
from bayeslmm.inference.importance.proposals import (
    WEAK_VARIANCE,
    StudentProposal,
    laplace_proposals,
    mixture_log_density,
    moment_proposal,
)
from bayeslmm.inference.importance.psis import SmoothedWeights, smooth_weights
from bayeslmm.inference.importance.scored import scored_proposal
from bayeslmm.inference.importance.sizes import parameter_sizes, replicated_size
from bayeslmm.inference.laplace import LARGEST_VARIANCE, Laplace, find_laplace, reml_start, units
from bayeslmm.inference.options import Options
from bayeslmm.inference.quadratic import laplace_of_values
from bayeslmm.likelihood.normal_prior import Eliminated
from bayeslmm.likelihood.threads import blas_threads, idle_cores, in_threads, worker_threads
from bayeslmm.posterior.batched_density import BatchedDensity
from bayeslmm.posterior.conditional_draws import covariance_parameters
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.iterative_density import IterativeDensity
from bayeslmm.posterior.sigma_density import SigmaGrid
from bayeslmm.types import Array

FIRST_POINTS = 512
MOST_POINTS = 4096
MODERATE_POINTS = 1024  # where a point takes a millisecond, mostly of Python
SMALL_ORDER = 200  # below this order of the trailing matrix points are cheap
LAPLACE_DOF = 7.0
COSTLY_DOF = 30.0  # a posterior that takes long to evaluate has many levels and is near normal; rounds mend the rest
MOST_BY_VALUES = 6  # parameters up to which second differences of values cost less than those of gradients
SCORED_FROM = 10  # parameters from which proposals are made in normal scores of sds and correlations
SCORED_DOF = 30.0
SCORED_POINTS = 256  # of a round there: the first proposals are good, and moments of few points mend them soon
MOMENT_DOF = 12.0  # at least; with more dimensions the tails of a t in all of them waste more points
MOMENT_ROUNDS = 3  # after these a k-hat up to the limit is good enough
MOST_ROUNDS = 24
PATIENCE = 4  # rounds without a gain after which weights are given up
GAIN = 1.1  # times the largest effective size so far that counts as one
GOOD_K_HAT = 0.5
BAD_K_HAT = 0.7
LARGEST_WEIGHT = 50.0  # a weight this many times the average carries the estimate alone
ENOUGH_EFFECTIVE = 400.0  # of every parameter
FEW_DRAWS = 3.0  # times that: fewer draws are worth less than it, however many points there are
REPLICATES = 4  # sets of points scrambled apart
LARGEST_REPLICATE = 1024  # proposals learn more from several rounds than from one long one
REPLICATE_POINTS = 8  # points of a set per dimension, at least twice that, rounded down to a power of two
CHUNK_POINTS = 256  # points of a single term evaluated in one call


def uneven(smoothed: SmoothedWeights) -> bool:
    """Whether few weights carry the estimates: a large k-hat of weights that are all moderate is no news."""
    return smoothed.k_hat > BAD_K_HAT and smoothed.largest > LARGEST_WEIGHT


def enough_points(draws: int) -> float:
    """Return the effective size of points that leaves `ENOUGH_EFFECTIVE` to so many draws taken from them."""
    few = draws < FEW_DRAWS * ENOUGH_EFFECTIVE
    return ENOUGH_EFFECTIVE if few else ENOUGH_EFFECTIVE / (1.0 - ENOUGH_EFFECTIVE / draws)


@dataclass(frozen=True, slots=True)
class WeightedPoints:
    """Every point and its weight.

    Attributes
    ----------
    phi
        Shape (m, d).
    log_density
        log p(phi, y), shape (m,); -inf where the kernel failed.
    smoothed
        Normalised weights with k-hat and Kish's effective size.
    effective_size
        Independent draws that would give posterior means and variances of phi the same error.
    log_evidence, log_evidence_error
        log p(y), up to the constants of improper priors, and its standard error were the points drawn independently;
        they are more even than that, so it is less.
    laplace
        Where the proposals started.
    failures
        Points at which the kernel failed.
    rounds
        Proposal rounds, the first included.
    worst_size
        Independent draws that the points are worth for the mean of the worst standard deviation or correlation.
    """

    phi: Array
    log_density: Array
    smoothed: SmoothedWeights
    effective_size: float
    log_evidence: float
    log_evidence_error: float
    laplace: Laplace
    failures: int
    rounds: int
    worst_size: float = np.inf

    @property
    def trouble(self) -> str:
        """Say in a sentence why the weights should not be used; empty if they are fine."""
        size = min(self.effective_size, self.worst_size)
        if size < ENOUGH_EFFECTIVE:
            where = " for the worst parameter" if self.effective_size >= ENOUGH_EFFECTIVE else ""
            return (
                f"importance sampling reached an effective size of {size:.0f}{where} of "
                f"{len(self.phi)} points, fewer than {ENOUGH_EFFECTIVE:.0f}"
            )
        if uneven(self.smoothed):
            return (
                f"importance sampling has k-hat {self.smoothed.k_hat:.2f} and one point with "
                f"{self.smoothed.largest:.0f} times the average weight"
            )
        return ""


def weighted_points(
    density: CovarianceDensity,
    options: Options,
    *,
    laplace: Laplace | None = None,
    report: Callable[[int], None] | None = None,
    batched: BatchedDensity | None = None,
    early: EarlyDraws | None = None,
) -> WeightedPoints:
    """Sample the covariance parameters.

    Parameters
    ----------
    density
        The model.
    options
        How many draws will be taken from the points, and the seed. The same seed gives the same points whatever the
        number of cores.
    laplace
        Where proposals start; None to search for the mode.
    report
        Called with the number of points done.
    batched
        The density on a device, where the points are then evaluated.
    early
        Where draws at the points of the first round are kept.
    """
    laplace = approximate(density, batched) if laplace is None else laplace
    sampler = _Sampler(density, options, report, batched)
    d = density.n_phi
    if d == 0:
        sampler.add(None, 0, np.zeros((1, 0)))
        return sampler.finish(laplace)
    proposals, dof = sampler.first_proposals(laplace), max(MOMENT_DOF, d)
    if sampler.scored:
        dof = SCORED_DOF
        laplace = replace(laplace, evaluations=laplace.evaluations + 4 * density.dimension)
    sampler.round(proposals, sampler.first_count(len(proposals)), early)
    while not sampler.finished:
        smoothed = sampler.weights()
        proposals = [
            moment_proposal(p, sampler.phi, smoothed.weights, smoothed.effective_size, dof, careful=sampler.scored)
            for p in proposals
        ]
        sampler.round(proposals, sampler.next_count())
    return sampler.finish(laplace)


def approximate(density: CovarianceDensity, batched: BatchedDensity | None = None) -> Laplace:
    """Return the normal approximation that proposals start from: of phi alone where values gave it."""
    d = density.n_phi
    if not is_costly(density) or isinstance(density, IterativeDensity) or not 0 < d <= MOST_BY_VALUES:
        return find_laplace(density, batched)
    with blas_threads(0):
        start, evaluations = reml_start(density)
    most = np.full(d, LARGEST_VARIANCE)
    most[list(sd_places(density.kernel.shapes))] = WEAK_VARIANCE
    found = laplace_of_values(
        lambda phi: log_densities(density, phi, None, batched), start[:d], units(density)[:d], most
    )
    if found is None:
        return find_laplace(density, batched, (start, evaluations))
    return replace(found, evaluations=found.evaluations + evaluations)


class _Sampler:
    """Points so far and the proposals they came from."""

    def __init__(
        self,
        density: CovarianceDensity,
        options: Options,
        report: Callable[[int], None] | None,
        batched: BatchedDensity | None,
    ) -> None:
        self.density, self.batched = density, batched
        self.seed = options.seed
        self.report = report
        self.scored = is_scored(density)
        self.costly = is_costly(density) and not self.scored
        most = MOST_POINTS if density.single is not None else MODERATE_POINTS
        self.wanted = (
            REPLICATES * replicate_points(density.n_phi)
            if self.costly
            else _power_of_two(min(max(options.draws * options.chains, FIRST_POINTS), most))
        )
        self.sets = REPLICATES if self.costly else 1
        self.needed = enough_points(options.draws * options.chains)
        self.proposals: list[StudentProposal] = []
        self.counts: list[int] = []
        self.phi = np.zeros((0, density.n_phi))
        self.logs = np.zeros(0)
        self.replicate = np.zeros(0, dtype=np.intp)
        self.rounds = 0
        self.best, self.idle = 0.0, 0  # the largest effective size so far, and rounds since it last grew

    def first_proposals(self, laplace: Laplace) -> list[StudentProposal]:
        """Return what the first round draws from."""
        if self.scored:
            return [scored_proposal(self.density, laplace, SCORED_DOF)]
        found = laplace.of_first(self.density.n_phi)
        dof = COSTLY_DOF if self.costly else LAPLACE_DOF
        return laplace_proposals(found.mode, found.covariance, sd_places(self.density.kernel.shapes), dof)

    def round(self, proposals: Sequence[StudentProposal], count: int, early: EarlyDraws | None = None) -> None:
        """Add `count` points, shared among the proposals, each's in sets scrambled apart."""
        share = _power_of_two(max(count // (len(proposals) * self.sets), 2))
        d = self.phi.shape[1]
        if early is not None:
            early.expect(len(proposals) * self.sets * share)
        for k, proposal in enumerate(proposals):
            for r in range(self.sets):
                stream = [self.seed, self.rounds, k] if r == 0 else [self.seed, self.rounds, k, r]
                sobol = scipy.stats.qmc.Sobol(d + 1, scramble=True, rng=np.random.default_rng(stream))
                self.add(proposal, r, proposal.sample(np.clip(sobol.random(share), 1e-12, 1 - 1e-12)), early)
        self.rounds += 1

    def add(
        self, proposal: StudentProposal | None, replicate: int, phi: Array, early: EarlyDraws | None = None
    ) -> None:
        """Evaluate the points of one set and keep them."""
        first = len(self.phi)
        report = None if self.report is None else lambda done: self.report(first + done)  # type: ignore[misc]
        use = None if early is None else lambda place, grid: early.add(first + place, grid)
        self.logs = np.append(self.logs, log_densities(self.density, phi, report, self.batched, use))
        self.phi = np.vstack([self.phi, phi])
        self.replicate = np.append(self.replicate, np.full(len(phi), replicate))
        if proposal is not None:
            self.proposals.append(proposal)
            self.counts.append(len(phi))

    def log_ratios(self) -> Array:
        """Return the log of target over proposal of all points so far, shape (m,)."""
        if not np.isfinite(self.logs).any():
            raise FittingError("The kernel failed at every point of importance sampling.")
        if not self.proposals:
            return self.logs
        return self.logs - mixture_log_density(self.proposals, self.counts, self.phi)

    def weights(self) -> SmoothedWeights:
        """Return the smoothed weights of all points so far."""
        return smooth_weights(self.log_ratios())

    def effective_size(self, smoothed: SmoothedWeights) -> float:
        """Return the independent draws that the points are worth; any number where nothing had to be sampled."""
        if not self.proposals:
            return np.inf
        found = smoothed.effective_size
        if self.sets > 1:
            found = max(found, replicated_size(self.phi, smoothed.weights, self.replicate))
        return found

    def worst_size(self, smoothed: SmoothedWeights) -> float:
        """Return the independent draws that the points are worth for the worst parameter."""
        if not self.proposals:
            return np.inf
        size = self.effective_size(smoothed)
        parameters = point_parameters(self.density, self.phi)
        if not parameters.shape[1]:  # no random term: the points are of the scales of coefficients' priors
            return size
        return size / smoothed.effective_size * float(np.min(parameter_sizes(parameters, smoothed.weights)))

    @property
    def finished(self) -> bool:
        """Whether the points are enough for every parameter, or further rounds of proposals do not help."""
        smoothed = self.weights()
        size = min(self.effective_size(smoothed), self.worst_size(smoothed))
        if len(self.phi) >= self.wanted and smoothed.k_hat < GOOD_K_HAT and size >= self.needed:
            return True
        if size > GAIN * self.best:
            self.best, self.idle = size, 0
        else:
            self.idle += 1
        reliable = size >= self.needed and not uneven(smoothed)
        patience = PATIENCE * (2 if self.scored else 1)  # rounds there are half as long
        return self.rounds > MOST_ROUNDS or (self.rounds > MOMENT_ROUNDS and (reliable or self.idle >= patience))

    def first_count(self, n_proposals: int) -> int:
        """Points of the first round."""
        if self.scored:
            return SCORED_POINTS
        return n_proposals * self.wanted if self.costly else FIRST_POINTS

    def next_count(self) -> int:
        """Points of the next round."""
        if self.scored:
            return SCORED_POINTS
        if self.costly:
            return self.wanted
        return max(FIRST_POINTS, min(self.wanted, _power_of_two(len(self.phi))))

    def finish(self, laplace: Laplace) -> WeightedPoints:
        """Gather everything."""
        smoothed = self.weights()
        evidence, error = log_mean(self.log_ratios())
        return WeightedPoints(
            phi=self.phi,
            log_density=self.logs,
            smoothed=smoothed,
            effective_size=self.effective_size(smoothed),
            log_evidence=evidence,
            log_evidence_error=error,
            laplace=laplace,
            failures=int(np.sum(~np.isfinite(self.logs))),
            rounds=self.rounds,
            worst_size=self.worst_size(smoothed),
        )


def log_densities(
    density: CovarianceDensity,
    phi: Array,
    report: Callable[[int], None] | None = None,
    batched: BatchedDensity | None = None,
    use: Callable[[int, SigmaGrid], None] | None = None,
) -> Array:
    """Return log p(phi, y) at points (m, d), -inf where the kernel fails, shape (m,).

    In compiled loops where there is one term, on a device where one is given, in threads where the kernel's work
    outweighs Python's. `use` is called with the place of each point and what is known there, but not of a single term.
    """
    logs = np.full(len(phi), -np.inf)
    single, large = density.single, is_costly(density)

    def evaluate_many(start: int) -> None:
        """Evaluate some points of a single term into their places."""
        assert single is not None
        rows = np.ascontiguousarray(phi[start : start + chunk])
        logs[start : start + len(rows)] = single.values(rows)

    def evaluate(place: int, eliminated: Eliminated | None = None) -> None:
        """Evaluate one point into its place."""
        try:
            with np.errstate(all="ignore"):
                grid = density.grid(phi[place]) if eliminated is None else density.grid_at(phi[place], eliminated)
                logs[place] = grid.log_density
                if use is not None and np.isfinite(logs[place]):
                    use(place, grid)
        except (FittingError, np.linalg.LinAlgError):
            return

    def evaluate_there(place: int, eliminated: Eliminated | None) -> None:
        """Evaluate one point of a batch, if it could be factored."""
        if eliminated is not None:
            evaluate(place, eliminated)

    if batched is not None:
        batched.each_point(phi, evaluate_there, report)
    elif single is not None:
        chunk = 1 if large else CHUNK_POINTS
        threads = idle_cores() if large else 1
        in_threads(evaluate_many, range(0, len(phi), chunk), threads, report if large else None)
    else:
        in_threads(evaluate, range(len(phi)), worker_threads(density.kernel.order), report)
    return np.where(np.isfinite(logs), logs, -np.inf)


def room_for_early(density: CovarianceDensity, options: Options) -> EarlyDraws | None:
    """Return where draws are kept that are made when points are weighed; None where that would save no time."""
    few = is_costly(density) and not is_scored(density) and density.n_phi > 0
    if not few or density.single is not None or isinstance(density, IterativeDensity):
        return None
    return EarlyDraws(density, options)


def is_scored(density: CovarianceDensity) -> bool:
    """Whether a density has so many parameters, and a gradient, that proposals are made in normal scores."""
    return density.n_phi >= SCORED_FROM and not isinstance(density, IterativeDensity)


def point_parameters(density: CovarianceDensity, phi: Array) -> Array:
    """Return standard deviations, in units of sigma, and correlations at points (m, d), shape (m, K)."""
    sds, correlations = covariance_parameters(density, phi, np.ones(len(phi)))
    pairs = [pair_values(c) for c in correlations if c is not None]
    return np.nan_to_num(np.hstack([np.empty((len(phi), 0)), *sds, *pairs]))


def is_costly(density: CovarianceDensity) -> bool:
    """Whether a point takes so long that there should be few."""
    if density.single is not None:
        return density.single.is_large
    if isinstance(density, IterativeDensity):
        return density.costly
    products = density.kernel.products
    return products.order >= SMALL_ORDER or products.sparse is not None


def replicate_points(dimension: int) -> int:
    """Return the points of one set of `REPLICATES`."""
    return min(1 << int(np.log2(REPLICATE_POINTS * max(dimension, 2))), LARGEST_REPLICATE)


def log_mean(logs: Array) -> tuple[float, float]:
    r"""Return the logarithm of the mean of weights given by their logarithms (m,), and its standard error.

    The error is :math:`(1/m_e - 1/m)^{1/2}`, with :math:`m_e = (\sum w)^2 / \sum w^2`.
    """
    peak = np.max(logs)
    weights = np.exp(logs - peak)
    total = weights.sum()
    excess = np.sum(weights**2) / total**2 - 1.0 / len(logs)
    return float(peak + np.log(total / len(logs))), float(np.sqrt(max(excess, 0.0)))


def _power_of_two(count: int) -> int:
    return 1 << int(np.ceil(np.log2(count)))

r"""Importance sampling of a generalized model's posterior.

Points x of the covariance and dispersion parameters come from Student t proposals around the mode of the Laplace
marginal, refined by weighted moments as for Gaussian models. At each point a few draws of the coefficients are made
with weights whose mean estimates :math:`p(y \mid x)` without bias (`bayeslmm.likelihood.generalized.block_draws`), so
that the product of both weights is exact on average: Laplace's approximation chooses the points and does not enter the
answer.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # scipy.stats takes a second to load and does so at its first use
from numpy.typing import NDArray

from bayeslmm.covariance import sd_places, sds_and_correlations
from bayeslmm.errors import FittingError, warn_user
from bayeslmm.inference.draws import Draws, terms_to_keep
from bayeslmm.inference.generalized_draws import ChainedDraws
from bayeslmm.inference.importance.effect_rows import EffectRows
from bayeslmm.inference.importance.generalized_laplace import find_generalized_laplace
from bayeslmm.inference.importance.generalized_sizes import worst_size
from bayeslmm.inference.importance.points import BAD_K_HAT, enough_points, log_mean, uneven
from bayeslmm.inference.importance.proposals import (
    StudentProposal,
    laplace_proposals,
    mixture_log_density,
    moment_proposal,
)
from bayeslmm.inference.importance.psis import SmoothedWeights, smooth_weights
from bayeslmm.inference.laplace import Laplace
from bayeslmm.inference.options import Options
from bayeslmm.inference.progress import progress_bar
from bayeslmm.likelihood.generalized.block_draws import draw_blocks
from bayeslmm.likelihood.generalized.centre import centre_on_mean
from bayeslmm.likelihood.generalized.laplace import Evaluation
from bayeslmm.likelihood.threads import idle_cores, in_threads
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.types import Array

LAPLACE_DOF, MOMENT_DOF = 7.0, 12.0
MOMENT_ROUNDS = 3
MOST_ROUNDS = 8  # where at the yield so far that many would be enough for every parameter
GOOD_K_HAT = 0.5
THREADED_ROWS = 1000  # from here on compiled loops outweigh Python's part of a point


@dataclass(frozen=True, slots=True)
class GeneralizedDraws:
    """Equally weighted draws from the posterior, in the user's columns.

    Attributes
    ----------
    sd, correlation
        Standard deviations (N, S), and correlations (N, S, S) or None, per term.
    dispersion
        Dispersion parameters on their natural scale, (N, m).
    beta
        Coefficients, (N, p).
    b
        Random effects, (N, J, S) per term; (N, 0, S) where they are not kept.
    point
        The point of x each was made at, (N,).
    smoothed
        The weights of all draws before resampling, with k-hat and effective size: that of the coefficients.
    effective_points
        Effective size of the points, each one's draws taken together: that of standard deviations and dispersions.
    log_evidence, log_evidence_error
        log p(y), up to the constants of improper priors, and its standard error.
    laplace
        Mode and covariance of the Laplace marginal.
    n_points, n_failures, n_rounds
        Points of x, those where the likelihood could not be evaluated, and rounds of proposals.
    """

    sd: tuple[Array, ...]
    correlation: tuple[Array | None, ...]
    dispersion: Array
    beta: Array
    b: tuple[NDArray[np.floating], ...]
    point: NDArray[np.intp]
    smoothed: SmoothedWeights
    effective_points: float
    log_evidence: float
    log_evidence_error: float
    laplace: Laplace
    n_points: int
    n_failures: int
    n_rounds: int


def sample_generalized(
    density: GeneralizedDensity,
    *,
    n_draws: int,
    seed: int,
    n_points: int = 1024,
    per_point: int = 2,
    n_candidates: int = 16,
    report: Callable[[int], None] | None = None,
    store: Sequence[str] | str | None = None,
    dtype: type = np.float64,
) -> GeneralizedDraws:
    """Sample the posterior.

    Parameters
    ----------
    density
        The model.
    n_draws
        Draws to return.
    seed
        The same seed gives the same draws whatever the number of cores.
    n_points
        Points of x in the first round.
    per_point
        Draws of the coefficients at each.
    n_candidates
        Candidates for each leading level of each of those.
    report
        Called with the number of points done.
    store, dtype
        The terms whose random effects are kept, as in `Options`, and in which precision.

    Raises
    ------
    FittingError
        If the likelihood cannot be evaluated at the start, or at no point.
    """
    laplace, anchor = find_generalized_laplace(density)
    keep = terms_to_keep(density.problem.predictor.names, store)
    rows = EffectRows(density.shapes, keep, dtype, n_draws)
    sampler = _Sampler(density, anchor, seed, per_point, n_candidates, report, rows)
    if density.dimension == 0:
        sampler.add(None, np.zeros((n_points, 0)))
        return sampler.finish(laplace, n_draws)
    places = sd_places(density.shapes)
    proposals = laplace_proposals(laplace.mode, laplace.covariance, places, LAPLACE_DOF)
    sampler.round(proposals, n_points)
    needed = min(enough_points(n_draws), 0.5 * n_points)
    while not sampler.finished(needed):
        smoothed = sampler.point_weights()
        proposals = [
            moment_proposal(p, sampler.x, smoothed.weights, smoothed.effective_size, MOMENT_DOF) for p in proposals
        ]
        sampler.round(proposals, n_points)
    return sampler.finish(laplace, n_draws)


@dataclass(frozen=True, slots=True)
class _PointDraws:
    """Draws at one point: log prior, log weights (r,), beta (r, p) on the user's columns."""

    log_prior: float
    logs: Array
    beta: Array


class _Sampler:
    """Points so far and the proposals they came from."""

    def __init__(
        self,
        density: GeneralizedDensity,
        anchor: Evaluation,
        seed: int,
        per_point: int,
        n_candidates: int,
        report: Callable[[int], None] | None,
        rows: EffectRows,
    ) -> None:
        self.rows = rows
        self.density, self.anchor, self.seed = density, anchor, seed
        self.per_point, self.n_candidates, self.report = per_point, n_candidates, report
        self.threads = idle_cores() if density.problem.predictor.n >= THREADED_ROWS else 1
        self.x = np.zeros((0, density.dimension))
        self.found: list[_PointDraws | None] = []
        self.proposals: list[StudentProposal] = []
        self.counts: list[int] = []
        self.rounds = 0

    def round(self, proposals: Sequence[StudentProposal], count: int) -> None:
        """Add `count` points, shared among the proposals."""
        share = count // len(proposals)
        for k, proposal in enumerate(proposals):
            rng = np.random.default_rng([self.seed, self.rounds, k])
            sobol = scipy.stats.qmc.Sobol(self.x.shape[1] + 1, scramble=True, rng=rng)
            uniforms = np.clip(sobol.random_base2(int(np.ceil(np.log2(share))))[:share], 1e-12, 1 - 1e-12)
            self.add(proposal, proposal.sample(uniforms))
        self.rounds += 1

    def add(self, proposal: StudentProposal | None, x: Array) -> None:
        """Evaluate points and keep them."""
        first = len(self.x)
        report = None if self.report is None else lambda done: self.report(first + done)  # type: ignore[misc]
        so_far = smooth_weights(self.log_weights().ravel()).weights if first else np.zeros(0)
        self.rows.expect(len(x) * self.per_point, so_far)
        self.found += in_threads(lambda i: self._keep(first + i, x[i]), range(len(x)), self.threads, report)
        self.x = np.vstack([self.x, x])
        if proposal is not None:
            self.proposals.append(proposal)
            self.counts.append(len(x))

    def _keep(self, index: int, x: Array) -> _PointDraws | None:
        """Draw at a point and keep the random effects of draws that have rows."""
        drawn = self._draw(index, x)
        if drawn is None:
            return None
        for j, effects in enumerate(zip(*drawn[1], strict=True)):
            self.rows.put(index * self.per_point + j, effects)
        return drawn[0]

    def _draw(self, index: int, x: Array) -> tuple[_PointDraws, tuple[Array, ...]] | None:
        """Draw at a point; b (r, J, S) per term is on the user's columns."""
        density, problem = self.density, self.density.problem_at(x)
        rng = np.random.default_rng([self.seed, 1 << 20, index])
        try:
            with np.errstate(all="ignore"):
                point = density.point(x, self.anchor)
                centred = centre_on_mean(problem, point.evaluation)
                drawn = draw_blocks(problem, centred, self.per_point, self.n_candidates, rng)
        except (FittingError, np.linalg.LinAlgError, FloatingPointError):
            return None
        predictor, lambdas = problem.predictor, point.evaluation.point.lambdas
        b = tuple(u @ (m.matrix @ f).T for u, m, f in zip(drawn.u, predictor.maps, lambdas, strict=True))
        logs = np.where(np.isfinite(drawn.log_weights), drawn.log_weights, -np.inf)
        return _PointDraws(point.log_prior, logs, drawn.beta @ predictor.fixed.matrix.T), b

    def _effects(self, chosen: NDArray[np.intp]) -> tuple[NDArray[np.floating], ...]:
        """Return the random effects of the draws chosen, those without a row drawn again."""
        missing = self.rows.choose(chosen)
        points, within = np.divmod(chosen[missing], self.per_point)

        def again(point: int) -> None:
            """Draw at a point as before."""
            drawn = self._draw(point, self.x[point])
            assert drawn is not None  # it had a weight
            for place in np.flatnonzero(points == point):
                self.rows.fill(int(missing[place]), [b[within[place]] for b in drawn[1]])

        in_threads(again, np.unique(points).tolist(), self.threads)
        return self.rows.values

    def log_weights(self) -> Array:
        """Return the log weight of every draw, (points, r)."""
        logs = np.full((len(self.x), self.per_point), -np.inf)
        for i, found in enumerate(self.found):
            if found is not None:
                logs[i] = found.log_prior + found.logs
        if not np.isfinite(logs).any():
            raise FittingError("The likelihood could not be evaluated at any point of importance sampling.")
        if self.proposals:
            logs -= mixture_log_density(self.proposals, self.counts, self.x)[:, None]
        return logs

    def point_weights(self) -> SmoothedWeights:
        """Return the smoothed weights of the points, their draws averaged."""
        return smooth_weights(np.logaddexp.reduce(self.log_weights(), axis=1))

    def finished(self, needed: float) -> bool:
        """Whether the points are enough for every parameter, or further rounds are not worth their time."""
        smoothed = self.point_weights()
        size = min(smoothed.effective_size, worst_size(self.density, self.x, smoothed.weights))
        if smoothed.k_hat < GOOD_K_HAT and size >= needed:
            return True
        if self.rounds <= MOMENT_ROUNDS:
            return False
        return size >= needed or size * MOST_ROUNDS < needed * self.rounds or self.rounds >= MOST_ROUNDS

    def finish(self, laplace: Laplace, n_draws: int) -> GeneralizedDraws:
        """Weigh, resample and gather."""
        logs = self.log_weights()
        smoothed = smooth_weights(logs.ravel())
        evidence, error = log_mean(np.logaddexp.reduce(logs, axis=1) - np.log(self.per_point))
        chosen = resample_systematic(smoothed.weights, n_draws, np.random.default_rng([self.seed, 2 << 20]))
        chosen = chosen[np.random.default_rng(self.seed).permutation(n_draws)]
        points, within = np.divmod(chosen, self.per_point)
        density = self.density
        factors = density.user_factors(density.term_points(self.x[points]))
        shown = [sds_and_correlations(factor) for factor in factors]
        picked = [(self.found[i], j) for i, j in zip(points, within, strict=True)]
        kept = [(found, j) for found, j in picked if found is not None]
        beta = np.array([found.beta[j] for found, j in kept])
        family, centring = density.problem.family, density.problem.predictor.fixed.centring
        working = family.with_level(density.working(self.x[points]), centring.level(beta))
        natural = [np.hstack([np.zeros(0), *family.natural(row).values()]) for row in working]
        return GeneralizedDraws(
            sd=tuple(sd for sd, _ in shown),
            correlation=tuple(
                cor if shape.has_correlations else None for (_, cor), shape in zip(shown, density.shapes, strict=True)
            ),
            dispersion=np.array(natural),
            beta=beta,
            b=self._effects(chosen),
            point=points,
            smoothed=smoothed,
            effective_points=float(1.0 / np.sum(smoothed.weights.reshape(-1, self.per_point).sum(axis=1) ** 2)),
            log_evidence=evidence,
            log_evidence_error=error,
            laplace=laplace,
            n_points=len(self.x),
            n_failures=sum(found is None for found in self.found),
            n_rounds=self.rounds,
        )


def resample_systematic(weights: Array, n_draws: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose places in proportion to weights, (n_draws,), in random order."""
    positions = (np.arange(n_draws) + rng.uniform()) / n_draws
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), positions), len(weights) - 1)
    return rng.permutation(chosen)


def generalized_importance(density: GeneralizedDensity, options: Options) -> ChainedDraws:
    """Sample a generalized model's posterior and cut the draws into chains.

    Raises
    ------
    FittingError
        If the likelihood cannot be evaluated, or the weights are too uneven and ``handover="error"``.
    """
    started = time.perf_counter()
    count = options.chains * options.draws
    with progress_bar(None, "points", options.progressbar) as report:
        found = sample_generalized(
            density, n_draws=count, seed=options.seed, report=report, store=options.store, dtype=options.dtype
        )
    if options.handover == "error" and uneven(found.smoothed):
        raise FittingError(
            f"The Pareto k of the importance weights is {found.smoothed.k_hat:.2f}, above {BAD_K_HAT}. "
            "handover='nuts' samples by NUTS instead, and handover='keep' returns the weighted draws as they are."
        )
    if options.handover == "nuts" and uneven(found.smoothed):
        from bayeslmm.inference.nuts.generalized import generalized_nuts

        warn_user(
            f"The Pareto k of the importance weights is {found.smoothed.k_hat:.2f}, above {BAD_K_HAT}, so NUTS takes "
            "over. handover='error' or 'keep' prevents it."
        )
        del found  # its draws, which memory need not hold twice
        return generalized_nuts(density, options)

    def chained(values: NDArray[Any]) -> Any:
        """Cut draws into chains."""
        return values.reshape(options.chains, options.draws, *values.shape[1:])

    info = {
        "seed": options.seed,
        "k_hat": found.smoothed.k_hat,
        "effective_size": found.smoothed.effective_size,
        "effective_points": found.effective_points,
        "largest_weight": found.smoothed.largest,
        "points": found.n_points,
        "rounds": found.n_rounds,
        "kernel_failures": found.n_failures,
        "kernel_evaluations": found.n_points,
        "log_evidence": found.log_evidence,
        "log_evidence_error": found.log_evidence_error,
        "remedy": "state more informative priors, or leave out effects",
        "seconds": time.perf_counter() - started,
    }
    draws = Draws(
        beta=chained(found.beta),
        sigma=np.ones((options.chains, options.draws)),
        sd=tuple(chained(sd) for sd in found.sd),
        cor=tuple(None if cor is None else chained(cor) for cor in found.correlation),
        effects=tuple(chained(b) for b in found.b),
        stats={"point": chained(found.point)},
        method="importance",
        info=info,
    )
    return ChainedDraws(draws, chained(found.dispersion))

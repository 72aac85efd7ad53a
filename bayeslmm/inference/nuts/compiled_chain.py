"""One chain of the compiled sampler: warm-up in stages, then draws, in blocks between which it can be stopped."""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from bayeslmm.errors import FittingError
from bayeslmm.inference.nuts.chain import JITTER, Chain
from bayeslmm.inference.nuts.trajectories import DEEPEST, STATISTICS, Metric, trajectory, transitions
from bayeslmm.inference.options import Options
from bayeslmm.posterior.compiled_explicit import no_dispersion
from bayeslmm.posterior.explicit_arrays import ExplicitArrays, Packed
from bayeslmm.posterior.generalized_explicit import ExplicitDensity
from bayeslmm.types import Array

BLOCK_WORK = 5e5  # rows plus coordinates times transitions per block: some tenths of a second
STAGES = (0.15, 0.25, 0.45)  # shares of warm-up: step size alone, twice the metric too; the rest is step size again
PRIOR_DRAWS = 30.0  # what the whitening's own means and variances, zero and one, count for beside draws
FIRST_STEP = 1.0  # times D^(-1/4), the order at which a standard normal's acceptance does not depend on D
ATTEMPTS = 20  # starting points that are tried
STRICTER = (0.95, 0.99)  # acceptance that a chain with divergences is tuned to before its draws are made again


@dataclass(frozen=True, slots=True)
class CompiledDensity:
    """A density as the compiled sampler takes it."""

    explicit: ExplicitDensity
    arrays: ExplicitArrays
    packed: Packed

    @property
    def kernels(self) -> tuple[Any, Any]:
        """The family's loops."""
        family = self.explicit.density.problem.family
        found = family.dispersion_kernel
        return family.score_kernel, no_dispersion if found is None else found


def sample_compiled_chain(density: CompiledDensity, options: Options, seed: int, stop: Event) -> Chain:
    """Run one chain; its draws are (x, c).

    A trajectory that loses its energy has taken steps too long for the place it came to. A chain in which one did goes
    on with shorter steps and makes its draws anew, so that divergences are reported only where none are short enough.

    Parameters
    ----------
    density
        The model.
    options
        Draws, warm-up and the acceptance rate to tune to.
    seed
        The chain's own.
    stop
        Set by another thread, it ends the chain within moments.

    Raises
    ------
    FittingError
        If the density is not finite at any starting point.
    KeyboardInterrupt
        If `stop` was set.
    """
    run = _Run(density, options.target_accept, seed, stop)
    stages = np.round(np.array(STAGES) * options.tune).astype(int)
    for stage, count in enumerate(stages):
        draws, _, _ = run.advance(int(count), adapting=True)
        if stage and len(draws):
            run.learn_metric(draws)
    last = options.tune - int(stages.sum())
    run.advance(last, adapting=True)
    points, statistics = run.sample(options.draws)
    for target in STRICTER:
        if last and target > options.target_accept and statistics[:, STATISTICS.index("diverging")].any():
            run.shorten_steps(target)
            run.advance(last, adapting=True)
            points, statistics = run.sample(options.draws)
    stats: dict[str, Any] = dict(zip(STATISTICS, statistics.T, strict=True))
    stats["diverging"] = stats["diverging"] > 0
    stats["n_steps"] = stats["n_steps"].astype(np.int64)
    stats["tree_depth"] = stats["tree_depth"].astype(np.int64)
    stats["reached_max_treedepth"] = stats["tree_depth"] >= DEEPEST
    return Chain(points, stats, 0, run.steps)


class _Run:
    """The state of a chain."""

    def __init__(self, density: CompiledDensity, target: float, seed: int, stop: Event) -> None:
        self.density, self.stop = density, stop
        self.dimension = density.explicit.dimension
        self.rng = np.random.default_rng(seed)
        self.counter = self.rng.integers(2**64, size=1, dtype=np.uint64)
        self.metric = Metric(len(density.arrays.mode), np.zeros(self.dimension), np.ones(self.dimension))
        self.memory, self.workspace = trajectory(self.dimension), density.packed.memory()
        self.target, self.steps = target, 0
        self.state = self._tuning(FIRST_STEP * self.dimension**-0.25)
        self._start()

    def _tuning(self, step: float) -> Array:
        """Return a new state of dual averaging that starts at a step size and aims somewhat above it."""
        return np.array([np.log(step), np.log(step), 0.0, np.log(2.0 * step), 0.0, self.target])

    def _start(self) -> None:
        """Take a point near the mode at which the density is finite."""
        position, gradient = self.memory.chosen[1]
        spread = JITTER
        for _ in range(ATTEMPTS):
            position[:] = spread * self.rng.standard_normal(self.dimension)
            value = self._block(0, adapting=False)[0]
            if np.isfinite(value) and np.isfinite(gradient).all():
                return
            spread *= 0.8
        raise FittingError("The log posterior is not finite at any starting point of the sampler.")

    def _block(self, count: int, *, adapting: bool) -> tuple[float, Array, Array, Array]:
        """Make transitions in one go; return the last log density, draws, coefficients and statistics."""
        draws, statistics = np.empty((count, self.dimension)), np.empty((count, len(STATISTICS)))
        found = np.empty((count, len(self.density.explicit.centre)))
        noise = self.rng.standard_normal((count, self.dimension))
        packed = self.density.packed
        value = transitions(
            self.state, adapting, noise, self.counter, self.metric, self.memory, *self.density.kernels,
            packed.starts, packed.integers, packed.numbers, packed.index, self.workspace, draws, found, statistics,
        )  # fmt: skip
        self.steps += 1 + int(statistics[:, 5].sum())
        return value, draws, found, statistics

    def learn_metric(self, draws: Array) -> None:
        """Take the means and variances of draws, held towards the whitening's, and tune the step size anew."""
        n = len(draws)
        means = n * np.mean(draws, axis=0) / (n + PRIOR_DRAWS)
        variances = (n * np.var(draws, axis=0) + PRIOR_DRAWS) / (n + PRIOR_DRAWS)
        self.metric = Metric(self.metric.straight, means, variances)
        self.state = self._tuning(float(np.exp(self.state[1])))

    def shorten_steps(self, target: float) -> None:
        """Tune the step size anew, to another acceptance rate."""
        self.target = target
        self.state = self._tuning(0.5 * float(np.exp(self.state[1])))

    def advance(self, count: int, *, adapting: bool) -> tuple[Array, Array, Array]:
        """Make `count` transitions; return draws (count, D), coefficients (count, k) and statistics (count, 7)."""
        draws, statistics = np.empty((count, self.dimension)), np.empty((count, len(STATISTICS)))
        found = np.empty((count, len(self.density.explicit.centre)))
        for some, *block in self._blocks(count, adapting=adapting):
            draws[some], found[some], statistics[some] = block
        return draws, found, statistics

    def sample(self, count: int) -> tuple[Array, Array]:
        """Make `count` transitions; return parameters with coefficients (count, d + k), and statistics (count, 7)."""
        mode, root = self.density.arrays.mode, self.density.arrays.root
        d = len(mode)
        points = np.empty((count, d + len(self.density.explicit.centre)))
        statistics = np.empty((count, len(STATISTICS)))
        for some, draws, found, facts in self._blocks(count, adapting=False):
            points[some, :d], points[some, d:] = mode + draws[:, :d] @ root.T, found
            statistics[some] = facts
        return points, statistics

    def _blocks(self, count: int, *, adapting: bool) -> Iterator[tuple[slice, Array, Array, Array]]:
        """Make transitions, and give their places with draws, coefficients and statistics, some at a time."""
        work = self.dimension + self.density.explicit.density.problem.predictor.n
        block = max(1, int(BLOCK_WORK / work))
        self._block(0, adapting=False)
        for first in range(0, count, block):
            if self.stop.is_set():
                raise KeyboardInterrupt
            stop = min(first + block, count)
            yield slice(first, stop), *self._block(stop - first, adapting=adapting)[1:]

r"""One chain of Hamiltonian Monte Carlo whose motion is exact where the density is a standard normal.

With :math:`\log p(z) = -|z|^2/2 + r(z)`, a step of length h is half a kick by r, a rotation, half a kick,

.. math:: p \leftarrow p + \tfrac h2 \nabla r(z), \qquad
          (z, p) \leftarrow (z\cos h + p\sin h,\; p\cos h - z\sin h), \qquad
          p \leftarrow p + \tfrac h2 \nabla r(z),

so the error of the energy comes from r alone and does not grow with the number of coordinates that are normal
(Shahbaba et al. 2014, Statistics and Computing 24, 339-349). A quarter of a turn makes draws of a normal distribution
independent; the length of a trajectory varies at random around a little more than that, and no turn need be looked for.
"""

import numpy as np

from bayeslmm.errors import FittingError, explanation
from bayeslmm.inference.nuts.chain import Chain
from bayeslmm.inference.nuts.marginal import WhitenedDensity
from bayeslmm.types import Array

TURN = 1.8  # mean length of a trajectory; directions wider than the whitening says need more than pi / 2
SPREAD = 0.4  # by which share of that the length varies
LARGEST_STEP = 0.6
SMALLEST_STEP = 0.02
WARM_UP = 40  # transitions whose acceptance tunes the step
GAIN, FORGETTING = 1.0, 0.6  # of that tuning, Robbins and Monro's
LOST = 1000.0  # error of the energy from which a trajectory counts as divergent
STARTS = 6  # starting points, each half as far from the centre as the one before
STATISTICS = ("lp", "energy", "acceptance_rate", "diverging", "n_steps", "step_size")


class ChainState:
    """Where a chain is: z with the log density and its gradient, each overwritten by a transition."""

    def __init__(self, density: WhitenedDensity, z: Array) -> None:
        self.density = density
        self.z = z
        self.value, self.gradient = density(z)

    def move(self, step: float, rng: np.random.Generator) -> dict[str, float]:
        """Make one transition and return its statistics."""
        momentum = rng.standard_normal(len(self.z))
        length = TURN * rng.uniform(1.0 - SPREAD, 1.0 + SPREAD)
        count = max(1, round(length / step))
        before = self.value - 0.5 * float(momentum @ momentum)
        z, value, gradient, momentum = self._trajectory(momentum, step, count)
        after = value - 0.5 * float(momentum @ momentum)
        gained = after - before if np.isfinite(after) else -np.inf
        if np.log(rng.uniform()) < gained:
            self.z, self.value, self.gradient = z, value, gradient
        rate = float(np.exp(min(gained, 0.0)))
        return dict(zip(STATISTICS, (self.value, -before, rate, gained < -LOST, count, step), strict=True))

    def _trajectory(self, momentum: Array, step: float, count: int) -> tuple[Array, float, Array, Array]:
        """Return the end of a trajectory: z, log density, gradient and momentum."""
        z, value, gradient = self.z, self.value, self.gradient
        cos, sin = np.cos(step), np.sin(step)
        for _ in range(count):
            momentum = momentum + 0.5 * step * (gradient + z)
            z, momentum = z * cos + momentum * sin, momentum * cos - z * sin
            value, gradient = self.density(z)
            if not np.isfinite(value):
                break
            momentum = momentum + 0.5 * step * (gradient + z)
        return z, value, gradient, momentum


def _start(density: WhitenedDensity, rng: np.random.Generator) -> ChainState:
    """Return a chain at a draw of the normal approximation, nearer to its centre where the kernel fails."""
    z = rng.standard_normal(density.density.dimension)
    for _ in range(STARTS):
        state = ChainState(density, z)
        if np.isfinite(state.value):
            return state
        z = 0.5 * z
    raise FittingError(f"The posterior cannot be evaluated near its mode: {explanation(density.first_error)}")


def tune_step(state: ChainState, target: float, rng: np.random.Generator) -> float:
    """Move a chain from its start while the step is tuned to an acceptance rate; return the step."""
    log_step = np.log(LARGEST_STEP)
    later = []
    for k in range(1, WARM_UP + 1):
        rate = state.move(float(np.exp(log_step)), rng)["acceptance_rate"]
        log_step += GAIN * k**-FORGETTING * (rate - target)
        log_step = float(np.clip(log_step, np.log(SMALLEST_STEP), np.log(LARGEST_STEP)))
        if k > WARM_UP // 2:
            later.append(log_step)
    return float(np.exp(np.mean(later)))


def run_chain(density: WhitenedDensity, draws: int, target: float, seed: int) -> Chain:
    """Run one chain from a draw of the normal approximation.

    Parameters
    ----------
    density
        The model, whitened; it counts its evaluations, so a chain has its own.
    draws
        Transitions kept.
    target
        Acceptance rate that the step is tuned to.
    seed
        The chain's own.

    Raises
    ------
    FittingError
        If the density cannot be evaluated near its mode.
    """
    rng = np.random.default_rng(seed)
    state = _start(density, rng)
    step = tune_step(state, target, rng)
    z = np.empty((draws, len(state.z)))
    rows = []
    for i in range(draws):
        rows.append(state.move(step, rng))
        z[i] = state.z
    stats = {name: np.array([row[name] for row in rows]) for name in STATISTICS}
    return Chain(density.point(z), stats, density.failures, density.failures + density.successes)

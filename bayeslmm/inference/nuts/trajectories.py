r"""The No-U-Turn sampler in compiled loops, for the compiled density of generalized models.

Trajectories double in a random direction until they turn, :math:`v_-^\top\rho \le 0` or :math:`v_+^\top\rho \le 0`,
:math:`\rho` the sum of their momenta without half of each end's; the next state is chosen among all by multinomial
weights :math:`e^{-H}`, later halves preferred (Betancourt 2017, A conceptual introduction to Hamiltonian Monte Carlo,
appendix A). A half is built leaf by leaf, and the momenta at which its own halves begin are kept, one per level of the
tree, so that every balanced part is tested for a turn (Phan, Pradhan and Jankowiak 2019). Step sizes adapt by dual
averaging (Hoffman and Gelman 2014).

Whitened coefficients v are nearly normal, with means m and variances s. A step therefore splits the Hamiltonian into
that of the normal distribution, whose motion is a rotation, and what is left of the log density f,

.. math:: H = \Bigl[\tfrac12\sum (v - m)^2/s + \tfrac12\sum s p^2\Bigr] + \Bigl[-f - \tfrac12\sum (v - m)^2/s\Bigr],

half a kick of the second part before and after the exact motion of the first (Shahbaba, Lan, Johnson and Neal 2014,
Statistics and Computing 24). Its error is that of the difference from the normal distribution and does not grow with
the number of coefficients that follow it. Covariance and dispersion parameters, whose tails are skewed, move straight
between the kicks, as in the leapfrog scheme.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

# The loops are kept compiled between processes until this file changes; whoever changes those of compiled_explicit or
# what they call in a checkout deletes ``__pycache__/trajectories*.nb*`` here, since numba does not look there.
from bayeslmm.posterior.compiled_explicit import (
    DISPERSION_KERNEL,
    INDEX,
    INTEGER_MATRIX,
    INTEGER_VECTOR,
    KERNEL,
    MATRIX,
    VECTOR,
    Places,
    find_coefficients,
    log_posterior,
)
from bayeslmm.types import Array

DEEPEST = 10  # doublings
LOST = 1000.0  # error of the energy from which a trajectory counts as divergent
STATISTICS = ("diverging", "energy", "acceptance_rate", "lp", "step_size", "n_steps", "tree_depth")
LOG_STEP, MEAN_LOG_STEP, MEAN_ERROR, AIM, COUNT, TARGET = range(6)  # places in the state of dual averaging
LONGEST = 0.7  # step: of normal coefficients half a turn takes seven leaps from 0.45 and three from 1.05 on
SHRINKAGE, DELAY, FORGETTING = 0.05, 10.0, 0.75  # of dual averaging, Hoffman and Gelman's values


class Trajectory(NamedTuple):
    """Memory of one chain, overwritten by each transition; D coordinates.

    Attributes
    ----------
    ends
        Position, momentum and gradient at both ends, (2, 3, D).
    moving
        The same where a half grows, (3, D).
    chosen
        Position and gradient of the state chosen in the growing half, and in the whole, (2, 2, D).
    sums
        Sum of momenta of the growing half, and of the whole, (2, D).
    kept
        Momentum and sum of momenta at the start of balanced parts, (DEEPEST + 1, 2, D).
    """

    ends: NDArray[np.float64]
    moving: Array
    chosen: NDArray[np.float64]
    sums: Array
    kept: NDArray[np.float64]


class Metric(NamedTuple):
    """What is known of the distribution in which a chain moves.

    Attributes
    ----------
    straight
        Number of leading coordinates that move straight; the others turn about their means.
    means, variances
        Of the coordinates, (D,); the variances are the inverse of the diagonal mass matrix.
    """

    straight: int
    means: Array
    variances: Array


CUBE, HYPERCUBE = types.float64[:, :, ::1], types.float64[:, :, :, ::1]
METRIC_TYPE = types.NamedTuple([types.int64, VECTOR, VECTOR], Metric)
TRAJECTORY_TYPE = types.NamedTuple([CUBE, MATRIX, CUBE, MATRIX, CUBE], Trajectory)


def trajectory(dimension: int) -> Trajectory:
    """Return a chain's memory."""
    return Trajectory(
        np.zeros((2, 3, dimension)),
        np.zeros((3, dimension)),
        np.zeros((2, 2, dimension)),
        np.zeros((2, dimension)),
        np.zeros((DEEPEST + 1, 2, dimension)),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def uniform(state: NDArray[np.uint64]) -> float:
    """Return a uniform number from a counter, (1,), by SplitMix64 (Steele, Lea and Flood 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * 2.0**-53


@numba.njit(cache=True, nogil=True, error_model="numpy")
def turns(first: Array, last: Array, total: Array, variances: Array) -> bool:
    """Whether a trajectory turns, from its ends' momenta and the sum of all."""
    at_first, at_last = 0.0, 0.0
    for i in range(len(total)):
        rest = variances[i] * (total[i] - 0.5 * (first[i] + last[i]))
        at_first += first[i] * rest
        at_last += last[i] * rest
    return at_first <= 0.0 or at_last <= 0.0


@numba.njit(cache=True, nogil=True, error_model="numpy")
def part_turns(leaf: int, t: Trajectory, variances: Array) -> bool:
    """Keep the start of a balanced part at an even leaf; at an odd one test all parts that end there."""
    momentum, total = t.moving[1], t.sums[0]
    level, rest = 0, leaf >> 1
    while rest:
        level += rest & 1
        rest >>= 1
    if leaf % 2 == 0:
        t.kept[level, 0] = momentum
        t.kept[level, 1] = total
        return False
    ending, rest = 0, leaf
    while rest & 1:
        ending += 1
        rest >>= 1
    for k in range(level, level - ending, -1):
        part = total - t.kept[k, 1] + t.kept[k, 0]
        if turns(t.kept[k, 0], momentum, part, variances):
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def log_add(first: float, second: float) -> float:
    """Return log(exp(first) + exp(second))."""
    high, low = max(first, second), min(first, second)
    return high if high == -np.inf else high + np.log1p(np.exp(low - high))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def kick(position: Array, momentum: Array, gradient: Array, time: float, metric: Metric) -> None:
    """Move momenta along the gradient of what the normal distribution does not explain of the log density."""
    for i in range(metric.straight):
        momentum[i] += time * gradient[i]
    for i in range(metric.straight, len(position)):
        momentum[i] += time * (gradient[i] + (position[i] - metric.means[i]) / metric.variances[i])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def drift(position: Array, momentum: Array, time: float, metric: Metric) -> None:
    """Move for a time without a force, and, where coordinates turn, under that of the normal distribution."""
    cosine, sine = np.cos(time), np.sin(time)
    for i in range(metric.straight):
        position[i] += time * metric.variances[i] * momentum[i]
    for i in range(metric.straight, len(position)):
        away, velocity = position[i] - metric.means[i], metric.variances[i] * momentum[i]
        position[i] = metric.means[i] + cosine * away + sine * velocity
        momentum[i] = (cosine * velocity - sine * away) / metric.variances[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def leap(
    t: Trajectory, step: float, metric: Metric, kernel: Any, dispersion: Any, at: Places, integers: Places,
    numbers: Array, index: NDArray[np.int32], memory: Array,
) -> tuple[float, float]:  # fmt: skip
    """Move the growing end by one step; return the log density there and the Hamiltonian."""
    position, momentum, gradient = t.moving[0], t.moving[1], t.moving[2]
    kick(position, momentum, gradient, 0.5 * step, metric)
    drift(position, momentum, step, metric)
    value = log_posterior(position, kernel, dispersion, at, integers, numbers, index, memory, gradient)
    kick(position, momentum, gradient, 0.5 * step, metric)
    kinetic = 0.0
    for i in range(len(position)):
        kinetic += 0.5 * metric.variances[i] * momentum[i] * momentum[i]
    return value, kinetic - value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def transition(
    value: float, step: float, metric: Metric, counter: NDArray[np.uint64], t: Trajectory,
    kernel: Any, dispersion: Any, at: Places, integers: Places,
    numbers: Array, index: NDArray[np.int32], memory: Array, statistics: Array,
) -> float:  # fmt: skip
    """Make one transition from ``t.chosen[1]`` with the momentum ``t.ends[0, 1]``; return the new log density.

    Fills the statistics but the step size.
    """
    variances = metric.variances
    kinetic = 0.5 * np.sum(variances * t.ends[0, 1] ** 2)
    start = kinetic - value
    t.ends[0, 0], t.ends[0, 2] = t.chosen[1, 0], t.chosen[1, 1]
    t.ends[1] = t.ends[0]
    t.sums[1] = t.ends[0, 1]
    log_weight, energy = 0.0, start
    accepted, steps, depth, diverging, stopped = 0.0, 0, 0, False, False
    while depth < DEEPEST and not stopped:
        side = 1 if uniform(counter) < 0.5 else 0
        t.moving[:] = t.ends[side]
        t.sums[0] = 0.0
        half, half_value, half_energy = -np.inf, 0.0, 0.0
        for leaf in range(1 << depth):
            here, hamiltonian = leap(
                t, step if side else -step, metric, kernel, dispersion, at, integers, numbers, index, memory
            )
            steps += 1
            excess = hamiltonian - start
            if not excess < LOST:  # not a number, too
                diverging = stopped = True
                break
            accepted += min(1.0, np.exp(-excess))
            half = log_add(half, -excess)
            if uniform(counter) < np.exp(-excess - half):
                t.chosen[0, 0], t.chosen[0, 1] = t.moving[0], t.moving[2]
                half_value, half_energy = here, hamiltonian
            t.sums[0] += t.moving[1]
            if part_turns(leaf, t, variances):
                stopped = True
                break
        depth += 1
        if stopped:
            break
        if np.log(uniform(counter) + 1e-300) < half - log_weight:
            t.chosen[1] = t.chosen[0]
            value, energy = half_value, half_energy
        log_weight = log_add(log_weight, half)
        t.ends[side] = t.moving
        t.sums[1] += t.sums[0]
        stopped = turns(t.ends[0, 1], t.ends[1, 1], t.sums[1], variances)
    statistics[0], statistics[1], statistics[2], statistics[3] = diverging, energy, accepted / steps, value
    statistics[5], statistics[6] = steps, depth
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy")
def adapt(state: Array, acceptance: float) -> None:
    """Move the step size of dual averaging, (6,)."""
    state[COUNT] += 1.0
    share = 1.0 / (state[COUNT] + DELAY)
    state[MEAN_ERROR] += share * (state[TARGET] - acceptance - state[MEAN_ERROR])
    log_step = state[AIM] - np.sqrt(state[COUNT]) / SHRINKAGE * state[MEAN_ERROR]
    state[LOG_STEP] = min(log_step, np.log(LONGEST))
    share = state[COUNT] ** -FORGETTING
    state[MEAN_LOG_STEP] += share * (state[LOG_STEP] - state[MEAN_LOG_STEP])


@numba.njit(
    types.float64(
        VECTOR, types.boolean, MATRIX, types.uint64[::1], METRIC_TYPE, TRAJECTORY_TYPE,
        KERNEL, DISPERSION_KERNEL, INTEGER_MATRIX, INTEGER_VECTOR, VECTOR, INDEX, VECTOR, MATRIX, MATRIX, MATRIX,
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)  # fmt: skip
def transitions(
    state: Array, adapting: bool, noise: Array, counter: NDArray[np.uint64], metric: Metric,
    t: Trajectory, kernel: Any, dispersion: Any, at: Places, integers: Places,
    numbers: Array, index: NDArray[np.int32], memory: Array, draws: Array,
    found: Array, statistics: Array,
) -> float:  # fmt: skip
    """Make transitions from the position in ``t.chosen[1, 0]``.

    Parameters
    ----------
    state
        Of dual averaging, (6,); moved where `adapting`.
    noise
        Standard normals, (m, D), for the momenta.
    counter
        Of the uniform numbers, (1,).
    metric
        Means and variances of the coordinates.
    t, kernel, dispersion, at, integers, numbers, index, memory
        The chain's memory and the density.
    draws, found, statistics
        Filled: (z, v), (m, D), the coefficients there, (m, k), and (m, 7).

    Returns
    -------
    The log density at the last draw; its gradient is in ``t.chosen[1, 1]``.
    """
    value = log_posterior(t.chosen[1, 0], kernel, dispersion, at, integers, numbers, index, memory, t.chosen[1, 1])
    roots = np.sqrt(metric.variances)
    for m in range(len(noise)):
        t.ends[0, 1] = noise[m] / roots
        step = np.exp(state[LOG_STEP] if adapting else state[MEAN_LOG_STEP])
        value = transition(
            value, step, metric, counter, t, kernel, dispersion, at, integers, numbers, index, memory, statistics[m]
        )
        statistics[m, 4] = step
        if adapting:
            adapt(state, statistics[m, 2])
        draws[m] = t.chosen[1, 0]
        find_coefficients(draws[m], at, integers, numbers, memory, found[m])
    return value

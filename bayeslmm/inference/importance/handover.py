"""What NUTS or Hamiltonian Monte Carlo would take, said before it takes over from importance sampling."""

import time

from bayeslmm.inference.hamiltonian.chains import LARGEST_STEP, TURN, WARM_UP
from bayeslmm.inference.options import Options
from bayeslmm.likelihood.threads import worker_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.types import Array

GRADIENTS_AN_ITERATION = 15  # of NUTS on whitened coordinates, four steps of doubling
STEPS_A_DRAW = TURN / LARGEST_STEP  # of Hamiltonian Monte Carlo
DRAW_GRADIENTS = 0.5  # a draw of the coefficients, in gradients


def nuts_seconds(density: CovarianceDensity, mode: Array, options: Options) -> float:
    """Return a rough estimate of the seconds that NUTS takes, from one gradient at the mode."""
    one = gradient_seconds(density, mode)
    at_once = min(options.chains, worker_threads(density.kernel.order, options.cores))
    iterations = (options.draws + options.tune) * options.chains / at_once
    return one * GRADIENTS_AN_ITERATION * iterations


def hamiltonian_seconds(density: CovarianceDensity, mode: Array, options: Options) -> float:
    """Return a rough estimate of the seconds that Hamiltonian Monte Carlo takes, coefficients included."""
    at_once = min(options.chains, worker_threads(density.kernel.order, options.cores))
    chains = options.chains / at_once
    gradients = (
        2 * density.dimension + (options.draws * (STEPS_A_DRAW + DRAW_GRADIENTS) + WARM_UP * STEPS_A_DRAW) * chains
    )
    return gradient_seconds(density, mode) * gradients


def gradient_seconds(density: CovarianceDensity, mode: Array) -> float:
    """Return the seconds of one gradient at the mode."""
    density.value_and_gradient(mode)  # the first call may compile
    started = time.perf_counter()
    density.value_and_gradient(mode)
    return time.perf_counter() - started


def duration(seconds: float) -> str:
    """Return a length of time as one says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds" if seconds >= 1.5 else "a second"
    minutes = seconds / 60
    return f"{round(minutes)} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def capitalised(sentence: str) -> str:
    """Return a sentence with a capital letter at its start."""
    return f"{sentence[0].upper()}{sentence[1:]}"

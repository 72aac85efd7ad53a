"""What NUTS would take, said before it takes over from importance sampling."""

import time

from bayeslmm.inference.options import Options
from bayeslmm.likelihood.threads import worker_threads
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.types import Array

GRADIENTS_AN_ITERATION = 15  # of NUTS on whitened coordinates, four steps of doubling


def nuts_seconds(density: CovarianceDensity, mode: Array, options: Options) -> float:
    """Return a rough estimate of the seconds that NUTS takes, from one gradient at the mode."""
    density.value_and_gradient(mode)  # the first call may compile
    started = time.perf_counter()
    density.value_and_gradient(mode)
    one = time.perf_counter() - started
    at_once = min(options.chains, worker_threads(density.kernel.order, options.cores))
    iterations = (options.draws + options.tune) * options.chains / at_once
    return one * GRADIENTS_AN_ITERATION * iterations


def duration(seconds: float) -> str:
    """Return a length of time as one says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds" if seconds >= 1.5 else "a second"
    minutes = seconds / 60
    return f"{round(minutes)} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def capitalised(sentence: str) -> str:
    """Return a sentence with a capital letter at its start."""
    return f"{sentence[0].upper()}{sentence[1:]}"

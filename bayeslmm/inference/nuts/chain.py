"""One chain of the covariance parameters."""

from dataclasses import dataclass

from bayeslmm.types import Array

JITTER = 0.5  # sds of the normal approximation by which chains' starting points are spread


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain's retained draws.

    Attributes
    ----------
    x
        (phi, log sigma), shape (draws, d).
    stats
        Per-draw statistics, arviz's names, each (draws,).
    failures
        Evaluations at which the kernel failed.
    evaluations
        All evaluations, warm-up included; 0 where they were not counted.
    """

    x: Array
    stats: dict[str, Array]
    failures: int
    evaluations: int = 0

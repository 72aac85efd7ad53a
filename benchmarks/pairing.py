"""Two programs run in turn, so that whatever else the machine does hits both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.peers.peer import Peer


@dataclass(frozen=True)
class Pairs:
    """Medians of seconds and of the ratios theirs / ours (wall clock, processor time), with the objectives reached."""

    ours: float
    theirs: float
    ratio: float
    ratios: list[float]
    our_objective: float | None = None
    their_objective: float | None = None
    processor_ratio: float | None = None


def paired(ours: Peer, theirs: Peer, repeats: int) -> Pairs:
    """Fit in turn, `repeats` times each; one fit of ours before that fills the caches."""
    ours.fit()
    first, second = [], []
    for _ in range(repeats):
        first.append(ours.fit())
        second.append(theirs.fit())
    ratios = [b.seconds / a.seconds for a, b in zip(first, second, strict=True)]
    return Pairs(
        statistics.median(t.seconds for t in first),
        statistics.median(t.seconds for t in second),
        statistics.median(ratios),
        ratios,
        first[-1].objective,
        second[-1].objective,
        statistics.median(b.processor / max(a.processor, 1e-6) for a, b in zip(first, second, strict=True)),
    )


def paired_calls(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> Pairs:
    """Time two functions in turn."""
    ours()
    theirs()
    first, second = [], []
    for _ in range(repeats):
        first.append(seconds(ours))
        second.append(seconds(theirs))
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    return Pairs(statistics.median(first), statistics.median(second), statistics.median(ratios), ratios)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started

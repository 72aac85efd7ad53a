"""Rows of the table: what is compared, and what came out."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from benchmarks.pairing import paired
from benchmarks.peers import PEERS, Ours, Problem, UnavailableError


@dataclass(frozen=True)
class Settings:
    """How long a run may take: repeats of each pair, and whether small versions of the data will do."""

    repeats: int = 5
    quick: bool = False


@dataclass(frozen=True)
class Outcome:
    """One line of the table.

    Attributes
    ----------
    row, against
        What was run and what it was compared with.
    ours, theirs
        Medians: seconds, or what `unit` says; None if the peer is missing.
    ratio
        Median of the paired ratios theirs / ours.
    bar
        The ratio to reach (at least, or at most where `at_most`).
    repeats
        Number of pairs.
    detail
        Anything else worth keeping.
    """

    row: str
    against: str
    ours: float | None
    theirs: float | None
    ratio: float | None
    bar: float | None = None
    at_most: bool = False
    repeats: int = 0
    unit: str = "s"
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        if self.ratio is None or self.bar is None:
            return None
        return self.ratio <= self.bar if self.at_most else self.ratio >= self.bar

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}


class Row(Protocol):
    """A file in `benchmarks/rows` has one, named ROW."""

    name: str

    def run(self, settings: Settings) -> list[Outcome]: ...


@dataclass(frozen=True)
class FitRow:
    """Whole fits, data frame to fitted object, against peers.

    Attributes
    ----------
    name
        What the table calls it.
    problems
        Makes the problems, by label; called with `quick`.
    bars
        Peer -> how many times faster we mean to be; None where there is no such aim.
    """

    name: str
    problems: Callable[[bool], Mapping[str, Problem]]
    bars: Mapping[str, float | None]

    def run(self, settings: Settings) -> list[Outcome]:
        outcomes = []
        for label, problem in self.problems(settings.quick).items():
            name = f"{self.name}{', ' + label if label else ''}"
            for peer, bar in self.bars.items():
                outcomes.append(self._against(name, problem, peer, None if settings.quick else bar, settings.repeats))
        return outcomes

    def _against(self, name: str, problem: Problem, peer: str, bar: float | None, repeats: int) -> Outcome:
        try:
            theirs = PEERS[peer](problem)
        except UnavailableError as error:
            return Outcome(name, peer, None, None, None, bar, detail={"missing": str(error)})
        try:
            found = paired(Ours(problem), theirs, repeats)
        finally:
            theirs.close()
        detail = {
            "version": theirs.version,
            "objective": found.our_objective,
            "objective of the peer": found.their_objective,
            "ratios": found.ratios,
            "processor": found.processor_ratio,
        }
        return Outcome(name, peer, found.ours, found.theirs, found.ratio, bar, repeats=repeats, detail=detail)

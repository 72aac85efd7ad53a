"""What fits a model once and says how long it took."""

import time
from dataclasses import dataclass
from typing import Protocol

import pandas as pd


@dataclass(frozen=True)
class Problem:
    """One model to fit.

    Attributes
    ----------
    data, formula, method
        What is fitted: lme4's notation, "ml" or "reml".
    categories
        Columns that are categories.
    family
        The response distribution.
    """

    data: pd.DataFrame
    formula: str
    method: str
    categories: tuple[str, ...] = ()
    family: str = "gaussian"


@dataclass(frozen=True)
class Timing:
    """Seconds from data frame to fitted object, by the wall clock and of processor time, and the objective reached."""

    seconds: float
    processor: float
    objective: float | None


class Stopwatch:
    """Wall-clock and processor time of this process since it was made."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self, objective: float | None) -> Timing:
        return Timing(time.perf_counter() - self.wall, time.process_time() - self.processor, objective)


class Peer(Protocol):
    version: str

    def fit(self) -> Timing: ...
    def close(self) -> None: ...


class UnavailableError(Exception):
    """The peer is not on this machine or does not fit this model; the message says which."""

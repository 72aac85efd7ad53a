"""What fits a model once and says how long it took."""

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
    """

    data: pd.DataFrame
    formula: str
    method: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds from data frame to fitted object, and minus twice the log-likelihood reached."""

    seconds: float
    objective: float | None


class Peer(Protocol):
    version: str

    def fit(self) -> Timing: ...
    def close(self) -> None: ...


class UnavailableError(Exception):
    """The peer is not on this machine or does not fit this model; the message says which."""

"""How often intervals contain the truth, over data sets simulated from the priors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayeslmm.errors import FittingError
from bayeslmm.types import Array
from bayeslmm.validation.intervals import MakeIntervals
from bayeslmm.validation.quantities import all_parameters
from bayeslmm.validation.simulate import Study, simulate

LEVELS = (0.5, 0.8, 0.95)
DOUBTFUL = 3.0  # standard errors below the level that count as under-coverage
KINDS = ("beta", "random effects", "sd", "correlation", "sigma")
PREFIXES = {"beta[": "beta", "r_": "random effects", "sd_": "sd", "cor_": "correlation", "sigma": "sigma"}


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which intervals contained the truth.

    Attributes
    ----------
    study
        What was simulated.
    names
        The K parameters.
    levels
        Shape (L,).
    inside
        By method, shape (N, L, K): 1 inside, 0 outside, NaN where the method gives no interval.
    failures
        By method, the number of data sets it could not fit.
    """

    study: str
    names: tuple[str, ...]
    levels: Array
    inside: Mapping[str, Array]
    failures: Mapping[str, int]

    def table(self) -> pd.DataFrame:
        """Return a row per method and kind of parameter.

        Columns: for each level the share of intervals that contain the truth and its standard error (data sets
        are independent, parameters of one data set are not), and ``under_covers``, the levels missed by more
        than three standard errors. Kinds for which a method gives no interval have no row.
        """
        kinds = np.array([kind_of(name) for name in self.names])
        rows = []
        for method, inside in self.inside.items():
            for kind in KINDS:
                chosen = inside[:, :, kinds == kind]
                if chosen.shape[2] == 0 or not np.isfinite(chosen).any():
                    continue
                rows.append({"study": self.study, "method": method, "kind": kind, **self._shares(chosen)})
        return pd.DataFrame(rows)

    def _shares(self, chosen: Array) -> dict[str, object]:
        each = np.nanmean(chosen[np.isfinite(chosen).any(axis=(1, 2))], axis=2)
        share = each.mean(axis=0)
        error = each.std(axis=0, ddof=1) / np.sqrt(len(each))
        found: dict[str, object] = {}
        missed = []
        for level, value, uncertainty in zip(self.levels, share, error, strict=True):
            found[f"{level:.0%}"] = value
            found[f"{level:.0%} error"] = uncertainty
            if value < level - DOUBTFUL * max(uncertainty, 1e-3):
                missed.append(f"{level:.0%}")
        return {**found, "under_covers": ", ".join(missed)}


def kind_of(name: str) -> str:
    """Return the kind of parameter a name stands for."""
    return next(kind for prefix, kind in PREFIXES.items() if name.startswith(prefix))


def measure_coverage(
    study: Study,
    methods: Mapping[str, MakeIntervals],
    *,
    simulations: int,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Coverage:
    """Simulate data, make intervals by every method, and look whether the truth lies inside.

    Parameters
    ----------
    study
        Design and priors.
    methods
        Makers of intervals by name.
    simulations
        Number of data sets; every method sees the same.
    levels
        Of the intervals.
    seed
        Seed.
    report
        Called with the number of data sets done.
    """
    wanted = np.asarray(levels, dtype=float)
    inside: dict[str, list[Array]] = {method: [] for method in methods}
    failures = dict.fromkeys(methods, 0)
    names: tuple[str, ...] = ()
    for i, simulation in enumerate(simulate(study, simulations, seed)):
        truth = all_parameters(simulation.problem.design, simulation.truth)
        names, true = truth.names, truth.values[0, 0]
        for method, make in methods.items():
            try:
                limits = make(simulation.problem, wanted, seed + i)
            except FittingError:
                failures[method] += 1
                inside[method].append(np.full((len(wanted), len(names)), np.nan))
                continue
            within = ((limits.lower <= true) & (true <= limits.upper)).astype(float)
            inside[method].append(np.where(np.isnan(limits.lower), np.nan, within))
        if report is not None:
            report(i + 1)
    return Coverage(study.name, names, wanted, {m: np.array(v) for m, v in inside.items()}, failures)


def under_coverage(tables: pd.DataFrame) -> list[str]:
    """Say in sentences which methods under-cover where."""
    found = []
    for row in tables.to_dict("records"):
        if row["under_covers"]:
            shares = ", ".join(f"{row[level]:.0%} for {level}" for level in row["under_covers"].split(", "))
            found.append(f"{row['method']}: intervals of {row['kind']} ({row['study']}) cover {shares}.")
    return found

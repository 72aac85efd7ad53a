"""The long runs of the report: what is simulated, how it is solved, how often."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.validation.calibration import Calibration, calibrate, merge
from bayeslmm.validation.coverage import measure_coverage
from bayeslmm.validation.intervals import MakeIntervals, advi_intervals, default_methods
from bayeslmm.validation.methods import HierarchicalNuts, importance, marginal_nuts
from bayeslmm.validation.prediction_coverage import DESIGNS, measure_prediction_coverage
from bayeslmm.validation.simulate import STUDIES
from benchmarks.calibration.families import CASES, compare_with_pymc
from benchmarks.calibration.family_studies import FAMILY_STUDIES, calibrate_family, importance_fit
from benchmarks.calibration.four_methods import DATA_SETS, compare_four
from benchmarks.calibration.hard import HARD_CASES, hamiltonian_against_nuts
from benchmarks.calibration.predictions import METHODS
from benchmarks.calibration.stored import file_stem, read_calibration, stored_calibration, stored_table
from benchmarks.calibration.twenty import importance_against_nuts

SEED = 20_000
BLOCK = 50  # simulations between which a run can be interrupted
SEEDS_OF_BLOCK = 1000
IMPORTANCE_SIMULATIONS, IMPORTANCE_DRAWS = 1000, 255
NUTS_SIMULATIONS, NUTS_DRAWS = 200, 63
FAMILY_SIMULATIONS, FAMILY_DRAWS = 50, 63
COVERAGE_SIMULATIONS = 500
PREDICTION_LEVEL = 0.95
PREDICTION_SIMULATIONS = 500
FEWER_PREDICTIONS = {"importance": 100}  # data sets by method
COVERAGE_STUDIES = ("random intercept", "correlated slope, centred")
TWENTY_SEEDS = tuple(range(10))
SEED_OF_AGREEMENT = 30_000
SEED_OF_FAMILIES = 40_000
SEED_OF_HARD = 50_000

Report = Callable[[str, int], None]  # (what, number done)


@dataclass(frozen=True, slots=True)
class CalibrationCell:
    """One calibration: a study, of normal responses or of a family, by a method."""

    study: str
    method: str
    make: Callable[[], Any]
    simulations: int
    n_draws: int

    def run(self, folder: Path, report: Report | None = None) -> Calibration:
        """Return the calibration, from the folder if it is there; done in blocks, so that it can be interrupted."""
        path = self.path(folder)
        if path.exists():
            return read_calibration(path)
        parts = [path.with_name(f"{path.stem}_part{k}.npz") for k in range(-(-self.simulations // BLOCK))]
        sample = self.make()
        found = []
        for k, part in enumerate(parts):
            found.append(stored_calibration(part, partial(self._block, sample, k)))
            if report is not None:
                report(f"{self.study}, {self.method}", min(BLOCK * (k + 1), self.simulations))
        whole = stored_calibration(path, partial(merge, found))
        for part in parts:
            part.unlink()
        return whole

    def _block(self, sample: Any, k: int) -> Calibration:
        options: Any = {
            "simulations": min(BLOCK, self.simulations - BLOCK * k),
            "n_draws": self.n_draws,
            "seed": SEED + SEEDS_OF_BLOCK * k,
            "method": self.method,
        }
        if self.study in FAMILY_STUDIES:
            return calibrate_family(FAMILY_STUDIES[self.study](), sample, **options)
        return calibrate(STUDIES[self.study](), sample, **options)

    def path(self, folder: Path) -> Path:
        """Return the file the calibration is kept in."""
        return folder / f"{file_stem(self.study, self.method)}.npz"


@dataclass(frozen=True, slots=True)
class CoverageCell:
    """Coverage of one method in one study; every method sees the same data sets."""

    study: str
    method: str
    make: Callable[[], MakeIntervals]

    def run(self, folder: Path, report: Report | None = None) -> pd.DataFrame:
        """Return the table of coverage, from the folder if it is there."""

        def work() -> pd.DataFrame:
            return measure_coverage(
                STUDIES[self.study](),
                {self.method: self.make()},
                simulations=COVERAGE_SIMULATIONS,
                seed=SEED,
                report=_named(report, f"coverage, {self.study}, {self.method}"),
            ).table()

        return stored_table(self.path(folder), work)

    def path(self, folder: Path) -> Path:
        """Return the file the table is kept in."""
        return folder / f"coverage_{file_stem(self.study, self.method)}.csv"


@dataclass(frozen=True, slots=True)
class PredictionCell:
    """Coverage of one method's predictions in one design; every method begins with the same data sets."""

    study: str
    method: str

    @property
    def simulations(self) -> int:
        """Number of data sets."""
        return FEWER_PREDICTIONS.get(self.method, PREDICTION_SIMULATIONS)

    def run(self, folder: Path, report: Report | None = None) -> pd.DataFrame:
        """Return the table of coverage, from the folder if it is there."""

        def work() -> pd.DataFrame:
            return measure_prediction_coverage(
                DESIGNS[self.study],
                {self.method: METHODS[self.method]},
                simulations=self.simulations,
                level=PREDICTION_LEVEL,
                seed=SEED,
                report=_named(report, f"predictions, {self.study}, {self.method}"),
            ).assign(simulations=self.simulations)

        return stored_table(self.path(folder), work)

    def path(self, folder: Path) -> Path:
        """Return the file the table is kept in."""
        return folder / f"predictions_{file_stem(self.study, self.method)}.csv"


def prediction_cells() -> tuple[PredictionCell, ...]:
    """Return the measurements of predictions in the report."""
    return tuple(PredictionCell(study, method) for study in DESIGNS for method in METHODS)


def calibration_cells() -> tuple[CalibrationCell, ...]:
    """Return the calibrations of the report."""
    cells = [
        CalibrationCell(study, "importance", lambda: importance, IMPORTANCE_SIMULATIONS, IMPORTANCE_DRAWS)
        for study in STUDIES
    ]
    cells += [
        CalibrationCell(study, "marginal NUTS", lambda: marginal_nuts, NUTS_SIMULATIONS, NUTS_DRAWS)
        for study in STUDIES
    ]
    cells += [
        CalibrationCell(study, "hierarchical NUTS", HierarchicalNuts, NUTS_SIMULATIONS, NUTS_DRAWS)
        for study in ("random intercept", "correlated slope")
    ]
    return (*cells, *family_cells())


def family_cells() -> tuple[CalibrationCell, ...]:
    """Return the calibrations of families."""
    return tuple(
        CalibrationCell(study, "importance", lambda: importance_fit, FAMILY_SIMULATIONS, FAMILY_DRAWS)
        for study in FAMILY_STUDIES
    )


def coverage_cells() -> tuple[CoverageCell, ...]:
    """Return the coverage measurements of the report; ADVI, the slowest, last."""
    cells = [
        CoverageCell(study, method, _constant(make))
        for study in COVERAGE_STUDIES
        for method, make in default_methods().items()
    ]
    return (*cells, CoverageCell("random intercept", "advi", _constant(advi_intervals)))


@dataclass(frozen=True, slots=True)
class Tables:
    """Comparisons that are made one by one and kept each in a file of its own.

    Attributes
    ----------
    what
        What is compared, for progress.
    stem
        What the files' names begin with.
    names
        The comparisons.
    make
        Makes the table of one.
    missing
        A sentence for one that has not been made, with a place for its name.
    """

    what: str
    stem: str
    names: tuple[Any, ...]
    make: Callable[[Any], pd.DataFrame]
    missing: str

    def run(self, folder: Path, report: Report | None = None, *, run: bool = True) -> pd.DataFrame:
        """Return all tables as one; those not found in the folder are made only if wanted."""
        tables = []
        for name in self.names:
            path = self.path(folder, name)
            if run or path.exists():
                tables.append(stored_table(path, partial(self.make, name)))
            if report is not None:
                report(self.what, len(tables))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def not_made(self, folder: Path) -> list[str]:
        """Return a sentence for each comparison that has not been made."""
        return [self.missing.format(name) for name in self.names if not self.path(folder, name).exists()]

    def path(self, folder: Path, name: Any) -> Path:
        """Return the file a comparison is kept in."""
        return folder / f"{self.stem}_{file_stem(str(name))}.csv"


def _twenty_row(seed: int) -> pd.DataFrame:
    return pd.DataFrame([importance_against_nuts(seed)])


def _agreement(name: str) -> pd.DataFrame:
    return compare_four(name, SEED_OF_AGREEMENT)


def _families(name: str) -> pd.DataFrame:
    return compare_with_pymc(name, SEED_OF_FAMILIES)


def _hard(name: str) -> pd.DataFrame:
    return hamiltonian_against_nuts(name, HARD_CASES[name], SEED_OF_HARD)


TWENTY_TABLES = Tables(
    "twenty covariance parameters", "twenty", TWENTY_SEEDS, _twenty_row, "twenty covariance parameters, seed {}"
)
AGREEMENT_TABLES = Tables("agreement of four methods", "agreement", tuple(DATA_SETS), _agreement, "four methods on {}")
FAMILY_TABLES = Tables("families against PyMC", "pymc", tuple(CASES), _families, "{} against PyMC")
HARD_TABLES = Tables("Hamiltonian Monte Carlo", "hard", tuple(HARD_CASES), _hard, "Hamiltonian Monte Carlo, {}")


def _constant(make: MakeIntervals) -> Callable[[], MakeIntervals]:
    return lambda: make


def _named(report: Report | None, what: str) -> Callable[[int], None] | None:
    return None if report is None else lambda done: report(what, done)

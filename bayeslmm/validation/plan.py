"""The long runs: which study by which method, and how often."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bayeslmm.validation.calibration import Calibration, calibrate
from bayeslmm.validation.methods import HierarchicalNuts, Sample, importance, marginal_nuts
from bayeslmm.validation.simulate import STUDIES
from bayeslmm.validation.stored import stored_calibration

SEED = 20_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One calibration of the report."""

    study: str
    method: str
    make: Callable[[], Sample]
    simulations: int
    n_draws: int

    def run(self, folder: Path, report: Callable[[int], None] | None = None) -> Calibration:
        """Return the calibration, from the folder if it is there."""

        def work() -> Calibration:
            return calibrate(
                STUDIES[self.study](),
                self.make(),
                simulations=self.simulations,
                n_draws=self.n_draws,
                seed=SEED,
                method=self.method,
                report=report,
            )

        return stored_calibration(folder, work, self.study, self.method)


def calibration_cells() -> tuple[Cell, ...]:
    """Return the calibrations of the report, the quickest first."""
    cells = [Cell(study, "importance", lambda: importance, 1000, 255) for study in STUDIES]
    cells += [Cell(study, "marginal NUTS", lambda: marginal_nuts, 200, 63) for study in STUDIES]
    cells += [
        Cell(study, "hierarchical NUTS", HierarchicalNuts, 200, 63)
        for study in ("random intercept", "correlated slope")
    ]
    return tuple(cells)

"""Simulation-based calibration.

Parameters from the prior, data from the parameters: the parameters' ranks among draws of the posterior are
then uniform, whatever the model, if and only if the draws are right.

Source: Talts, Betancourt, Simpson, Vehtari and Gelman (2018), arXiv 1804.06788; for quantities
that read the data too, such as the log-likelihood, Modrák et al. (2023), Bayesian Analysis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.types import Array
from bayeslmm.validation.bands import Band, count_below, simultaneous_band, simultaneous_p_value
from bayeslmm.validation.methods import HANDED_OVER, Sample
from bayeslmm.validation.quantities import ranked_quantities
from bayeslmm.validation.simulate import Problem, Study, simulate

Integers = NDArray[np.int64]

LEVEL = 0.99  # of the simultaneous bands


@dataclass(frozen=True, slots=True)
class Calibration:
    """Ranks of the truth among posterior draws.

    Attributes
    ----------
    study, method
        What was simulated, and how it was solved.
    names
        The K quantities.
    ranks
        Number of draws below the truth, shape (N, K).
    n_draws
        M, draws per simulation: ranks lie in 0..M.
    replaced
        Simulations whose method handed over to another one.
    level
        Of the simultaneous bands.
    """

    study: str
    method: str
    names: tuple[str, ...]
    ranks: Integers
    n_draws: int
    replaced: int = 0
    level: float = LEVEL

    @property
    def n_simulations(self) -> int:
        """N."""
        return len(self.ranks)

    @property
    def band(self) -> Band:
        """The simultaneous band of one quantity's counts."""
        return simultaneous_band(self.n_simulations, self.n_draws, self.level)

    @property
    def counts(self) -> Integers:
        """Number of ranks below each place of the band, shape (k, K)."""
        return np.column_stack([count_below(column, self.n_draws) for column in self.ranks.T])

    @property
    def curves(self) -> Array:
        """Distribution functions of the ranks less the uniform one, shape (k, K), for a picture."""
        return self.counts / self.n_simulations - self.band.places[:, None]

    @property
    def p_values(self) -> Array:
        """For each quantity, the probability under uniform ranks of a curve as extreme, shape (K,)."""
        return np.array([simultaneous_p_value(column, self.n_draws) for column in self.ranks.T])

    @property
    def outside(self) -> tuple[str, ...]:
        """Quantities whose curve leaves the band."""
        band, counts = self.band, self.counts
        left = (counts < band.lower[:, None]) | (counts > band.upper[:, None])
        return tuple(name for name, column in zip(self.names, left.T, strict=True) if column.any())

    @property
    def uniform(self) -> bool:
        """Whether every quantity's curve stays within its band."""
        return not self.outside

    def table(self) -> pd.DataFrame:
        """Return a row per quantity: mean rank / M, its spread over that of a uniform one, p-value, inside the band."""
        scaled = (self.ranks + 0.5) / (self.n_draws + 1)
        return pd.DataFrame(
            {
                "quantity": self.names,
                "mean_rank": scaled.mean(axis=0),
                "spread": scaled.std(axis=0) * np.sqrt(12.0),
                "p_value": self.p_values,
                "inside": [name not in self.outside for name in self.names],
            }
        )


def merge(parts: Sequence[Calibration]) -> Calibration:
    """Return calibrations of one study by one method as one."""
    first = parts[0]
    ranks = np.concatenate([part.ranks for part in parts])
    return replace(first, ranks=ranks, replaced=sum(part.replaced for part in parts))


def calibrate(
    study: Study,
    sample: Sample,
    *,
    simulations: int,
    n_draws: int = 255,
    seed: int = 0,
    method: str = "",
    truth: Study | None = None,
    report: Callable[[int], None] | None = None,
) -> Calibration:
    """Simulate, solve, and rank.

    Parameters
    ----------
    study
        Design and the priors the method is given.
    sample
        The method.
    simulations
        Number of data sets.
    n_draws
        Nearly independent posterior draws per data set; one less than a multiple of 64 suits the bands best.
    seed
        Seed of simulations and methods.
    method
        Its name, for tables.
    truth
        What data are simulated from, `study` unless a mismatch is wanted on purpose.
    report
        Called with the number of simulations done.
    """
    ranks: list[Integers] = []
    names: tuple[str, ...] = ()
    replaced = 0
    for i, simulation in enumerate(simulate(truth or study, simulations, seed)):
        problem = Problem(simulation.problem.design, study.priors)
        draws = sample(problem, n_draws, seed + i)
        replaced += draws.method == HANDED_OVER
        rng = np.random.default_rng([seed, i])
        true = ranked_quantities(problem.design, simulation.truth, rng)
        drawn = ranked_quantities(problem.design, draws, rng)
        names = true.names
        ranks.append(np.sum(drawn.values[0] < true.values[0, 0], axis=0))
        if report is not None:
            report(i + 1)
    return Calibration(study.name, method, names, np.array(ranks, dtype=np.int64), n_draws, replaced)

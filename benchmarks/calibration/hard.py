"""Hamiltonian Monte Carlo against long NUTS on models that are singular at their optimum.

NUTS moves in (phi, log sigma) as `fit("nuts")` does, without the normal scores, the secants and the rotations that
Hamiltonian Monte Carlo rests on; what both share is the density, which the other comparisons check.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayeslmm as blm
from bayeslmm.inference.draws import Draws
from bayeslmm.validation.agreement import Agreement, compare_draws
from benchmarks.rows.posterior_hard import QUICK, SEVENTY_TWO, TWENTY
from benchmarks.simulate import factorial


@dataclass(frozen=True, slots=True)
class HardCase:
    """A model and how long it is sampled.

    Attributes
    ----------
    size
        Arguments of `factorial`.
    chains, draws, tune
        Of NUTS.
    hmc_draws
        Of each of four chains of Hamiltonian Monte Carlo.
    """

    size: Mapping[str, Any]
    chains: int
    draws: int
    tune: int
    hmc_draws: int


HARD_CASES = {
    "72 covariance parameters": HardCase(SEVENTY_TWO, chains=3, draws=600, tune=500, hmc_draws=300),
    "20 covariance parameters": HardCase(TWENTY, chains=3, draws=500, tune=400, hmc_draws=300),
}
SMALL = HardCase(QUICK, chains=2, draws=200, tune=200, hmc_draws=200)
KINDS: dict[str, Callable[[str], bool]] = {
    "standard deviations": lambda name: name == "sigma" or name.startswith("sd_"),
    "correlations": lambda name: name.startswith("cor_"),
    "coefficients": lambda name: name.startswith("beta["),
    "random effects": lambda name: name.startswith("r_"),
}


def hamiltonian_against_nuts(name: str, case: HardCase, seed: int, chains: Path | None = None) -> pd.DataFrame:
    """Sample a posterior both ways and compare.

    Parameters
    ----------
    name
        What the case is called.
    case
        The model.
    seed
        Of NUTS; Hamiltonian Monte Carlo takes the next.
    chains
        A folder for finished chains of NUTS, so that an interrupted run goes on where it stopped.

    Returns
    -------
    DataFrame
        A row per kind of parameter: data, kind; parameters, their number; mean_z and sd_z, the largest difference of
        means and of standard deviations in Monte Carlo standard errors, with mean_of and sd_of, the parameters they
        belong to; shift, the largest difference of means in posterior standard deviations; ess and reference_ess, the
        smallest effective size of Hamiltonian Monte Carlo and of NUTS; divergences and reference_divergences.
    """
    data, formula = factorial(**case.size)
    model = blm.Model(formula, data)
    options: dict[str, Any] = {"progressbar": False}
    reference = model.fit(
        "nuts", chains=case.chains, draws=case.draws, tune=case.tune, seed=seed, resume=chains, **options
    ).draws
    found = model.fit("hmc", draws=case.hmc_draws, seed=seed + 1, **options).draws
    compared = compare_draws(model.posterior_design, found, reference)
    facts = {"divergences": _divergences(found), "reference_divergences": _divergences(reference)}
    return pd.DataFrame([{"data": name, **row, **facts} for row in largest_by_kind(compared)])


def largest_by_kind(compared: Agreement) -> list[dict[str, Any]]:
    """Return the largest differences and smallest effective sizes of each kind of parameter."""
    names = np.array(compared.first.names, dtype=object)
    sizes = [_sizes(moments.sd, moments.mean_error) for moments in (compared.first, compared.second)]
    shifts = np.abs(compared.first.mean - compared.second.mean) / compared.second.sd
    rows = []
    for kind, belongs in KINDS.items():
        places = np.flatnonzero([belongs(name) for name in names])
        mean, sd = (places[np.argmax(np.abs(z[places]))] for z in (compared.mean_z, compared.sd_z))
        rows.append(
            {
                "kind": kind,
                "parameters": len(places),
                "mean_z": abs(compared.mean_z[mean]),
                "mean_of": names[mean],
                "sd_z": abs(compared.sd_z[sd]),
                "sd_of": names[sd],
                "shift": shifts[places].max(),
                "ess": sizes[0][places].min(),
                "reference_ess": sizes[1][places].min(),
            }
        )
    return rows


def _sizes(sd: np.ndarray, mean_error: np.ndarray) -> np.ndarray:
    return (sd / mean_error) ** 2


def _divergences(draws: Draws) -> int:
    return int(np.sum(draws.stats["diverging"]))

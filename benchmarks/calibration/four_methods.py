"""One posterior by four methods, compared pair by pair: the data sets of the textbooks and a simulated crossed one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from bayeslmm.datasets import load_dataset
from bayeslmm.design import build_design
from bayeslmm.design.design import Design
from bayeslmm.formula import parse
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.importance.sampling import sample_importance
from bayeslmm.inference.nuts.sampling import sample_nuts
from bayeslmm.inference.options import Options
from bayeslmm.priors import resolve_priors
from bayeslmm.results.diagnostics import effective_sizes
from bayeslmm.types import Parametrization
from bayeslmm.validation.agreement import Agreement, compare_draws
from bayeslmm.validation.quantities import all_parameters
from bayeslmm.validation.simulate import STUDIES, Problem, simulate

FORMULAS = {
    "sleepstudy": "Reaction ~ 1 + Days + (1 + Days | Subject)",
    "dyestuff": "Yield ~ 1 + (1 | Batch)",
    "ratpup": "weight ~ 1 + sex + treatment + litsize + (1 | litter)",
}
CROSSED = "crossed, simulated"
DATA_SETS = (*FORMULAS, CROSSED)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each method samples.

    Attributes
    ----------
    draws, chains
        Kept by every method.
    tune
        Warm-up iterations of NUTS.
    target_accept
        Of NUTS, by parametrization: the explicit hierarchy's funnels need small steps.
    """

    draws: int = 4000
    chains: int = 4
    tune: int = 1500
    target_accept: Mapping[Parametrization, float] = field(
        default_factory=lambda: {"marginal": 0.9, "noncentered": 0.98, "centered": 0.995}
    )


def known_problem(name: str) -> Problem:
    """Return a data set under its default priors.

    Parameters
    ----------
    name
        One of `DATA_SETS`; the crossed one is the study's first data set: 70 rows, 9 by 7 levels.
    """
    if name == CROSSED:
        design = next(simulate(STUDIES["crossed"](), 1, seed=1)).problem.design
    else:
        design = build_design(parse(FORMULAS[name]), load_dataset(name))
    return Problem(design, resolve_priors(design))


def ways(problem: Problem, effort: Effort) -> dict[str, Callable[[int], Draws]]:
    """Return the methods by name: a seed in, draws out, each the way a user's fit goes."""

    def by_importance(seed: int) -> Draws:
        options = Options(draws=effort.draws, chains=effort.chains, seed=seed, handover="error")
        return sample_importance(problem.density, options)

    def by_nuts(parametrization: Parametrization, seed: int) -> Draws:
        return sample_nuts(
            problem.design,
            problem.priors,
            Options(
                parametrization=parametrization,
                draws=effort.draws,
                tune=effort.tune,
                chains=effort.chains,
                seed=seed,
                target_accept=effort.target_accept[parametrization],
            ),
        )

    return {
        "importance": by_importance,
        "marginal NUTS": partial(by_nuts, "marginal"),
        "non-centred NUTS": partial(by_nuts, "noncentered"),
        "centred NUTS": partial(by_nuts, "centered"),
    }


def compare_four(name: str, seed: int, effort: Effort | None = None) -> pd.DataFrame:
    """Solve a data set by every method and compare every pair.

    Parameters
    ----------
    name
        One of `DATA_SETS`.
    seed
        Of the first method; the others take the following ones.
    effort
        How long to sample.

    Returns
    -------
    DataFrame
        A row per pair: data, first, second; parameters, their number, random effects included; mean_z and sd_z, the
        largest difference of means and of standard deviations in Monte Carlo standard errors, and the parameters
        they belong to, mean_of and sd_of; and for both methods the smallest effective size, for a mean or a standard
        deviation (first_ess, second_ess), and the number of divergences (first_divergences, second_divergences).
    """
    problem = known_problem(name)
    made = {method: sample(seed + k) for k, (method, sample) in enumerate(ways(problem, effort or Effort()).items())}
    facts = {method: _facts(problem.design, draws) for method, draws in made.items()}
    rows = []
    for first, second in combinations(made, 2):
        compared = compare_draws(problem.design, made[first], made[second])
        rows.append(
            {
                "data": name,
                "first": first,
                "second": second,
                **_worst(compared),
                **{f"first_{key}": value for key, value in facts[first].items()},
                **{f"second_{key}": value for key, value in facts[second].items()},
            }
        )
    return pd.DataFrame(rows)


def _worst(compared: Agreement) -> dict[str, object]:
    names = compared.first.names
    mean_z, sd_z = np.abs(compared.mean_z), np.abs(compared.sd_z)
    return {
        "parameters": len(names),
        "mean_z": float(mean_z.max()),
        "mean_of": names[int(mean_z.argmax())],
        "sd_z": float(sd_z.max()),
        "sd_of": names[int(sd_z.argmax())],
    }


def _facts(design: Design, draws: Draws) -> dict[str, float | int]:
    values = all_parameters(design, draws).values
    squares = (values - values.mean(axis=(0, 1))) ** 2
    size = float(min(np.nanmin(effective_sizes(values)), np.nanmin(effective_sizes(squares))))
    diverging = draws.stats.get("diverging")
    return {
        "ess": min(size, float(draws.info.get("effective_size", size))),
        "divergences": 0 if diverging is None else int(np.sum(diverging)),
    }

"""Data sets with twenty covariance parameters: two crossed factors, an intercept and three correlated slopes each."""

import time
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.design import build_design
from bayeslmm.formula import parse
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.nuts.marginal import sample_marginal
from bayeslmm.inference.options import Options
from bayeslmm.priors import LKJ, resolve_priors
from bayeslmm.results.diagnostics import diagnose
from bayeslmm.validation.agreement import Agreement, compare_draws
from bayeslmm.validation.quantities import covariance_quantities
from bayeslmm.validation.simulate import Problem

ROWS = 1800
LEVELS = {"a": 60, "b": 32}
SLOPES = ("x1", "x2", "x3")
FORMULA = "y ~ x1 + x2 + x3 + (x1 + x2 + x3 | a) + (x1 + x2 + x3 | b)"
SMALLEST_SD, LARGEST_SD = 0.1, 1.0  # of sigma: the small ones are weakly identified
DRAWS = 2000


def twenty_parameters(seed: int) -> Problem:
    """Simulate a data set; default priors.

    Parameters
    ----------
    seed
        Standard deviations are uniform on 0.1 to 1, correlations LKJ(2), sigma is one.
    """
    rng = np.random.default_rng([20, seed])
    columns = {name: rng.normal(size=ROWS) for name in SLOPES}
    z = np.column_stack([np.ones(ROWS), *columns.values()])
    y = z @ np.array([1.0, 0.5, -0.3, 0.2]) + rng.normal(size=ROWS)
    codes = {}
    for name, levels in LEVELS.items():
        codes[name] = rng.permutation(np.arange(ROWS) % levels)
        sd = rng.uniform(SMALLEST_SD, LARGEST_SD, z.shape[1])
        factor = sd[:, None] * np.linalg.cholesky(LKJ(2).sample(rng, z.shape[1]))
        effects = rng.normal(size=(levels, z.shape[1])) @ factor.T
        y += np.sum(z * effects[codes[name]], axis=1)
    design = build_design(parse(FORMULA), pd.DataFrame({"y": y, **columns, **codes}))
    return Problem(design, resolve_priors(design))


def importance_against_nuts(seed: int) -> dict[str, Any]:
    """Solve a data set by importance sampling and, where its weights are fine, by NUTS, and compare.

    Parameters
    ----------
    seed
        Of the data and of the methods.

    Returns
    -------
    dict
        seed; k_hat, effective_size, points, rounds, trouble and seconds of importance sampling; nuts_seconds,
        nuts_ess (the smallest), divergences; and the largest differences in Monte Carlo standard errors:
        worst (covariance parameters and coefficients), worst_effect (random effects).
    """
    problem = twenty_parameters(seed)
    started = time.perf_counter()
    options = Options(draws=DRAWS, chains=1, seed=seed)
    points = weighted_points(problem.density, options)
    first = importance_draws(problem.density, points, options)
    found: dict[str, Any] = {
        "seed": seed,
        "k_hat": points.smoothed.k_hat,
        "effective_size": points.smoothed.effective_size,
        "points": len(points.phi),
        "rounds": points.rounds,
        "trouble": points.trouble,
        "seconds": time.perf_counter() - started,
    }
    if points.trouble:
        return found
    started = time.perf_counter()
    second = sample_marginal(problem.density, Options(draws=600, tune=400, chains=2, seed=seed))
    compared = compare_draws(problem.design, first, second)
    few = covariance_quantities(problem.design, second)
    return {
        **found,
        "nuts_seconds": time.perf_counter() - started,
        "nuts_ess": float(diagnose(few.values).ess_bulk.min()),
        "divergences": int(second.stats["diverging"].sum()),
        **_worst(compared, len(few.names)),
    }


def _worst(compared: Agreement, n_first: int) -> dict[str, float]:
    largest = np.maximum(np.abs(compared.mean_z), np.abs(compared.sd_z))
    return {"worst": float(largest[:n_first].max()), "worst_effect": float(largest[n_first:].max())}

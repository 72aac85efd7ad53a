"""``bayeslmm check``: whether the method recovers what it found, on data simulated from the fit."""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.commands.outcome import NOT_TRUSTED, Outcome, chosen_fits
from bayeslmm.errors import OptionError
from bayeslmm.methods import METHODS

HELP = "simulate from a saved fit, refit, report coverage and bias"
SUSPECT = 3.0  # standard errors of a simulated share below the stated probability


def add(parser: argparse.ArgumentParser) -> None:
    """State the arguments."""
    parser.add_argument("folder", type=Path, help="a result folder or one saved fit")
    parser.add_argument("--method", choices=METHODS, help="which fit of the folder: reml or ml")
    parser.add_argument("-n", "--simulations", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--level", type=float, default=0.95, metavar="P", help="probability of the intervals")
    parser.add_argument("--seed", type=int, default=1, help="seed; default: 1")


def run(options: argparse.Namespace) -> Outcome:
    """Simulate responses from a fit by REML or ML, fit each, and say how often intervals contain the truth."""
    from bayeslmm.results.point import PointFit

    fits = [f for f in chosen_fits(options.folder, options.method) if isinstance(f, PointFit) and f.method != "map"]
    if not fits:
        raise OptionError(f"{options.folder} holds no fit by 'reml' or 'ml', which is what is simulated and refitted.")
    fit, level = fits[0], options.level
    names = list(fit.fixef().index)

    def refitted(other: PointFit) -> pd.Series:
        limits = other.confint(level)
        varcorr = other.varcorr()["sd"].dropna().to_numpy()
        return pd.Series(np.concatenate([other.fixef(), limits["lower"], limits["upper"], varcorr]))

    found = fit.bootstrap(options.simulations, seed=options.seed, statistic=refitted, progressbar=False)
    values, p = found.replicates.to_numpy(dtype=float), len(names)
    truth = fit.fixef().to_numpy()
    inside = (values[:, p : 2 * p] <= truth) & (truth <= values[:, 2 * p : 3 * p])
    table = pd.DataFrame(
        {
            "true": truth,
            "mean": values[:, :p].mean(axis=0),
            "bias_in_sd": (values[:, :p].mean(axis=0) - truth) / values[:, :p].std(axis=0, ddof=1),
            "coverage": inside.mean(axis=0),
        },
        index=pd.Index(names, name="parameter"),
    )
    varcorr = fit.varcorr().dropna(subset="sd")
    sds = pd.DataFrame(
        {"true": varcorr["sd"].to_numpy(), "mean": values[:, 3 * p :].mean(axis=0)},
        index=pd.Index(_labels(varcorr), name="parameter"),
    )
    table = pd.concat([table, sds])
    error = np.sqrt(level * (1 - level) / len(values))
    poor = [name for name in names if table.loc[name, "coverage"] < level - SUSPECT * error]
    said = (
        f"Intervals of {', '.join(poor)} contain the truth too seldom."
        if poor
        else f"Intervals of the coefficients contain the truth as often as they say (± {2 * error:.1%})."
    )
    counts = f"{len(values)} data sets simulated from the fit by {fit.method}; {found.n_failed} could not be fitted."
    trusted = not poor and fit.status.ok
    facts = {"method": fit.method, "simulations": len(values), "level": level, "table": table, "trusted": trusted}
    shown = table.to_string(float_format=lambda v: f"{v:.4g}", na_rep="")
    return Outcome(f"{counts}\n\n{shown}\n\n{said}", facts, 0 if trusted else NOT_TRUSTED)


def _labels(varcorr: pd.DataFrame) -> list[str]:
    from bayeslmm.results.effects import covariance_labels

    return [str(label) for label in covariance_labels(varcorr)]

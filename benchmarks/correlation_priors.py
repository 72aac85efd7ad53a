"""What LKJ priors do to terms with two, three and four correlated effects: ``python -m benchmarks.correlation_priors``.

Data like those of the sleep study: groups of ten rows, x from 0 to 9, further columns standard normal, correlations of
the effects at x = 0 all equal. Each data set is fitted by importance sampling under several priors of the correlations,
all else by the default rule. Reported are the mean relative error of the posterior means of the standard deviations and
the coverage of central 95% intervals of the correlations.
"""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import bayeslmm as blm

SDS = (25.0, 6.0, 8.0, 5.0)  # of the intercept and of the effects of x, z1, z2
SIGMA = 25.0
ROWS = 10
COLUMNS = ("x", "z1", "z2")
ETAS = {2: (1.0, 2.0), 3: (0.5, 1.0, 2.0), 4: (0.5, 1.0, 2.0)}
CORRELATIONS = (-0.3, 0.0, 0.5, 0.8)


def simulate(effects: int, groups: int, correlation: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return data of a model with correlated effects.

    Parameters
    ----------
    effects
        S, the intercept among them.
    groups
        Number of groups, of ten rows each.
    correlation
        That of every two effects at x = 0.
    rng
        Source of randomness.
    """
    matrix = np.full((effects, effects), correlation) + (1 - correlation) * np.eye(effects)
    factor = np.array(SDS[:effects])[:, None] * np.linalg.cholesky(matrix)
    b = rng.normal(size=(groups, effects)) @ factor.T
    group = np.repeat(np.arange(groups), ROWS)
    data = pd.DataFrame({"g": group, "x": np.tile(np.arange(10.0), groups)})
    for name in COLUMNS[1 : effects - 1]:
        data[name] = rng.normal(size=len(group))
    columns = np.column_stack([np.ones(len(group)), data[list(COLUMNS[: effects - 1])]])
    mean = 250 + 10 * data["x"] + np.sum(columns * b[group], axis=1)
    return data.assign(y=rng.normal(mean, SIGMA))


def fitted(data: pd.DataFrame, effects: int, eta: float, seed: int) -> tuple[NDArray[np.floating], pd.DataFrame]:
    """Return the posterior means of the sds and the intervals of the correlations, columns lower and upper."""
    names = " + ".join(COLUMNS[: effects - 1])
    model = blm.Model(f"y ~ {names} + ({names} | g)", data, priors={"cor_g": f"LKJ({eta})"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.fit("importance", draws=500, seed=seed, store=(), handover="keep", progressbar=False)
    table = fit.covariance_table()
    return table["mean"].to_numpy()[:effects], table[table.index.str.startswith("cor_")][["lower", "upper"]]


def cell(effects: int, groups: int, correlation: float, eta: float, simulations: int) -> dict[str, float]:
    """Return one row of the table; the same data sets for every prior."""
    errors, covered = [], []
    for number in range(simulations):
        data = simulate(effects, groups, correlation, np.random.default_rng([effects, groups, number]))
        means, limits = fitted(data, effects, eta, number)
        errors.append(means / np.array(SDS[:effects]) - 1)
        covered.append(((limits["lower"] <= correlation) & (correlation <= limits["upper"])).to_numpy())
    found = {"effects": effects, "groups": groups, "correlation": correlation, "LKJ": eta}
    names = ("Intercept", *COLUMNS)
    found |= {f"sd({name})": error for name, error in zip(names, np.mean(errors, axis=0), strict=False)}
    return {**found, "coverage": float(np.mean(covered))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all cells and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--groups", type=int, nargs="+", default=[18])
    parser.add_argument("--effects", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args(arguments)
    rows = [
        cell(effects, groups, correlation, eta, chosen.simulations)
        for effects in chosen.effects
        for groups in chosen.groups
        for correlation in CORRELATIONS
        for eta in ETAS[effects]
    ]
    text = pd.DataFrame(rows).round(3).to_string(index=False)
    print(text)
    if chosen.output is not None:
        chosen.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

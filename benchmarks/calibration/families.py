"""Posteriors of response distributions against a long run of PyMC's model: eight models, seven families, three crossed.

The reference is ``Model.to_pymc``, every random effect a variable, sampled by nutpie on PyMC's own distributions until
the worst mean or standard deviation has 4,000 effective draws. Ours are NUTS and importance sampling, which share with
it neither a density nor a parametrization.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import bayeslmm as blm
from bayeslmm.errors import FittingError
from bayeslmm.inference.nuts.explicit import compile_for_nutpie, sample_with_nutpie
from bayeslmm.inference.options import Options
from bayeslmm.results.diagnostics import effective_sizes
from bayeslmm.types import Array
from bayeslmm.validation.agreement import Agreement, moments
from bayeslmm.validation.quantities import Quantities

LONG = 4000.0  # effective draws of the reference
CHAINS = 4
FIRST_DRAWS, MOST_DRAWS = 4000, 64_000  # a chain of the reference, at first and at most
TUNE = 1500
TARGET_ACCEPT = 0.95
OURS_DRAWS = 2000  # a chain


@dataclass(frozen=True, slots=True)
class Case:
    """A model to compare.

    Attributes
    ----------
    name
        What it is called in the table.
    build
        Returns it.
    centered
        Whether the reference has its effects centred, which is better where every level has much data.
    """

    name: str
    build: Callable[[], blm.Model]
    centered: bool = False


def herds() -> blm.Model:
    """Return the cases among the cattle of 15 herds."""
    return blm.Model(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)", blm.load_dataset("cbpp"), family="binomial"
    )


def persons_and_items() -> blm.Model:
    """Return the answers of eighty persons to 24 items, crossed."""
    data = blm.load_dataset("verbagg")
    data = data[data["id"].isin(data["id"].unique()[:80])]
    return blm.Model("r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", data, family="bernoulli")


def sparse() -> blm.Model:
    """Return yes or no three times in each of sixty groups."""
    rng = np.random.default_rng(41)
    data = pd.DataFrame({"x": rng.normal(size=180), "g": np.repeat(np.arange(60), 3)})
    eta = -1.2 + 0.8 * data["x"] + rng.normal(size=60)[data["g"]]
    data["y"] = (rng.random(180) < 1 / (1 + np.exp(-eta))).astype(int)
    return blm.Model("y ~ x + (1 | g)", data, family="bernoulli")


def _grouped(seed: int, n_levels: int, each: int) -> tuple[pd.DataFrame, Array, np.random.Generator]:
    """Return rows in groups, a predictor with a random intercept and slope of x, and what drew it."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_levels), each)
    x = rng.normal(size=len(g)) + 1.0
    a, b = 0.6 * rng.normal(size=n_levels), 0.3 * rng.normal(size=n_levels)
    return pd.DataFrame({"x": x, "g": g}), 0.5 + 0.3 * x + a[g] + b[g] * x, rng


def counts_with_slopes() -> blm.Model:
    """Return Poisson counts with correlated intercepts and slopes in thirty groups."""
    data, eta, rng = _grouped(42, 30, 8)
    return blm.Model("y ~ x + (1 + x | g)", data.assign(y=rng.poisson(np.exp(eta))), family="poisson")


def crossed_counts() -> blm.Model:
    """Return negative binomial counts of two crossed factors of twelve and nine levels."""
    rng = np.random.default_rng(43)
    data = pd.DataFrame({"x": rng.normal(size=216), "a": np.arange(216) % 12, "b": rng.permutation(np.arange(216) % 9)})
    eta = 1.0 + 0.4 * data["x"] + 0.5 * rng.normal(size=12)[data["a"]] + 0.4 * rng.normal(size=9)[data["b"]]
    data["y"] = rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, size=216))
    return blm.Model("y ~ x + (1 | a) + (1 | b)", data, family="negative_binomial")


def positive() -> blm.Model:
    """Return gamma measurements with independent intercepts and slopes in twenty-five groups."""
    data, eta, rng = _grouped(44, 25, 8)
    return blm.Model("y ~ x + (x || g)", data.assign(y=rng.gamma(3.0, np.exp(eta) / 3.0)), family="gamma")


def grades() -> blm.Model:
    """Return the three grades of answer of sixty persons to twelve items, crossed."""
    data = blm.load_dataset("verbagg")
    data = data[data["id"].isin(data["id"].unique()[:60]) & data["item"].isin(data["item"].unique()[:12])]
    return blm.Model("resp ~ Anger + situ + (1 | id) + (1 | item)", data, family="cumulative")


def extra_zeros() -> blm.Model:
    """Return Poisson counts in twenty groups, a quarter of them replaced by zeros."""
    rng = np.random.default_rng(45)
    data = pd.DataFrame({"x": rng.normal(size=200), "g": np.repeat(np.arange(20), 10)})
    mean = np.exp(0.8 + 0.4 * data["x"] + 0.6 * rng.normal(size=20)[data["g"]])
    data["y"] = rng.poisson(mean) * (rng.random(200) > 0.25)
    return blm.Model("y ~ x + (1 | g)", data, family="zero_inflated_poisson")


CASES = {
    case.name: case
    for case in (
        Case("cbpp", herds),
        Case("verbagg, 80 persons × 24 items", persons_and_items),
        Case("three yes/no answers in each of 60 groups", sparse),
        Case("Poisson, correlated slopes", counts_with_slopes),
        Case("negative binomial, crossed", crossed_counts),
        Case("gamma, independent slopes", positive),
        Case("verbagg, three grades", grades),
        Case("Poisson, extra zeros", extra_zeros),
    )
}


def variables(model: blm.Model) -> tuple[str, ...]:
    """Return the names of all parameters, those of PyMC's model and of the draws."""
    names = ["beta"]
    for term in model.design.terms:
        names += [f"sd_{term.name}", *([f"cor_{term.name}"] if term.has_correlations else []), f"r_{term.name}"]
    assert model.family is not None
    return (*names, *(p.name for p in model.family.for_response(model.design.outcome).parameters))


def columns(names: tuple[str, ...], values: Any) -> Quantities:
    """Return variables of shape (chains, draws, ...) as columns."""
    blocks, labels = [], []
    for name in names:
        block = np.asarray(values[name], dtype=float)
        block = block.reshape(*block.shape[:2], -1)
        blocks.append(block)
        labels += [name] if block.shape[2] == 1 else [f"{name}[{k}]" for k in range(block.shape[2])]
    return Quantities(tuple(labels), np.concatenate(blocks, axis=2))


def smallest_size(found: Quantities) -> float:
    """Return the smallest effective size, for a mean or a standard deviation."""
    squares = (found.values - found.values.mean(axis=(0, 1))) ** 2
    return float(min(np.nanmin(effective_sizes(found.values)), np.nanmin(effective_sizes(squares))))


def reference(model: blm.Model, seed: int, *, centered: bool) -> tuple[Quantities, float, int]:
    """Return draws of PyMC's model, their smallest effective size, and divergences.

    Raises
    ------
    FittingError
        If the longest run is too short.
    """
    names = variables(model)
    compiled = compile_for_nutpie(model.to_pymc("centered" if centered else "noncentered"), names)
    draws = FIRST_DRAWS
    while draws <= MOST_DRAWS:
        options = Options(draws=draws, tune=TUNE, chains=CHAINS, seed=seed, target_accept=TARGET_ACCEPT)
        trace = sample_with_nutpie(compiled, names, options)
        found = columns(names, trace.values)
        size = smallest_size(found)
        if size >= LONG:
            return found, size, int(np.sum(trace.stats["diverging"]))
        draws *= 2
    raise FittingError(f"PyMC's run has {size:.0f} effective draws after {draws // 2} a chain; {LONG:.0f} are wanted.")


def ours(model: blm.Model, method: str, seed: int) -> tuple[Quantities, Array, int]:
    """Return draws by a method, what bounds their effective sizes, (K,), and divergences."""
    options: dict[str, Any] = {"handover": "error"} if method == "importance" else {"tune": 1000, "target_accept": 0.9}
    fit: Any = model.fit(method, draws=OURS_DRAWS, chains=CHAINS, seed=seed, progressbar=False, **options)  # type: ignore[call-overload]
    names = variables(model)
    found = columns(names, fit.idata.posterior)
    most = np.full(len(found.names), np.inf)
    if method == "importance":
        exact = [name.split("[")[0] == "beta" or name.startswith("r_") for name in found.names]
        most = np.where(exact, fit.draws.info["effective_size"], fit.draws.info["effective_points"])
    diverging = fit.draws.stats.get("diverging")
    return found, most, 0 if diverging is None else int(np.sum(diverging))


def compare_with_pymc(name: str, seed: int) -> pd.DataFrame:
    """Solve a model by both of our methods and compare them with the long run.

    Parameters
    ----------
    name
        One of `CASES`.
    seed
        Of the reference; ours take the following ones.

    Returns
    -------
    DataFrame
        A row per method: data, method; parameters, their number, random effects included; mean_z and sd_z, the
        largest difference of means and of standard deviations in Monte Carlo standard errors, and the parameters
        they belong to, mean_of and sd_of; ess and divergences of the method, reference_ess and reference_divergences.
    """
    case = CASES[name]
    model = case.build()
    known, size, divergences = reference(model, seed, centered=case.centered)
    rows = []
    for k, method in enumerate(("nuts", "importance"), start=1):
        found, most, diverging = ours(model, method, seed + k)
        compared = Agreement(moments(found, most), moments(known))
        mean_z, sd_z = np.abs(compared.mean_z), np.abs(compared.sd_z)
        rows.append(
            {
                "data": name,
                "method": method,
                "parameters": len(found.names),
                "mean_z": float(mean_z.max()),
                "mean_of": found.names[int(mean_z.argmax())],
                "sd_z": float(sd_z.max()),
                "sd_of": found.names[int(sd_z.argmax())],
                "ess": min(smallest_size(found), float(most.min())),
                "divergences": diverging,
                "reference_ess": size,
                "reference_divergences": divergences,
            }
        )
    return pd.DataFrame(rows)

"""Data of generalized models simulated from explicit priors, and the calibration of methods on them.

Every data set is given to `bayeslmm.Model` as a user would, so that reading the response, the priors and the sampler
are calibrated together.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from bayeslmm.families import Family
from bayeslmm.inference.draws import Draws
from bayeslmm.inference.generalized_draws import ChainedDraws
from bayeslmm.model import Model
from bayeslmm.priors.predictive import prior_predictive
from bayeslmm.results.diagnostics import effective_sizes
from bayeslmm.types import Array
from bayeslmm.validation.calibration import Calibration, Integers
from bayeslmm.validation.methods import HANDED_OVER, choose
from bayeslmm.validation.quantities import Quantities, covariance_quantities, effect_quantities, new_level_mean
from bayeslmm.validation.simulate import SKELETON_SEED, crossed_groups, prior_draw, unequal_groups

SPARE = 2  # draws of NUTS per draw ranked
NUTS_TUNE = 300
MOST_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class FamilyStudy:
    """A design without data, and the priors that data are simulated from.

    Attributes
    ----------
    name
        Name of the family and the grouping.
    formula, family
        The model.
    data
        Its rows; the response is a placeholder.
    priors
        Proper priors of every parameter.
    """

    name: str
    formula: str
    family: str
    data: pd.DataFrame
    priors: Mapping[str, str]

    def model(self, y: Array) -> Model:
        """Return the model of a response (n,)."""
        return Model(self.formula, self.data.assign(y=y), family=self.family, priors=dict(self.priors))


def simulate_family(study: FamilyStudy, count: int, seed: int) -> Iterator[tuple[Array, ChainedDraws]]:
    """Simulate parameters from the priors and responses (n,) from the parameters, each a single draw.

    Parameters
    ----------
    study
        Design and priors.
    count
        Number of data sets.
    seed
        Seed.
    """
    model = study.model(study.data["y"].to_numpy())
    design, priors, family = model.design, model.resolved_priors, cast(Family, model.family)
    rng = np.random.default_rng([seed, 1])
    drawn = prior_predictive(design, priors, draws=count, seed=seed, sigma=1.0)
    dispersions = [prior.sample(rng, count) for _, prior in priors.dispersion]
    for i in range(count):
        truth = prior_draw(design, drawn, i)
        natural = np.array([values[i] for values in dispersions])
        eta = linear_predictors(model, truth)[0, 0]
        y = family.simulate(design.outcome, eta, family.working(natural), rng)
        yield np.asarray(y, dtype=float), ChainedDraws(truth, natural[None, None])


def linear_predictors(model: Model, draws: Draws) -> Array:
    """Return the linear predictor of every row at every draw, (chains, draws, n)."""
    design = model.design
    eta = draws.beta @ design.X.T
    for term, effects in zip(design.terms, draws.effects, strict=True):
        eta = eta + np.einsum("ns,cdns->cdn", term.columns, effects[:, :, term.codes])
    return np.asarray(eta)


def family_quantities(model: Model, found: ChainedDraws, rng: np.random.Generator) -> Quantities:
    """Return what is ranked: parameters, effects of two levels, dispersion, log-likelihood, mean of a new level."""
    design, draws, family = model.design, found.draws, cast(Family, model.family)
    first = covariance_quantities(design, draws)
    kept = [place for place, name in enumerate(first.names) if name != "sigma"]
    effects = effect_quantities(design, draws)
    eta = linear_predictors(model, draws)
    logs = np.array([
        [
            float(family.log_density(design.outcome, row, family.working(natural)).sum())
            for row, natural in zip(rows, values, strict=True)
        ]
        for rows, values in zip(eta, found.dispersion, strict=True)
    ])  # fmt: skip
    names = [first.names[place] for place in kept]
    names += [*effects.names, *(parameter.name for parameter in family.parameters), "log-likelihood"]
    columns = [first.values[..., kept], effects.values, found.dispersion, logs[..., None]]
    columns.append(new_level_mean(design, draws, rng)[..., None])
    return Quantities((*names, "mean of a new level"), np.concatenate(columns, axis=-1))


def importance_fit(model: Model, n_draws: int, seed: int) -> ChainedDraws:
    """Sample as ``fit("importance")`` does, by NUTS where the weights are too uneven."""
    fit: Any = model.fit("importance", draws=n_draws, chains=1, seed=seed)
    handed_over = "sampler" in fit.draws.info
    if handed_over:
        return replace_method(nuts_fit(model, n_draws, seed), HANDED_OVER)
    return ChainedDraws(fit.draws, fit.dispersion)


def nuts_fit(model: Model, n_draws: int, seed: int) -> ChainedDraws:
    """Sample as ``fit("nuts")`` does, a chain long enough for nearly independent draws, thinned."""
    length = SPARE * n_draws
    for _ in range(MOST_DOUBLINGS + 1):
        fit: Any = model.fit("nuts", draws=length, tune=NUTS_TUNE, chains=1, seed=seed, target_accept=0.9)
        ranked = family_quantities(model, ChainedDraws(fit.draws, fit.dispersion), np.random.default_rng(seed))
        if float(np.nanmin(effective_sizes(ranked.values))) >= n_draws:
            break
        length *= 2
    places = np.linspace(0, length - 1, n_draws).round().astype(np.intp)
    return ChainedDraws(choose(fit.draws, places), fit.dispersion[:, places])


def replace_method(found: ChainedDraws, method: str) -> ChainedDraws:
    """Return draws under the name of another method."""
    return ChainedDraws(replace(found.draws, method=method), found.dispersion)


def calibrate_family(
    study: FamilyStudy,
    sample: Callable[[Model, int, int], ChainedDraws],
    *,
    simulations: int,
    n_draws: int = 255,
    seed: int = 0,
    method: str = "",
    report: Callable[[int], None] | None = None,
) -> Calibration:
    """Simulate, fit, and rank; the arguments are those of :func:`bayeslmm.validation.calibrate`."""
    ranks: list[Integers] = []
    names: tuple[str, ...] = ()
    replaced = 0
    for i, (y, truth) in enumerate(simulate_family(study, simulations, seed)):
        model = study.model(y)
        found = sample(model, n_draws, seed + i)
        replaced += found.draws.method == HANDED_OVER
        rng = np.random.default_rng([seed, i])
        true = family_quantities(model, truth, rng)
        drawn = family_quantities(model, found, rng)
        names = true.names
        ranks.append(np.sum(drawn.values[0] < true.values[0, 0], axis=0))
        if report is not None:
            report(i + 1)
    return Calibration(study.name, method, names, np.array(ranks, dtype=np.int64), n_draws, replaced)


RANDOM = {
    "random intercept": ("(1 | g)", {"sd_g": "HalfNormal(0.7)"}),
    "correlated slope": (
        "(1 + x | g)",
        {"sd_g[Intercept]": "HalfNormal(0.7)", "sd_g[x]": "HalfNormal(0.5)", "cor_g": "LKJ(2)"},
    ),
    "crossed": ("(1 | a) + (1 | b)", {"sd_a": "HalfNormal(0.7)", "sd_b": "HalfNormal(0.5)"}),
}
OWN = {  # intercepts at which all-zero data are rare, and the dispersion's priors
    "bernoulli": {"Intercept": "Normal(0, 1)"},
    "poisson": {"Intercept": "Normal(0.7, 0.5)"},
    "negative_binomial": {"Intercept": "Normal(0.7, 0.5)", "shape": "Gamma(4, 2)"},
}
CASES = (
    *((family, grouping) for family in OWN for grouping in ("random intercept", "correlated slope")),
    ("bernoulli", "crossed"),
)


def family_study(family: str, grouping: str) -> FamilyStudy:
    """Return the study of a family with a way of grouping, ten unequal groups or nine by seven crossed ones."""
    rng = np.random.default_rng(SKELETON_SEED)
    codes = crossed_groups(rng) if grouping == "crossed" else unequal_groups(rng)
    n = len(next(iter(codes.values())))
    # x is far from centred, so that a prior on the wrong columns shows
    data = pd.DataFrame({"x": 2.0 + rng.normal(size=n), **codes, "y": (np.arange(n) % 2).astype(float)})
    random, priors = RANDOM[grouping]
    stated = {"x": "Normal(-0.3, 0.5)", **OWN[family], **priors}
    return FamilyStudy(f"{family}, {grouping}", f"y ~ x + {random}", family, data, stated)


FAMILY_STUDIES: dict[str, Callable[[], FamilyStudy]] = {
    f"{family}, {grouping}": (lambda family=family, grouping=grouping: family_study(family, grouping))  # type: ignore[misc]
    for family, grouping in CASES
}

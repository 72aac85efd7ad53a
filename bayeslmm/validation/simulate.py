"""Data simulated from explicit priors, for four ways of grouping.

The priors are fixed before the data: the rules that scale priors by y play no part.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design import build_design, dotted_names
from bayeslmm.design.design import Design
from bayeslmm.formula import parse
from bayeslmm.inference.draws import Draws
from bayeslmm.likelihood import Kernel
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors import ModelPriors, prior_predictive, resolve_priors
from bayeslmm.types import Array

SKELETON_SEED = 20  # rows and columns of the studies: fixed, they are no part of what is repeated


@dataclass(frozen=True)
class Problem:
    """A design with data, and priors: what a method is asked to solve.

    Attributes
    ----------
    design
        With the response.
    priors
        A prior for every parameter.
    """

    design: Design
    priors: ModelPriors

    @cached_property
    def kernel(self) -> Kernel:
        """The likelihood."""
        offset = 0.0 if self.design.offset is None else self.design.offset
        return Kernel.build(self.design.y - offset, self.design.X, self.design.terms, self.design.weights)

    @cached_property
    def density(self) -> CovarianceDensity:
        """The log posterior of the covariance parameters."""
        return CovarianceDensity(self.kernel, self.priors)


@dataclass(frozen=True, slots=True)
class Study:
    """A design without data, and the priors that data are simulated from.

    Attributes
    ----------
    name
        Name of the grouping.
    design
        Rows, columns and groups; its response is a placeholder.
    priors
        Proper priors of every parameter.
    """

    name: str
    design: Design
    priors: ModelPriors


@dataclass(frozen=True, slots=True)
class Simulation:
    """One simulated data set.

    Attributes
    ----------
    problem
        The data and the priors they were simulated from.
    truth
        The parameters, as a single draw: arrays of shape (1, 1, ...).
    """

    problem: Problem
    truth: Draws


def simulate(study: Study, count: int, seed: int) -> Iterator[Simulation]:
    """Simulate parameters from the priors and data from the parameters.

    Parameters
    ----------
    study
        Design and priors.
    count
        Number of data sets.
    seed
        Seed.
    """
    drawn = prior_predictive(study.design, study.priors, draws=count, seed=seed)
    for i in range(count):
        yield Simulation(
            Problem(replace(study.design, y=drawn["y"][i]), study.priors), prior_draw(study.design, drawn, i)
        )


def prior_draw(design: Design, drawn: Mapping[str, Array], i: int) -> Draws:
    """Return the i-th draw of :func:`bayeslmm.priors.prior_predictive` as a single draw of all parameters."""
    one = {name: values[i][None, None] for name, values in drawn.items()}
    return Draws(
        beta=one["beta"],
        sigma=one["sigma"],
        sd=tuple(one[f"sd_{t.name}"] for t in design.terms),
        cor=tuple(one.get(f"cor_{t.name}") for t in design.terms),
        effects=tuple(one[f"r_{t.name}"] for t in design.terms),
        stats={},
        method="prior",
    )


def _study(
    name: str,
    formula: str,
    groups: Callable[[np.random.Generator], dict[str, NDArray[np.int64]]],
    priors: dict[str, str],
) -> Study:
    """Build a study from a formula, its groups and the priors of its covariance parameters."""
    rng = np.random.default_rng(SKELETON_SEED)
    codes = groups(rng)
    n = len(next(iter(codes.values())))
    # x is far from centred, so that a prior on the wrong columns shows
    data = pd.DataFrame({"y": rng.normal(size=n), "x": 2.0 + rng.normal(size=n), **codes})
    design = build_design(parse(formula, columns=dotted_names(data)), data)
    resolved = resolve_priors(design, {"Intercept": "Normal(1, 2)", "x": "Normal(-0.5, 1)", **priors})
    return Study(name, design, resolved)


def unequal_groups(rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Return ten groups of two to twelve rows."""
    return {"g": np.repeat(np.arange(10), [2, 3, 4, 5, 6, 6, 7, 8, 9, 12])}


def _nested_groups(rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Return seven groups of two or three subgroups, of one to seven rows."""
    subgroups = np.repeat(np.arange(18), rng.integers(1, 8, 18))
    parent = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6])
    return {"a": parent[subgroups], "b": subgroups}


def crossed_groups(rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Return nine by seven crossed groups at random, unequally frequent, each of them present."""
    first = np.r_[np.arange(9), rng.choice(9, 61, p=np.arange(1, 10) / 45)]
    second = np.r_[np.arange(63, 72) % 7, rng.choice(7, 61, p=np.arange(7, 0, -1) / 28)]
    return {"a": first, "b": second}


def random_intercept() -> Study:
    """Return ten unequal groups, one standard deviation."""
    priors = {"sd_g": "HalfStudentT(3, 1)", "sigma": "HalfNormal(1)"}
    return _study("random intercept", "y ~ 1 + x + (1 | g)", unequal_groups, priors)


def correlated_slope() -> Study:
    """Return ten unequal groups, intercepts correlated with slopes, priors on the user's columns."""
    priors = {
        "sd_g[Intercept]": "HalfStudentT(3, 1)",
        "sd_g[x]": "HalfNormal(0.7)",
        "cor_g": "LKJ(2)",
        "sigma": "HalfStudentT(3, 1)",
    }
    return _study("correlated slope", "y ~ 1 + x + (1 + x | g)", unequal_groups, priors)


def centred_slope() -> Study:
    """Return the correlated slope with its covariance prior on centred columns."""
    study = correlated_slope()
    pairs = zip(study.design.terms, study.priors.terms, strict=True)
    priors = replace(study.priors, terms=tuple(replace(own, centring=term.centring) for term, own in pairs))
    return Study("correlated slope, centred", study.design, priors)


def nested() -> Study:
    """Return subgroups within groups, two standard deviations."""
    priors = {"sd_a": "HalfNormal(1)", "sd_b": "HalfStudentT(3, 0.7)", "sigma": "HalfNormal(1)"}
    return _study("nested", "y ~ 1 + x + (1 | a) + (1 | b)", _nested_groups, priors)


def crossed() -> Study:
    """Return two crossed factors, two standard deviations."""
    priors = {"sd_a": "HalfNormal(1)", "sd_b": "HalfStudentT(3, 0.7)", "sigma": "HalfNormal(1)"}
    return _study("crossed", "y ~ 1 + x + (1 | a) + (1 | b)", crossed_groups, priors)


STUDIES: dict[str, Callable[[], Study]] = {
    "random intercept": random_intercept,
    "correlated slope": correlated_slope,
    "correlated slope, centred": centred_slope,
    "nested": nested,
    "crossed": crossed,
}

"""Savage-Dickey ratios of generalized models: against sums over grids, and against the evidence without a column."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayeslmm as blm
from bayeslmm.priors.combination import log_density_of_sum
from bayeslmm.priors.real_line import Cauchy, Flat, Laplace, Logistic, Normal, StudentT

ACCURACY = 0.1  # of a ratio: five standard errors of averages over 500 draws
EVIDENCE = 0.15  # of the log of a ratio of two evidences, each with an error of its own


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"g": np.repeat(np.arange(12), 8), "x": rng.normal(size=96)})
    frame["between"] = rng.normal(2, 1, 12)[frame.g]
    eta = 0.3 + 0.4 * frame.x + rng.normal(size=12)[frame.g]
    return frame.assign(
        y=rng.poisson(np.exp(eta)),
        yes=rng.random(96) < 1 / (1 + np.exp(-eta)),
        grade=np.digitize(eta + rng.logistic(size=96), [-0.5, 0.8]),
    )


@pytest.mark.parametrize("prior", [Normal(0.2, 0.5), Laplace(0.0, 0.4), Logistic(0.1, 0.3), StudentT(3, 0, 0.3)])
def test_counts_against_a_grid(prior):
    data = pd.DataFrame({"x": [-1.0, 0.0, 1.0, 2.0, 3.0, 1.0], "y": [1, 0, 2, 2, 5, 3]})
    model = blm.Model("y ~ x", data, family="poisson", priors={"x": prior, "Intercept": "Normal(0.5, 0.8)"})
    fit = model.fit("importance", draws=1000, chains=2, seed=1)
    level, slope = np.meshgrid(np.linspace(-4, 5, 601), np.linspace(-3, 3, 1201), indexing="ij")
    log_density = stats.norm(0.5, 0.8).logpdf(level) + prior.logpdf(slope)
    for x, y in zip(data.x - data.x.mean(), data.y, strict=True):
        log_density += stats.poisson.logpmf(y, np.exp(level + slope * x))
    mass = np.exp(log_density)
    for value in (0.0, 0.3, 0.9):
        at = int(np.argmin(np.abs(slope[0] - value)))
        after = mass[:, at].sum() / (mass.sum() * (slope[0, 1] - slope[0, 0]))
        found = fit.hypothesis(f"x = {value}")["bayes_factor"].iloc[0]
        assert found == pytest.approx(after / np.exp(prior.logpdf(value)), rel=ACCURACY)


MODELS = [
    ("y ~ {} + (1 | g)", "poisson", "x"),
    ("yes ~ {} + (x | g)", "bernoulli", "between"),
    ("grade ~ {} + (1 | g)", "cumulative", "between"),
    ("y ~ {} + (1 | g)", "hurdle_poisson", "between"),
]


@pytest.mark.parametrize(("formula", "family", "column"), MODELS)
def test_random_effects_against_the_evidence_without_the_column(groups, formula, family, column):
    priors = {} if family == "cumulative" else {"Intercept": "Normal(0, 2)"}
    fits = [
        blm.Model(formula.format(right), groups, family=family, priors={**priors, **own}).fit(
            "importance", draws=1000, chains=2, seed=3
        )
        for right, own in ((column, {column: "Normal(0, 0.5)"}), ("1", {}))
    ]
    found = fits[0].hypothesis(f"{column} = 0")["bayes_factor"].iloc[0]
    assert np.log(found) == pytest.approx(-blm.bayes_factor(*fits).log, abs=EVIDENCE)


def test_functions_of_several_coefficients(groups):
    """Independent priors of one width are the same for turned columns, where the function is a coefficient."""
    data = groups.assign(up=(groups.x + groups.between) / np.sqrt(2), down=(groups.x - groups.between) / np.sqrt(2))
    ratios = []
    for one, other, statement in (
        ("x", "between", "x - between = 0.3"),
        ("up", "down", "1.4142135623730951 * down = 0.3"),
    ):
        priors = {one: "Normal(0, 1)", other: "Normal(0, 1)"}
        fit = blm.Model(f"y ~ {one} + {other}", data, family="poisson", priors=priors).fit("importance", seed=1)
        ratios.append(fit.hypothesis(statement)["bayes_factor"].iloc[0])
    assert ratios[0] == pytest.approx(ratios[1], rel=ACCURACY)


def test_columns_that_are_combinations_of_others(groups):
    """The data see x + 2 x2 alone: whatever the second column, x - x2 / 2 keeps its prior under priors of one size."""
    data = groups.assign(x2=2 * groups.x)
    priors = {"x": "Normal(0, 1)", "x2": "Normal(0, 0.5)"}
    fit = blm.Model("y ~ x + x2", data, family="poisson", priors=priors).fit("importance", seed=1)
    alone = blm.Model("y ~ x", data, family="poisson", priors={"x": f"Normal(0, {np.sqrt(2)})"})
    found = fit.hypothesis("x - 2 * x2 = 0.4", "x + 2 * x2 = 0.4")["bayes_factor"]
    assert found.iloc[0] == pytest.approx(1.0, rel=2 * ACCURACY)
    expected = alone.fit("importance", seed=2).hypothesis("x = 0.4")["bayes_factor"].iloc[0]
    assert found.iloc[1] == pytest.approx(expected, rel=ACCURACY)


def test_without_a_known_prior_density_there_is_none(groups):
    def ratio(priors, statement, **options):
        model = blm.Model("y ~ x + between + (1 | g)", groups, family="poisson", priors=priors)
        fit = model.fit("importance", draws=100, chains=1, seed=1, **options)
        return fit.hypothesis(statement)["bayes_factor"].iloc[0]

    heavy = {"x": "Laplace(0, 1)", "between": "StudentT(3, 0, 1)"}
    assert np.isnan(ratio("brms", "x = 0"))
    assert np.isnan(ratio(heavy, "x - between = 0"))
    assert np.isfinite(ratio(heavy, "x = 0"))
    assert np.isnan(ratio({}, "x**2 = 0.1"))
    assert np.isnan(ratio({}, "x = 0", store=[]))


@pytest.mark.parametrize(
    ("priors", "weights", "law"),
    [
        ([Normal(1, 2), Flat()], [3.0, 0.0], stats.norm(3, 6)),
        ([Normal(1, 2), Normal(0, 1)], [1.0, -2.0], stats.norm(1, np.sqrt(8))),
        ([StudentT(3, 1, 2)], [-2.0], stats.t(3, -2, 4)),
        ([Cauchy(0, 1), Normal(0, 1e-3)], [2.0, 1.0], stats.cauchy(0, 2)),
    ],
)
def test_prior_densities_of_sums(priors, weights, law):
    for value in (-1.0, 0.5):
        found = log_density_of_sum(priors, np.array(weights), value)
        assert found == pytest.approx(law.logpdf(value), abs=1e-5)


def test_prior_density_of_a_sum_by_quadrature():
    u = np.linspace(-20, 20, 200_001)
    expected = np.trapezoid(stats.laplace(0, 0.7).pdf(u) * stats.norm(0.5, 0.9).pdf(1.2 - 2 * u), u)
    found = log_density_of_sum([Normal(0.5, 0.9), Laplace(0, 0.7)], np.array([1.0, 2.0]), 1.2)
    assert found == pytest.approx(np.log(expected), abs=1e-5)
    assert np.isnan(log_density_of_sum([Flat()], np.array([1.0]), 0.0))

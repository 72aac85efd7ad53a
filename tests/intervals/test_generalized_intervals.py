"""Profiles and the bootstrap of generalized fits, against lme4, differences, and fits from the beginning."""

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.intervals.generalized_profile import GeneralizedDeviance
from bayeslmm.intervals.natural_parameters import user_orders
from bayeslmm.results.generalized_refits import response_at

# lme4, confint(m, method = "profile"): m <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp,
# binomial)
CBPP = {
    "Intercept": (-1.9012120, -0.9477540),
    "period[T.2]": (-1.6167833, -0.4077631),
    "period[T.3]": (-1.8010244, -0.5115361),
    "period[T.4]": (-2.5007506, -0.8007553),
    "sd_herd[Intercept]": (0.3460732, 1.0999746),
}
# and of glmer(TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION), grouseticks, poisson)
TICKS = {"sd_BROOD[Intercept]": (0.5481956, 0.9740737), "YEAR[T.97]": (-1.4729262, -0.4081446)}
OF_WIDTH = 2e-3  # lme4 interpolates between fewer points
SAME_OPTIMUM = 1e-5  # of the objective, for searches from two starts


@pytest.fixture(scope="module")
def herds():
    text = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    return blm.Model(text, blm.load_dataset("cbpp"), family="binomial").fit("ml")


@pytest.fixture(scope="module")
def counts():
    """Counts with a correlated slope and a dispersion."""
    rng = np.random.default_rng(4)
    import pandas as pd

    group = np.repeat(np.arange(30), 8)
    x = rng.normal(size=240) + 1.0
    b = rng.normal(size=(30, 2)) * [0.6, 0.4]
    mean = np.exp(0.8 + 0.3 * x + b[group, 0] + b[group, 1] * x)
    data = pd.DataFrame({"g": group, "x": x, "y": rng.negative_binomial(3.0, 3.0 / (3.0 + mean))})
    return blm.Model("y ~ x + (x | g)", data, family="negative_binomial").fit("ml")


def test_profiles_are_those_of_lme4(herds):
    found = herds.confint(method="profile")
    for name, (lower, upper) in CBPP.items():
        np.testing.assert_allclose(found.loc[name], (lower, upper), atol=OF_WIDTH * (upper - lower))
    ticks = blm.Model("TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)", blm.load_dataset("grouseticks"), family="poisson")
    found = ticks.fit("ml").confint(method="profile", parameters=list(TICKS))
    for name, (lower, upper) in TICKS.items():
        np.testing.assert_allclose(found.loc[name], (lower, upper), atol=OF_WIDTH * (upper - lower))


@pytest.mark.parametrize("first", [0, 1])
def test_the_gradient_is_that_of_the_deviance(counts, first):
    objective = counts.maximum.objective
    shapes = objective.problem.predictor.shapes
    deviance = GeneralizedDeviance(objective, user_orders(shapes, 0, first))
    psi = deviance.point(counts.maximum.solution.parameters)
    assert deviance(psi)[0] == pytest.approx(counts.objective, abs=1e-6)
    psi = psi + 0.1
    _, slope = deviance(psi)
    for place in range(len(psi)):
        step = 1e-4 * np.eye(len(psi))[place]
        expected = (deviance(psi + step)[0] - deviance(psi - step)[0]) / 2e-4
        assert slope[place] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_limit_is_where_the_likelihood_has_fallen(counts):
    """At a limit the best deviance, the dispersion held there, is higher by the square of the normal quantile."""
    profile = counts.profile(["shape", "cor_g[Intercept, x]"], level=0.95)
    limits = profile.confint(0.95)
    assert (limits["lower"] < limits["upper"]).all()
    estimate = counts.dispersion["shape"]
    assert limits.loc["shape", "lower"] < estimate < limits.loc["shape", "upper"]
    curve = profile.curves["shape"]
    assert float(curve.interpolate(np.array(estimate))) == pytest.approx(0.0, abs=1e-6)
    objective = counts.maximum.objective
    from scipy.optimize import minimize

    deviance = GeneralizedDeviance(objective, user_orders(objective.problem.predictor.shapes))
    psi = deviance.point(counts.maximum.solution.parameters)
    held = np.log(limits.loc["shape", "lower"])

    def others(v):
        value, slope = deviance(np.append(v, held))
        return value, slope[:-1]

    best = minimize(others, psi[:-1], jac=True, method="BFGS", options={"gtol": 1e-4}).fun
    assert best - counts.objective == pytest.approx(1.959964**2, abs=5e-3)


def test_a_replicate_ends_where_a_fit_from_the_beginning_does(counts):
    found = counts.bootstrap(3, seed=2)
    y = counts.simulate(1, seed=np.random.default_rng(np.random.SeedSequence(2).spawn(3)[1])).to_numpy()[:, 0]
    alone = blm.Model("y ~ x + (x | g)", counts.design.data.assign(y=y), family="negative_binomial").fit("ml")
    again = counts.bootstrap(2, seed=2, statistic=lambda fit: [fit.objective, *fit.fixef()])
    assert again.replicates.iloc[1, 0] == pytest.approx(alone.objective, abs=SAME_OPTIMUM)
    np.testing.assert_allclose(found.replicates.loc[1, ["Intercept", "x"]], alone.fixef(), atol=1e-3)
    assert found.replicates.loc[1, "shape"] == pytest.approx(alone.dispersion["shape"], rel=1e-2)
    np.testing.assert_allclose(again.replicates.iloc[:2, 1:], found.replicates.iloc[:2, :2])
    assert found.estimate["shape"] == counts.dispersion["shape"]


def test_the_bootstrap_of_trials(herds):
    found = herds.bootstrap(60, seed=1)
    table = herds.coef_table()
    assert found.n_failed == 0
    ratio = found.table.loc[table.index, "std_error"] / table["std_error"]
    assert ratio.between(0.65, 1.6).all()  # 60 replicates: an error of a tenth
    limits = found.confint(kind="bca")
    assert (limits["lower"] < limits["upper"]).all()
    assert list(limits.index) == list(CBPP)
    response = response_at(herds, herds.outcome.y)
    np.testing.assert_allclose(response.base, herds.outcome.base)
    with pytest.raises(blm.OptionError, match="use 'parametric'"):
        herds.bootstrap(5, kind="groups")


def test_random_terms_are_tested_by_likelihood_ratios(counts):
    table = counts.ranova()
    small = blm.Model("y ~ x + (1 | g)", counts.design.data, family="negative_binomial").fit("ml")
    expected = blm.anova(small, counts)
    row = table.iloc[1]
    assert row["chisq"] == pytest.approx(expected["chisq"].iloc[1], abs=SAME_OPTIMUM)
    assert row["df"] == expected["df"].iloc[1] == 2
    assert row["p"] == pytest.approx(expected["p"].iloc[1], rel=1e-3)


def test_a_share_of_zeros_that_may_be_none_has_a_lower_limit_of_zero(counts):
    data = counts.design.data.assign(y=np.random.default_rng(1).poisson(np.exp(0.5 + 0.3 * counts.design.data["x"])))
    fit = blm.Model("y ~ x + (1 | g)", data, family="zero_inflated_poisson").fit("ml")
    limits = fit.profile("zero", level=0.95).confint()
    assert limits.loc["zero", "lower"] == 0.0
    assert fit.dispersion["zero"] <= limits.loc["zero", "upper"] < 0.3

"""Profiles and the bootstrap of generalized fits, against lme4, differences, and fits from the beginning."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.intervals.generalized_profile import GeneralizedDeviance
from bayeslmm.intervals.natural_parameters import user_orders
from bayeslmm.results.generalized_refits import parameters_without, simulated_response

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
    response = simulated_response(herds.family, herds.outcome, herds.outcome.y)
    np.testing.assert_allclose(response.base, herds.outcome.base)


def test_the_bootstrap_of_groups(herds, counts):
    """A replicate is the fit of a model built from the rows of the levels drawn; its spread is the standard error."""
    found = herds.bootstrap(80, seed=3, kind="groups")
    ratio = found.table["std_error"]["Intercept"] / herds.coef_table()["std_error"]["Intercept"]
    assert 0.6 < ratio < 1.7  # 15 herds, 80 replicates: an error of a fifth
    assert found.kind == "groups" and found.n_failed == 0
    drawn = np.random.default_rng(np.random.SeedSequence(5).spawn(2)[1]).integers(0, 30, 30)
    pieces = [counts.design.data[counts.design.data["g"] == level].assign(g=k) for k, level in enumerate(drawn)]
    alone = blm.Model("y ~ x + (x | g)", pd.concat(pieces, ignore_index=True), family="negative_binomial").fit("ml")
    row = counts.bootstrap(2, seed=5, kind="groups").replicates.iloc[1]
    np.testing.assert_allclose(row[["Intercept", "x"]], alone.fixef(), atol=1e-3)
    assert row["shape"] == pytest.approx(alone.dispersion["shape"], rel=1e-2)
    again = counts.bootstrap(2, seed=5, kind="groups", statistic=lambda fit: fit.objective)
    assert again.replicates.iloc[1, 0] == pytest.approx(alone.objective, abs=SAME_OPTIMUM)


def test_groups_too_few_or_crossed_are_not_drawn(counts):
    data = counts.design.data.assign(h=np.arange(240) % 7)
    crossed = blm.Model("y ~ x + (1 | g) + (1 | h)", data, family="poisson").fit("ml")
    with pytest.raises(blm.OptionError, match="crossed with it: use kind='parametric'"):
        crossed.bootstrap(5, kind="groups")
    few = blm.Model("y ~ x + (1 | g)", data.assign(g=data["g"] % 2), family="poisson").fit("ml")
    with pytest.raises(blm.OptionError, match="too few to be drawn from"):
        few.bootstrap(5, kind="groups")


def test_fits_without_a_group_have_the_zero_columns_of_the_rows_left(counts):
    x, rng = counts.design.data["x"], np.random.default_rng(6)
    y = rng.poisson(np.exp(1.0 + 0.3 * x)) * (rng.random(240) < 1 / (1 + np.exp(-1 - x)))
    data = counts.design.data.assign(y=y)
    options = {"family": "zero_inflated_poisson", "zero": "~ x"}
    fit = blm.Model("y ~ x + (1 | g)", data, **options).fit("ml")
    rows = np.flatnonzero(data["g"] == 4)
    alone = blm.Model("y ~ x + (1 | g)", data[data["g"] != 4], **options).fit("ml")
    np.testing.assert_allclose(parameters_without(fit, rows), [*alone.fixef(), alone.varcorr()["sd"][0]], atol=2e-3)
    replicates = fit.bootstrap(3, seed=1, kind="groups").replicates
    assert len(replicates) == 3 and np.isfinite(replicates.to_numpy()).all()


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

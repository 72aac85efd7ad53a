"""The posterior mode of generalized models: the normal one's where the family is normal, a maximum elsewhere."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize

import bayeslmm as blm
from bayeslmm.design import build_design
from bayeslmm.families import Gaussian
from bayeslmm.formula import parse
from bayeslmm.inference.optimum.generalized.posterior_maximum import maximise_generalized_posterior
from bayeslmm.likelihood.generalized.mode import find_mode
from bayeslmm.posterior.generalized_mixture import generalized_density
from bayeslmm.priors.resolve import resolve_family_priors
from bayeslmm.results.generalized import coefficient_covariance

SAME_OPTIMUM = 1e-6  # absolute, in units of minus twice the log density: two searches for one minimum
SAME_PLACE = 1e-4  # of an sd: the objective is known to 1e-9, and so the place to 3e-5 of a standard error


@pytest.mark.parametrize("formula", ["Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (Days || Subject)"])
def test_normal_family_has_the_mode_of_normal_responses(formula):
    """Laplace's approximation is exact there, and the objective the same to its constants."""
    data = blm.load_dataset("sleepstudy")
    priors = {
        "Intercept": "Normal(250, 100)",
        "Days": "Normal(0, 20)",
        "sd_Subject[Intercept]": "HalfNormal(30)",
        "sd_Subject[Days]": "HalfStudentT(3, 8)",
        "sigma": "HalfStudentT(3, 20)",
    }
    if "||" not in formula:
        priors["cor_Subject"] = "LKJ(1.5)"
    known = blm.Model(formula, data, priors=priors).fit("map")
    design = build_design(parse(formula), data, family=Gaussian())
    density = generalized_density(design, Gaussian(), resolve_family_priors(design, Gaussian(), design.outcome, priors))
    found = maximise_generalized_posterior(density)
    assert -2 * found.loglik == pytest.approx(known.objective, abs=SAME_OPTIMUM)
    np.testing.assert_allclose(found.theta, known.theta * known.sigma, rtol=SAME_PLACE, atol=1e-3)
    np.testing.assert_allclose(found.beta, known.fixef(), rtol=SAME_PLACE)
    assert np.exp(found.dispersion[0]) == pytest.approx(known.sigma, rel=SAME_PLACE)


def grouped(family):
    rng = np.random.default_rng(21)
    data = pd.DataFrame({"x": rng.normal(size=90), "g": np.arange(90) % 9, "h": np.arange(90) // 9 % 5})
    eta = 0.5 + 0.4 * data.x + 0.6 * rng.normal(size=9)[data.g] + 0.4 * rng.normal(size=9)[data.g] * data.x
    counts = rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, size=90))
    return data.assign(
        y={
            "negative_binomial": counts,
            "zero_inflated_poisson": counts * (rng.random(90) > 0.2),
            "cumulative": np.digitize(eta + rng.logistic(size=90), [-0.5, 0.6, 1.5]),
            "bernoulli": (eta + rng.logistic(size=90) > 0.5).astype(int),
        }[family]
    )


@pytest.mark.parametrize("family", ["negative_binomial", "zero_inflated_poisson", "cumulative", "bernoulli"])
def test_no_nearby_point_is_better(family):
    """A derivative-free search over (log sd, atanh r, dispersion), the Jacobians taken off, gains nothing."""
    priors = {"cor_g": "LKJ(2)", "sd_g": "Gamma(2, 2)", "sd_h": "Gamma(3, 4)"}  # no density at zero
    model = blm.Model("y ~ x + (x | g) + (1 | h)", grouped(family), family=family, priors=priors)
    chosen = model.family.for_response(model.design.outcome)
    density = generalized_density(model.design, chosen, model.resolved_priors)
    found = maximise_generalized_posterior(density)
    start = density.start(found.solution.parameters.lambdas, found.solution.parameters.free)

    def without_jacobians(x):
        try:
            value = density.point(x).log_density
        except blm.FittingError:
            return np.inf
        first, second = density.term_points(x)
        value -= np.sum(np.log(first.ratios)) + np.sum(np.log(second.ratios)) + np.log(1 - first.partial[1, 0] ** 2)
        place = density.n_phi
        for parameter in chosen.parameters:
            w = x[place : place + parameter.size]
            place += parameter.size
            value -= {
                "log": np.sum(w),
                "logit": np.sum(-np.log1p(np.exp(w)) - np.log1p(np.exp(-w))),
                "ordered": np.sum(w[1:]),
            }[parameter.transform]
        return -2 * value

    constant = 2 * density.log_normaliser  # of the LKJ prior, which the objective leaves out
    assert without_jacobians(start) == pytest.approx(-2 * found.loglik + constant, abs=SAME_OPTIMUM)
    simplex = start + 0.02 * np.vstack([np.zeros(len(start)), np.eye(len(start))])
    better = minimize(
        without_jacobians, start, method="Nelder-Mead", options={"maxfev": 300, "initial_simplex": simplex}
    )
    assert without_jacobians(start) - better.fun < SAME_OPTIMUM


def test_variance_of_zero_is_the_mode_where_groups_are_alike():
    data = pd.DataFrame({"g": np.arange(60) % 6, "y": np.arange(60) // 6 % 2})
    fit = blm.Model("y ~ 1 + (1 | g)", data, family="bernoulli").fit("map")
    assert fit.status.code == "boundary"
    assert fit.varcorr()["sd"].iloc[0] == 0
    # without effects the mode of the intercept is that of a logistic regression with its normal prior: by symmetry zero
    assert fit.fixef()["Intercept"] == pytest.approx(0, abs=1e-8)


def test_fit_reads_like_any_other():
    model = blm.Model(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)", blm.load_dataset("cbpp"), family="binomial"
    )
    fit = model.fit("map")
    assert fit.method == "map" and fit.status.code == "converged"
    assert fit.priors is not None
    page = str(fit.summary())
    assert "at its posterior mode" in page and "-2 log posterior" in page
    # the proper prior draws the coefficients towards zero, and the sd's keeps it positive
    ml = model.fit("ml")
    assert np.all(np.abs(fit.fixef()[1:]) < np.abs(ml.fixef()[1:]) + 0.02)
    strong = blm.Model(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        blm.load_dataset("cbpp"),
        family="binomial",
        priors={"period[T.4]": "Normal(0, 0.001)"},
    ).fit("map")
    assert abs(strong.fixef()["period[T.4]"]) < 1e-4


def test_priors_that_rule_out_every_start():
    data = grouped("negative_binomial")
    priors = {"shape": "Uniform(1e6, 2e6)"}
    with pytest.raises(blm.FittingError, match="State wider priors"):
        blm.Model("y ~ x + (1 | g)", data, family="negative_binomial", priors=priors).fit("map")


def test_a_start_where_weights_overflow_is_left():
    """Effects found at other standard deviations may mean counts of 1e30: the search begins without effects."""
    data = grouped("negative_binomial")
    model = blm.Model("y ~ x + (x | g)", data, family="poisson")
    density = generalized_density(model.design, model.family, model.resolved_priors)
    problem, lambdas, none = density.problem, [np.eye(2)], np.zeros(0)
    known = find_mode(problem, lambdas, none, np.zeros(2), problem.predictor.zeros())
    far = [60.0 * np.random.default_rng(1).normal(size=(9, 2))]
    found = find_mode(problem, lambdas, none, np.zeros(2), far)
    np.testing.assert_allclose(found.u[0], known.u[0], atol=SAME_PLACE)
    np.testing.assert_allclose(found.beta, known.beta, atol=SAME_PLACE)


@pytest.mark.parametrize(
    "fixed",
    [
        {"Intercept": "StudentT(3, 200, 20)", "Days": "Normal(0, 20)"},
        {"Intercept": "StudentT(3, 200, 20)", "Days": "Cauchy(0, 1)"},
        {"Intercept": "StudentT(3, 200, 20)", "Days": "Laplace(0, 0.5)"},
        {"Intercept": "Laplace(200, 20)", "Days": "Laplace(0, 0.01)"},  # at its kink
        {"Intercept": "Laplace(400, 1e3)", "Days": "Laplace(-5, 3)"},
        {"Intercept": "Logistic(200, 20)", "Days": "Logistic(0, 0.5)"},
    ],
)
def test_coefficients_without_normal_priors_are_parameters_as_for_normal_responses(fixed):
    formula, data = "Reaction ~ Days + (Days | Subject)", blm.load_dataset("sleepstudy")
    priors = {**fixed, "sd_Subject": "HalfNormal(30)", "cor_Subject": "LKJ(1.5)", "sigma": "HalfStudentT(3, 20)"}
    known = blm.Model(formula, data, priors=priors).fit("map")
    design = build_design(parse(formula), data, family=Gaussian())
    density = generalized_density(design, Gaussian(), resolve_family_priors(design, Gaussian(), design.outcome, priors))
    found = maximise_generalized_posterior(density)
    assert -2 * found.loglik == pytest.approx(known.objective, abs=SAME_OPTIMUM)
    np.testing.assert_allclose(found.beta, known.fixef(), rtol=SAME_PLACE)
    np.testing.assert_allclose(coefficient_covariance(found), known.modes.beta_cov, rtol=1e-3)


def test_a_held_coefficient_is_where_a_dense_search_finds_it():
    """Counts: Laplace's integral over intercept and effects by dense matrices, searched over (sd, slope)."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(6), 5)
    x = rng.normal(size=30)
    x -= x.mean()  # so that the intercept's prior, stated at the mean, is that of this column
    y = rng.poisson(np.exp(0.5 + 0.8 * x + 0.5 * rng.normal(size=6)[g]))
    priors = {"Intercept": "Normal(0, 2)", "x": "StudentT(3, 0, 0.2)", "sd_g": "Gamma(2, 2)"}
    fit = blm.Model("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g}), family="poisson", priors=priors).fit(
        "map"
    )

    def objective(at):
        sd, slope = at
        if sd <= 0:
            return np.inf
        columns = np.column_stack([np.ones(30), sd * np.eye(6)[g]])
        precision = np.diag([1 / 4.0, *np.ones(6)])
        v = np.zeros(7)
        for _ in range(60):
            mean = np.exp(columns @ v + slope * x)
            information = columns.T @ (mean[:, None] * columns) + precision
            v = v + np.linalg.solve(information, columns.T @ (y - mean) - precision @ v)
        eta = columns @ v + slope * x
        h = np.sum(stats.poisson.logpmf(y, np.exp(eta))) - 0.5 * v @ precision @ v
        log_integral = h + 0.5 * np.linalg.slogdet(precision)[1] - 0.5 * np.linalg.slogdet(information)[1]
        return -2 * (log_integral + stats.gamma.logpdf(sd, 2, scale=0.5) + stats.t.logpdf(slope, 3, scale=0.2))

    sd, slope = float(fit.varcorr()["sd"].iloc[0]), float(fit.fixef()["x"])
    assert fit.objective == pytest.approx(objective([sd, slope]), abs=SAME_OPTIMUM)
    best = minimize(objective, [sd * 1.05, slope * 0.95], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    assert fit.objective == pytest.approx(best.fun, abs=SAME_OPTIMUM)
    np.testing.assert_allclose([sd, slope], best.x, atol=1e-4)


def test_many_kinks_are_where_the_normal_mode_has_them():
    rng = np.random.default_rng(8)
    data = pd.DataFrame(rng.normal(size=(80, 6)), columns=list("abcdef")).assign(g=np.arange(80) % 8)
    data["b"] += 0.9 * data["a"]
    data["y"] = data["a"] - 0.15 * data["c"] + 0.5 * rng.normal(size=8)[data["g"]] + rng.normal(size=80)
    formula = "y ~ a + b + c + d + e + f + (1 | g)"
    priors = dict.fromkeys("abcdef", "Laplace(0, 0.05)")
    priors |= {"Intercept": "Normal(0, 5)", "sigma": "HalfStudentT(3, 1)", "sd_g": "HalfNormal(1)"}
    known = blm.Model(formula, data, priors=priors).fit("map")
    design = build_design(parse(formula), data, family=Gaussian())
    density = generalized_density(design, Gaussian(), resolve_family_priors(design, Gaussian(), design.outcome, priors))
    found = maximise_generalized_posterior(density)
    assert -2 * found.loglik == pytest.approx(known.objective, abs=SAME_OPTIMUM)
    zero = known.fixef().to_numpy() == 0
    assert 1 < zero.sum() < 6
    np.testing.assert_allclose(found.beta[zero], 0, atol=1e-9)
    np.testing.assert_allclose(found.beta[~zero], known.fixef()[~zero], rtol=SAME_PLACE, atol=1e-6)


@pytest.mark.parametrize("scale", [0.01, 0.3])
def test_a_kink_of_counts_holds_a_coefficient_or_lets_it_go(scale, tmp_path):
    """No nearby value is better, by fits with the slope as an offset and its prior by hand."""
    data = grouped("negative_binomial")
    data["x"] -= data["x"].mean()
    others = {"Intercept": "Normal(0, 3)", "sd_g": "HalfNormal(1)"}
    fit = blm.Model("y ~ x + (1 | g)", data, family="poisson", priors={**others, "x": f"Laplace(0, {scale})"}).fit(
        "map"
    )
    slope = float(fit.fixef()["x"])
    assert (slope == 0) == (scale == 0.01)

    def objective(at):
        moved = blm.Model("y ~ 1 + (1 | g)", data, family="poisson", priors=others, offset=at * data["x"])
        return moved.fit("map").objective + 2 * abs(at) / scale + 2 * np.log(2 * scale)

    assert fit.objective == pytest.approx(objective(slope), abs=SAME_OPTIMUM)
    for step in (-0.01, 0.01):
        assert objective(slope + step) > fit.objective
    fit.save(tmp_path / "fit")
    again = blm.load(tmp_path / "fit")
    np.testing.assert_allclose(again.fixef(), fit.fixef(), rtol=1e-9)
    assert again.objective == pytest.approx(fit.objective, abs=1e-8)


def test_presets_have_a_mode(tmp_path):
    data = grouped("bernoulli")
    fit = blm.Model("y ~ x + (1 | g)", data, family="bernoulli", priors="brms").fit("map")
    assert fit.status.ok
    fit.save(tmp_path / "fit")
    again = blm.load(tmp_path / "fit")
    np.testing.assert_allclose(again.fixef(), fit.fixef(), rtol=SAME_PLACE)
    np.testing.assert_allclose(again.coef_table(), fit.coef_table(), rtol=SAME_PLACE)
    ordinal = blm.Model("y ~ x + (1 | g)", grouped("cumulative"), family="cumulative", priors={"x": "Cauchy(0, 1)"})
    assert ordinal.fit("map").status.ok
    doubled = blm.Model("y ~ x + (1 | g)", data, family="bernoulli", priors={"x": "Laplace(0, 1)"})
    assert doubled.fit("map").status.ok

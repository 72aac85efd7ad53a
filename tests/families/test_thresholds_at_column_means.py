"""Thresholds take the place of an intercept: moving a predictor moves them along and changes nothing else."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

import bayeslmm as blm
from bayeslmm.inference.importance.generalized import sample_generalized
from bayeslmm.inference.optimum.generalized.curvature import uncertainty
from bayeslmm.posterior.generalized_mixture import generalized_density
from bayeslmm.results.prior_sensitivity import _dispersion

SHIFT = 1000.0
ROUNDING = 1e-6  # thresholds of some 500 have lost three of the sixteen digits, and searches stop a little earlier
FORMULA = "y ~ x + (1 | g)"


def grades(shift=0.0, cuts=(-0.8, 0.9)):
    """Sixty grades in twelve groups, x about `shift`."""
    rng = np.random.default_rng(5)
    x, g = 2.0 * rng.normal(size=60), np.repeat(np.arange(12), 5)
    eta = 0.6 * x + 0.8 * rng.normal(size=12)[g]
    return pd.DataFrame({"x": x + shift, "g": g, "y": np.digitize(eta + rng.logistic(size=60), cuts)})


@pytest.fixture(scope="module")
def pair():
    return [blm.Model(FORMULA, grades(shift), family="cumulative") for shift in (0.0, SHIFT)]


def weighted_draws(model, seed=1):
    """Return draws from the posterior by fewer points than importance sampling takes."""
    family = model.family.for_response(model.design.outcome)
    density = generalized_density(model.design, family, model.resolved_priors)
    return sample_generalized(density, n_draws=1000, seed=seed, n_points=256)


@pytest.fixture(scope="module")
def weighted(pair):
    return [weighted_draws(model) for model in pair]


@pytest.fixture(scope="module")
def sampled(pair):
    return pair[1].fit("nuts", seed=1, tune=150, draws=150, chains=1)


@pytest.mark.parametrize("method", ["ml", "map"])
def test_estimates_of_a_moved_predictor(pair, method, tmp_path):
    here, there = (model.fit(method) for model in pair)
    slope = here.maximum.beta[0]
    np.testing.assert_allclose(there.maximum.beta, here.maximum.beta, rtol=ROUNDING)
    np.testing.assert_allclose(there.theta, here.theta, rtol=1e-4)
    moved = there.dispersion["threshold"] - SHIFT * there.maximum.beta[0]
    np.testing.assert_allclose(moved, here.dispersion["threshold"], atol=1e-4 * abs(slope))
    np.testing.assert_allclose(there.vcov(), here.vcov(), rtol=1e-4)
    np.testing.assert_allclose(there.predict(), here.predict(), atol=1e-5)
    there.save(tmp_path / "fit")
    again = blm.load(tmp_path / "fit")
    np.testing.assert_allclose(again.maximum.beta, there.maximum.beta)
    np.testing.assert_allclose(again.dispersion["threshold"], there.dispersion["threshold"])
    np.testing.assert_allclose(again.predict(), there.predict())


def test_standard_errors_of_thresholds_follow_the_coefficients():
    """At x = shift, var(tau) is that of tau - m'beta plus m'beta: compared with the Hessian where x is near zero."""
    found = [
        uncertainty(blm.Model(FORMULA, grades(shift), family="cumulative").fit("ml").maximum) for shift in (0.0, 30.0)
    ]
    turn = np.eye(len(found[0].covariance))
    turn[found[0].n_theta + found[0].n_beta, found[0].n_theta] = 30.0  # the first threshold rises by 30 times the slope
    np.testing.assert_allclose(turn @ found[0].covariance @ turn.T, found[1].covariance, rtol=1e-3, atol=1e-6)


def test_importance_draws_of_a_moved_predictor(weighted):
    here, there = weighted
    np.testing.assert_allclose(there.beta, here.beta, rtol=ROUNDING, atol=ROUNDING)
    np.testing.assert_allclose(there.sd[0], here.sd[0], rtol=ROUNDING)
    np.testing.assert_allclose(there.dispersion - SHIFT * there.beta, here.dispersion, atol=1e-5)
    assert there.smoothed.effective_size == pytest.approx(here.smoothed.effective_size, rel=1e-3)


def test_nuts_knows_the_users_thresholds(sampled, weighted):
    fit = sampled
    moved = (fit.dispersion - SHIFT * fit.draws.beta).reshape(-1, 2)
    expected = weighted[0].dispersion
    assert np.all(np.abs(moved.mean(axis=0) - expected.mean(axis=0)) < 0.5 * expected.std(axis=0))
    stated = np.column_stack([values for _, values in _dispersion(fit, slice(None))])
    centre = fit.design.X.mean() - SHIFT
    np.testing.assert_allclose(stated, moved - centre * fit.draws.beta.reshape(-1, 1), atol=1e-8)


def test_prior_beside_posterior_is_that_of_the_users_thresholds(sampled):
    fit = sampled
    prior = blm.prior_vs_posterior(fit).prior
    stated = prior[["threshold[1]", "threshold[2]"]].to_numpy() - fit.design.X.mean() * prior[["x"]].to_numpy()
    assert np.all(np.diff(stated) > 0)
    law = student(3, 0, 2.5)
    expected = 3.0 * np.quantile(np.sort(law.rvs((20_000, 2), random_state=3)), [0.1, 0.5, 0.9], axis=0)
    np.testing.assert_allclose(3.0 * np.quantile(stated, [0.1, 0.5, 0.9], axis=0), expected, atol=0.6)


def test_pymc_states_the_prior_at_the_column_means(pair):
    """The density of both models is one, that of thresholds a Student's t; the model's own are the user's."""
    from pymc.pytensorf import compile as compile_function

    values = []
    for model in pair:
        built = model.to_pymc("noncentered")
        point = {name: value + 0.1 for name, value in built.initial_point(0).items()}
        values.append(float(built.compile_logp(mode="FAST_COMPILE")(point)))
        shown = built.replace_rvs_by_values([built[name] for name in ("beta", "threshold", "raw[threshold]")])
        arguments = [point[v.name] for v in built.value_vars]
        function = compile_function(built.value_vars, shown, mode="FAST_COMPILE", on_unused_input="ignore")
        slope, threshold, stated = function(*arguments)
        np.testing.assert_allclose(threshold - model.design.X.mean() * slope[0], stated, atol=1e-9)
        own = built.compile_logp(built["raw[threshold]"], jacobian=False, mode="FAST_COMPILE")(point)
        assert float(own) == pytest.approx(student(3, 0, 2.5).logpdf(stated).sum())
    assert values[1] == pytest.approx(values[0], abs=1e-6)


def test_two_grades_are_yes_and_no():
    """The same posterior and evidence as a Bernoulli model, whose intercept is minus the threshold."""
    data = grades(SHIFT, cuts=(0.2,))
    ours = blm.Model(FORMULA, data, family="cumulative", priors={"threshold": "Normal(0, 2.5)"})
    known = blm.Model(FORMULA, data, family="bernoulli", priors={"Intercept": "Normal(0, 2.5)"})
    graded, binary = weighted_draws(ours), weighted_draws(known)
    error = np.hypot(graded.log_evidence_error, binary.log_evidence_error)
    assert abs(graded.log_evidence - binary.log_evidence) < 5.0 * error
    assert error < 0.1
    slopes = [found.beta[:, -1] for found in (graded, binary)]
    assert abs(slopes[0].mean() - slopes[1].mean()) < 0.3 * slopes[1].std()
    centre = np.mean(data["x"])
    level = centre * graded.beta[:, 0] - graded.dispersion[:, 0]
    same = binary.beta[:, 0] + centre * binary.beta[:, 1]
    assert abs(level.mean() - same.mean()) < 0.3 * same.std()

"""Priors of a generalized model's coefficients that are mixtures of normals, by a further coordinate or as stated."""

import numpy as np
import pandas as pd
import pytest
from differences import slope_at_zero

import bayeslmm as blm
from bayeslmm.errors import PriorError
from bayeslmm.inference.importance.generalized import sample_generalized
from bayeslmm.inference.importance.generalized_laplace import find_generalized_laplace
from bayeslmm.posterior.explicit_arrays import can_compile
from bayeslmm.posterior.generalized import GeneralizedDensity
from bayeslmm.posterior.generalized_mixture import explicit_posterior, generalized_density
from bayeslmm.priors import Cauchy, Logistic

STEP = 1e-4
GRADIENT = 2e-4  # of Richardson's differences
MONTE_CARLO = 5  # standard errors
STATED = {"Intercept": "StudentT(3, 1, 0.5)", "x": "Laplace(0.2, 0.1)", "z": "Cauchy(0, 0.1)"}
LOGISTIC = {"Intercept": "Logistic(1, 0.3)", "x": "Logistic(0.2, 0.1)", "z": "Logistic(0, 0.02)"}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(1, 1, size=80), "z": rng.normal(size=80), "g": np.repeat(np.arange(10), 8)})
    eta = 0.5 + 0.4 * frame.x + 0.5 * rng.normal(size=10)[frame.g]
    return frame.assign(y=rng.poisson(np.exp(eta)), yes=rng.random(80) < 1 / (1 + np.exp(-eta)))


def density_of(data, formula="y ~ x + z + (1 | g)", family="poisson", priors=STATED):
    model = blm.Model(formula, data, family=family, priors=priors)
    return generalized_density(model.design, model.family.for_response(model.design.outcome), model.resolved_priors)


@pytest.mark.parametrize(
    ("family", "priors"), [("poisson", STATED), ("negative_binomial", STATED), ("poisson", LOGISTIC)]
)
def test_gradient(data, family, priors):
    density = density_of(data, "y ~ x + z + (x | g)", family, priors)
    x = np.random.default_rng(1).uniform(-0.6, 0.4, density.dimension)
    found = density.point(x, gradient=True)
    for a, axis in enumerate(np.eye(len(x))):
        slope = slope_at_zero(lambda s, axis=axis: density.point(x + s * axis).log_density, STEP)
        assert found.gradient[a] == pytest.approx(slope, abs=GRADIENT)


def test_w_of_one_is_a_normal_prior(data):
    normal = {"Intercept": "Normal(1, 0.5)", "x": "Normal(0.2, 0.1)", "z": "Normal(0, 0.1)"}
    mixture, plain = density_of(data), density_of(data, priors=normal)
    assert type(plain) is GeneralizedDensity
    x = np.array([-0.3])
    there = mixture.point(np.append(x, np.zeros(3)))
    mixing = sum(m.mixing.log_density(0.0) for m in mixture.mixtures)
    assert there.log_density - mixing == pytest.approx(plain.point(x).log_density, abs=1e-9)


@pytest.mark.parametrize("stated", [STATED, LOGISTIC])
def test_the_explicit_density_has_the_priors_as_stated(data, stated):
    """Against the plain explicit density with the normal priors taken out and the stated ones put in."""
    density = density_of(data, priors=stated)
    laplace, anchor = find_generalized_laplace(density)
    explicit = explicit_posterior(density, laplace.mode, anchor)
    assert can_compile(explicit)
    model = blm.Model("y ~ x + z + (1 | g)", data, family="poisson", priors=stated)
    priors = model.resolved_priors
    flat = explicit_posterior(density_of(data, priors=dict.fromkeys(stated, "Flat()")), laplace.mode[:1], anchor)
    rng = np.random.default_rng(3)
    differences = []
    for _ in range(5):
        q = rng.normal(size=explicit.dimension)
        q[0] = laplace.mode[0] + 0.2 * q[0]
        point = explicit.unpack(q)
        own = priors.fixed_centring.inverse @ density.problem.predictor.fixed.matrix @ point.beta
        expected = sum(float(prior.logpdf(b)) for prior, b in zip(priors.fixed, own, strict=True))
        differences.append(explicit.value_and_gradient(q)[0] - flat.value_and_gradient(q)[0] - expected)
        slope = explicit.value_and_gradient(q)[1]
        for axis in rng.normal(size=(2, explicit.dimension)):
            ends = [explicit.value_and_gradient(q + s * STEP * axis)[0] for s in (1, -1)]
            assert slope @ axis == pytest.approx((ends[0] - ends[1]) / (2 * STEP), abs=GRADIENT)
    np.testing.assert_allclose(np.ptp(differences), 0.0, atol=1e-8)


@pytest.mark.parametrize("prior", [Cauchy(-2, 0.3), Logistic(-2, 0.3)])
def test_importance_sampling_is_the_posterior_of_one_coefficient(prior):
    """Three counts and an intercept, against a sum over a fine grid."""
    data = pd.DataFrame({"y": [3, 5, 2]})
    model = blm.Model("y ~ 1", data, family="poisson", priors={"Intercept": prior})
    density = generalized_density(model.design, model.family, model.resolved_priors)
    grid = np.linspace(-6, 4, 40_001)
    logs = prior.logpdf(grid) + 10 * grid - 3 * np.exp(grid)
    logs -= np.log(6.0 * 120.0 * 2.0)
    evidence = np.trapezoid(np.exp(logs), grid)
    mean = np.trapezoid(grid * np.exp(logs), grid) / evidence
    found = sample_generalized(density, n_draws=4000, seed=1)
    assert found.smoothed.k_hat < 0.7
    size = found.smoothed.effective_size
    assert found.log_evidence == pytest.approx(np.log(evidence), abs=MONTE_CARLO / np.sqrt(found.effective_points))
    assert found.beta.mean() == pytest.approx(mean, abs=MONTE_CARLO * found.beta.std() / np.sqrt(size))


@pytest.mark.parametrize("priors", [STATED, LOGISTIC, "brms"])
def test_nuts_and_importance_agree(data, priors):
    model = blm.Model("yes ~ x + z + (1 | g)", data, family="bernoulli", priors=priors)
    table = model.fit("nuts", seed=1, draws=1000, tune=400, chains=2, progressbar=False).coef_table()
    other = model.fit("importance", seed=2, draws=1000, chains=2, progressbar=False, handover="error").coef_table()
    error = np.sqrt(table["sd"] ** 2 / table["ess_bulk"] + other["sd"] ** 2 / other["ess_bulk"])
    assert (np.abs(table["mean"] - other["mean"]) / error).max() < MONTE_CARLO
    np.testing.assert_allclose(table["sd"], other["sd"], rtol=0.15)


def test_a_prior_that_is_no_mixture_is_refused_with_what_takes_it(data):
    model = blm.Model("y ~ x + (1 | g)", data, family="poisson", priors={"x": "Uniform(-1, 1)"})
    for method in ("nuts", "importance", "map"):
        with pytest.raises(PriorError, match=r'x \(Uniform\(-1, 1\)\).*method="advi"'):
            model.fit(method, progressbar=False) if method != "map" else model.fit(method)


def test_all_of_these_priors_have_a_mode(data):
    model = blm.Model("y ~ x + z + (1 | g)", data, family="poisson", priors=STATED)
    assert model.fit("map").status.ok

"""Student t, Cauchy, Laplace and logistic priors of coefficients, integrated out through a further coordinate."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import cauchy, laplace, logistic, norm, t

import bayeslmm as blm
from bayeslmm.design import build_design
from bayeslmm.errors import PriorError
from bayeslmm.formula import parse
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.posterior.mixture_density import MixtureDensity, can_integrate, covariance_density
from bayeslmm.posterior.scale_mixtures import SMALL_W, KolmogorovMixing, as_mixture
from bayeslmm.priors import Cauchy, Laplace, Logistic, Normal, StudentT, resolve_priors

EXACT = 1e-9  # relative: the same number by another route
DIFFERENCES = 2e-5  # relative: central differences with a step of 1e-5
AREA = 1e-5  # absolute, in logs: quadrature over w against quadrature over the coefficient
QUAD = {"points": [-3.0, 0.0, 3.0], "limit": 400, "epsabs": 0.0}
ERRORS = 4.0  # Monte Carlo standard errors
FORMULAS = ["y ~ x + (1 | g)", "y ~ x + (x | g)", "y ~ x + (x | g) + (1 | h)", "y ~ x"]
STATED = {"Intercept": "StudentT(3, 2, 2)", "x": "Laplace(0.5, 0.7)"}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(1, 1, 60), "g": rng.integers(0, 6, 60), "h": rng.integers(0, 5, 60)})
    effects = rng.normal(size=(6, 2))
    data["y"] = 2 + data.x * (0.5 + effects[data.g, 1]) + effects[data.g, 0] + rng.normal(size=60)
    return data


def make(frame, formula, stated):
    design = build_design(parse(formula), frame)
    priors = resolve_priors(design, stated)
    return priors, covariance_density(build_kernel(design), priors)


@pytest.mark.parametrize(
    ("prior", "reference"),
    [
        (StudentT(3.0, 0.5, 2.0), t(3, 0.5, 2)),
        (StudentT(30.0, -1.0, 0.3), t(30, -1, 0.3)),
        (Cauchy(1.0, 2.0), cauchy(1, 2)),
        (Laplace(-0.3, 0.8), laplace(-0.3, 0.8)),
        (Logistic(0.4, 0.7), logistic(0.4, 0.7)),
    ],
)
def test_mixtures_are_the_priors(prior, reference):
    mixture = as_mixture(0, prior)
    for x in (-4.0, 0.1, 3.0):

        def given(log_w, x=x):
            sd = mixture.normal.sigma * np.exp(-0.5 * log_w)
            return norm.pdf(x, mixture.normal.mu, sd) * np.exp(mixture.mixing.log_density(log_w))

        assert quad(given, -40, 40, **QUAD)[0] == pytest.approx(reference.pdf(x), rel=1e-6)
    slope = (mixture.mixing.log_density(0.4 + 1e-5) - mixture.mixing.log_density(0.4 - 1e-5)) / 2e-5
    assert mixture.mixing.slope(0.4) == pytest.approx(slope, rel=DIFFERENCES)


def test_the_two_series_of_a_logistic_prior_meet():
    mixing, edge = KolmogorovMixing(), np.log(SMALL_W)
    for function in (mixing.log_density, mixing.slope):
        assert function(edge - 1e-13) == pytest.approx(function(edge + 1e-13), rel=1e-11)
    assert np.isfinite([f(v) for f in (mixing.log_density, mixing.slope) for v in (-40.0, 40.0)]).all()


@pytest.mark.parametrize("prior", [StudentT(4.0, 0.0, 1.0), Laplace(0.0, 1.0), Logistic(0.0, 1.0)])
def test_w_given_the_coefficient(prior):
    mixture, z = as_mixture(0, prior), 1.3

    def weight(log_w, power):
        sd = np.exp(-0.5 * log_w)
        return np.exp(power * log_w) * norm.pdf(z, 0, sd) * np.exp(mixture.mixing.log_density(log_w))

    total, first, second = (quad(weight, -40, 40, args=(k,), **QUAD)[0] for k in (0, 1, 2))
    mean, variance = first / total, second / total - (first / total) ** 2
    draws = mixture.mixing.draw(np.full(20_000, z), np.random.default_rng(1))
    assert abs(draws.mean() - mean) < ERRORS * np.sqrt(variance / 20_000)


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_density_is_the_normal_one_given_w(frame, formula):
    _, density = make(frame, formula, STATED)
    assert isinstance(density, MixtureDensity) and density.dimension == len(density.names())
    x = 0.6 * np.random.default_rng(1).normal(size=density.dimension)
    log_w = x[density.n_covariance : density.n_phi]
    rest = np.delete(x, np.s_[density.n_covariance : density.n_phi])
    sds = np.array([2.0, 0.7]) * np.exp(-0.5 * log_w)
    _, normal = make(frame, formula, {"Intercept": Normal(2, sds[0]), "x": Normal(0.5, sds[1])})
    mixing = sum(m.mixing.log_density(v) for m, v in zip(density.mixtures, log_w, strict=True))
    assert density.value(x) == pytest.approx(normal.value(rest) + mixing, rel=EXACT)
    by_grid = normal.grid(rest[:-1]).log_density + mixing
    assert density.grid(x[:-1]).log_density == pytest.approx(by_grid, rel=EXACT)


@pytest.mark.parametrize("formula", FORMULAS)
def test_gradients(frame, formula):
    _, density = make(frame, formula, STATED)
    x = 0.6 * np.random.default_rng(2).normal(size=density.dimension)
    steps = 1e-5 * np.eye(len(x))
    expected = [(density.value(x + s) - density.value(x - s)) / 2e-5 for s in steps]
    for found in (density.value_and_gradient(x), density.reference_gradient(x)):
        assert found[0] == pytest.approx(density.value(x), rel=EXACT)
        np.testing.assert_allclose(found[1], expected, rtol=DIFFERENCES, atol=1e-5)


def test_the_coefficient_is_integrated_out(frame):
    """Integrating over w is integrating over the coefficient under its prior, a model with an offset in its place."""
    _, density = make(frame, "y ~ x + (1 | g)", {"x": "StudentT(3, 0, 0.4)"})
    at = np.array([0.2, 0.1])  # log t, log sigma

    def over_w(log_w):
        return np.exp(density.value(np.array([at[0], log_w, at[1]])) + 115.0)

    def over_x(slope):
        design = build_design(parse("y ~ 1 + (1 | g)"), frame.assign(y=frame.y - slope * (frame.x - frame.x.mean())))
        plain = covariance_density(build_kernel(design), replace_priors(design, density))
        return np.exp(plain.value(at) + 115.0) * t.pdf(slope, 3, 0, 0.4)

    by_w = quad(over_w, -25, 8, points=[0.0], limit=200)[0]
    by_x = quad(over_x, -3, 4, points=[0.5], limit=200, epsrel=1e-7)[0]
    assert np.log(by_w) == pytest.approx(np.log(by_x), abs=AREA)


def replace_priors(design, density):
    """The priors of the other parameters as they are in the density."""
    term = density.priors.terms[0]
    stated = {"Intercept": density.priors.fixed[0], "sd_g": term.sd[0], "sigma": density.priors.sigma}
    return resolve_priors(design, stated)


@pytest.mark.filterwarnings("ignore:The Pareto k")  # of a batch far out: luck puts it on this side of the limit or that
def test_importance_and_nuts_agree():
    data = blm.load_dataset("dyestuff")
    priors = {"Intercept": "StudentT(3, 1480, 20)", "sd_Batch": "HalfNormal(50)", "sigma": "HalfNormal(80)"}
    model = blm.Model("Yield ~ 1 + (1 | Batch)", data, priors=priors)
    fits = [
        model.fit("importance", draws=2000, chains=2, seed=1),
        model.fit("nuts", draws=1000, chains=2, seed=1),
    ]
    assert [fit.draws.info.get("parametrization") for fit in fits] == [None, "marginal"]
    for name in ("beta", "sigma"):
        means = [getattr(fit.draws, name).mean() for fit in fits]
        sds = [getattr(fit.draws, name).std() for fit in fits]
        np.testing.assert_allclose(means, means[0], atol=6 * sds[0] / np.sqrt(400))
        np.testing.assert_allclose(sds, sds[0], rtol=6 / np.sqrt(2 * 400))
    other = fits[1]  # its evidence by importance sampling
    assert float(other.log_evidence) == pytest.approx(float(fits[0].log_evidence), abs=0.1)
    assert blm.loo(fits[0], unit="group")["elpd_loo"] == pytest.approx(
        blm.loo(other, unit="group")["elpd_loo"], abs=0.2
    )


def test_the_preset_brms_by_importance():
    fit = blm.lmm("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"), priors="brms", method="importance", seed=1)
    assert fit.status.code == "ok"


def test_other_priors_are_still_refused(frame):
    priors, _ = make(frame, "y ~ x + (1 | g)", {})
    design = build_design(parse("y ~ x + (1 | g)"), frame)
    uniform = resolve_priors(design, {"x": "Uniform(-1, 1)"})
    assert can_integrate(priors) and not can_integrate(uniform)
    with pytest.raises(PriorError, match="Uniform"):
        covariance_density(build_kernel(design), uniform)
    with pytest.raises(PriorError, match="StudentT"):
        CovarianceDensity(build_kernel(design), resolve_priors(design, {"x": "StudentT(3, 0, 1)"}))

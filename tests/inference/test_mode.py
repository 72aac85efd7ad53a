"""The posterior mode: REML under flat priors, a stationary point of the density without Jacobians otherwise."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import bayeslmm as blm
from bayeslmm.inference.optimum.mode import maximise_posterior, posterior_conditional
from bayeslmm.posterior.density import CovarianceDensity

SAME_OPTIMUM = 1e-6  # absolute, in units of minus twice the log density: two searches for one minimum
SAME_PLACE = 1e-6  # relative: two searches for one place

FITS = {
    "dyestuff": ("dyestuff", "Yield ~ 1 + (1 | Batch)"),
    "sleepstudy": ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
    "uncorrelated": ("sleepstudy", "Reaction ~ Days + (Days || Subject)"),
    "near singular": ("ratpup", "weight ~ litsize + treatment + sex + (1 + sex | litter)"),
    "singular": ("ratpup", "weight ~ treatment + sex + litsize + (1 + treatment | litter)"),
    "linear": ("sleepstudy", "Reaction ~ Days"),
}


def mode(model):
    density = CovarianceDensity(model.kernel, model.resolved_priors, model.spec.sigma)
    return density, maximise_posterior(density)


@pytest.mark.parametrize("name", FITS)
def test_flat_priors_give_reml(name):
    data, formula = FITS[name]
    model = blm.Model(formula, blm.load_dataset(data), priors="flat")
    reml = model.fit("reml")
    density, found = mode(model)
    assert found.objective == pytest.approx(reml.objective, abs=SAME_OPTIMUM)
    assert found.sigma == pytest.approx(reml.sigma, rel=SAME_PLACE)
    assert found.code == reml.status.code
    given = posterior_conditional(density, found.theta, found.sigma)
    np.testing.assert_allclose(given.beta, reml.fixef(), rtol=SAME_PLACE)
    np.testing.assert_allclose(given.beta_cov, reml.vcov(), rtol=1e-3)
    if name == "singular":  # three treatments, one to a litter: the correlations move nothing
        return
    np.testing.assert_allclose(found.theta, reml.theta, atol=SAME_PLACE)


def test_flat_priors_give_reml_on_the_boundary():
    """Groups whose means are equal: the sds of intercepts are zero; and one correlation of -1."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 6), "y": rng.normal(size=48), "x": rng.normal(size=48)})
    data["y"] -= data.groupby("g")["y"].transform("mean")
    for formula in ("y ~ x + (1 | g)", "y ~ x + (x || g)", "y ~ x + (x | g)"):
        model = blm.Model(formula, data, priors="flat")
        reml, (_, found) = model.fit("reml"), mode(model)
        assert (found.code, reml.status.code) == ("boundary", "boundary")
        assert found.objective == pytest.approx(reml.objective, abs=SAME_OPTIMUM)
        assert found.sigma == pytest.approx(reml.sigma, rel=SAME_PLACE)
        np.testing.assert_allclose(found.theta, reml.theta, atol=SAME_PLACE)


def dyestuff(**priors):
    return blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff"), priors=priors)


def test_a_bounded_prior_around_the_mode_changes_nothing():
    """Uniform on a range that the start, sd = sigma, is outside of."""
    wide = mode(dyestuff(sd_Batch="Uniform(0, 1000)"))[1]
    narrow = mode(dyestuff(sd_Batch="Uniform(20, 45)"))[1]
    assert narrow.code == wide.code == "converged"
    np.testing.assert_allclose(narrow.theta, wide.theta, atol=SAME_PLACE)


@pytest.mark.parametrize("bounds", [(0, 10), (60, 100)])
def test_a_mode_that_the_prior_rules_out_is_not_reported(bounds):
    """REML has 42: the posterior has its supremum at an end of the prior, and no mode."""
    prior = "Uniform({}, {})".format(*bounds)
    fit = dyestuff(sd_Batch=prior).fit("map")
    assert fit.status.code == "failed"
    assert f"where a prior ends (that of sd_Batch[Intercept], {prior})" in fit.status.message
    with pytest.raises(blm.FittingError, match="State a wider prior"):
        dyestuff(sd_Batch=prior).fit("map", strict=True)


def test_no_point_that_the_priors_allow():
    with pytest.raises(blm.FittingError, match=r"prior of sigma, Uniform\(1000, 2000\), is not finite at 49"):
        dyestuff(sigma="Uniform(1000, 2000)").fit("map")


@pytest.mark.parametrize("priors", [None, "rstanarm", {"sd_Subject": "Exponential(0.1)", "sigma": "HalfNormal(10)"}])
@pytest.mark.parametrize("name", ["sleepstudy", "uncorrelated"])
def test_no_nearby_point_is_better(name, priors):
    """A derivative-free search from the mode, over (log t, atanh r, log sigma) without Jacobians, gains nothing."""
    data, formula = FITS[name]
    model = blm.Model(formula, blm.load_dataset(data), priors=priors)
    density, found = mode(model)
    phi = density.phi(model.kernel.lambdas(found.theta))
    start = np.append(phi, np.log(found.sigma))

    def without_jacobians(x):
        points = density.points(x[:-1])
        value = density.value(x) - x[-1]
        for point, term in zip(points, model.resolved_priors.terms, strict=True):
            value -= np.sum(np.log(np.exp(x[-1]) * point.ratios))
            if term.correlation is not None:
                r = point.partial[1, 0]
                value -= np.log(1 - r**2)
        return -2 * value

    polished = minimize(without_jacobians, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11})
    assert without_jacobians(start) - polished.fun < SAME_OPTIMUM
    np.testing.assert_allclose(polished.x, start, atol=1e-3)


def test_the_coefficients_are_the_conditional_mean():
    """Against the dense normal equations with the prior as extra rows."""
    data = blm.load_dataset("dyestuff")
    model = blm.Model("Yield ~ 1 + (1 | Batch)", data, priors={"Intercept": "Normal(1000, 10)"})
    density, found = mode(model)
    given = posterior_conditional(density, found.theta, found.sigma)
    batch = data["Batch"].cat.codes.to_numpy()
    v = found.sigma**2 * (np.eye(30) + found.theta[0] ** 2 * (batch[:, None] == batch[None, :]))
    ones, y = np.ones(30), data["Yield"].to_numpy(float)
    information = ones @ np.linalg.solve(v, ones) + 1 / 10**2
    expected = (ones @ np.linalg.solve(v, y) + 1000 / 10**2) / information
    assert given.beta[0] == pytest.approx(expected, rel=1e-9)
    assert given.beta_cov[0, 0] == pytest.approx(1 / information, rel=1e-9)
    assert model.fit("map").fixef()["Intercept"] == pytest.approx(expected, rel=1e-9)

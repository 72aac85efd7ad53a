"""The posterior mode with heavy-tailed priors of coefficients, against a dense density and a derivative-free search."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

import bayeslmm as blm
from bayeslmm.inference.optimum.held_coefficients import minimise_held, standing_in
from bayeslmm.inference.optimum.held_mode import HeldMode
from bayeslmm.priors.real_line import Cauchy, Flat, Laplace, Logistic, Normal, StudentT

SAME_VALUE = 1e-7  # of minus twice the log density, computed with n x n matrices
SAME_OPTIMUM = 1e-6
N_GROUPS = 8


def rows(n=64, seed=4):
    rng = np.random.default_rng(seed)
    g = rng.permutation(np.arange(n) % N_GROUPS)
    x, z = rng.normal(3.0, 1.0, n), rng.normal(size=n)
    y = 2.0 + 0.8 * x + 0.1 * z + (rng.normal(size=N_GROUPS) + 0.5 * rng.normal(size=N_GROUPS) * z.mean())[g]
    return pd.DataFrame({"y": y + rng.normal(size=n), "x": x, "z": z, "g": g})


def dense(model, sds, sigma, held):
    """Minus twice log p(y, held, sds, sigma), coefficients with normal or flat priors integrated out."""
    priors, design = model.resolved_priors, model.design
    X = design.X @ np.linalg.inv(priors.fixed_centring.inverse)
    V = sigma**2 * np.eye(design.n)
    for term, own in zip(design.terms, sds, strict=True):
        Z = np.zeros((design.n, term.n_levels))
        Z[np.arange(design.n), term.codes] = 1.0
        V += own**2 * Z @ Z.T
    mean, flat, others, value = np.zeros(design.n), [], iter(held), 0.0
    for k, prior in enumerate(priors.fixed):
        if isinstance(prior, Normal):
            mean += X[:, k] * prior.mu
            V += prior.sigma**2 * np.outer(X[:, k], X[:, k])
        elif isinstance(prior, Flat):
            flat.append(k)
        else:
            at = next(others)
            mean += X[:, k] * at
            value -= 2 * float(prior.logpdf(at))
    left, F = design.y - mean, X[:, flat]
    inverse = np.linalg.inv(V)
    information = F.T @ inverse @ F
    left = left - F @ np.linalg.solve(information, F.T @ inverse @ left)
    value += -2 * multivariate_normal(cov=V).logpdf(left) + np.linalg.slogdet(information)[1]
    value -= len(flat) * np.log(2 * np.pi)
    for term, own in zip(priors.terms, sds, strict=True):
        value -= 2 * float(term.sd[0].logpdf(own))
    return value - (2 * float(priors.sigma.logpdf(sigma)) if priors.sigma is not None else 0.0)


PRIORS = {
    "t": {"x": "StudentT(3, 0, 0.2)"},
    "all": {"Intercept": "StudentT(4, 1, 2)", "x": "Cauchy(0, 0.3)", "z": "Laplace(0, 0.2)"},
    "logistic": {"x": "Logistic(0, 0.1)", "z": "Laplace(0, 0.2)"},
    "beside flat": {"preset": "flat", "x": "Laplace(0.2, 0.1)"},
    "presets": "brms",
}


@pytest.mark.parametrize("sigma", [None, 1.2])
@pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS)
def test_the_mode_is_that_of_the_dense_density(priors, sigma):
    model = blm.Model("y ~ x + z + (1 | g)", rows(), priors=priors, sigma=sigma)
    fit = model.fit("map")
    assert fit.status.code == "converged"
    stated = model.resolved_priors
    gamma = stated.fixed_centring.inverse @ fit.fixef().to_numpy()
    places = [k for k, prior in enumerate(stated.fixed) if not isinstance(prior, Normal | Flat)]
    assert places

    def value(point):
        return dense(model, [np.exp(point[0])], np.exp(point[1]) if sigma is None else sigma, point[2:])

    found = np.array([np.log(fit.theta[0] * fit.sigma), np.log(fit.sigma), *gamma[places]])
    assert fit.objective == pytest.approx(value(found), abs=SAME_VALUE)
    polished = minimize(value, found, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11, "maxiter": 4000})
    assert value(found) - polished.fun < SAME_OPTIMUM


def test_the_gradient_is_the_derivative():
    data = rows()
    model = blm.Model("y ~ x + z + (x | g)", data, priors={"x": "StudentT(3, 0, 0.2)", "z": "Laplace(0, 0.05)"})
    mode = HeldMode(model.kernel, model.resolved_priors)
    factor, step = np.array([[0.8, 0.0], [-0.2, 0.4]]), 1e-5
    point = mode.point([factor])
    for a, b in ((0, 0), (1, 0), (1, 1)):
        h = np.zeros((2, 2))
        h[a, b] = step
        difference = (mode.value([factor + h]) - mode.value([factor - h])) / (2 * step)
        assert point.slopes[0][a, b] == pytest.approx(difference, rel=1e-6, abs=1e-6)


def test_crossed_terms():
    data = rows().assign(h=np.arange(64) % 5)
    model = blm.Model("y ~ x + (1 | g) + (1 | h)", data, priors={"x": "StudentT(3, 0, 0.2)"})
    fit = model.fit("map")
    gamma = model.resolved_priors.fixed_centring.inverse @ fit.fixef().to_numpy()
    expected = dense(model, fit.theta * fit.sigma, fit.sigma, gamma[[1]])
    assert fit.objective == pytest.approx(expected, abs=SAME_VALUE)


def test_a_laplace_prior_sets_a_coefficient_to_zero():
    fit = blm.Model("y ~ x + z + (1 | g)", rows(), priors={"z": "Laplace(0, 0.01)"}).fit("map")
    assert abs(fit.fixef()["z"]) < 1e-9
    assert abs(fit.fixef()["x"]) > 0.3


@pytest.mark.parametrize("seed", range(6))
def test_held_coefficients_are_where_a_grid_has_its_minimum(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(2, 2))
    precision, centre = root @ root.T + 0.3 * np.eye(2), rng.normal(scale=4.0, size=2)
    priors = [StudentT(3, 0.5, 0.4), Cauchy(-1.0, 0.2)] if seed % 2 else [Laplace(0.0, 0.5), StudentT(1.5, 0.0, 0.1)]
    priors = [Logistic(0.3, 0.2), priors[1]] if seed > 3 else priors

    def value(x, y):
        d = np.stack([x - centre[0], y - centre[1]])
        quadratic = np.einsum("i...,ij,j...->...", d, precision, d)
        return quadratic - 2 * priors[0].logpdf(x) - 2 * priors[1].logpdf(y)

    found = minimise_held(precision, centre, priors)
    grid = np.meshgrid(np.linspace(-12, 12, 1201), np.linspace(-12, 12, 1201))
    assert value(*found) <= value(*grid).min() + 1e-9


@pytest.mark.parametrize("prior", [StudentT(3, 0.5, 2.0), Cauchy(-1.0, 0.5), Laplace(0.0, 1.5), Logistic(-0.2, 0.6)])
def test_the_normal_prior_that_stands_in_has_the_same_slope(prior):
    for x in (-7.0, 0.3, 4.0):
        assert standing_in(prior, x).dlogpdf(x) == pytest.approx(prior.dlogpdf(x), rel=1e-12)


def test_what_is_read_from_the_fit(tmp_path):
    data = rows()
    fit = blm.Model("y ~ x + z + (1 | g)", data, priors={"x": "StudentT(3, 0, 0.2)"}).fit("map")
    low, high = fit.predict(data.iloc[:3], interval=0.9)[["lower", "upper"]].to_numpy().T
    assert np.all(low < high)
    assert np.isfinite(fit.leverage()).all()
    assert "StudentT(3, 0, 0.2)" in str(fit.priors)
    again = blm.load(fit.save(tmp_path / "fit"))
    assert again.objective == fit.objective
    pd.testing.assert_series_equal(again.fixef(), fit.fixef(), rtol=1e-9)


def test_other_priors_are_refused_with_a_remedy():
    with pytest.raises(blm.PriorError, match=r"x \(Uniform\(0, 1\)\).*method='nuts'"):
        blm.Model("y ~ x + (1 | g)", rows(), priors={"x": "Uniform(0, 1)"}).fit("map")


def test_collinear_columns_stay_beside_a_held_coefficient():
    """Columns x and 2 x with normal priors: the mode is that of x alone under the prior of their sum."""
    data = rows().assign(twice=lambda d: 2 * d["x"])
    stated = {"z": "StudentT(3, 0, 0.05)", "Intercept": "Normal(5, 2)"}
    both = blm.Model(
        "y ~ x + twice + z + (1 | g)", data, priors={**stated, "x": "Normal(0, 0.3)", "twice": "Normal(0, 0.2)"}
    )
    assert both.resolved_priors.collinearity is not None
    alone = blm.Model("y ~ x + z + (1 | g)", data, priors={**stated, "x": "Normal(0, 0.5)"}).fit("map")  # .09 + 4 * .04
    found = both.fit("map")
    np.testing.assert_allclose(found.theta, alone.theta, rtol=1e-6)
    assert found.fixef()["z"] == pytest.approx(alone.fixef()["z"], rel=1e-6)
    assert found.objective == pytest.approx(alone.objective, abs=1e-6)

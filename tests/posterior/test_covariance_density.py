"""The log posterior of the covariance parameters: a dense normal density, differences, the compiled form."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

from bayeslmm.design import build_design
from bayeslmm.errors import PriorError
from bayeslmm.formula import parse
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.posterior.coded_priors import encode, log_density
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors import resolve_priors

EXACT = 1e-9  # relative: the same number by another route
DIFFERENCES = 1e-5  # relative: central differences with a step of 1e-5
AREA = 1e-7  # absolute, in logs: two trapezium rules on different nodes

RULES = {
    "default": None,
    "flat": "flat",
    "user": {"Intercept": "Normal(2, 3)", "x": "Normal(0, 1)", "sd_g": "HalfNormal(2)", "sigma": "HalfCauchy(1)"},
    "mixed": {"x": "Flat()", "sd_g[Intercept]": "Exponential(1)", "sigma": "InverseGamma(3, 2)"},
    "gamma": {"sd_g": "Gamma(2, 1)", "cor_g": "LKJ(1.5)"},
}
FORMULAS = {
    "intercept": "y ~ x + (1 | g)",
    "slope": "y ~ x + (x | g)",
    "three": "y ~ x + (x + z | g)",
    "uncorrelated": "y ~ x + (x || g)",
    "no constant": "y ~ 0 + x + (0 + x | g)",
    "crossed": "y ~ x + (x | g) + (1 | h)",
    "none": "y ~ x",
}


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    n = 60
    data = pd.DataFrame(
        {"x": rng.normal(1, 1, n), "z": rng.normal(size=n), "g": rng.integers(0, 6, n), "h": rng.integers(0, 5, n)}
    )
    effects = rng.normal(size=(6, 2))
    data["y"] = 2 + data.x * (0.5 + effects[data.g, 1]) + effects[data.g, 0] + rng.normal(size=n)
    data["w"] = rng.uniform(0.5, 2, n)
    return data


def make(frame, formula, rule="default", sigma=None, weights=None):
    design = build_design(parse(formula), frame, weights=weights)
    stated = RULES[rule]
    if isinstance(stated, dict):
        known = {"Intercept", "sigma"} | set(design.fixed_names)
        has = {"sd_g", "cor_g", "sd_g[Intercept]"} if "g" in formula else set()
        if "(x" not in formula or "||" in formula:
            has -= {"cor_g"}
        if "0 +" in formula:
            known -= {"Intercept"}
            has -= {"sd_g[Intercept]", "cor_g"}
        if sigma is not None:
            known -= {"sigma"}
        stated = {k: v for k, v in stated.items() if k in known | has}
    priors = resolve_priors(design, stated, sigma=sigma)
    return design, priors, CovarianceDensity(build_kernel(design), priors, sigma)


def random_point(density, seed):
    return np.random.default_rng(seed).normal(size=density.dimension) * 0.6


def dense_log_posterior(design, priors, density, x):
    """N(y; X m, X B X' + sum Z S Z' + sigma^2 / w) times priors times the Jacobian of (log t, atanh r, log sigma).

    Proper normal priors of the coefficients only. Written from the model, n by n.
    """
    sigma = float(np.exp(x[-1])) if density.sigma is None else density.sigma
    n = design.n
    weights = np.ones(n) if design.weights is None else design.weights
    turn = priors.fixed_centring.matrix
    mean = design.X @ turn @ [p.mu for p in priors.fixed]
    columns = design.X @ turn
    v = np.diag(sigma**2 / weights) + columns @ np.diag([p.sigma**2 for p in priors.fixed]) @ columns.T
    logs, start = 0.0, 0
    for term, prior in zip(design.terms, priors.terms, strict=True):
        size = term.n_columns
        t = np.exp(x[start : start + size])
        start += size
        correlation = np.eye(size)
        if prior.correlation is not None:
            z = np.eye(size)
            jacobian = 0.0
            partial = np.zeros((size, size))
            for column in range(size - 1):
                for row in range(column + 1, size):
                    partial[row, column] = np.tanh(x[start])
                    start += 1
            for row in range(size):
                for column in range(row + 1):
                    left = np.prod(np.sqrt(1 - partial[row, :column] ** 2))
                    z[row, column] = (partial[row, column] if column < row else 1.0) * left
            correlation = z @ z.T
            # d r_ij / d z_ij is left_i left_j (1 - partial^2), and the map is triangular
            for column in range(size - 1):
                for row in range(column + 1, size):
                    jacobian += np.log(1 - partial[row, column] ** 2)
                    jacobian += 0.5 * np.sum(np.log(1 - partial[row, :column] ** 2))
                    jacobian += 0.5 * np.sum(np.log(1 - partial[column, :column] ** 2))
            logs += float(prior.correlation.logpdf(correlation)) + jacobian
        sds = sigma * t
        logs += sum(float(p.logpdf(s)) + np.log(s) for p, s in zip(prior.sd, sds, strict=True))
        covariance = sds[:, None] * correlation * sds
        move = prior.centring.matrix
        covariance = move @ covariance @ move.T
        rows = term.columns @ covariance @ term.columns.T
        v += np.where(term.codes[:, None] == term.codes[None, :], rows, 0.0)
    if density.sigma is None:
        logs += float(priors.sigma.logpdf(sigma)) + np.log(sigma)
    return multivariate_normal.logpdf(design.y, mean, v) + logs


@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("rule", ["default", "user", "gamma"])
def test_it_is_the_dense_normal_density(frame, formula, rule, weights, sigma):
    design, priors, density = make(frame, FORMULAS[formula], rule, sigma, weights)
    for seed in range(2):
        x = random_point(density, seed)
        expected = dense_log_posterior(design, priors, density, x)
        assert density.value(x) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("rule", RULES)
def test_gradient_and_compiled_form(frame, formula, rule, sigma):
    _, _, density = make(frame, FORMULAS[formula], rule, sigma, "w")
    if density.dimension == 0:
        return
    x = random_point(density, 1)
    value, gradient = density.value_and_gradient(x)
    general, by_general = density.reference_gradient(x)
    assert value == pytest.approx(general, rel=EXACT)
    np.testing.assert_allclose(gradient, by_general, rtol=EXACT, atol=1e-8)
    step = 1e-5
    differences = [(density.value(x + step * e) - density.value(x - step * e)) / (2 * step) for e in np.eye(len(x))]
    np.testing.assert_allclose(gradient, differences, rtol=DIFFERENCES, atol=1e-5)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("rule", ["default", "flat", "mixed"])
def test_sigma_is_integrated_out(frame, formula, rule):
    """Against a fine trapezium rule on the joint density, and the compiled grid against the general one."""
    _, _, density = make(frame, FORMULAS[formula], rule)
    x = random_point(density, 2)
    grid = density.grid(x[: density.n_phi])
    nodes = np.linspace(grid.log_sigma[0] - 0.5, grid.log_sigma[-1] + 0.5, 2001)
    logs = np.array([density.value(np.append(x[: density.n_phi], node)) for node in nodes])
    peak = logs.max()
    assert grid.log_density == pytest.approx(peak + np.log(np.trapezoid(np.exp(logs - peak), nodes)), abs=AREA)
    if density.single is not None:
        shape, p = density.kernel.shapes[0], density.kernel.p
        uniforms = np.array([[0.1, 0.5, 0.9]])
        noise = np.zeros((1, 3, shape.n_levels, shape.n_columns))
        found, sigma, _, _ = density.single.draw(x[None, : density.n_phi].copy(), uniforms, np.zeros((1, 3, p)), noise)
        assert found[0] == pytest.approx(grid.log_density, abs=AREA)
        np.testing.assert_allclose(sigma[0], grid.draw(uniforms[0]), rtol=1e-3)  # linear between different nodes


def test_phi_and_back(frame):
    _, _, density = make(frame, FORMULAS["three"])
    x = random_point(density, 5)
    lambdas = density.lambdas(density.points(x[:-1]))
    np.testing.assert_allclose(density.phi(lambdas), x[:-1], rtol=1e-8, atol=1e-10)


def test_only_normal_coefficients_are_integrated_out(frame):
    design = build_design(parse("y ~ x + (1 | g)"), frame)
    priors = resolve_priors(design, {"x": "StudentT(3, 0, 1)"})
    with pytest.raises(PriorError, match=r"x \(StudentT\(3, 0, 1\)\)"):
        CovarianceDensity(build_kernel(design), priors)


@pytest.mark.parametrize("rule", ["user", "mixed", "gamma"])
def test_encoded_priors_are_the_objects(frame, rule):
    _, priors, _ = make(frame, FORMULAS["slope"], rule)
    for prior in (*priors.terms[0].sd, priors.sigma):
        code = np.array(encode(prior), dtype=float)
        for x in (0.01, 0.7, 5.0):
            value, by_log = log_density(code, x)
            assert value == pytest.approx(float(prior.logpdf(x)), rel=EXACT)
            assert by_log == pytest.approx(float(prior.dlogpdf(x)) * x, rel=EXACT)

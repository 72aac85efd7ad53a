"""Log densities against scipy.stats, and their derivatives against differences of the function below each."""

import densities
import numpy as np
import pytest
from differences import slope_at_zero

from bayeslmm.families import FAMILIES, Cumulative, Request, family

AGREEMENT = 1e-10  # relative to one plus the log density: scipy's own functions keep about eleven digits here
DIFFERENCE = 2e-7  # relative error of Richardson's differences of functions with fifteen digits, at steps of 1e-3
STEP = 1e-3

VALUES = {
    "gaussian": [[0.7]],
    "lognormal": [[0.7]],
    "negative_binomial": [[0.4], [3.0], [60.0]],
    "gamma": [[0.6], [5.0]],
    "beta": [[0.8], [9.0]],
    "student": [[0.7, 2.5], [2.0, 30.0]],
    "cumulative": [[-1.0, 0.3, 1.1], [-0.2, -0.1, 4.0]],
    "zero_inflated_poisson": [[0.2]],
    "zero_inflated_negative_binomial": [[1.5, 0.2]],
    "hurdle_poisson": [[0.3]],
    "hurdle_negative_binomial": [[1.5, 0.3]],
}
PAIRS = [(name, link) for name, kind in FAMILIES.items() for link in kind.links]
CASES = [(name, link, values) for name, link in PAIRS for values in VALUES.get(name, [[]])]


def make(name, link):
    return Cumulative(link, 4) if name == "cumulative" else family(name, link)


def rows(name, link):
    """Responses crossed with linear predictors, as a response and eta."""
    eta = np.array([-3.0, -1.2, -0.3, 0.0, 0.4, 1.0, 2.5])
    if link == "inverse":
        eta = np.array([0.05, 0.3, 1.0, 2.5, 8.0])
    ys = {
        "bernoulli": [0, 1],
        "binomial": [0, 1, 4, 7],
        "cumulative": [0, 1, 2, 3],
        "gamma": [0.02, 0.7, 6.0],
        "lognormal": [0.02, 0.7, 6.0],
        "beta": [0.004, 0.3, 0.97],
        "gaussian": [-4.0, 0.3, 2.0],
        "student": [-40.0, 0.3, 2.0],
    }.get(name, [0, 1, 2, 9, 60])
    y, eta = (a.ravel() for a in np.meshgrid(ys, eta))
    request = Request(trials=np.full(len(y), 7.0)) if name == "binomial" else Request()
    if name == "cumulative":
        request = Request(categories=[0, 1, 2, 3])
    return make(name, link).read(y, request), eta


def slope(function, at):
    """Richardson's central difference."""
    return slope_at_zero(lambda s: function(at + s), STEP)


def close(found, expected, tolerance):
    scale = 1 + np.abs(expected)
    assert np.max(np.abs(found - expected) / scale, initial=0.0) < tolerance


@pytest.mark.parametrize(("name", "link", "values"), CASES)
def test_log_density_is_scipys(name, link, values):
    response, eta = rows(name, link)
    chosen = make(name, link)
    found = chosen.log_density(response, eta, chosen.working(values))
    close(found, densities.log_density(name, link, response.y, response.size, eta, values), AGREEMENT)


@pytest.mark.parametrize(("name", "link", "values"), CASES)
def test_derivatives_by_the_linear_predictor(name, link, values):
    response, eta = rows(name, link)
    chosen = make(name, link)
    working = chosen.working(values)
    found = chosen.derivatives(response, eta, working)
    unit = 1.0 if link != "inverse" else eta * 0.05
    for order in range(3):
        expected = slope(lambda h: chosen.derivatives(response, eta + h * unit, working)[order], 0.0) / unit  # noqa: B023
        close(found[order + 1], expected, DIFFERENCE if link != "inverse" else 1e-5)


@pytest.mark.parametrize(("name", "link", "values"), [case for case in CASES if case[2]])
def test_derivatives_by_the_dispersion(name, link, values):
    response, eta = rows(name, link)
    chosen = make(name, link)
    working = chosen.working(values)
    found = chosen.by_dispersion(response, eta, working)
    for a in range(len(working)):
        axis = np.eye(len(working))[a]
        expected = slope(lambda h: chosen.derivatives(response, eta, working + h * axis)[:3], 0.0)  # noqa: B023
        close(found[a], expected, DIFFERENCE)


@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_weights_multiply(name, link):
    response, eta = rows(name, link)
    chosen = make(name, link)
    working = chosen.working(VALUES.get(name, [[]])[0])
    if name in ("gaussian", "lognormal", "binomial"):
        pytest.skip("weights are variances or trials here")
    weights = np.linspace(0.5, 2.0, len(eta))
    y = response.y if name != "cumulative" else response.y.astype(int)
    weighted = chosen.read(y, Request(weights=weights, categories=[0, 1, 2, 3] if name == "cumulative" else None))
    close(chosen.log_density(weighted, eta, working), weights * chosen.log_density(response, eta, working), AGREEMENT)
    close(chosen.by_dispersion(weighted, eta, working), weights * chosen.by_dispersion(response, eta, working), 1e-12)


@pytest.mark.parametrize("name", ["gaussian", "lognormal"])
def test_gaussian_weights_divide_the_variance(name):
    y, eta, weights = np.array([0.5, 1.5, 3.0]), np.array([0.1, 0.2, 0.3]), np.array([0.5, 1.0, 4.0])
    chosen = family(name)
    response = chosen.read(y, Request(weights=weights))
    expected = [
        densities.log_density(name, "identity", response.y[i : i + 1], None, eta[i : i + 1], [0.7 / np.sqrt(w)])[0]
        for i, w in enumerate(weights)
    ]
    close(chosen.log_density(response, eta, chosen.working([0.7])), np.array(expected), AGREEMENT)


@pytest.mark.parametrize(("name", "link", "values"), CASES)
@pytest.mark.parametrize("far", [-1e10, -1e4, -750.0, -300.0, -40.0, 40.0, 300.0, 750.0, 1e4, 1e10])
def test_extreme_linear_predictors_stay_finite(name, link, values, far):
    """No overflow, no NaN: at worst the log density is so low that a step there is refused."""
    response, eta = rows(name, link)
    chosen = make(name, link)
    working = chosen.working(values)
    with np.errstate(all="raise"):
        found = chosen.derivatives(response, np.full(len(eta), far), working)
        by_dispersion = chosen.by_dispersion(response, np.full(len(eta), far), working)
    assert np.isfinite(found[1:]).all()
    assert np.isfinite(by_dispersion).all()
    assert (np.isfinite(found[0]) | (found[0] == -np.inf)).all()
    if link == "inverse":
        assert (np.isneginf(found[0]) == (far <= 0)).all()
    else:
        assert np.isfinite(found[0]).all()


@pytest.mark.parametrize(("name", "link"), [pair for pair in PAIRS if FAMILIES[pair[0]].log_concave])
def test_concave_families_are(name, link):
    response, eta = rows(name, link)
    chosen = make(name, link)
    for values in VALUES.get(name, [[]]):
        for shift in (-12.0, 0.0, 12.0) if link != "inverse" else (0.0,):
            assert (chosen.derivatives(response, eta + shift, chosen.working(values))[2] <= 1e-15).all()


@pytest.mark.parametrize("name", [name for name, kind in FAMILIES.items() if not kind.log_concave])
def test_the_others_have_positive_expected_weights(name):
    link = FAMILIES[name].links[0]
    response, eta = rows(name, link)
    chosen = make(name, link)
    assert (chosen.expected_weights(response, eta, chosen.working(VALUES[name][0])) > 0).all()


@pytest.mark.parametrize("name", ["bernoulli", "binomial", "poisson", "negative_binomial", "gamma", "student"])
def test_expected_weights_are_the_mean_of_the_observed_ones(name):
    """By summing or averaging over the distribution itself."""
    chosen, eta = family(name), np.array([0.4])
    working = chosen.working({"negative_binomial": [2.0], "gamma": [3.0], "student": [0.8, 5.0]}.get(name, []))
    size = 5.0 if name == "binomial" else 1.0
    if name in ("gamma", "student"):
        ys = np.linspace(0.001, 60, 400_001) if name == "gamma" else np.linspace(-400, 400, 800_001)
    else:
        ys = np.arange(0, {"bernoulli": 2, "binomial": 6}.get(name, 200))
    request = Request(trials=np.full(len(ys), size)) if name == "binomial" else Request()
    response = chosen.read(ys.astype(float), request)
    etas = np.full(len(ys), eta[0])
    density = np.exp(chosen.log_density(response, etas, working))
    observed = -chosen.derivatives(response, etas, working)[2]
    step = 1.0 if name not in ("gamma", "student") else ys[1] - ys[0]
    expected = np.sum(density * observed) * step
    assert chosen.expected_weights(response, etas, working)[0] == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize(("name", "link", "values"), CASES)
def test_distribution_function_belongs_to_the_density(name, link, values):
    """Its jump is the density of a discrete response, its slope that of a continuous one."""
    response, eta = rows(name, link)
    chosen = make(name, link)
    working = chosen.working(values)
    below, upto = chosen.cdf(response, eta, working)
    density = np.exp(chosen.log_density(response, eta, working))
    if name not in ("gaussian", "lognormal", "gamma", "beta", "student"):
        close(upto - below, density, 1e-9)
        return
    assert (below == upto).all()
    unit = (
        1e-3
        if name in ("gaussian", "student")
        else 1e-3 * np.minimum(response.y, 1 - response.y if name == "beta" else 1)
    )

    def moved(h):
        return chosen.cdf(response.with_y(response.y + h / STEP * unit, response.base), eta, working)[1]

    found = slope(moved, 0.0) * STEP / unit
    close(found, density, 1e-6)


@pytest.mark.parametrize(("name", "link", "values"), [case for case in CASES if case[:2] != ("student", "identity")])
def test_variance_is_that_of_draws(name, link, values):
    response, _ = rows(name, link)
    chosen, many = make(name, link), 60_000
    working = chosen.working(values)
    one = type(response)(np.zeros(many), np.full(many, response.size[0]), np.zeros(many))
    eta = np.full(many, 0.4)
    y = chosen.simulate(one, eta, working, np.random.default_rng(2))
    error = np.std((y - y.mean()) ** 2) / np.sqrt(many)
    assert abs(y.var() - chosen.variance(one, eta, working)[0]) < 5 * error


def test_student_variance():
    chosen = family("student")
    response = chosen.read([0.0])
    assert chosen.variance(response, np.zeros(1), chosen.working([2.0, 6.0]))[0] == pytest.approx(6.0)
    assert chosen.variance(response, np.zeros(1), chosen.working([2.0, 1.5]))[0] == np.inf


def test_scales_for_priors():
    assert family("bernoulli").predictor_scale(family("bernoulli").read([0, 1])) == 2.5
    assert family("bernoulli", "probit").predictor_scale(family("bernoulli").read([0, 1])) == 1.5
    assert family("poisson").predictor_scale(family("poisson").read([0, 1])) == 1.0
    y = np.array([1.0, 2.0, 6.0])
    assert family("gaussian").predictor_scale(family("gaussian").read(y)) == pytest.approx(np.std(y))
    assert family("gamma", "inverse").predictor_scale(family("gamma").read(y)) == pytest.approx(np.std(y) / 9)
    assert family("gamma", "inverse").predictor_location(family("gamma").read(y)) == pytest.approx(1 / 3)
    assert family("poisson").predictor_location(family("poisson").read(y)) == pytest.approx(np.log(3))
    assert family("poisson").predictor_location(family("poisson").read([0, 0])) == pytest.approx(np.log(0.25))
    assert family("lognormal").predictor_location(family("lognormal").read(y)) == pytest.approx(np.log(12) / 3)
    assert family("bernoulli").predictor_location(family("bernoulli").read([1, 1, 1])) == pytest.approx(np.log(7))
    assert family("cumulative").predictor_location(family("cumulative").read([1, 2, 3])) == 0

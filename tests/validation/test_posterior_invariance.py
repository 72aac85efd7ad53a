"""What must not change the posterior: units, origins, row order, labels; and the prior where data say nothing."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.design import build_design
from bayeslmm.formula import parse
from bayeslmm.inference.importance.points import weighted_points
from bayeslmm.inference.importance.sampling import importance_draws
from bayeslmm.inference.options import Options
from bayeslmm.priors import resolve_priors
from bayeslmm.validation.agreement import draws_moments
from bayeslmm.validation.simulate import Problem

TOLERANCE = (
    1e-8  # of log densities of size 100: rounding in cross-products, 1e-13 relative, amplified by the shift of x
)
SLOPES = "y ~ 1 + x + (1 + x | g)"
UNCORRELATED = "y ~ 1 + x + (1 + x || g) + (1 | h)"
CROSSED = "y ~ 1 + x + (1 + x | g) + (1 + x | h)"


def frame():
    rng = np.random.default_rng(8)
    n = 60
    data = pd.DataFrame(
        {"x": rng.normal(size=n), "g": rng.permutation(np.arange(n) % 8), "h": rng.permutation(np.arange(n) % 5)}
    )
    b = rng.normal(size=(8, 2))
    data["y"] = 3 + data.x + b[data.g, 0] + 0.5 * b[data.g, 1] * data.x + rng.normal(size=n)
    return data


def problem(formula, data):
    design = build_design(parse(formula), data)
    return Problem(design, resolve_priors(design))


def places(density, kind):
    """Positions of the coordinates log t of intercepts, or of slopes."""
    word = {"intercept": "Intercept]", "slope": "x]"}[kind]
    return [k for k, name in enumerate(density.names()) if name.startswith("log t_") and name.endswith(word)]


def random_points(density, count=5):
    rng = np.random.default_rng(3)
    return 0.7 * rng.normal(size=(count, density.dimension))


def same_density_up_to_a_constant(first, second, mapped):
    """Log densities of the mapped coordinates differ by the Jacobian, a constant."""
    points = random_points(first)
    differences = [first.value(x) - second.value(mapped(x)) for x in points]
    assert np.ptp(differences) < TOLERANCE
    return differences[0]


@pytest.mark.parametrize("formula", [SLOPES, UNCORRELATED, CROSSED])
def test_units_of_y(formula):
    """y -> c y: sigma -> c sigma, t and correlations as before; log p(y) loses n log c."""
    data, c = frame(), 250.0
    first = problem(formula, data).density
    second = problem(formula, data.assign(y=c * data.y)).density

    def mapped(x):
        return np.append(x[:-1], x[-1] + np.log(c))

    constant = same_density_up_to_a_constant(first, second, mapped)
    assert constant == pytest.approx(len(data) * np.log(c), abs=TOLERANCE)


@pytest.mark.parametrize("formula", [SLOPES, UNCORRELATED, CROSSED])
def test_units_of_x(formula):
    """x -> c x: the slopes' t -> t / c; the density of y is the same."""
    data, c = frame(), 1e-3
    first = problem(formula, data).density
    second = problem(formula, data.assign(x=c * data.x)).density

    def mapped(x):
        moved = x.copy()
        moved[places(first, "slope")] -= np.log(c)
        return moved

    assert same_density_up_to_a_constant(first, second, mapped) == pytest.approx(0, abs=TOLERANCE)


@pytest.mark.parametrize("formula", [SLOPES, UNCORRELATED, CROSSED])
def test_shift_of_y(formula):
    data = frame()
    first, second = problem(formula, data).density, problem(formula, data.assign(y=data.y + 1e4)).density
    assert same_density_up_to_a_constant(first, second, lambda x: x) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("formula", [SLOPES, CROSSED])
def test_shift_of_x_in_correlated_terms(formula):
    """Priors hold at the end of the range nearest to zero, so nothing moves; x + 1000 costs three digits."""
    data = frame()
    first, second = (problem(formula, data.assign(x=data.x + shift)).density for shift in (10, 1000))
    assert same_density_up_to_a_constant(first, second, lambda x: x) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("formula", [SLOPES, CROSSED])
def test_shift_of_x_matters_where_zero_is_in_its_range(formula):
    """There the priors hold at zero, wherever the user has put it."""
    data = frame()
    first, second = (problem(formula, data.assign(x=data.x + shift)).density for shift in (0, 1))
    values = [first.value(x) - second.value(x) for x in random_points(first)]
    assert np.ptp(values) > 0.1


def test_shift_of_x_matters_where_terms_are_not_correlated():
    """(1 + x || g) is another model after a shift: the test above can fail."""
    data = frame()
    first, second = (problem(UNCORRELATED, data.assign(x=data.x + s)).density for s in (0, 3))
    values = [first.value(x) - second.value(x) for x in random_points(first)]
    assert np.ptp(values) > 0.1


@pytest.mark.parametrize("formula", [SLOPES, UNCORRELATED, CROSSED])
def test_row_order_and_labels(formula):
    data = frame()
    shuffled = data.sample(frac=1, random_state=1)
    letters = dict(enumerate("hcadbgfe"))
    relabelled = shuffled.assign(g=shuffled.g.map(letters), h=10.5 - shuffled.h)
    first = problem(formula, data).density
    for other in (shuffled, relabelled):
        second = problem(formula, other).density
        assert same_density_up_to_a_constant(first, second, lambda x: x) == pytest.approx(0, abs=TOLERANCE)


def moments(problem, seed=1):
    options = Options(draws=4000, chains=1, seed=seed)
    points = weighted_points(problem.density, options)
    return draws_moments(problem.design, importance_draws(problem.density, points, options))


def test_posterior_moves_with_units_and_origins():
    """Summaries under y -> 10 y + 500 and x -> x / 100 + 7: the same seed, the same points but for rounding."""
    data = frame().assign(x=lambda d: d.x + 5)
    first = moments(problem(SLOPES, data))
    second = moments(problem(SLOPES, data.assign(y=10 * data.y + 500, x=data.x / 100 + 7)))
    a, b = (dict(zip(m.names, zip(m.mean, m.sd, strict=True), strict=True)) for m in (first, second))
    assert b["sigma"] == pytest.approx(np.multiply(10, a["sigma"]), rel=1e-3)
    assert b["sd_g[x]"] == pytest.approx(np.multiply(1000, a["sd_g[x]"]), rel=1e-3)
    assert b["beta[x]"] == pytest.approx(np.multiply(1000, a["beta[x]"]), rel=1e-3)
    assert b["r_g[3, x]"] == pytest.approx(np.multiply(1000, a["r_g[3, x]"]), rel=1e-3)


@pytest.mark.parametrize("formula", ["y ~ 1 + x + (1 | g)", SLOPES])
def test_prior_returns_without_information(formula):
    """A known sigma of a million: sds, correlation and coefficients keep their priors, the evidence that of noise."""
    sigma = 1e6
    data = frame().assign(x=lambda d: d.x - d.x.mean())
    design = build_design(parse(formula), data)
    priors = resolve_priors(
        design, {"Intercept": "Normal(1, 2)", "x": "Normal(-1, 3)", "sd_g": "HalfNormal(2)"}, sigma=sigma
    )
    from bayeslmm.posterior.density import CovarianceDensity

    kernel = Problem(design, priors).kernel
    density = CovarianceDensity(kernel, priors, sigma)
    options = Options(draws=4000, chains=1, seed=1)
    points = weighted_points(density, options)
    found = draws_moments(design, importance_draws(density, points, options))
    half_normal = (2 * np.sqrt(2 / np.pi), 2 * np.sqrt(1 - 2 / np.pi))
    expected = {
        "sd_g[Intercept]": half_normal,
        "sd_g[x]": half_normal,
        "cor_g[Intercept, x]": (0.0, np.sqrt(1 / 3)),  # LKJ(1): uniform on (-1, 1)
        "beta[Intercept]": (1.0, 2.0),
        "beta[x]": (-1.0, 3.0),
    }
    for k, name in enumerate(found.names):
        if name in expected:
            mean, sd = expected[name]
            assert abs(found.mean[k] - mean) < 4 * found.mean_error[k], name
            assert abs(found.sd[k] - sd) < 4 * found.sd_error[k], name
    noise = -0.5 * len(data) * np.log(2 * np.pi * sigma**2)
    assert points.log_evidence == pytest.approx(noise, abs=4 / np.sqrt(points.smoothed.effective_size))

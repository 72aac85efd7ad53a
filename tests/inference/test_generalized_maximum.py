"""Maximum likelihood for generalized mixed models: known answers, invariance, boundaries, degenerate data."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, optimize, stats

sys.path.insert(0, str(Path(__file__).parent.parent / "likelihood"))
import dense

from bayeslmm.errors import ModelError, OptionError
from bayeslmm.families import Request, family
from bayeslmm.inference.optimum.generalized.at_infinity import parameters_at_limits
from bayeslmm.inference.optimum.generalized.curvature import uncertainty
from bayeslmm.inference.optimum.generalized.maximum import maximise_generalized
from bayeslmm.inference.optimum.generalized.objective import Objective
from bayeslmm.inference.optimum.maximum import maximise
from bayeslmm.likelihood import Kernel

GROUPS, ROWS = 30, 10
N = GROUPS * ROWS
LOGLIK = 1e-8  # the search stops at an expected gain of 5e-10 of log-likelihood


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def term(columns, codes=None, correlated=True):
    codes = np.repeat(np.arange(GROUPS), ROWS) if codes is None else codes
    return dense.Term(codes.astype(np.int32), np.column_stack(columns).astype(float), int(codes.max()) + 1, correlated)


def data(rng, sd=0.5):
    """x, X and a linear predictor with group effects."""
    x = rng.normal(size=N)
    eta = 0.5 + 0.3 * x + sd * np.repeat(rng.normal(size=GROUPS), ROWS)
    return x, np.column_stack([np.ones(N), x]), eta


def fit(name, y, X, terms, link=None, request=Request(), **options):  # noqa: B008
    chosen = family(name, link)
    return maximise_generalized(chosen, chosen.read(y, request), X, terms, **options)


def test_without_random_effects_it_is_a_generalized_linear_model(rng):
    _, X, eta = data(rng)
    y = rng.poisson(np.exp(eta))
    found = fit("poisson", y, X, [])
    direct = optimize.minimize(
        lambda b: -stats.poisson(np.exp(X @ b)).logpmf(y).sum(),
        [0.0, 0.0],
        jac=lambda b: X.T @ (np.exp(X @ b) - y),
        tol=1e-12,
    )
    assert found.loglik == pytest.approx(-direct.fun, abs=LOGLIK)
    np.testing.assert_allclose(found.beta, direct.x, atol=1e-6)
    information = (X.T * np.exp(X @ found.beta)) @ X
    np.testing.assert_allclose(uncertainty(found).beta, np.linalg.inv(information), rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["scalar", "vector", "crossed vector"])
def test_gaussian_is_the_kernels_maximum_likelihood(layout, weighted):
    y, X, terms, weights = dense.simulate(5, layout, weights=weighted)
    kernel = Kernel.build(y, X, terms, weights)
    known = maximise(kernel, "ml")
    found = fit("gaussian", y, X, terms, request=Request(weights=weights))
    assert found.loglik == pytest.approx(-0.5 * kernel.objective(known.theta, "ml"), abs=1e-7)
    coefficients = kernel.conditional(known.theta, "ml")
    assert np.exp(found.dispersion[0]) == pytest.approx(coefficients.sigma, rel=1e-4)
    np.testing.assert_allclose(found.theta, known.theta * coefficients.sigma, atol=1e-3)
    np.testing.assert_allclose(found.beta, coefficients.beta, atol=1e-4)


def test_lognormal_is_gaussian_for_the_logarithm(rng):
    _, X, eta = data(rng)
    y = eta + 0.4 * rng.normal(size=N)
    normal, log_normal = (
        fit("gaussian", y, X, [term([np.ones(N)])]),
        fit("lognormal", np.exp(y), X, [term([np.ones(N)])]),
    )
    assert log_normal.loglik == pytest.approx(normal.loglik - y.sum(), abs=LOGLIK)
    np.testing.assert_allclose(log_normal.beta, normal.beta, atol=1e-6)


def test_quadrature_is_the_integral(rng):
    """Against scipy's adaptive integration of every group's likelihood at the estimates."""
    _, X, eta = data(rng)
    y = (rng.random(N) < 1 / (1 + np.exp(-eta))).astype(float)
    found = fit("bernoulli", y, X, [term([np.ones(N)])], n_quad=25)
    fixed = X @ found.beta

    def group(rows):
        def integrand(u):
            return np.exp(
                stats.bernoulli(1 / (1 + np.exp(-fixed[rows] - found.theta[0] * u))).logpmf(y[rows]).sum()
            ) * (stats.norm.pdf(u))

        return np.log(integrate.quad(integrand, -10, 10, epsabs=0, epsrel=1e-11)[0])

    total = sum(group(slice(j * ROWS, (j + 1) * ROWS)) for j in range(GROUPS))
    assert found.loglik == pytest.approx(total, abs=1e-9)


def test_more_points_come_nearer(rng):
    x, X, eta = data(rng, sd=1.2)
    y = (rng.random(N) < 1 / (1 + np.exp(-eta))).astype(float)
    terms = [term([np.ones(N), x])]
    exact = fit("bernoulli", y, X, terms, n_quad=15).loglik
    errors = [abs(fit("bernoulli", y, X, terms, n_quad=k).loglik - exact) for k in (1, 3, 7)]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


@pytest.mark.parametrize("covariance", ["correlated", "independent"])
def test_units_and_origins_do_not_matter(rng, covariance):
    x, X, eta = data(rng)
    y = rng.poisson(np.exp(eta + 0.3 * x * np.repeat(rng.normal(size=GROUPS), ROWS)))
    correlated = covariance == "correlated"
    plain = fit("poisson", y, X, [term([np.ones(N), x], correlated=correlated)])
    moved = 1e4 + 1e3 * x if correlated else 1e3 * x  # independent effects have an origin
    other = fit("poisson", y, np.column_stack([np.ones(N), moved]), [term([np.ones(N), moved], correlated=correlated)])
    assert other.loglik == pytest.approx(plain.loglik, abs=1e-7)
    assert other.beta[1] == pytest.approx(plain.beta[1] / 1e3, rel=1e-5)
    np.testing.assert_allclose(other.eta, plain.eta, atol=1e-4)


def test_terms_in_another_order_are_the_same_model(rng):
    y, X, terms, _ = dense.simulate(7, "three factors", n=200)
    counts = rng.poisson(np.exp(np.clip(0.3 * y, -3, 3)))
    one, two = fit("poisson", counts, X, terms), fit("poisson", counts, X, terms[::-1])
    assert one.loglik == pytest.approx(two.loglik, abs=1e-6)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_a_singular_covariance_is_recognised(rng, name):
    x = rng.normal(size=N)
    X = np.column_stack([np.ones(N), x])
    y = rng.poisson(np.exp(0.5 + 0.3 * x + 0.4 * np.repeat(rng.normal(size=GROUPS), ROWS)))
    found = fit(name, y, X, [term([np.ones(N), x])])
    without = fit(name, y, X, [term([np.ones(N)])])
    assert found.status == "boundary"
    assert found.theta[2] == 0
    assert found.loglik >= without.loglik - LOGLIK
    assert uncertainty(found).positive_definite


def test_no_variance_at_all(rng):
    """Counts that vary less than Poisson's: the fit is that without random effects."""
    X = np.ones((N, 1))
    y = np.full(N, 3)
    found = fit("poisson", y, X, [term([np.ones(N)])])
    assert (found.status, found.theta[0]) == ("boundary", 0)
    assert found.beta[0] == pytest.approx(np.log(3), abs=1e-9)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_all_alike_has_no_finite_coefficients(start):
    X = np.column_stack([np.ones(N), np.linspace(-1, 1, N)])
    found = fit("bernoulli", np.full(N, start), X, [term([np.ones(N)])])
    assert found.loglik == pytest.approx(0.0, abs=1e-6)
    assert 0 in found.diverging


def test_separation_names_its_column(rng):
    _, X, eta = data(rng)
    y = (rng.random(N) < 1 / (1 + np.exp(-eta))).astype(float)
    rare = np.zeros(N)
    rare[:12] = 1.0
    y[:12] = 1.0
    found = fit("bernoulli", y, np.column_stack([X, rare]), [term([np.ones(N)])])
    assert found.diverging == (2,)
    assert fit("bernoulli", y, X, [term([np.ones(N)])]).diverging == ()


def test_zero_part_with_columns(rng):
    """The share of extra zeros by a formula: a constant column is the constant share."""
    x, X, eta = data(rng)
    y = np.where(rng.random(N) < 1 / (1 + np.exp(1 - x)), 0, rng.poisson(np.exp(1 + eta)))
    terms = [term([np.ones(N)])]
    constant = fit("zero_inflated_poisson", y, X, terms)
    column = fit("zero_inflated_poisson", y, X, terms, zero_columns=np.ones((N, 1)))
    assert column.loglik == pytest.approx(constant.loglik, abs=LOGLIK)
    assert column.dispersion[0] == pytest.approx(constant.dispersion[0], abs=1e-4)
    both = fit("zero_inflated_poisson", y, X, terms, zero_columns=X)
    assert both.loglik > constant.loglik + 5
    errors = np.sqrt(np.diag(uncertainty(both).dispersion))
    assert np.abs((both.dispersion - [-1.0, 1.0]) / errors).max() < 4


@pytest.mark.parametrize("name", ["zero_inflated_poisson", "hurdle_poisson"])
def test_hurdle_zeros_are_a_model_of_their_own(rng, name):
    """The share of a hurdle's zeros is theirs among the rows; extra zeros have no such closed form."""
    _, X, eta = data(rng)
    y = np.where(rng.random(N) < 0.3, 0, rng.poisson(np.exp(1 + eta)))
    found = fit(name, y, X, [term([np.ones(N)])])
    share = found.family.natural(found.dispersion)["zero"]
    if name == "hurdle_poisson":
        assert share == pytest.approx(np.mean(y == 0), abs=1e-5)
    else:
        assert 0 < share < np.mean(y == 0)


@pytest.mark.parametrize("name", ["poisson", "gamma", "student", "beta"])
def test_standard_errors_are_those_of_repeated_differences(rng, name):
    """The Hessian from the gradient against one from values alone, in the user's columns, at a single intercept."""
    _, X, eta = data(rng)
    y = {
        "poisson": rng.poisson(np.exp(eta)),
        "gamma": rng.gamma(3, np.exp(eta) / 3),
        "student": eta + 0.5 * rng.standard_t(5, size=N),
        "beta": np.clip(rng.beta(4 / (1 + np.exp(-eta)), 4 / (1 + np.exp(eta))), 1e-6, 1 - 1e-6),
    }[name]
    found = fit(name, y, X, [term([np.ones(N)])])
    objective, centre = found.objective, found.solution.parameters
    T = found.objective.problem.predictor.fixed.inverse

    def value(v):
        parameters = type(centre)((np.array([[v[0]]]),), T @ v[1:3], v[3:])
        return objective(parameters, gradient=False).value

    at = np.concatenate([found.theta, found.beta, found.dispersion])
    covariance = uncertainty(found).covariance
    steps = 0.05 * np.sqrt(np.diag(covariance))
    hessian = np.empty((len(at), len(at)))
    for a in range(len(at)):
        for b in range(len(at)):
            ea, eb = np.eye(len(at))[a] * steps, np.eye(len(at))[b] * steps
            hessian[a, b] = (value(at + ea + eb) - value(at + ea - eb) - value(at - ea + eb) + value(at - ea - eb)) / (
                4 * steps[a] * steps[b]
            )
    expected = 2 * np.linalg.inv(hessian)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), np.sqrt(np.diag(expected)), rtol=5e-3)


def test_standard_errors_take_two_gradients_for_a_parameter(rng, monkeypatch):
    _, X, eta = data(rng)
    found = fit("poisson", rng.poisson(np.exp(eta)), X, [term([np.ones(N)])])
    evaluate, count = Objective.__call__, 0

    def counted(self, *arguments, **options):
        nonlocal count
        count += 1
        return evaluate(self, *arguments, **options)

    monkeypatch.setattr(Objective, "__call__", counted)
    uncertainty(found)
    assert count == 2 * 3  # one sd and two coefficients


def test_inner_coefficients_come_near(rng):
    _, X, eta = data(rng)
    y = rng.poisson(np.exp(eta))
    inner, outer = (fit("poisson", y, X, [term([np.ones(N)])], n_quad=k) for k in (0, 1))
    assert inner.loglik <= outer.loglik + LOGLIK
    errors = np.sqrt(np.diag(uncertainty(outer).beta))
    assert np.abs((inner.beta - outer.beta) / errors).max() < 0.5


def test_refusals(rng):
    _, X, eta = data(rng)
    y = rng.poisson(np.exp(eta))
    codes = np.arange(N) % 7
    two = [term([np.ones(N)]), term([np.ones(N)], codes)]
    with pytest.raises(OptionError, match="n_quad=9 needs one random term; this model has 2"):
        fit("poisson", y, X, two, n_quad=9)
    with pytest.raises(OptionError, match="at most 3 effects; this one has 4"):
        fit("poisson", y, X, [term([np.ones(N), *rng.normal(size=(3, N))])], n_quad=3)
    with pytest.raises(OptionError, match="n_quad must be from 0 to 100, not -1"):
        fit("poisson", y, X, two, n_quad=-1)
    with pytest.raises(ModelError, match=r"span a constant.*thresholds"):
        fit("cumulative", np.minimum(y, 2), X, two)
    with pytest.raises(ModelError, match="'poisson' has no share of extra zeros"):
        fit("poisson", y, X, two, zero_columns=X)


def test_an_objective_is_not_evaluated_twice_at_a_place(rng):
    _, X, eta = data(rng)
    found = fit("poisson", rng.poisson(np.exp(eta)), X, [term([np.ones(N)])])
    assert found.objective(found.solution.parameters).value == pytest.approx(found.solution.evaluation.value, rel=1e-12)
    count = len(found.objective.values)
    found.objective(found.solution.parameters)
    assert len(found.objective.values) == count
    moved = replace(found.solution.parameters, beta=found.solution.parameters.beta + 1e-3)
    assert found.objective(moved).value > found.solution.evaluation.value
    assert len(found.objective.values) == count + 1


def test_polynomials_of_a_far_origin_separate_nothing(rng):
    """The intercept in the year 0 is known badly, and exists: another way to write the columns is the same model."""
    year = rng.integers(2010, 2020, N).astype(float)
    y = rng.poisson(np.exp(0.1 * (year - 2015)))
    terms = [term([np.ones(N)])]
    for power in (2, 3):
        far, near = (np.column_stack([t**k for k in range(power + 1)]) for t in (year, year - 2015))
        assert fit("poisson", y, far, terms).diverging == ()
        assert fit("poisson", y, near, terms).diverging == ()


def test_a_column_of_zeros_among_large_counts_is_named(rng):
    """The information of the other columns is so large that its own, relative to it, is rounding."""
    _, X, eta = data(rng)
    y = rng.poisson(np.exp(11 + eta)).astype(float)
    rare = np.zeros(N)
    rare[:12] = 1.0
    y[:12] = 0.0
    assert fit("poisson", y, np.column_stack([X, rare]), [term([np.ones(N)])]).diverging == (2,)


def test_grades_are_separated_beside_their_thresholds(rng):
    x, _, _ = data(rng)
    rare = np.zeros(N)
    rare[:12] = 1.0
    y = np.where(rare > 0, 2, rng.integers(0, 3, N))
    assert fit("cumulative", y, np.column_stack([x, rare]), [term([np.ones(N)])]).diverging == (1,)


def test_a_share_of_zeros_at_its_limit_costs_no_likelihood(rng):
    """Counts with no more zeros than Poisson's: the maximum is that of the family without the share."""
    _, X, eta = data(rng)
    y = rng.poisson(np.exp(1.5 + eta))
    terms = [term([np.ones(N)])]
    inflated, plain = fit("zero_inflated_poisson", y, X, terms), fit("poisson", y, X, terms)
    ended = inflated.solution
    assert parameters_at_limits(inflated.objective, ended.parameters, ended.evaluation) == (0,)
    assert inflated.loglik == pytest.approx(plain.loglik, abs=1e-6)

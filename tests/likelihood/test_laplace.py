"""Laplace's objective and gradient against a dense reference and against differences."""

import dense
import dense_generalized
import numpy as np
import pytest
from differences import slope_at_zero

from bayeslmm.design.centring import no_centring
from bayeslmm.families import Request, family
from bayeslmm.likelihood.generalized.laplace import Point, evaluate, predict_mode
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.predictor import Predictor
from bayeslmm.likelihood.normal_prior import NormalPrior

VALUE = 1e-9  # relative: modes to 1e-8 of a standard error on both sides
SLOPE = 2e-6  # a row; error of Richardson's differences with steps of 1e-4 of functions with eleven digits
STEP = 1e-4
BETA = np.array([0.2, 0.3, -0.2])

FAMILIES = {
    "bernoulli": [], "poisson": [], "gamma": [2.0], "negative_binomial": [1.5], "beta": [5.0], "gaussian": [0.8],
    "zero_inflated_poisson": [0.2], "student": [0.8, 5.0],
}  # fmt: skip


class Uncentred:
    """A term whose columns the kernel leaves alone, so that lambda is the same on both sides."""

    def __init__(self, term):
        self.term = term

    def __getattr__(self, name):
        return getattr(self.term, name)

    @property
    def centring(self):
        return no_centring(self.term.columns.shape[1])


def simulate(name, layout, seed=3, n=120, weighted=False):
    """A response of the family on a layout of grouping; predictor, response, family, design."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    X = np.column_stack([np.ones(n), x, rng.normal(size=n)])
    terms = dense.layout_terms(layout, rng, x)
    eta = X @ BETA
    for term in terms:
        effects = 0.5 * rng.normal(size=(term.n_levels, term.columns.shape[1]))
        eta = eta + np.einsum("ns,ns->n", term.columns, effects[term.codes])
    chosen = family(name)
    working = chosen.working(FAMILIES[name])
    request = Request(weights=rng.uniform(0.5, 2.0, n)) if weighted else Request()
    blank = chosen.read(np.full(n, 0.5) if name == "beta" else np.ones(n), request)
    response = chosen.read(chosen.simulate(blank, eta, working, rng), request)
    return Predictor.build(X, [Uncentred(t) for t in terms]), response, chosen, X, terms, working


def kernel_point(predictor, terms, theta, working, beta):
    """The point in the kernel's columns: scaled, X centred."""
    lams = dense.factors(theta, terms)
    scaled = tuple(m.inverse @ f for m, f in zip(predictor.maps, lams, strict=True))
    return Point(scaled, working, predictor.fixed.inverse @ beta)


def user_slopes(predictor, terms, gradient):
    """Theta's and beta's derivatives in the user's columns."""
    by_theta = []
    for m, term, slope in zip(predictor.maps, terms, gradient.lambdas, strict=True):
        in_user = m.inverse.T @ slope
        by_theta += [in_user[place] for place in dense.free_positions(term)]
    by_beta = predictor.fixed.inverse.T @ gradient.beta if len(gradient.beta) else gradient.beta
    return np.array(by_theta), by_beta


def check_slope(slope, function, at):
    """Compare a gradient along two random directions with differences of the function."""
    if not len(at):
        return
    for axis in np.random.default_rng(5).normal(size=(2, len(at))):
        expected = slope_at_zero(lambda s, axis=axis: function(at + s * axis), STEP)
        assert slope @ axis == pytest.approx(expected, abs=SLOPE * 120)


def check(name, layout, kind, theta=None, weighted=False):
    predictor, response, chosen, X, terms, working = simulate(name, layout, weighted=weighted)
    if theta is None:
        theta = np.random.default_rng(2).uniform(0.2, 1.0, dense.n_theta(terms))
    prior = np.diag([0.1, 0.2, 0.3]) if kind == "integrated" else None
    in_kernel = None
    if prior is not None:
        T = predictor.fixed.matrix
        turned = T.T @ prior @ T
        in_kernel = NormalPrior(turned, np.zeros(3), np.linalg.slogdet(turned)[1], 3)
    problem = Problem(chosen, response, predictor, inner=kind != "outer", prior=in_kernel)
    point = kernel_point(predictor, terms, theta, working, BETA)
    found = evaluate(problem, point, predictor.zeros(), integrated=kind == "integrated")

    def reference(theta, working, beta):
        beta = beta if kind == "outer" else None
        precision = prior
        return dense_generalized.objective(
            chosen, response, X, terms, theta, working, beta, 0.0, precision, kind == "integrated"
        )

    expected = reference(theta, working, BETA)
    assert found.value == pytest.approx(expected, rel=VALUE)
    by_theta, by_beta = user_slopes(predictor, terms, found.gradient)
    check_slope(by_theta, lambda t: reference(t, working, BETA), theta)
    if kind == "outer":
        check_slope(by_beta, lambda b: reference(theta, working, b), BETA)
    check_slope(found.gradient.working.sum(axis=1), lambda w: reference(theta, w, BETA), working)


@pytest.mark.parametrize("kind", ["outer", "inner", "integrated"])
@pytest.mark.parametrize("layout", [name for name in dense.LAYOUTS if name != "none"])
def test_every_layout(layout, kind):
    check("poisson", layout, kind)


@pytest.mark.parametrize("kind", ["outer", "inner", "integrated"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_kind_of_family(name, kind):
    check(name, "crossed vector", kind, weighted=name not in ("gaussian",))


@pytest.mark.parametrize("layout", ["scalar", "vector", "crossed vector", "nested vector"])
def test_singular_factors(layout):
    """A lambda with a zero pivot, and one of zeros."""
    size = dense.n_theta(simulate("poisson", layout)[4])
    check("poisson", layout, "outer", theta=np.zeros(size))
    if size > 2:
        theta = np.full(size, 0.4)
        theta[2] = 0.0
        check("poisson", layout, "outer", theta=theta)


@pytest.mark.parametrize("kind", ["outer", "inner"])
def test_predicted_mode_is_right_to_first_order(kind):
    predictor, response, chosen, _, terms, working = simulate("negative_binomial", "crossed vector")
    problem = Problem(chosen, response, predictor, inner=kind == "inner")
    theta = np.full(dense.n_theta(terms), 0.5)
    old = evaluate(problem, kernel_point(predictor, terms, theta, working, BETA), predictor.zeros())
    errors = []
    for size in (0.02, 0.01):
        moved = kernel_point(predictor, terms, theta + size, working + size, BETA - size)
        u, beta = predict_mode(problem, old, moved)
        exact = evaluate(problem, moved, u).mode
        errors.append(
            max(np.abs(a - b).max() for a, b in zip([*u, beta], [*exact.u, exact.beta], strict=True))
        )  # fmt: skip
    assert errors[1] < 0.3 * errors[0]  # a quarter: what is left is quadratic
    assert errors[0] < 1e-2

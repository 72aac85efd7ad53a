"""The density of a generalized model's covariance and dispersion parameters: its gradient, its parts, its posterior."""

import sys
from pathlib import Path

import numpy as np
import pytest
from differences import slope_at_zero

sys.path.insert(0, str(Path(__file__).parent.parent / "likelihood"))
import dense
import small_generalized as small

from bayeslmm.design.centring import no_centring
from bayeslmm.families import Cumulative, family
from bayeslmm.inference.importance.generalized import sample_generalized
from bayeslmm.inference.importance.generalized_laplace import find_generalized_laplace
from bayeslmm.likelihood.generalized.block_draws import draw_blocks
from bayeslmm.likelihood.generalized.laplace import Point, evaluate
from bayeslmm.likelihood.generalized.mode import Problem
from bayeslmm.likelihood.generalized.predictor import Predictor
from bayeslmm.likelihood.normal_prior import NormalPrior
from bayeslmm.posterior.generalized import GeneralizedDensity, log_dispersion_prior
from bayeslmm.posterior.generalized_explicit import ExplicitDensity, pack_zero, user_effects
from bayeslmm.priors.lkj import LKJ
from bayeslmm.priors.model_priors import TermPriors
from bayeslmm.priors.parse import parse_prior
from bayeslmm.priors.positive import HalfNormal, HalfStudentT
from bayeslmm.priors.real_line import Normal

GRADIENT = 2e-6  # of Richardson's differences, a row
STEP = 1e-4


def term_priors(shapes, terms, centred=False):
    return [
        TermPriors(
            f"t{k}", tuple(map(str, range(s.n_columns))), (HalfStudentT(3, 1.5),) * s.n_columns,
            LKJ(2) if s.has_correlations else None,
            term.centring if centred and s.has_correlations else no_centring(s.n_columns),
        )
        for k, (s, term) in enumerate(zip(shapes, terms, strict=True))
    ]  # fmt: skip


def make(name, layout, centred=False, n=120):
    rng = np.random.default_rng(6)
    x = rng.normal(size=n) + 1.0
    terms = dense.layout_terms(layout, rng, x)
    X = np.column_stack([np.ones(n), x])
    eta = 0.3 * x + sum(
        np.einsum("ns,ns->n", t.columns, 0.5 * rng.normal(size=(t.n_levels, t.columns.shape[1]))[t.codes])
        for t in terms
    )
    if name == "cumulative":
        chosen, X = Cumulative("logit", 4), X[:, 1:]
        response = chosen.read(np.digitize(eta + rng.logistic(size=n), [-1, 0.3, 1.0]))
    else:
        chosen = family(name)
        working = chosen.start(chosen.read(np.array([1.0, 2.0, 5.0])))
        response = chosen.read(chosen.simulate(chosen.read(np.ones(n)), eta, working, rng))
    predictor = Predictor.build(X, terms)
    T = predictor.fixed.matrix
    precision = 0.2 * T.T @ T
    prior = NormalPrior(precision, np.zeros(len(T)), np.linalg.slogdet(precision)[1], len(T))
    dispersion = [parse_prior(p.prior) for p in chosen.parameters for _ in range(p.size)]
    return GeneralizedDensity(
        chosen, response, predictor, term_priors(predictor.shapes, terms, centred), dispersion, prior
    )


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("poisson", "vector"), ("negative_binomial", "crossed vector"), ("zero_inflated_poisson", "uncorrelated"),
        ("student", "nested vector"), ("cumulative", "crossed vector"), ("gamma", "scalar"),
    ],
)  # fmt: skip
def test_gradient(name, layout, centred):
    density = make(name, layout, centred)
    x = np.random.default_rng(1).uniform(-0.6, 0.4, density.dimension)
    found = density.point(x, gradient=True)
    for a, axis in enumerate(np.eye(len(x))):
        slope = slope_at_zero(lambda s, axis=axis: density.point(x + s * axis).log_density, STEP)
        assert found.gradient[a] == pytest.approx(slope, abs=GRADIENT * 120)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_an_anchor_does_not_change_the_density(name):
    density = make(name, "crossed vector")
    x = np.full(density.dimension, -0.2)
    anchor = density.point(x + 0.3).evaluation
    assert density.point(x, anchor).log_density == pytest.approx(density.point(x).log_density, abs=1e-9)


def test_start_is_the_inverse():
    density = make("negative_binomial", "crossed vector", centred=True)
    x = np.random.default_rng(3).uniform(-0.5, 0.5, density.dimension)
    point = density.point(x).evaluation.point
    np.testing.assert_allclose(density.start(point.lambdas, point.working), x, atol=1e-9)


@pytest.mark.parametrize(
    ("transform", "priors", "working"),
    [
        ("log", [HalfNormal(2.0)], [0.3]),
        ("logit", [parse_prior("Uniform(0, 1)")], [-0.7]),
        ("ordered", [Normal(0, 1), Normal(1, 2), Normal(2, 1)], [-0.4, 0.3, -1.0]),
    ],
)
def test_dispersion_priors_integrate_to_what_they_are(transform, priors, working):
    """Slopes by differences; and, for one value, a density that integrates to one over the working scale."""
    working = np.array(working)
    _, slope = log_dispersion_prior(priors, working, transform)
    for a, axis in enumerate(np.eye(len(working))):
        ahead, behind = (log_dispersion_prior(priors, working + s * axis, transform)[0] for s in (1e-5, -1e-5))
        assert slope[a] == pytest.approx((ahead - behind) / 2e-5, abs=1e-7)
    if len(working) == 1:
        grid = np.linspace(-25, 25, 20_001)
        logs = [log_dispersion_prior(priors, np.array([w]), transform)[0] for w in grid]
        assert np.trapezoid(np.exp(logs), grid) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", ["poisson", "bernoulli"])
def test_importance_sampling_is_the_posterior(name):
    """Against integration over the standard deviation, the coefficient and every effect."""
    problem, evaluation, z, X = small.model(name, "scalar")
    prior = HalfNormal(1.0)
    density = GeneralizedDensity(
        problem.family, problem.response, problem.predictor,
        [TermPriors("g", ("Intercept",), (prior,), None, no_centring(1))], [], problem.prior,
    )  # fmt: skip
    logs, means, grid = [], [], np.linspace(-3.5, 1.5, 41)
    for log_sd in grid:
        # the small model's Z Lambda was made with a standard deviation of 0.9
        log_marginal, v = small.integrated(problem, evaluation, z * np.exp(log_sd) / 0.9, X)
        logs.append(log_marginal + float(prior.logpdf(np.exp(log_sd))) + log_sd)
        means.append(v[-1])
    shares = np.exp(np.array(logs) - np.max(logs))
    evidence = np.log(np.trapezoid(shares, grid)) + np.max(logs)
    shares /= shares.sum()
    found = sample_generalized(density, n_draws=4000, seed=4, n_points=1024, per_point=2, n_candidates=8)
    effective = found.smoothed.effective_size
    assert found.smoothed.k_hat < 0.7
    assert effective > 1000
    assert 500 < found.effective_points <= 1024
    assert found.log_evidence == pytest.approx(evidence, abs=5 / np.sqrt(found.effective_points))
    sds = found.sd[0][:, 0]
    assert sds.mean() == pytest.approx(shares @ np.exp(grid), abs=5 * sds.std() / np.sqrt(found.effective_points))
    beta = found.beta[:, 0]
    assert beta.mean() == pytest.approx(shares @ means, abs=5 * beta.std() / np.sqrt(effective))


def test_draws_do_not_depend_on_the_number_of_cores(monkeypatch):
    density = make("poisson", "crossed vector", n=1000)
    results = []
    for cores in (1, 2):
        monkeypatch.setattr("bayeslmm.inference.importance.generalized.idle_cores", lambda cores=cores: cores)
        results.append(sample_generalized(density, n_draws=50, seed=2, n_points=32, per_point=2, n_candidates=4))
    np.testing.assert_array_equal(results[0].beta, results[1].beta)
    np.testing.assert_array_equal(results[0].b[0], results[1].b[0])


def test_laplace_is_at_a_mode():
    density = make("negative_binomial", "crossed vector")
    laplace, anchor = find_generalized_laplace(density)
    gradient = density.point(laplace.mode, anchor, gradient=True).gradient
    assert np.abs(gradient * np.sqrt(np.diag(laplace.covariance))).max() < 1e-2


def test_flat_coefficients():
    """Without a prior a coefficient's density counts as one: Laplace's value and the weights agree on that."""
    problem, evaluation, _, _ = small.model("poisson", "crossed")
    flat = Problem(problem.family, problem.response, problem.predictor, True, None)
    none = NormalPrior(np.zeros((1, 1)), np.zeros(1), 0.0, 0)
    also = Problem(problem.family, problem.response, problem.predictor, True, none)
    where = Point(evaluation.point.lambdas, evaluation.point.working, np.zeros(1))
    one, two = (evaluate(p, where, problem.predictor.zeros(), integrated=True) for p in (flat, also))
    assert one.value == pytest.approx(two.value, abs=1e-10)
    draws = draw_blocks(flat, one, 4000, 8, np.random.default_rng(1)).log_weights
    assert np.logaddexp.reduce(draws) - np.log(4000) == pytest.approx(-0.5 * one.value, abs=0.15)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("poisson", "vector"), ("negative_binomial", "crossed vector"), ("student", "nested vector"),
        ("zero_inflated_poisson", "crossed sparse"),
    ],
)  # fmt: skip
def test_explicit_density(name, layout):
    """Its gradient along random directions; at its centre it is Laplace's integrand; v is about standard normal."""
    density = make(name, layout)
    laplace, anchor = find_generalized_laplace(density)
    explicit = ExplicitDensity(density, laplace.mode, anchor)
    centre = pack_zero(explicit)
    rng = np.random.default_rng(2)
    base = density.problem.response.base.sum()
    log_prior = density.log_prior(laplace.mode)[0]
    assert explicit.value_and_gradient(centre)[0] == pytest.approx(anchor.mode.value + log_prior, abs=1e-8)
    q = centre + 0.3 * rng.normal(size=explicit.dimension) * np.minimum(1, np.arange(explicit.dimension) + 0.1)
    value, gradient = explicit.value_and_gradient(q)
    point = explicit.unpack(q)
    place = explicit.place(point.x)
    eta = density.problem.predictor.eta(point.beta, point.u, place.lambdas)
    dense_value = density.problem.family.log_density(density.problem.response, eta, place.working).sum() - base
    dense_value -= 0.5 * sum(np.sum(u**2) for u in point.u)
    dense_value -= 0.5 * point.beta @ density.problem.prior.precision @ point.beta
    dense_value += density.log_prior(point.x)[0] + explicit.log_jacobian(point.x)
    assert value == pytest.approx(dense_value, rel=1e-10)
    for axis in rng.normal(size=(3, explicit.dimension)):
        slope = slope_at_zero(lambda s, axis=axis: explicit.value_and_gradient(q + s * axis)[0], STEP)
        assert gradient @ axis == pytest.approx(slope, abs=GRADIENT * 120)
    step = np.zeros(explicit.dimension)
    step[-1] = 0.01
    slopes = [explicit.value_and_gradient(centre + s * step)[1][-1] for s in (1, -1)]
    assert (slopes[0] - slopes[1]) / 0.02 == pytest.approx(-1.0, abs=1e-3)
    c = np.concatenate([*(u.ravel() for u in point.u), point.beta])
    b = user_effects(explicit, point.x, c, [True] * len(point.u), float)
    Z = [np.einsum("ns,ns->n", z @ np.linalg.inv(m.matrix), values[codes]) for z, m, values, codes in zip(
        density.problem.predictor.z, density.problem.predictor.maps, b, density.problem.predictor.pattern.codes,
        strict=True,
    )]  # fmt: skip
    np.testing.assert_allclose(sum(Z) + density.problem.predictor.X @ point.beta, eta, atol=1e-9)


def test_explicit_mode_follows_the_covariance():
    """Along x the coefficients keep to their mode, to first order: what is missed is quadratic."""
    density = make("poisson", "crossed vector")
    laplace, anchor = find_generalized_laplace(density)
    explicit = ExplicitDensity(density, laplace.mode, anchor)

    def missed(size):
        q = pack_zero(explicit)
        q[0] += size
        exact, point = density.point(q[: density.dimension], anchor).evaluation, explicit.unpack(q)
        pairs = zip(
            exact.mode.u, exact.point.lambdas, point.u, explicit.place(point.x).lambdas, strict=True
        )  # fmt: skip
        return max(np.abs(u @ f.T - v @ g.T).max() for u, f, v, g in pairs)

    assert missed(0.02) < 0.3 * missed(0.04)
    assert missed(0.02) < 1e-3

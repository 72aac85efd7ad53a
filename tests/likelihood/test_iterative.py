"""Conjugate gradients and probes against the factor, which the dense reference checks."""

import numpy as np
import pytest
from dense import Term

from bayeslmm.errors import FittingError
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.iterative.coefficients import (
    conditional_modes,
    draw_effects,
    effect_variances,
    effects_by_term,
    prediction_variance,
    rows_of_kernel,
)
from bayeslmm.likelihood.iterative.conjugate_gradients import conjugate_gradients, inverse_root
from bayeslmm.likelihood.iterative.eliminated import Eliminated, PairedProducts
from bayeslmm.likelihood.iterative.evaluation import evaluate_iteratively, rademacher, term_scores
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.marginal import covariance_gradients, evaluate, factor_gradients
from bayeslmm.likelihood.prediction_error import error_variance, predictor_rows

REGULAR, SINGULAR, WEAK = "regular", "singular", "weak"
THETAS = {
    "intercepts": {REGULAR: [0.8, 0.6], SINGULAR: [0.8, 0.0], WEAK: [0.0, 1e-4]},
    "slopes": {
        REGULAR: [0.8, 0.2, 0.4, 0.6, -0.1, 0.3],
        SINGULAR: [0.8, 0.2, 0.0, 0.6, -0.1, 0.0],
        WEAK: [0.8, 0.2, 0.4, 0.6, 0.0, 1e-3],
    },
    "three": {REGULAR: [0.8, 0.2, 0.4, 0.6, 0.3, 0.5], SINGULAR: [0.8, 0.2, 0.4, 0.6, 0.0, 0.0], WEAK: [0.5] * 6},
}


def make(kind: str, n: int = 1200, seed: int = 4) -> tuple[Kernel, list[Term], np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    ones = np.ones((n, 1))
    both = np.column_stack([ones, x])
    codes = [rng.integers(0, j, n).astype(np.int32) for j in (40, 25, 12)]
    terms = {
        "intercepts": [Term(codes[0], ones, 40, True), Term(codes[1], ones, 25, True)],
        "slopes": [Term(codes[0], both, 40, True), Term(codes[1], both, 25, True)],
        "three": [Term(codes[0], both, 40, True), Term(codes[1], both, 25, False), Term(codes[2], ones, 12, True)],
    }[kind]
    y = 1.0 + x + rng.normal(size=40)[codes[0]] + 0.6 * rng.normal(size=25)[codes[1]] * x + rng.normal(size=n)
    return Kernel.build(y, both, terms, rng.uniform(0.5, 2.0, n)), terms, both


CASES = [(kind, which) for kind in THETAS for which in (REGULAR, SINGULAR, WEAK)]


def dense_schur(kernel: Kernel, lambdas: list[np.ndarray]) -> np.ndarray:
    q = kernel.products.n_trailing
    lower = np.tril(factorise(kernel.products, lambdas).trailing[:q, :q])
    return lower @ lower.T


@pytest.mark.parametrize(("kind", "which"), CASES)
def test_product_with_the_schur_complement(kind: str, which: str) -> None:
    kernel, _, _ = make(kind)
    lambdas = kernel.lambdas(THETAS[kind][which])
    eliminated = Eliminated(PairedProducts.of(kernel.products), lambdas)
    vectors = np.random.default_rng(1).normal(size=(kernel.products.n_trailing, 3))
    np.testing.assert_allclose(eliminated(vectors), dense_schur(kernel, lambdas) @ vectors, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize(("kind", "which"), CASES)
def test_objective_and_gradient_within_their_errors(kind: str, which: str, method: str, sigma: float | None) -> None:
    kernel, _, _ = make(kind)
    lambdas = kernel.lambdas(THETAS[kind][which])
    exact = evaluate(kernel.products, lambdas, method, sigma, gradient=True)
    gradients = factor_gradients(kernel.products, lambdas, method, sigma, exact)
    expected = np.concatenate([g[s.free_entries] for g, s in zip(gradients, kernel.shapes, strict=True)])
    found = evaluate_iteratively(
        PairedProducts.of(kernel.products), lambdas, method, sigma, rademacher(kernel.products.n_trailing, 128)
    )
    assert found.sigma == pytest.approx(exact.sigma, rel=1e-9)
    assert abs(found.value - exact.value) <= 4 * found.value_error + 1e-6 * abs(exact.value)
    assert found.value_error < 2.0
    errors = np.sqrt(np.diag(found.gradient_error))
    assert (np.abs(found.gradient - expected) <= 4 * errors + 1e-3 * (1 + np.abs(expected))).all()


def test_derivative_by_a_covariance_at_zero() -> None:
    kernel, _, _ = make("three")
    lambdas = kernel.lambdas(THETAS["three"][SINGULAR])
    expected = covariance_gradients(kernel.products, lambdas, "reml", None)
    found = evaluate_iteratively(
        PairedProducts.of(kernel.products), lambdas, "reml", None, rademacher(kernel.products.n_trailing, 128)
    )
    for slope, exact in zip(found.slopes, expected, strict=True):
        assert np.diag(slope) == pytest.approx(np.diag(exact), rel=0.05)


@pytest.mark.parametrize("kind", list(THETAS))
def test_information_is_that_of_dense_working_variates(kind: str) -> None:
    kernel, _, _ = make(kind)
    theta = np.array(THETAS[kind][REGULAR])
    lambdas = kernel.lambdas(theta)
    signs = rademacher(kernel.products.n_trailing, 8)
    paired = PairedProducts.of(kernel.products)
    found = evaluate_iteratively(paired, lambdas, "reml", 1.2, signs)
    # d/d lambda_i of -g'(dPsi_j)g with dPsi_j held is 2 q_j'P_0 q_i
    step, k = 1e-4, len(found.information)
    expected = np.zeros((k, k))
    for i in range(k):
        scores = []
        for sign in (1, -1):
            moved, first = [f.copy() for f in lambdas], 0
            for f, shape in zip(moved, kernel.shapes, strict=True):
                rows, columns = shape.free_entries
                if first <= i < first + shape.n_theta:
                    f[rows[i - first], columns[i - first]] += sign * step
                first += shape.n_theta
            scores.append(data_slopes(kernel, paired, moved, lambdas))
        expected[i] = (scores[0] - scores[1]) / (2 * step)
    np.testing.assert_allclose(2 * found.information, expected / 1.2**2, rtol=2e-3, atol=1e-3 * abs(expected).max())


def data_slopes(kernel: Kernel, paired: PairedProducts, at: list[np.ndarray], by: list[np.ndarray]) -> np.ndarray:
    """Minus the derivative of y'V_0^-1 y by free entries, dPsi taken at the factors `by` and g at those of `at`."""
    solved = evaluate_iteratively(
        paired, at, "reml", 1.2, rademacher(kernel.products.n_trailing, 1), derivatives=False
    ).solved
    out = []
    for k, shape in enumerate(kernel.shapes):
        g = term_scores(solved, k)[1]
        slope = -2.0 * (g.T @ g) @ by[k]
        out.append(slope[shape.free_entries])
    return np.concatenate(out)


@pytest.mark.parametrize(("kind", "which"), CASES)
def test_modes_are_exact(kind: str, which: str) -> None:
    kernel, _, _ = make(kind)
    theta = THETAS[kind][which]
    signs = rademacher(kernel.products.n_trailing, 2)
    found = evaluate_iteratively(PairedProducts.of(kernel.products), kernel.lambdas(theta), "reml", None, signs)
    modes, exact = conditional_modes(kernel, theta, found.solved, found.sigma), kernel.conditional(theta, "reml")
    np.testing.assert_allclose(modes.beta, exact.beta, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(modes.beta_cov, exact.beta_cov, rtol=1e-8, atol=1e-10)
    for got, wanted in zip((*modes.b, *modes.u), (*exact.b, *exact.u), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "which"), CASES)
def test_variances_and_draws(kind: str, which: str) -> None:
    kernel, terms, X = make(kind)
    theta = THETAS[kind][which]
    signs = rademacher(kernel.products.n_trailing, 2)
    found = evaluate_iteratively(PairedProducts.of(kernel.products), kernel.lambdas(theta), "reml", None, signs)
    solved, sigma = found.solved, found.sigma
    exact = kernel.conditional(theta, "reml")
    m = 4000
    beta = np.repeat(solved.beta[:, None], m, axis=1)
    draws = draw_effects(solved, beta, np.full(m, sigma), np.random.default_rng(3))
    probed = effect_variances(kernel, solved, sigma, estimated=False)
    for drawn, mode, columns, got, wanted in zip(draws, exact.b, kernel.maps, probed, exact.b_cov, strict=True):
        sds = np.sqrt(np.diagonal(wanted, axis1=1, axis2=2))
        np.testing.assert_allclose(np.sqrt(np.diagonal(got, axis1=1, axis2=2)), sds, rtol=0.1, atol=1e-7)
        effects = np.einsum("st,jtm->jsm", columns.matrix, drawn)
        assert (np.abs(effects.mean(axis=2) - mode) <= 5 * sds / np.sqrt(m) + 1e-6).all()
        np.testing.assert_allclose(effects.std(axis=2), sds, rtol=5 / np.sqrt(2 * m), atol=1e-7)
    factor = factorise(kernel.products, kernel.lambdas(theta))
    codes = [t.codes[:40].copy() for t in terms]
    codes[0][3] = codes[1][3] = codes[1][4] = -1
    columns = [t.columns[:40] for t in terms]
    wanted_variance = error_variance(factor, predictor_rows(kernel, factor, codes, columns, X[:40]))
    got_variance = prediction_variance(solved, rows_of_kernel(kernel, codes, columns, X[:40]))
    np.testing.assert_allclose(got_variance, wanted_variance, rtol=1e-5)


def test_draws_have_the_joint_covariance() -> None:
    kernel, _, _ = make("intercepts", n=300)
    lambdas = kernel.lambdas([0.8, 0.6])
    eliminated = Eliminated(PairedProducts.of(kernel.products), lambdas)
    q, m = kernel.products.n_trailing, 20_000
    right = eliminated.colour(np.random.default_rng(2).standard_normal((q, m)))
    draws = inverse_root(eliminated, eliminated.precondition, right, 1e-8)
    expected = np.linalg.inv(dense_schur(kernel, lambdas))
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs((draws @ draws.T / m - expected) / scale).max() < 5 / np.sqrt(m)


def test_effects_are_told_apart_by_term() -> None:
    kernel, _, _ = make("three")
    signs = rademacher(kernel.products.n_trailing, 2)
    solved = evaluate_iteratively(
        PairedProducts.of(kernel.products), kernel.lambdas([0.5] * 6), "ml", None, signs
    ).solved
    shapes = [(s.n_levels, s.n_columns) for s in kernel.shapes]
    assert [b.shape[:2] for b in effects_by_term(solved.eliminated.paired, solved.lead, solved.trailing)] == shapes


def test_columns_are_solved_to_their_tolerances() -> None:
    rng = np.random.default_rng(5)
    root = rng.normal(size=(30, 30))
    matrix = root @ root.T + np.eye(30)
    right = np.column_stack([rng.normal(size=(30, 3)), np.zeros(30)])
    found = conjugate_gradients(lambda v: matrix @ v, lambda r: r.copy(), right, np.array([1e-2, 1e-12, 1e-5, 1e-5]))
    residual = np.linalg.norm(matrix @ found.x - right, axis=0) / np.maximum(np.linalg.norm(right, axis=0), 1)
    assert residual[1] < 1e-10 and residual[2] < 2e-5 and residual[3] == 0.0
    assert found.iterations[0] < found.iterations[1] and found.iterations[3] == 0


def test_what_cannot_be_solved_is_said() -> None:
    with pytest.raises(FittingError, match="not solved"):
        conjugate_gradients(lambda v: v * np.array([[1.0], [-1.0]]), lambda r: r, np.array([[1.0], [1.0]]), np.zeros(1))


def test_probes_do_not_depend_on_how_many_are_asked_for() -> None:
    np.testing.assert_array_equal(rademacher(50, 8)[:, 4:], rademacher(50, 4, 4))

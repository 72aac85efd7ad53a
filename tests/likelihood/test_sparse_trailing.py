"""Trailing effects eliminated one by one against the dense matrix, which the dense reference checks."""

from collections.abc import Callable

import numpy as np
import pytest
from dense import Term, indicator

from bayeslmm.errors import FittingError, UnavailableError
from bayeslmm.likelihood import crossproducts
from bayeslmm.likelihood.conditional import solve_effects
from bayeslmm.likelihood.factor import Factor, factorise
from bayeslmm.likelihood.iterative import choice
from bayeslmm.likelihood.iterative.choice import is_iterative
from bayeslmm.likelihood.kernel import Kernel
from bayeslmm.likelihood.left_out import solved_rows
from bayeslmm.likelihood.marginal import covariance_gradients
from bayeslmm.likelihood.prediction_error import RIGHT_SIDES, PredictorRows, error_variance, predictor_rows
from bayeslmm.likelihood.selected_inverse import inverse_blocks, trailing_inverse
from bayeslmm.likelihood.sparse import ordering
from bayeslmm.likelihood.sparse.loops import invert_where_filled

ROUNDING = 1e-9  # relative: the same numbers by sums in another order
KINDS = {
    "intercepts": [0.8, 0.6],
    "slopes": [0.8, 0.2, 0.4, 0.6, -0.1, 0.3],
    "three": [0.8, 0.2, 0.4, 0.6, 0.3, 0.5],
    "singular": [0.8, 0.0],
}
WORKERS, FIRMS, TOWNS = 90, 40, 15


def movers(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return workers, and firms and towns near their homes."""
    worker = np.concatenate([np.arange(WORKERS), rng.integers(0, WORKERS, n - WORKERS)])
    home = rng.random(WORKERS)[worker]
    firm = np.clip((home * FIRMS + rng.normal(size=n)).astype(int), 0, FIRMS - 1)
    town = np.clip((home * TOWNS + rng.normal(size=n)).astype(int), 0, TOWNS - 1)
    firm[:FIRMS], town[:TOWNS] = np.arange(FIRMS), np.arange(TOWNS)  # each occurs
    return tuple(codes.astype(np.int32) for codes in (worker, firm, town))


def rows_of(kind: str, n: int = 400) -> tuple[np.ndarray, np.ndarray, list[Term], np.ndarray]:
    rng = np.random.default_rng(3)
    worker, firm, town = movers(rng, n)
    x = rng.normal(size=n)
    ones = np.ones((n, 1))
    both = np.column_stack([ones, x])
    terms = {
        "slopes": [Term(worker, both, WORKERS, True), Term(firm, both, FIRMS, True)],
        "three": [Term(worker, both, WORKERS, True), Term(firm, both, FIRMS, False), Term(town, ones, TOWNS, True)],
    }.get(kind, [Term(worker, ones, WORKERS, True), Term(firm, ones, FIRMS, True)])
    y = 1.0 + x + rng.normal(size=WORKERS)[worker] + 0.7 * rng.normal(size=FIRMS)[firm] + rng.normal(size=n)
    return y, both, terms, rng.uniform(0.5, 2.0, n)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Kernel, Kernel]]:
    """Return a function that makes the kernel with the sparse factor and the one with the dense matrix."""

    def make(kind: str) -> tuple[Kernel, Kernel]:
        arrays = rows_of(kind)
        dense = Kernel.build(*arrays)
        assert dense.products.sparse is None
        monkeypatch.setattr(crossproducts, "LARGEST_DENSE", 10)
        sparse = Kernel.build(*arrays)
        assert sparse.products.sparse is not None
        return sparse, dense

    return make


def factors(kernels: tuple[Kernel, Kernel], kind: str) -> list[Factor]:
    return [factorise(kernel.products, kernel.lambdas(KINDS[kind])) for kernel in kernels]


@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("method", ["ml", "reml"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_objective_gradient_and_modes_are_those_of_the_dense_matrix(pair, kind, method, sigma) -> None:
    sparse, dense = pair(kind)
    theta = KINDS[kind]
    assert sparse.objective(theta, method, sigma) == pytest.approx(dense.objective(theta, method, sigma), rel=1e-12)
    found, expected = (kernel.gradient(theta, method, sigma) for kernel in (sparse, dense))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)
    one, other = (kernel.conditional(theta, method, sigma) for kernel in (sparse, dense))
    np.testing.assert_allclose(one.beta_cov, other.beta_cov, rtol=ROUNDING)
    for mine, theirs in zip((*one.b, *one.b_cov), (*other.b, *other.b_cov), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=ROUNDING, atol=1e-12)


@pytest.mark.parametrize("kind", list(KINDS))
def test_derivative_by_covariances_at_any_point(pair, kind) -> None:
    kernels = pair(kind)
    found, expected = (covariance_gradients(k.products, k.lambdas(KINDS[kind]), "reml") for k in kernels)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.diag(mine), np.diag(theirs), rtol=1e-6)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("known", ["beta", "precision"])
def test_blocks_of_the_inverse(pair, kind, known) -> None:
    kernels = pair(kind)
    R_X = None if known == "beta" else np.array([[3.0, 0.0], [-0.7, 2.0]])
    found, expected = (inverse_blocks(factor, R_X).blocks for factor in factors(kernels, kind))
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=ROUNDING, atol=1e-12)


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_inverse_where_the_factor_is_filled(pair, kind) -> None:
    kernels = pair(kind)
    sparse, dense = factors(kernels, kind)
    order = sparse.sparse.order
    whole = trailing_inverse(dense, None)
    whole = np.triu(whole) + np.triu(whole, 1).T
    turned = whole[np.ix_(order.order, order.order)]
    q = len(turned)
    columns = np.repeat(np.arange(q), np.diff(order.starts))
    expected = np.concatenate([np.diag(turned), turned[order.rows, columns]])
    found = invert_where_filled(order.starts, order.rows, sparse.sparse.values)
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=1e-13)


@pytest.mark.parametrize("kind", ["slopes", "three"])
def test_draws_have_the_conditional_covariance(pair, kind) -> None:
    kernels = pair(kind)
    sparse, dense = factors(kernels, kind)
    # the solution is linear in the noise: unit vectors of noise give a root of the covariance of u given beta
    shapes = kernels[0].shapes
    total = sum(s.n_effects for s in shapes)
    beta = np.tile(np.array([[0.3], [-0.2]]), (1, total + 1))
    roots = []
    for factor in (sparse, dense):
        noise, first = [], 0
        for s in shapes:
            own = np.zeros((s.n_effects, total + 1))
            own[:, first : first + s.n_effects] = np.eye(s.n_effects)
            noise.append(own.reshape(s.n_levels, s.n_columns, -1))
            first += s.n_effects
        solved = np.concatenate([u.reshape(-1, total + 1) for u in solve_effects(factor, beta, noise)])
        roots.append((solved[:, -1], solved[:, :-1] - solved[:, -1:]))
    np.testing.assert_allclose(roots[0][0], roots[1][0], rtol=ROUNDING, atol=1e-12)
    np.testing.assert_allclose(roots[0][1] @ roots[0][1].T, roots[1][1] @ roots[1][1].T, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", list(KINDS))
def test_errors_of_predictions_and_leverages(pair, kind) -> None:
    kernels = pair(kind)
    _, X, terms, _ = rows_of(kind)
    codes = [t.codes.copy() for t in terms]
    codes[0][5], codes[1][7] = -1, -1  # levels that the fit does not know
    codes[1][20:40] = (codes[1][20:40] + FIRMS // 2) % FIRMS  # where their workers never were
    found, lengths = [], []
    for kernel, factor in zip(kernels, factors(kernels, kind), strict=True):
        rows = predictor_rows(kernel, factor, codes, [t.columns for t in terms], X)
        found.append(error_variance(factor, rows))
        if kernel is kernels[0]:
            assert len(X) > RIGHT_SIDES  # many rows are looked up in the inverse, few are solved for
            some = PredictorRows(
                tuple(c[:50] for c in rows.codes), tuple(e[:50] for e in rows.effects), rows.fixed[:50]
            )
            np.testing.assert_allclose(error_variance(factor, some), found[0][:50], rtol=ROUNDING)
        known = predictor_rows(kernel, factor, [t.codes for t in terms], [t.columns for t in terms], X)
        lengths.append((solved_rows(factor, known.codes, known.effects)[1] ** 2).sum(axis=1))
    np.testing.assert_allclose(found[0], found[1], rtol=ROUNDING)
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=ROUNDING)


def test_the_pattern_is_that_of_elimination(pair) -> None:
    """Against a factorisation of zeros and ones, entry by entry."""
    sparse, _ = pair("three")
    order = sparse.products.sparse
    terms = rows_of("three")[2]
    Z = np.hstack([indicator(t) != 0 for t in terms]).astype(float)
    lead = terms[0].n_levels * 2
    met = np.kron(np.eye(WORKERS), np.ones((1, 2))) @ (Z[:, :lead].T @ Z[:, lead:] > 0)
    filled = (met.T @ met > 0)[np.ix_(order.order, order.order)]
    q = len(filled)
    for c in range(q):
        below = c + 1 + np.flatnonzero(filled[c + 1 :, c])
        filled[np.ix_(below, below)] = True
        np.testing.assert_array_equal(order.rows[order.starts[c] : order.starts[c + 1]], below)
    assert order.work == sum((1 + filled[c + 1 :, c].sum()) ** 2 for c in range(q))
    np.testing.assert_array_equal(np.sort(order.order), np.arange(q))


@pytest.mark.parametrize("limit", ["MOST_MEETINGS", "MOST_ENTRIES", "LARGEST_WORK"])
def test_what_fills_too_much_is_dense(limit, monkeypatch) -> None:
    monkeypatch.setattr(crossproducts, "LARGEST_DENSE", 10)
    monkeypatch.setattr(ordering, limit, 60)
    assert Kernel.build(*rows_of("intercepts")).products.sparse is None


def test_which_solver_is_chosen(pair, monkeypatch) -> None:
    sparse, dense = pair("intercepts")
    monkeypatch.setattr(choice, "LARGEST_DENSE", 10)
    assert not is_iterative(sparse, "auto") and not is_iterative(sparse, "exact") and is_iterative(sparse, "iterative")
    assert is_iterative(dense, "auto")
    described = [(block["kind"], block["order"]) for block in sparse.blocks]
    assert described == [("diagonal", WORKERS), ("sparse", FIRMS), ("sparse", FIRMS), ("dense", 3)]


def test_a_sparse_factor_asks_for_no_dense_matrix(pair, monkeypatch) -> None:
    sparse, dense = pair("intercepts")
    monkeypatch.setattr("bayeslmm.likelihood.layout.available_memory", lambda: 0)
    monkeypatch.setattr("bayeslmm.likelihood.layout.ALWAYS_THERE", 0)
    sparse.check_memory()
    assert sparse.order == 3 and dense.order == FIRMS + 3
    with pytest.raises(UnavailableError, match="40 crossed random effects"):
        trailing_inverse(factors((sparse, dense), "intercepts")[0], None)


def test_what_cannot_be_factored_is_said(pair) -> None:
    sparse, _ = pair("intercepts")
    one = np.ones((1, 1))
    for lambdas in ([np.nan * one, one], [one, np.nan * one], [one, 1e200 * one]):
        with pytest.raises(FittingError, match="not positive definite"), np.errstate(all="ignore"):
            factorise(sparse.products, lambdas)
    _, X, terms, _ = rows_of("intercepts")
    with pytest.raises(FittingError, match="perfectly"):
        Kernel.build(X @ [1.0, 2.0], X, terms).objective([1.0, 1.0])

"""The variance of the error of predictions against the mixed-model equations, written out densely."""

import dense
import numpy as np
import pytest
from scipy.linalg import block_diag

from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.factor import factorise
from bayeslmm.likelihood.prediction_error import error_variance, predictor_rows

CLOSE = 1e-8  # two ways of solving the same equations


def brute_force(kernel, terms, X, weights, theta, codes, columns, new_X):
    """w' M^-1 w with w = (Lambda' z, x) on the user's columns."""
    n = len(X)
    blocks = [np.kron(np.eye(t.n_levels), f) for t, f in zip(terms, dense.factors(theta, terms), strict=True)]
    Z = np.hstack([np.zeros((n, 0)), *(dense.indicator(term) for term in terms)])
    Lambda = block_diag(*blocks) if blocks else np.zeros((0, 0))
    W = np.ones(len(X)) if weights is None else weights
    both = np.hstack([Z @ Lambda, X])
    q = Z.shape[1]
    M = both.T @ (W[:, None] * both) + np.diag(np.r_[np.ones(q), np.zeros(X.shape[1])])
    z = np.zeros((len(new_X), q))
    first = 0
    for term, code, column in zip(terms, codes, columns, strict=True):
        size = column.shape[1]
        for i in np.flatnonzero(code >= 0):
            z[i, first + code[i] * size : first + (code[i] + 1) * size] = column[i]
        first += term.n_levels * size
    w = np.hstack([z @ Lambda, new_X])
    return np.einsum("mq,qm->m", w, np.linalg.solve(M, w.T))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("many", [False, True], ids=["few rows", "many rows"])
@pytest.mark.parametrize("layout", dense.LAYOUTS)
def test_against_the_mixed_model_equations(layout, many, weighted):
    y, X, terms, weights = dense.simulate(3, layout, n=90)
    weights = weights if weighted else None
    kernel = Kernel.build(y, X, terms, weights)
    rng = np.random.default_rng(4)
    theta = rng.uniform(0.3, 1.5, kernel.n_theta)
    m = 400 if many else 7
    # unknown levels are -1; levels are picked at random, so those of nested factors need not fit together
    codes = [rng.integers(-1, t.n_levels, m).astype(np.int32) for t in terms]
    rows = rng.integers(0, len(y), m)
    half = m // 2
    for code, term in zip(codes, terms, strict=True):
        code[:half] = term.codes[rows[:half]]
    columns = [t.columns[rows] for t in terms]
    factor = factorise(kernel.products, kernel.lambdas(theta))
    found = error_variance(factor, predictor_rows(kernel, factor, codes, columns, X[rows]))
    expected = brute_force(kernel, terms, X, weights, theta, codes, columns, X[rows])
    np.testing.assert_allclose(found, expected, rtol=CLOSE)

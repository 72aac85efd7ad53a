"""The likelihood of draws, random effects integrated out, against the dense normal density."""

import dense
import numpy as np
import pytest
from scipy import stats

from bayeslmm.likelihood import Kernel
from bayeslmm.posterior.draw_densities import log_likelihoods

CLOSE = 1e-8


@pytest.mark.parametrize("layout", ["none", "vector", "nested", "crossed"])
def test_log_likelihood_of_draws(layout):
    y, X, terms, weights = dense.simulate(3, layout, n=50)
    kernel = Kernel.build(y, X, terms, weights)
    rng = np.random.default_rng(2)
    beta, sigma = rng.normal(size=(3, X.shape[1])), np.array([0.5, 1.0, 2.0])
    thetas = rng.uniform(0.3, 1.4, (3, kernel.n_theta))
    lambdas = [np.array(f) for f in zip(*(kernel.lambdas(t) for t in thetas), strict=True)]
    found = log_likelihoods(kernel, beta, lambdas, sigma)
    for d in range(3):
        V = np.diag(1 / (np.ones(50) if weights is None else weights))
        for term, factor in zip(terms, dense.factors(thetas[d], terms), strict=True):
            Z = dense.indicator(term)
            V += Z @ np.kron(np.eye(term.n_levels), factor @ factor.T) @ Z.T
        exact = stats.multivariate_normal(X @ beta[d], sigma[d] ** 2 * V).logpdf(y)
        assert found[d] == pytest.approx(exact, rel=CLOSE)

"""Draws of (beta, b) given the covariance parameters against the dense normal distribution they come from."""

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag

from bayeslmm.design import build_design
from bayeslmm.formula import parse
from bayeslmm.likelihood.kernel import build_kernel
from bayeslmm.posterior.conditional_draws import draw_coefficients
from bayeslmm.posterior.density import CovarianceDensity
from bayeslmm.priors import resolve_priors

DRAWS = 20_000
STANDARD_ERRORS = 5  # the largest of some 800 standard normal deviations is about 3.4
SIGMA = 0.9


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"a": rng.integers(0, 4, 50), "x": rng.normal(1, 1, 50), "h": rng.integers(0, 5, 50)})
    data["s"] = data.a * 3 + rng.integers(0, 3, 50)
    data["y"] = rng.normal(size=50) + rng.normal(size=4)[data.a]
    data["w"] = rng.uniform(0.5, 2, 50)
    return data


def dense_posterior(design, priors, factors):
    """Mean and covariance of (beta, b), from the normal equations with Z written out."""
    rows, blocks = [design.X], []
    turn = priors.fixed_centring.matrix
    prior_mean = turn @ [p.mu for p in priors.fixed]
    blocks.append(turn @ np.diag([p.sigma**2 for p in priors.fixed]) @ turn.T)
    for term, factor in zip(design.terms, factors, strict=True):
        size = term.n_columns
        z = np.zeros((design.n, term.n_levels * size))
        for i, code in enumerate(term.codes):
            z[i, code * size : (code + 1) * size] = term.columns[i]
        rows.append(z)
        blocks.append(np.kron(np.eye(term.n_levels), SIGMA**2 * factor @ factor.T))
    A = np.concatenate(rows, axis=1)
    prior = np.linalg.inv(block_diag(*blocks))
    weighted = A.T * design.weights / SIGMA**2
    covariance = np.linalg.inv(weighted @ A + prior)
    pull = prior @ np.concatenate([prior_mean, np.zeros(A.shape[1] - design.p)])
    return covariance @ (weighted @ design.y + pull), covariance


@pytest.mark.parametrize(
    "formula",
    ["y ~ x + (x | a)", "y ~ x + (1 | a/s)", "y ~ x + (x | a) + (1 | s)", "y ~ x + (1 | a) + (x | h) + (1 | s)"],
)
def test_draws_have_the_exact_mean_and_covariance(frame, formula):
    design = build_design(parse(formula), frame, weights="w")
    priors = resolve_priors(design, {"Intercept": "Normal(1, 2)", "x": "Normal(0, 1)"})
    density = CovarianceDensity(build_kernel(design), priors)
    rng = np.random.default_rng(1)
    phi = rng.normal(size=density.n_phi) * 0.5 - 0.3
    drawn = draw_coefficients(density, density.grid(phi).posterior, np.full(DRAWS, SIGMA), rng)
    found = np.concatenate([drawn.beta, *(b.reshape(DRAWS, -1) for b in drawn.effects)], axis=1)
    mean, covariance = dense_posterior(design, priors, density.user_factors(density.points(phi)))
    sd = np.sqrt(np.diag(covariance))
    assert np.abs((found.mean(axis=0) - mean) / sd).max() < STANDARD_ERRORS / np.sqrt(DRAWS)
    error = (np.cov(found.T) - covariance) / np.outer(sd, sd)
    assert np.abs(error).max() < STANDARD_ERRORS * np.sqrt(2 / DRAWS)

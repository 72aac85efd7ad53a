"""EM steps of several terms, with weights and linear columns, against dense matrices."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal

from bayeslmm.covariance import FULL
from bayeslmm.design import build_design
from bayeslmm.forest.em.step import (
    Components,
    em_step,
    generalised_log_likelihood,
    marginal_log_likelihood,
    start,
)
from bayeslmm.formula import parse
from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.new_response import KernelStructure, random_part

CLOSE = 1e-9  # two routes through well-conditioned matrices of order 60

FORMULAS = {
    "one factor, correlated": "y ~ 0 + (1 + x | g)",
    "uncorrelated": "y ~ 0 + (1 + x || g)",
    "crossed": "y ~ 0 + (1 + x | g) + (1 | h)",
    "nested": "y ~ 0 + (1 | g / p)",
    "linear part": "y ~ 1 + w + (1 | g) + (0 + x | h)",
}


def make_data(seed=3, n=60):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.standard_normal(n) + 1, "w": rng.random(n), "y": rng.standard_normal(n)})
    return frame.assign(g=rng.integers(7, size=n), h=rng.integers(5, size=n), p=rng.integers(3, size=n)), rng.uniform(
        0.5, 2, n
    )


def dense_parts(design):
    """Return Z per term, shape (n, J S), levels in the outer order."""
    parts = []
    for term in design.terms:
        Z = np.zeros((design.n, term.n_levels, term.n_columns))
        Z[np.arange(design.n), term.codes] = term.columns
        parts.append(Z.reshape(design.n, -1))
    return parts


def dense_step(design, residual, old, weights):
    parts = dense_parts(design)
    Z = np.hstack(parts)
    D = block_diag(*(np.kron(np.eye(t.n_levels), c) for t, c in zip(design.terms, old.covariances, strict=True)))
    W = np.diag(weights)
    V = Z @ D @ Z.T + old.sigma2 * np.linalg.inv(W)
    V_inverse = np.linalg.inv(V)
    X = design.X
    beta = np.linalg.solve(X.T @ V_inverse @ X, X.T @ V_inverse @ residual) if design.p else np.zeros(0)
    b = D @ Z.T @ V_inverse @ (residual - X @ beta)
    C = D - D @ Z.T @ V_inverse @ Z @ D
    e = residual - X @ beta - Z @ b
    sigma2 = (e @ W @ e + np.trace(W @ Z @ C @ Z.T)) / design.n
    covariances, effects, place = [], [], 0
    for term in design.terms:
        size, q = term.n_columns, term.n_levels * term.n_columns
        own = b[place : place + q].reshape(-1, size)
        blocks = [
            C[place + j * size : place + (j + 1) * size, place + j * size : place + (j + 1) * size]
            for j in range(term.n_levels)
        ]
        new = (own.T @ own + sum(blocks)) / term.n_levels
        covariances.append(new if term.covariance is FULL else np.diag(np.diag(new)))
        effects.append(own)
        place += q
    return Components(sigma2, tuple(covariances), beta, tuple(effects)), V


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_steps_against_dense_matrices(name, weighted):
    data, weights = make_data()
    design = build_design(parse(FORMULAS[name]), data, weights=weights if weighted else None)
    rows = KernelStructure.build(design.X, design.terms, design.weights)
    w = weights if weighted else np.ones(design.n)
    ours = start(rows.kernel.shapes, design.p)
    rng = np.random.default_rng(1)
    for _ in range(3):
        residual = design.y + 0.3 * rng.standard_normal(design.n)
        expected, V = dense_step(design, residual, ours, w)
        loglik = marginal_log_likelihood(rows.at(residual), ours)
        mean = design.X @ expected.beta
        assert loglik == pytest.approx(multivariate_normal(mean, V).logpdf(residual), rel=CLOSE)
        ours = em_step(rows, residual, ours)
        assert ours.sigma2 == pytest.approx(expected.sigma2, rel=CLOSE)
        np.testing.assert_allclose(ours.beta, expected.beta, rtol=CLOSE, atol=CLOSE)
        for found, wanted in zip(ours.covariances + ours.effects, expected.covariances + expected.effects, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=CLOSE, atol=CLOSE)


def test_generalised_log_likelihood_from_its_definition():
    data, weights = make_data()
    design = build_design(parse(FORMULAS["crossed"]), data, weights=weights)
    rows = KernelStructure.build(design.X, design.terms, design.weights)
    found = em_step(rows, design.y, start(rows.kernel.shapes, 0))
    e = design.y - sum(Z @ b.ravel() for Z, b in zip(dense_parts(design), found.effects, strict=True))
    total = np.sum(weights * e**2 / found.sigma2 + np.log(found.sigma2 / weights))
    for D, b in zip(found.covariances, found.effects, strict=True):
        total += sum(bj @ np.linalg.inv(D) @ bj + np.log(np.linalg.det(D)) for bj in b)
    assert generalised_log_likelihood(rows, design.y, found) == pytest.approx(total, rel=CLOSE)


def test_generalised_log_likelihood_at_a_singular_covariance_is_minus_infinity():
    data, _ = make_data()
    design = build_design(parse("y ~ 0 + (1 | g)"), data)
    rows = KernelStructure.build(design.X, design.terms)
    flat = Components(1.0, (np.zeros((1, 1)),), np.zeros(0), (np.zeros((7, 1)),))
    assert generalised_log_likelihood(rows, design.y, flat) == -np.inf


@pytest.mark.parametrize("name", FORMULAS)
def test_moving_the_response_equals_building_the_kernel_anew(name):
    data, weights = make_data()
    design = build_design(parse(FORMULAS[name]), data, weights=weights)
    residual = design.y**2
    moved = KernelStructure.build(design.X, design.terms, weights).at(residual)
    fresh = Kernel.build(residual, design.X, design.terms, weights)
    theta = np.linspace(0.4, 0.9, fresh.n_theta)
    for method in ("ml", "reml"):
        assert moved.objective(theta, method) == pytest.approx(fresh.objective(theta, method), rel=CLOSE)
    np.testing.assert_allclose(moved.conditional(theta).beta, fresh.conditional(theta).beta, rtol=1e-7)


def test_random_part_is_the_sum_over_terms_and_leaves_unknown_levels_out():
    data, _ = make_data()
    design = build_design(parse(FORMULAS["crossed"]), data)
    rng = np.random.default_rng(4)
    effects = [rng.standard_normal((term.n_levels, term.n_columns)) for term in design.terms]
    expected = sum(Z @ b.ravel() for Z, b in zip(dense_parts(design), effects, strict=True))
    np.testing.assert_allclose(random_part(design.terms, effects, design.n), expected, rtol=CLOSE)
    first = replace(design.terms[0], codes=np.where(np.arange(design.n) < 3, np.int32(-1), design.terms[0].codes))
    known = random_part((first,), effects[:1], design.n)
    assert not known[:3].any() and known[3:].all()

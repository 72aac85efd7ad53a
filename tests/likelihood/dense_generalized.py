"""Laplace's objective of a generalized mixed model, dense and from the equations; nothing of the likelihood is used.

The rows' densities come from a family, which has tests of its own.
"""

import numpy as np
from dense import factors, indicator
from scipy.linalg import block_diag


def effects_matrix(terms, theta):
    """Z Lambda, (n, q), all terms side by side."""
    lams = factors(theta, terms)
    pieces = [
        indicator(term) @ block_diag(*[lam] * term.n_levels) for term, lam in zip(terms, lams, strict=True)
    ]  # fmt: skip
    return np.hstack(pieces) if pieces else np.zeros((0, 0))


def mode(family, response, columns, offset, penalty, working, prior_mean):
    """Maximise sum log f - half of (v - m)' penalty (v - m) by damped Newton steps with bisection."""
    v = np.array(prior_mean)

    def value(v):
        away = v - prior_mean
        return np.sum(family.derivatives(response, offset + columns @ v, working)[0]) - 0.5 * away @ penalty @ away

    for _ in range(500):
        rows = family.derivatives(response, offset + columns @ v, working)
        gradient = columns.T @ rows[1] - penalty @ (v - prior_mean)
        hessian = columns.T @ (-rows[2][:, None] * columns) + penalty
        values, vectors = np.linalg.eigh(hessian)
        step = vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(values), 1e-6))
        share = 1.0
        while share > 1e-12 and not value(v + share * step) >= value(v) - 1e-13 * abs(value(v)):
            share /= 2
        v = v + share * step
        if np.abs(share * step).max() < 1e-13 * (1 + np.abs(v).max()):
            break
    return v, value(v), columns.T @ (-rows[2][:, None] * columns) + penalty


def objective(family, response, X, terms, theta, working, beta=None, offset=0.0, precision=None, integrated=False):
    """Minus twice the log-likelihood; beta a parameter, or with None found with u, or integrated out with its prior."""
    z = effects_matrix(terms, theta)
    q = z.shape[1]
    base = np.sum(response.base if response.weights is None else response.base * response.weights)
    if beta is not None:
        _, value, omega = mode(family, response, z, offset + X @ beta, np.eye(q), working, np.zeros(q))
        return -2 * (value + base) + np.linalg.slogdet(omega)[1]
    p = X.shape[1]
    precision = np.zeros((p, p)) if precision is None else precision
    both = np.hstack([z, X])
    penalty = block_diag(np.eye(q), precision)
    _, value, omega = mode(family, response, both, offset, penalty, working, np.zeros(q + p))
    if not integrated:
        return -2 * (value + base) + np.linalg.slogdet(omega[:q, :q])[1]
    return -2 * (value + base) + np.linalg.slogdet(omega)[1] - np.linalg.slogdet(precision)[1]

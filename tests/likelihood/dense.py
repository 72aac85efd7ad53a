"""A small dense reference, written from the equations: V = sigma^2 (W^-1 + Z Lambda Lambda' Z').

Nothing here is shared with the package: Z is an indicator matrix, V is inverted whole, nothing is centred or scaled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.covariance import DIAGONAL, FULL
from bayeslmm.design.centring import find_centring


@dataclass(frozen=True)
class Term:
    codes: np.ndarray
    columns: np.ndarray
    n_levels: int
    correlated: bool

    @property
    def covariance(self):
        return FULL if self.correlated else DIAGONAL

    @property
    def centring(self):
        return find_centring(self.columns)


def indicator(term: Term) -> np.ndarray:
    """Z (n, J S), level by level."""
    n, size = term.columns.shape
    z = np.zeros((n, term.n_levels * size))
    for i in range(n):
        z[i, term.codes[i] * size : (term.codes[i] + 1) * size] = term.columns[i]
    return z


def free_positions(term: Term) -> list[tuple[int, int]]:
    """Rows and columns of lambda's free entries, column by column."""
    size = term.columns.shape[1]
    return [(row, col) for col in range(size) for row in range(col, size) if row == col or term.correlated]


def n_theta(terms: Sequence[Term]) -> int:
    return sum(len(free_positions(term)) for term in terms)


def factors(theta: Sequence[float], terms: Sequence[Term]) -> list[np.ndarray]:
    """One lambda (S, S) per term from theta, written out entry by entry."""
    values = list(theta)
    found = []
    for term in terms:
        lam = np.zeros((term.columns.shape[1],) * 2)
        for row, column in free_positions(term):
            lam[row, column] = values.pop(0)
        found.append(lam)
    assert not values
    return found


@dataclass(frozen=True)
class Dense:
    """Everything at one theta, by one method."""

    objective: float
    gradient: np.ndarray
    beta: np.ndarray
    beta_cov: np.ndarray
    sigma: float
    b: list[np.ndarray]
    b_cov: list[np.ndarray]


def solve(y, X, terms, theta, method="reml", weights=None, sigma=None) -> Dense:
    """Objective with its gradient, coefficients, modes and their variances; sigma profiled unless given."""
    n, p = X.shape
    weights = np.ones(n) if weights is None else weights
    lams = factors(theta, terms)
    designs = [indicator(term) for term in terms]
    v = np.diag(1.0 / weights)
    for lam, z, term in zip(lams, designs, terms, strict=True):
        v = v + z @ np.kron(np.eye(term.n_levels), lam @ lam.T) @ z.T
    inverse = np.linalg.inv(v)
    information = X.T @ inverse @ X
    beta_cov = np.linalg.inv(information) if p else np.zeros((0, 0))
    beta = beta_cov @ X.T @ inverse @ y
    scaled_residual = inverse @ (y - X @ beta)
    r2 = (y - X @ beta) @ scaled_residual
    nu = n - p if method == "reml" else n
    variance = r2 / nu if sigma is None else sigma**2
    value = np.linalg.slogdet(v)[1] + nu * np.log(2 * np.pi * variance) + r2 / variance
    projected = inverse
    if method == "reml":
        value += np.linalg.slogdet(information)[1] if p else 0.0
        projected = inverse - inverse @ X @ beta_cov @ X.T @ inverse
    b, b_cov, gradient = [], [], []
    for lam, z, term in zip(lams, designs, terms, strict=True):
        levels, size = np.eye(term.n_levels), term.columns.shape[1]
        d = np.kron(levels, lam @ lam.T)
        b.append((d @ z.T @ scaled_residual).reshape(term.n_levels, size))
        cov = variance * (d - d @ z.T @ inverse @ z @ d)
        places = [slice(j * size, (j + 1) * size) for j in range(term.n_levels)]
        b_cov.append(np.stack([cov[at, at] for at in places]))
        for row, column in free_positions(term):
            step = np.zeros_like(lam)
            step[row, column] = 1.0
            dv = z @ np.kron(levels, step @ lam.T + lam @ step.T) @ z.T
            gradient.append(np.sum(projected * dv) - scaled_residual @ dv @ scaled_residual / variance)
    return Dense(value, np.array(gradient), beta, variance * beta_cov, np.sqrt(variance), b, b_cov)


LAYOUTS = (
    "none", "scalar", "vector", "slope only", "uncorrelated", "two terms on one factor", "nested", "nested vector",
    "nested three", "crossed", "crossed vector", "crossed sparse", "three factors", "nested and crossed",
)  # fmt: skip


def layout_terms(layout: str, rng: np.random.Generator, x: np.ndarray) -> list[Term]:
    """The random terms of one layout of grouping; the highest level of each factor stays empty."""
    n = len(x)
    ones = np.ones(n)
    a = rng.integers(0, 6, n)
    codes = {
        "a": a,
        "sub": a * 3 + rng.integers(0, 3, n),
        "c": rng.integers(0, 8, n),
        "d": rng.integers(0, 4, n),
        "many": rng.integers(0, 39, n),
        "more": rng.integers(0, 24, n),
    }
    levels = {"a": 7, "sub": 21, "c": 9, "d": 5, "many": 40, "more": 25}

    def term(factor, columns, correlated=True):
        stacked = np.ascontiguousarray(np.column_stack(columns))
        return Term(codes[factor].astype(np.int32), stacked, levels[factor], correlated)

    return {
        "none": [],
        "scalar": [term("a", [ones])],
        "vector": [term("sub", [ones, x])],
        "slope only": [term("c", [x])],
        "uncorrelated": [term("c", [ones, x], False)],
        "two terms on one factor": [term("c", [ones]), term("c", [x, x**2])],
        "nested": [term("a", [ones]), term("sub", [ones])],
        "nested vector": [term("sub", [ones, x]), term("a", [ones, x])],
        "nested three": [term("sub", [ones]), term("a", [ones, x], False), term("a", [x])],
        "crossed": [term("c", [ones]), term("sub", [ones])],
        "crossed vector": [term("a", [ones, x]), term("c", [ones, x])],
        "crossed sparse": [term("more", [ones, x]), term("many", [ones, x])],
        "three factors": [term("d", [ones]), term("sub", [ones, x]), term("c", [ones, x], False)],
        "nested and crossed": [term("a", [ones]), term("c", [ones, x]), term("sub", [ones])],
    }[layout]


def simulate(seed: int, layout: str, n: int = 120, *, weights: bool = False, shift: float = 2.0):
    """Random data for one of the layouts of grouping; returns y, X, terms, weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) + shift
    X = np.column_stack([np.ones(n), x, rng.normal(size=n)])
    terms = layout_terms(layout, rng, x)
    y = X @ [1.0, 0.5, -0.3] + rng.normal(size=n)
    for t in terms:
        effects = rng.normal(size=(t.n_levels, t.columns.shape[1]))
        y = y + np.einsum("ns,ns->n", t.columns, effects[t.codes])
    return y, X, terms, rng.uniform(0.3, 3.0, n) if weights else None

"""A small dense reference, written from the equations: V = sigma^2 (W^-1 + Z Lambda Lambda' Z'), n by n.

Nothing here is shared with the package: Z is an indicator matrix, V is inverted whole, and nothing is centred or scaled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Term:
    codes: np.ndarray
    columns: np.ndarray
    n_levels: int
    correlated: bool

    @property
    def centring(self):
        from bayeslmm.design.centring import find_centring

        return find_centring(self.columns)


def indicator(term: Term) -> np.ndarray:
    """Z (n, J S), level by level."""
    n, size = term.columns.shape
    z = np.zeros((n, term.n_levels * size))
    for i in range(n):
        z[i, term.codes[i] * size : (term.codes[i] + 1) * size] = term.columns[i]
    return z


def factors(theta: Sequence[float], terms: Sequence[Term]) -> list[np.ndarray]:
    """One lambda (S, S) per term from theta, written out entry by entry."""
    values = list(theta)
    found = []
    for term in terms:
        size = term.columns.shape[1]
        lam = np.zeros((size, size))
        for column in range(size):
            for row in range(column, size):
                if row == column or (term.correlated and row > column):
                    lam[row, column] = values.pop(0)
        found.append(lam)
    assert not values
    return found


@dataclass(frozen=True)
class Dense:
    """Everything at one theta."""

    ml: float
    reml: float
    beta: np.ndarray
    beta_cov_ml: np.ndarray
    sigma_ml: float
    sigma_reml: float
    b: list[np.ndarray]
    b_cov_ml: list[np.ndarray]


def relative_covariance(theta, terms, n, weights):
    v = np.diag(1.0 / weights)
    for lam, term in zip(factors(theta, terms), terms, strict=True):
        z = indicator(term)
        v = v + z @ np.kron(np.eye(term.n_levels), lam @ lam.T) @ z.T
    return v


def solve(y, X, terms, theta, weights=None, sigma=None) -> Dense:
    """Objectives, coefficients and modes at theta; sigma profiled unless given."""
    n, p = X.shape
    weights = np.ones(n) if weights is None else weights
    v = relative_covariance(theta, terms, n, weights)
    inverse = np.linalg.inv(v)
    information = X.T @ inverse @ X
    beta = np.linalg.solve(information, X.T @ inverse @ y) if p else np.zeros(0)
    r = y - X @ beta
    r2 = r @ inverse @ r
    log_v = np.linalg.slogdet(v)[1]
    log_x = np.linalg.slogdet(information)[1] if p else 0.0

    def minus_two_log(nu, extra):
        if sigma is None:
            return log_v + extra + nu * (1 + np.log(2 * np.pi * r2 / nu))
        return log_v + extra + nu * np.log(2 * np.pi * sigma**2) + r2 / sigma**2

    s_ml = np.sqrt(r2 / n) if sigma is None else sigma
    s_reml = np.sqrt(r2 / (n - p)) if sigma is None else sigma
    b, b_cov = [], []
    for lam, term in zip(factors(theta, terms), terms, strict=True):
        z, size = indicator(term), term.columns.shape[1]
        d = np.kron(np.eye(term.n_levels), lam @ lam.T)
        b.append((d @ z.T @ inverse @ r).reshape(term.n_levels, size))
        cov = s_ml**2 * (d - d @ z.T @ inverse @ z @ d)
        b_cov.append(
            np.stack([cov[j * size : (j + 1) * size, j * size : (j + 1) * size] for j in range(term.n_levels)])
        )
    return Dense(
        ml=minus_two_log(n, 0.0),
        reml=minus_two_log(n - p, log_x),
        beta=beta,
        beta_cov_ml=s_ml**2 * np.linalg.inv(information) if p else np.zeros((0, 0)),
        sigma_ml=s_ml,
        sigma_reml=s_reml,
        b=b,
        b_cov_ml=b_cov,
    )


def simulate(seed: int, layout: str, n: int = 120, *, weights: bool = False):
    """Random data for one of the layouts of grouping; returns y, X, terms, weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) + 2.0
    ones = np.ones(n)
    X = np.column_stack([ones, x, rng.normal(size=n)])
    a = rng.integers(0, 7, n)
    sub = a * 3 + rng.integers(0, 3, n)
    c = rng.integers(0, 9, n)
    d = rng.integers(0, 5, n)
    levels = {"a": 7, "sub": 21, "c": 9, "d": 5}
    codes = {"a": a, "sub": sub, "c": c, "d": d}

    def term(factor, columns, correlated=True):
        stacked = np.ascontiguousarray(np.column_stack(columns))
        return Term(codes[factor].astype(np.int32), stacked, levels[factor], correlated)

    terms = {
        "none": [],
        "scalar": [term("a", [ones])],
        "vector": [term("sub", [ones, x])],
        "slope only": [term("c", [x])],
        "uncorrelated": [term("c", [ones, x], False)],
        "nested": [term("a", [ones]), term("sub", [ones])],
        "nested vector": [term("sub", [ones, x]), term("a", [ones, x])],
        "nested three": [term("sub", [ones]), term("a", [ones, x], False), term("a", [x])],
        "crossed": [term("c", [ones]), term("sub", [ones])],
        "crossed vector": [term("a", [ones, x]), term("c", [ones, x])],
        "three factors": [term("d", [ones]), term("sub", [ones, x]), term("c", [ones, x], False)],
        "nested and crossed": [term("a", [ones]), term("c", [ones, x]), term("sub", [ones])],
    }[layout]
    y = X @ [1.0, 0.5, -0.3] + rng.normal(size=n)
    for t in terms:
        effects = rng.normal(size=(t.n_levels, t.columns.shape[1]))
        y = y + np.einsum("ns,ns->n", t.columns, effects[t.codes])
    return y, X, terms, rng.uniform(0.3, 3.0, n) if weights else None


LAYOUTS = (
    "none", "scalar", "vector", "slope only", "uncorrelated", "nested", "nested vector", "nested three",
    "crossed", "crossed vector", "three factors", "nested and crossed",
)  # fmt: skip


def n_theta(terms: Sequence[Term]) -> int:
    sizes = [(t.columns.shape[1], t.correlated) for t in terms]
    return sum(s * (s + 1) // 2 if c else s for s, c in sizes)

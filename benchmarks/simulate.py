"""Data of the sizes the table asks for, from fixed seeds."""

import numpy as np
import pandas as pd


def groups(n_groups: int, per_group: int, n_columns: int, n_slopes: int = 0, *, seed: int = 1) -> pd.DataFrame:
    """Balanced groups ``g`` with columns x1..xp; random intercept, and slopes of the first `n_slopes` columns."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_groups), per_group)
    X = rng.normal(size=(len(codes), n_columns))
    effects = rng.normal(size=(n_groups, 1 + n_slopes)) @ np.linalg.cholesky(_covariance(1 + n_slopes)).T
    Z = np.column_stack([np.ones(len(codes)), X[:, :n_slopes]])
    y = 1.0 + X @ np.linspace(0.5, 1.0, n_columns) + np.einsum("ns,ns->n", Z, effects[codes])
    frame = pd.DataFrame(X, columns=[f"x{k + 1}" for k in range(n_columns)])
    return frame.assign(g=codes, y=y + rng.normal(size=len(codes)))


def nested(n_rows: int, n_outer: int, n_inner: int, *, seed: int = 2) -> pd.DataFrame:
    """Inner groups ``b`` in outer groups ``a``, unbalanced, like pupils' schools in authorities; a score and a sex."""
    rng = np.random.default_rng(seed)
    outer_of = np.sort(rng.integers(0, n_outer, n_inner))
    inner = rng.choice(n_inner, n_rows, p=rng.dirichlet(np.full(n_inner, 2.0)))
    x = rng.normal(size=n_rows)
    y = 5 + 2.3 * x + 0.4 * rng.normal(size=n_outer)[outer_of[inner]] + 1.0 * rng.normal(size=n_inner)[inner]
    frame = pd.DataFrame({"y": y + 2.2 * rng.normal(size=n_rows), "x": x, "a": outer_of[inner]})
    return frame.assign(b=[f"b{k}" for k in inner])


def maximal(n_subjects: int, n_items: int, n_rows: int, *, seed: int = 3) -> pd.DataFrame:
    """Crossed subjects and items, intercept and three slopes varying by both."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(n_subjects * n_items)[:n_rows]
    subject, item = cells // n_items, cells % n_items
    X = np.column_stack([np.ones(n_rows), rng.choice([-0.5, 0.5], size=(n_rows, 3))])
    y = X @ [3.0, 0.5, -0.3, 0.2]
    for codes, count in ((subject, n_subjects), (item, n_items)):
        root = np.linalg.cholesky(_covariance(4)) * np.array([0.8, 0.4, 0.4, 0.4])[:, None]
        y = y + np.einsum("ns,ns->n", X, (rng.normal(size=(count, 4)) @ root.T)[codes])
    frame = pd.DataFrame(X[:, 1:], columns=["x1", "x2", "x3"])
    return frame.assign(subject=subject, item=item, y=y + rng.normal(size=n_rows))


def factorial(subjects: int, items: int, rows: int, interactions: bool, *, seed: int = 4) -> tuple[pd.DataFrame, str]:
    """Crossed subjects and items, three contrasts, all effects correlated by both; some variances are zero.

    With interactions there are 8 fixed columns and 72 covariance parameters, without 4 and 20.
    """
    rng = np.random.default_rng(seed)
    cells = np.sort(rng.permutation(subjects * items)[:rows])
    subject, item = cells // items, cells % items
    columns = {name: rng.choice([-1.0, 1.0], size=rows) for name in "abc"}
    if interactions:
        for name in ("ab", "ac", "bc", "abc"):
            columns[name] = np.prod([columns[letter] for letter in name], axis=0)
    X = np.column_stack([np.ones(rows), *columns.values()])
    y = X @ rng.normal(scale=0.1, size=X.shape[1]) + rng.normal(size=rows)
    sds = np.array([0.5, 0.2, 0.1, 0.0, 0.2, 0.05, 0.03, 0.0])[: X.shape[1]]
    for codes, count in ((subject, subjects), (item, items)):
        root = np.linalg.cholesky(_covariance(len(sds))) * sds[:, None]
        y = y + np.einsum("ns,ns->n", X, (rng.normal(size=(count, len(sds))) @ root.T)[codes])
    terms = " + ".join(columns)
    frame = pd.DataFrame({"y": y, **columns, "subject": subject, "item": item})
    return frame, f"y ~ {terms} + ({terms} | subject) + ({terms} | item)"


def _covariance(size: int) -> np.ndarray:
    return 0.7 * np.eye(size) + 0.3

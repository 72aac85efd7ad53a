"""What the columns of X know about the groups: constants within groups, and b explained by group means."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design import RandomTerm
from bayeslmm.errors import warn_user
from bayeslmm.forest.learners import non_numeric
from bayeslmm.types import Array


class GroupConstantWarning(UserWarning):
    """Columns the learner sees are constant within every group, so that f can stand in for b."""


def constant_within(features: Any, terms: Sequence[RandomTerm]) -> dict[str, list[Any]]:
    """Return the columns constant within every level of a factor but not constant altogether, by factor.

    A factor whose levels have one row each is left out: everything is constant within it.
    """
    found: dict[str, list[Any]] = {}
    columns = column_values(features)
    for term in terms:
        if term.factor in found or term.n_levels < 2 or np.bincount(term.codes).max() < 2:
            continue
        row_of_level = np.zeros(term.n_levels, dtype=np.intp)
        row_of_level[term.codes] = np.arange(len(term.codes))
        row_of_group = row_of_level[term.codes]
        found[term.factor] = [
            name
            for name, values in columns.items()
            if _equal(values, values[row_of_group]) and not _equal(values, values[:1])
        ]
    return {factor: names for factor, names in found.items() if names}


def column_values(features: Any) -> dict[Any, NDArray[Any]]:
    """Return each column as numbers that are equal where its values are, by name, or by position in an array."""
    if not isinstance(features, pd.DataFrame):
        plain = features.dtype.kind != "O"
        columns = {j: features[:, j] for j in range(features.shape[1])}
        return columns if plain else {j: pd.factorize(c, use_na_sentinel=False)[0] for j, c in columns.items()}
    texts = set(non_numeric(features))
    return {
        name: pd.factorize(column, use_na_sentinel=False)[0]
        if name in texts or not isinstance(column.dtype, np.dtype)
        else column.to_numpy()
        for name, column in features.items()
    }


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Return whether two columns are equal, missing values equal to each other."""
    both = first == second
    return bool(np.all(both) or (first.dtype.kind == "f" and np.all(both | (np.isnan(first) & np.isnan(second)))))


def warn_constant_columns(features: Any, terms: Sequence[RandomTerm]) -> None:
    """Warn of columns constant within groups."""
    for factor, names in constant_within(features, terms).items():
        listed = ", ".join(map(repr, names))
        warn_user(
            f"{listed} {'is' if len(names) == 1 else 'are'} constant within every level of {factor!r}. A "
            "flexible learner can "
            "use such columns to tell groups apart and take over part of their effects, or leave part of "
            "f to them: "
            f"the variance of {factor!r} can come out wrong. Move them to the linear part (linear=[...], "
            "or outside bart(...) "
            "in a formula), or use max_iterations=1, which fits f once; learner='bart' needs neither.",
            GroupConstantWarning,
        )


def explained_by_group_means(features: Any, terms: Sequence[RandomTerm], effects: Sequence[Array]) -> pd.DataFrame:
    """Return how much of the random effects the group means of the learner's columns explain.

    For each effect of each term the adjusted R² of a linear regression of b on the means of the numeric
    columns within levels. Values far above zero say that X carries group information that f did not use; NaN
    where there are too few levels.
    """
    columns = numeric_columns(features)
    records = []
    for term, b in zip(terms, effects, strict=True):
        counts = np.bincount(term.codes, minlength=term.n_levels)
        sums = [np.bincount(term.codes, weights=x, minlength=term.n_levels) for x in columns.T]
        means = np.column_stack([np.ones(term.n_levels), *(s / counts for s in sums)])
        for s, effect in enumerate(term.effects):
            records.append((term.name, effect, adjusted_r2(means, b[:, s])))
    return pd.DataFrame(records, columns=["group", "effect", "r2_adjusted"])


def numeric_columns(features: Any) -> Array:
    """Return the columns that are numbers and complete, shape (n, k)."""
    if not isinstance(features, pd.DataFrame):
        values = np.asarray(features, dtype=float)
    else:
        texts = set(non_numeric(features))
        values = features[[c for c in features.columns if c not in texts]].to_numpy(dtype=float)
    return values[:, np.isfinite(values).all(axis=0)]


def adjusted_r2(X: Array, y: Array) -> float:
    """Return the adjusted R² of least squares, X with a constant; NaN without degrees of freedom."""
    solution, _, rank, _ = np.linalg.lstsq(X, y, rcond=None)
    free = len(y) - rank
    total = float(np.sum((y - y.mean()) ** 2))
    if free <= 0 or total == 0:
        return float("nan")
    return 1.0 - float(np.sum((y - X @ solution) ** 2)) / free / (total / (len(y) - 1))

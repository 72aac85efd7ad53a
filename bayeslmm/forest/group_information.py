"""What the columns of X know about the groups: constants within groups, and b explained by group means."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design import RandomTerm
from bayeslmm.forest.learners import non_numeric

Array = NDArray[np.float64]

PACKAGE = __name__.split(".")[0]


class GroupConstantWarning(UserWarning):
    """Columns the learner sees are constant within every group, so that f can stand in for b."""


def constant_within(features: Any, terms: Sequence[RandomTerm]) -> dict[str, list[Any]]:
    """Return the columns constant within every level of a factor but not constant altogether, by factor.

    A factor whose levels have one row each is left out: everything is constant within it.
    """
    found: dict[str, list[Any]] = {}
    coded = column_codes(features)
    for term in terms:
        if term.factor in found or term.n_levels < 2 or np.bincount(term.codes).max() < 2:
            continue
        names = [
            name for name, codes in coded.items() if codes.max() > 0 and _is_nested(term.codes, codes, term.n_levels)
        ]
        found[term.factor] = names
    return {factor: names for factor, names in found.items() if names}


def column_codes(features: Any) -> dict[Any, NDArray[np.intp]]:
    """Return each column as codes of its distinct values, by name, or by position in an array."""
    if isinstance(features, pd.DataFrame):
        return {name: pd.factorize(features[name], use_na_sentinel=False)[0] for name in features.columns}
    return {j: pd.factorize(features[:, j], use_na_sentinel=False)[0] for j in range(features.shape[1])}


def _is_nested(groups: NDArray[np.int32], codes: NDArray[np.intp], n_levels: int) -> bool:
    first = np.zeros(n_levels, dtype=codes.dtype)
    first[groups] = codes
    return bool(np.array_equal(first[groups], codes))


def warn_constant_columns(features: Any, terms: Sequence[RandomTerm]) -> None:
    """Warn of columns constant within groups."""
    for factor, names in constant_within(features, terms).items():
        listed = ", ".join(map(repr, names))
        warnings.warn(
            f"{listed} {'is' if len(names) == 1 else 'are'} constant within every level of {factor!r}. A "
            "flexible learner can "
            "use such columns to tell groups apart and take over part of their effects, or leave part of "
            "f to them: "
            f"the variance of {factor!r} can come out wrong. Move them to the linear part (linear=[...], "
            "or outside bart(...) "
            "in a formula), or use max_iterations=1, which fits f once; learner='bart' needs neither.",
            GroupConstantWarning,
            stacklevel=levels_to_the_caller(),
        )


def levels_to_the_caller() -> int:
    """Return the stacklevel of a warning that points at the first line outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == PACKAGE:
        level, frame = level + 1, frame.f_back
    return level


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

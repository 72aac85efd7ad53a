"""Random effects refreshed with new rows; f and the variances stay."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.covariance import theta_from_factors
from bayeslmm.design import Design, build_design
from bayeslmm.errors import DataError, OptionError
from bayeslmm.forest.data.inputs import learner_table, read_rows, take_rows
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.likelihood import Kernel
from bayeslmm.types import Array


def combine(
    fitted: FittedForest,
    X: Any,
    y: Any,
    groups: Any,
    weights: Any,
    predict: Callable[[Any, Any], Array],
) -> FittedForest:
    """Return the fit with b given the residuals of the rows of the fit and of new rows together."""
    old = fitted.design
    if old.recipe.memory.states:
        raise OptionError(
            "update_random_effects does not go with functions that learn from their rows (scale, center, "
            "poly, splines) in "
            "random= or linear=: use plain columns, or fit again."
        )
    table, frame, new_weights = read_rows(fitted.roles, X, y, groups, weights)
    design = stacked_design(old, frame, new_weights)
    if design.fixed_names != old.fixed_names or any(
        a.effects != b.effects for a, b in zip(design.terms, old.terms, strict=True)
    ):
        raise DataError(
            "A categorical column of the linear or random part has a value that the fit did not see; fit again."
        )
    features = take_rows(learner_table(table, fitted.roles.features), design.rows[design.rows >= old.n] - old.n)
    predictions = np.concatenate([fitted.ensemble, predict(fitted.learners, features)])
    judged = np.concatenate([fitted.predictions, predictions[old.n :]])
    kernel = Kernel.build(
        design.y - predictions - design.X @ fitted.components.beta,
        np.zeros((design.n, 0)),
        design.terms,
        design.weights,
    )
    theta = theta_from_factors(fitted.factors, kernel.shapes)
    b = kernel.conditional(theta, "ml", fitted.components.sigma).b
    return replace(
        fitted,
        design=design,
        features=stack(fitted.features, features),
        predictions=judged,
        ensemble=predictions,
        components=replace(fitted.components, effects=b),
    )


def stacked_design(old: Design, frame: pd.DataFrame, weights: Array | None) -> Design:
    """Return the design of the rows of a fit and of new rows below them."""
    names = [name for name in old.data.columns if name != old.weights_column]
    both = pd.concat(with_shared_categories(old.data.iloc[old.rows][names], frame[names]))
    total = None
    if old.weights is not None or weights is not None:
        total = np.concatenate(
            [
                np.ones(old.n) if old.weights is None else old.weights,
                np.ones(len(frame)) if weights is None else weights,
            ]
        )
    design = build_design(old.formula, both.reset_index(drop=True), weights=total, missing="error")
    return replace(design, index=both.index[design.rows])


def with_shared_categories(first: pd.DataFrame, second: pd.DataFrame) -> list[pd.DataFrame]:
    """Give the categorical columns of two frames the first's categories, and then the second's new values."""
    frames = [first.copy(deep=False), second.copy(deep=False)]
    for name in first.columns:
        if not isinstance(first[name].dtype, pd.CategoricalDtype):
            continue
        known = first[name].cat.categories
        new = [value for value in pd.unique(second[name]) if value not in known and not pd.isna(value)]
        shared = pd.CategoricalDtype([*known, *new], ordered=first[name].cat.ordered)
        for frame in frames:
            frame[name] = frame[name].astype(shared)
    return frames


def stack(first: Any, second: Any) -> Any:
    """Return two tables of the same columns below each other."""
    if isinstance(first, pd.DataFrame):
        return pd.concat([first, second])
    return np.concatenate([first, second])

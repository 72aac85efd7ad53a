"""Tables made from a fitted forest."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.covariance import sds_and_correlations, theta_from_factors
from bayeslmm.covariance.pairs import lower_triangle
from bayeslmm.errors import DataError, OptionError
from bayeslmm.forest.bart.sampler import TreeDraws
from bayeslmm.forest.data.inputs import read_new, read_response
from bayeslmm.forest.em.sweeps import root_mean_square
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.learners import non_numeric, predict_mean
from bayeslmm.forest.prediction import predict_function
from bayeslmm.inference.options import check_count, generator
from bayeslmm.likelihood import Kernel
from bayeslmm.likelihood.new_response import random_part
from bayeslmm.results import effects
from bayeslmm.types import Array

MOST_REPEATS = 100_000  # shuffles of a column
MOST_POINTS = 1_000_000  # of a curve
MOST_DRAWS = 200  # forests of BART behind curves and importances, which ask for f many times


def random_effects(fitted: FittedForest) -> dict[str, pd.DataFrame]:
    """Return b, levels by effects, by term."""
    return effects.effect_frames(fitted.design.terms, fitted.components.effects)


def random_effect_sds(fitted: FittedForest) -> dict[str, pd.DataFrame]:
    """Return posterior standard deviations of b, or those given f, beta and the variances."""
    if fitted.draws is not None:
        sds = [np.std(b, axis=(0, 1), ddof=1) for b in fitted.draws.effects]
    else:
        design = fitted.design
        kernel = Kernel.build(design.y - fitted.predictions, design.X, design.terms, design.weights)
        theta = theta_from_factors(fitted.factors, kernel.shapes)
        blocks = kernel.conditional(theta, "ml", fitted.components.sigma).b_cov
        sds = [np.sqrt(np.einsum("jss->js", block)) for block in blocks]
    return effects.effect_frames(fitted.design.terms, sds)


def variances(fitted: FittedForest) -> pd.DataFrame:
    """Return variances, standard deviations and correlations of every term, the residual last."""
    terms, components, draws = fitted.design.terms, fitted.components, fitted.draws
    if draws is None:
        pairs = [sds_and_correlations(factor, components.sigma) for factor in fitted.factors]
        sds = [sd for sd, _ in pairs]
        correlations = [cor if term.has_correlations else None for term, (_, cor) in zip(terms, pairs, strict=True)]
        return effects.varcorr_frame(
            terms, sds, [sd**2 for sd in sds], correlations, (components.sigma, components.sigma2)
        )
    sds = [np.mean(sd, axis=(0, 1)) for sd in draws.sd]
    squares = [np.mean(sd**2, axis=(0, 1)) for sd in draws.sd]
    means = [None if cor is None else np.mean(cor, axis=(0, 1)) for cor in draws.cor]
    residual = (float(np.mean(draws.sigma)), float(np.mean(draws.sigma**2)))
    return effects.varcorr_frame(terms, sds, squares, means, residual)


def linear_coefficients(fitted: FittedForest) -> pd.Series:
    """Return the coefficients of the linear part by name."""
    return effects.fixed_series(fitted.design, fitted.components.beta, "estimate" if fitted.draws is None else "mean")


def variance_by_part(fitted: FittedForest) -> pd.DataFrame:
    r"""Return the variance of the response by part, and each part's share of their sum.

    That of f is the variance of f(X) over the rows of the fit, that of the linear part of :math:`X\hat\beta`,
    that of a random term the mean of :math:`z^\top\Sigma z`, the residual's :math:`\sigma^2`.
    """
    design, components = fitted.design, fitted.components
    weights = design.weights
    parts = {"f(X)": weighted_variance(fitted.predictions, weights)}
    slopes = [name for name in design.fixed_names if name != "Intercept"]
    if slopes:
        parts["linear"] = weighted_variance(design.X @ components.beta, weights)
    for term, D in zip(design.terms, components.covariances, strict=True):
        values = np.einsum("ns,st,nt->n", term.columns, D, term.columns)
        parts[term.name] = float(np.average(values, weights=weights))
    parts["Residual"] = components.sigma2
    series = pd.Series(parts, name="variance")
    return pd.DataFrame({"variance": series, "share": series / series.sum()}).rename_axis("part")


def weighted_variance(values: Array, weights: Array | None) -> float:
    """Return the (weighted) variance."""
    return float(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))


def importances(learners: Sequence[Any], fitted: FittedForest | None) -> pd.Series:
    """Return the mean of the learners' importances by column.

    Raises
    ------
    AttributeError
        If the learner has none, as scikit-learn's own attribute would.
    """
    if fitted is not None and isinstance(fitted.functions, TreeDraws):
        return fitted.functions.split_shares().rename("importance")
    last = [learner[-1] if hasattr(learner, "steps") else learner for learner in learners]
    if not hasattr(last[0], "feature_importances_"):
        raise AttributeError(
            f"{type(last[0]).__name__} has no feature_importances_; permutation_importance(X, y) works "
            "with any learner."
        )
    values = np.mean([model.feature_importances_ for model in last], axis=0)
    return pd.Series(values, index=importance_names(learners[0], fitted, len(values)), name="importance")


def importance_names(learner: Any, fitted: FittedForest | None, count: int) -> list[Any]:
    """Return the names of the columns behind a learner's importances."""
    names: Any
    if hasattr(learner, "steps"):
        names = getattr(learner[:-1], "get_feature_names_out", lambda: [])()
    elif fitted is not None and isinstance(fitted.features, pd.DataFrame):
        names = fitted.features.columns
    else:
        names = getattr(learner, "feature_names_in_", [])
    return list(names) if len(names) == count else list(range(count))


def permutation(fitted: FittedForest, X: Any, y: Any, groups: Any, n_repeats: int, seed: Any) -> pd.DataFrame:
    """Return mean and sd of the rise of the error when one column the learner sees is shuffled."""
    n_repeats = check_count("n_repeats", n_repeats, 1, MOST_REPEATS)
    rng = generator(seed)
    rows, features = read_new(fitted.roles, fitted.design, X, groups)
    rest = read_response(y, X) - rows.X @ fitted.components.beta
    rest = rest - random_part(rows.terms, fitted.components.effects, len(rest))
    base = root_mean_square(rest - rough_function(fitted, features), None)
    names = list(features.columns) if isinstance(features, pd.DataFrame) else list(range(features.shape[1]))
    rises = np.empty((len(names), n_repeats))
    for j, name in enumerate(names):
        for r in range(n_repeats):
            order = rng.permutation(len(rest))
            shuffled = features.copy()
            if isinstance(features, pd.DataFrame):
                shuffled[name] = features[name].array[order]
            else:
                shuffled[:, j] = features[order, j]
            rises[j, r] = root_mean_square(rest - rough_function(fitted, shuffled), None) - base
    spread = rises.std(axis=1, ddof=1) if n_repeats > 1 else np.full(len(names), np.nan)
    return pd.DataFrame({"mean": rises.mean(axis=1), "sd": spread}, index=pd.Index(names, name="feature"))


def rough_function(fitted: FittedForest, features: Any) -> Array:
    """Return f at some rows, shape (m,); of BART the mean of `MOST_DRAWS` draws."""
    if isinstance(fitted.functions, TreeDraws):
        return fitted.functions.mean_of_some(features, MOST_DRAWS)
    return predict_function(fitted, features)


def dependence(fitted: FittedForest, feature: str, grid: Sequence[Any] | None, n_points: int) -> pd.DataFrame:
    """Return the mean of f over the rows with one column set to each of several values.

    Raises
    ------
    DataError
        If the learner does not see the column.
    """
    features = fitted.features
    n_points = check_count("n_points", n_points, 2, MOST_POINTS)
    named = isinstance(feature, str | int | np.integer) and isinstance(features, pd.DataFrame)
    if not named or feature not in features.columns:
        seen = list(features.columns) if isinstance(features, pd.DataFrame) else "columns without names"
        raise DataError(f"The learner does not see a column {feature!r}; it sees {seen}.")
    values = dependence_grid(features, feature, n_points) if grid is None else given_grid(features, feature, grid)
    means = []
    for value in values:
        column = pd.Series([value] * len(features), index=features.index)
        moved = features.assign(**{feature: column.astype(_wide_dtype(features[feature].dtype, value))})
        means.append(float(np.average(rough_function(fitted, moved), weights=fitted.design.weights)))
    return pd.DataFrame({feature: values, "mean": means})


def given_grid(features: pd.DataFrame, feature: str, grid: Any) -> list[Any]:
    """Return the values of a column that a grid lists.

    Raises
    ------
    OptionError
        If it is no list, holds none, or holds other than numbers for a numeric column.
    """
    listed = isinstance(grid, list | tuple | range | pd.Index | pd.Series | np.ndarray) and np.ndim(grid) == 1
    values: list[Any] = list(grid) if listed else []
    if not values:
        raise OptionError(f"grid={grid!r} is not possible; give a list of values of {feature!r}.")
    wrong = [v for v in values if not isinstance(v, Real) or not np.isfinite(float(v))]
    if wrong and feature not in non_numeric(features):
        raise OptionError(f"grid= holds {wrong[0]!r}, and {feature!r} takes numbers.")
    return values


def _wide_dtype(dtype: Any, value: Any) -> Any:
    whole = not pd.api.types.is_integer_dtype(dtype) or float(value).is_integer()
    return dtype if whole else float


def dependence_grid(features: pd.DataFrame, feature: str, n_points: int) -> list[Any]:
    """Return the values of a column, or quantiles if it is numeric with many."""
    column = features[feature].dropna()
    distinct = pd.unique(column)
    if feature in non_numeric(features) or len(distinct) <= n_points:
        return sorted(distinct.tolist())
    return np.unique(np.quantile(column.to_numpy(dtype=float), np.linspace(0, 1, n_points))).tolist()


def monitored(fitted: FittedForest) -> tuple[list[str], Array]:
    """Return labels and draws, shape (chains, draws, K), of what convergence is judged by.

    Coefficients, standard deviations, correlations, sigma, the mean of b over the levels of each effect, and
    f with the linear part at points that are no rows of the fit.
    """
    design, draws = fitted.design, fitted.draws
    assert draws is not None and fitted.probes is not None
    labels = list(design.fixed_names)
    parts = [draws.beta]
    for term, sd, cor, b in zip(design.terms, draws.sd, draws.cor, draws.effects, strict=True):
        labels += [f"sd_{term.name}[{effect}]" for effect in term.effects]
        parts.append(sd)
        if cor is not None:
            pairs = lower_triangle(term.n_columns)
            labels += [f"cor_{term.name}[{term.effects[j]}, {term.effects[i]}]" for i, j in pairs]
            parts.append(np.stack([cor[..., i, j] for i, j in pairs], axis=2))
        labels += [f"mean of {term.name}[{effect}]" for effect in term.effects]
        parts.append(b.mean(axis=2))
    labels += ["sigma", *(f"f at point {k + 1}" for k in range(fitted.probes.shape[2]))]
    return labels, np.concatenate([*parts, draws.sigma[..., None], fitted.probes], axis=2)


def with_new_rows(fitted: FittedForest, X: Any, y: Any, groups: Any, weights: Any) -> FittedForest:
    """Return the fit with b given the residuals of its rows and of new ones.

    Raises
    ------
    OptionError
        If the fit holds draws, or its columns depend on the rows they were learned from.
    """
    from bayeslmm.forest.new_rows import combine

    if fitted.draws is not None:
        raise OptionError("update_random_effects needs method='em'; with sampled methods fit again with the new rows.")
    return combine(fitted, X, y, groups, weights, predict_mean)

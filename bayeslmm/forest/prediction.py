r"""Predictions :math:`\hat f(x) + x_\ell^\top\hat\beta + \sum_k z_k^\top\hat b_{k, g_k}`, with intervals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.design import NewRows
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.inputs import read_new
from bayeslmm.forest.learners import predict_mean
from bayeslmm.results.prediction import (
    Request,
    check_request,
    linear_predictor,
    point_interval,
    posterior_interval,
)

Array = NDArray[np.float64]


def predict_function(fitted: FittedForest, features: Any) -> Array:
    """Return f at some rows, the posterior mean where there are draws, shape (m,)."""
    if fitted.functions is None:
        return predict_mean(fitted.learners, features)
    return share_of_draws(fitted) @ fitted.functions.predict(features)


def share_of_draws(fitted: FittedForest) -> Array:
    """Return the share of the draws each version of f goes with, shape (versions,)."""
    assert fitted.functions is not None
    counts = np.bincount(fitted.functions.index)
    return counts / counts.sum()


def predict_rows(
    fitted: FittedForest,
    X: Any,
    groups: Any,
    *,
    kind: str,
    new_levels: str,
    interval: float | None,
    seed: Any,
) -> Array | pd.DataFrame:
    """Predict rows; with an interval a frame with the columns prediction, lower and upper."""
    rows, features = read_new(fitted.roles, fitted.design, X, groups, random=kind != "marginal" or interval is not None)
    if not rows.terms:
        rows = replace(rows, terms=unknown_terms(fitted, rows))
    request = check_request(rows, None, kind, new_levels, interval)
    function = predict_function(fitted, features)
    components = fitted.components
    mean = function + linear_predictor(request, components.beta, components.effects)
    if interval is None:
        return mean
    if fitted.draws is None:
        lower, upper = point_interval(request, fitted.design, fitted.factors, components.sigma, mean)
    else:
        lower, upper = sampled_interval(fitted, request, features, seed)
    return pd.DataFrame({"prediction": mean, "lower": lower, "upper": upper}, index=rows.index)


def unknown_terms(fitted: FittedForest, rows: NewRows) -> tuple[Any, ...]:
    """Return the random terms with every level unknown, for marginal predictions without grouping columns."""
    m = len(rows.index)
    return tuple(
        replace(t, codes=np.full(m, -1, dtype=np.int32), columns=np.zeros((m, t.n_columns)))
        for t in fitted.design.terms
    )


def sampled_interval(fitted: FittedForest, request: Request, features: Any, seed: Any) -> tuple[Array, Array]:
    """Return equal-tailed limits of new observations, each draw with its own version of f."""
    assert fitted.draws is not None and fitted.functions is not None
    versions, index = fitted.functions.predict(features), fitted.functions.index
    return posterior_interval(
        request, fitted.draws, np.random.default_rng(seed), lambda where: versions[:, where][index]
    )

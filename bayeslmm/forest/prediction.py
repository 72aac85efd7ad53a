r"""Predictions :math:`\hat f(x) + x_\ell^\top\hat\beta + \sum_k z_k^\top\hat b_{k, g_k}`, with intervals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.design import NewRows
from bayeslmm.forest.data.inputs import read_new
from bayeslmm.forest.fitted import FittedForest
from bayeslmm.forest.learners import predict_mean
from bayeslmm.inference.options import generator
from bayeslmm.results.posterior_prediction import posterior_interval
from bayeslmm.results.prediction import by_row, check_options, linear_predictor, make_request, point_interval
from bayeslmm.types import Array

BLOCK = 20_000_000  # values of all versions of f held at once


def predict_function(fitted: FittedForest, features: Any) -> Array:
    """Return f at some rows, the posterior mean where there are draws, shape (m,)."""
    if fitted.functions is None:
        return predict_mean(fitted.learners, features)
    drawn = DrawnFunction(fitted, features)
    for start in range(0, len(features), drawn.step):
        drawn.advance(start, start + drawn.step)
    return drawn.mean


class DrawnFunction:
    """All versions of f at some rows, computed block by block as they are asked for, and their mean.

    All versions at all rows at once would take rows × draws numbers: 3.2 GB for 100,000 rows and 4,000 draws.

    Parameters
    ----------
    fitted
        A fit with several versions of f.
    features
        What the learner sees of the rows.

    Attributes
    ----------
    mean
        The mean over the draws, shape (m,), as far as rows have been asked for.
    step
        Rows of a block.
    """

    def __init__(self, fitted: FittedForest, features: Any) -> None:
        assert fitted.functions is not None
        self.functions, self.features = fitted.functions, features
        self.shares = share_of_draws(fitted)
        self.step = max(1, BLOCK // len(self.shares))
        self.mean = np.zeros(len(features))
        self.block = range(0)
        self.values = np.zeros((len(self.shares), 0))

    def advance(self, start: int, stop: int) -> None:
        """Compute the block of rows from start up to stop."""
        where = slice(start, min(stop, len(self.mean)))
        rows = self.features.iloc[where] if isinstance(self.features, pd.DataFrame) else self.features[where]
        self.values = self.functions.predict(rows)
        self.mean[where] = self.shares @ self.values
        self.block = range(where.start, where.stop)

    def at(self, where: slice) -> Array:
        """Return f at a slice of the rows, one row of values per draw, shape (draws, batch)."""
        start, stop = where.start, min(where.stop, len(self.mean))
        if start not in self.block or stop > self.block.stop:
            self.advance(start, max(stop, start + self.step))
        first = self.block.start
        return self.values[:, start - first : stop - first][self.functions.index]


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
    checked, levels = check_options(kind, new_levels, interval)
    random = checked != "marginal" or interval is not None
    rows, features = read_new(fitted.roles, fitted.design, X, groups, random=random, missing="drop")
    if not rows.terms:
        rows = replace(rows, terms=unknown_terms(fitted, rows))
    request = make_request(rows, None, checked, levels, interval)
    components = fitted.components
    mean = linear_predictor(request, components.beta, components.effects)
    if interval is None:
        return by_row(rows, fitted.design.response, mean + predict_function(fitted, features), None).to_numpy()
    if levels == "population":  # the mean of the population, but an observation of a group with effects of its own
        request = replace(request, new_levels="sample")
    if fitted.draws is None:
        mean = mean + predict_function(fitted, features)
        lower, upper = point_interval(request, fitted.kernel, fitted.factors, components.sigma, mean)
    else:  # limits and mean from one pass over the versions of f
        drawn = DrawnFunction(fitted, features)
        lower, upper = posterior_interval(request, fitted.draws, generator(seed), drawn.at)
        mean = mean + drawn.mean
    return by_row(rows, fitted.design.response, mean, (lower, upper))


def unknown_terms(fitted: FittedForest, rows: NewRows) -> tuple[Any, ...]:
    """Return the random terms with every level unknown, for marginal predictions without grouping columns."""
    m = len(rows.index)
    return tuple(
        replace(t, codes=np.full(m, -1, dtype=np.int32), columns=np.zeros((m, t.n_columns)))
        for t in fitted.design.terms
    )

"""Limits of predictions by the methods whose coverage is measured."""

import numpy as np
import pandas as pd

import bayeslmm as blm
from bayeslmm.validation.prediction_coverage import Limits, Predict

DRAWS = 1000


def _limits(table: pd.DataFrame) -> Limits:
    return table["lower"].to_numpy(dtype=float), table["upper"].to_numpy(dtype=float)


def point_limits(uncertainty: str) -> Predict:
    """Return limits of a REML fit, the covariance parameters taken as known ("conditional") or not ("full")."""

    def predict(formula: str, data: pd.DataFrame, frames: list[pd.DataFrame], level: float, seed: int) -> list[Limits]:
        fit = blm.Model(formula, data).fit("reml")
        return [
            _limits(fit.predict(frame, kind="response", new_levels="sample", interval=level, uncertainty=uncertainty))
            for frame in frames
        ]

    return predict


def posterior_limits(
    formula: str, data: pd.DataFrame, frames: list[pd.DataFrame], level: float, seed: int
) -> list[Limits]:
    """Return limits of the posterior by importance sampling, default priors."""
    fit = blm.Model(formula, data).fit("importance", draws=DRAWS, seed=seed, progressbar=False)
    rng = np.random.default_rng(seed)
    return [
        _limits(fit.predict(frame, kind="response", new_levels="sample", interval=level, seed=rng)) for frame in frames
    ]


METHODS: dict[str, Predict] = {
    "reml, conditional": point_limits("conditional"),
    "reml, full": point_limits("full"),
    "importance": posterior_limits,
}

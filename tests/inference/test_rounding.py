"""Responses that leave few digits of their residuals, or none."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as blm
from bayeslmm.errors import FittingError

ROUNDING_SHARE = 5e-3  # of sigma: the group means are 1e6, so its square has lost 12 of 16 digits


def grouped(size: float, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat([f"g{k:02d}" for k in range(18)], 10)
    mean = dict(zip(np.unique(group), size * rng.standard_normal(18), strict=True))
    x = np.tile(np.arange(10.0), 18)
    return pd.DataFrame({"g": group, "x": x, "y": pd.Series(group).map(mean) + rng.standard_normal(180)})


def within_sigma(data: pd.DataFrame) -> float:
    """The residual sd of the within-groups regression: the REML estimate where groups differ without bound."""
    y = data.y - data.groupby("g").y.transform("mean")
    x = data.x - data.x.mean()
    return float(np.sqrt(np.sum((y - x * (x @ y) / (x @ x)) ** 2) / (180 - 19)))


@pytest.mark.parametrize("method", ["reml", "map"])
def test_group_means_far_apart_are_right_and_said_to_be(method: str) -> None:
    data = grouped(1e6)
    fit = blm.lmm("y ~ x + (1 | g)", data, method=method)
    assert fit.status.code == "converged"
    assert "do not trust" not in fit.status.message
    if method == "reml":
        assert fit.sigma == pytest.approx(within_sigma(data), rel=ROUNDING_SHARE)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [0.7, 1.0])
def test_few_groups_far_apart_are_right_and_said_to_be(sigma: float, seed: int) -> None:
    group = np.repeat(np.arange(8), 10)
    y = 1e6 * group + sigma * np.random.default_rng(seed).standard_normal(80)
    data = pd.DataFrame({"y": y, "g": [f"g{k}" for k in group]})
    fit = blm.lmm("y ~ 1 + (1 | g)", data)
    assert fit.status.code == "converged"
    exact = np.sqrt(data.groupby("g").y.var().mean())  # REML of balanced groups that differ at all
    assert fit.sigma == pytest.approx(exact, rel=0.25 / np.sqrt(2 * 72))  # a quarter of its standard error


def test_group_means_too_far_apart_name_the_cause() -> None:
    try:
        status = blm.lmm("y ~ x + (1 | g)", grouped(3e7)).status
    except FittingError as error:
        assert "cannot be told from zero" in str(error)
    else:
        assert status.code == "failed"
        assert "times as much as its residuals" in status.message


@pytest.mark.parametrize("method", ["reml", "ml", "map", "importance", "advi"])
@pytest.mark.parametrize("kind", ["itself", "straight line", "group means"])
def test_residuals_of_zero_are_named_by_every_method(method: str, kind: str) -> None:
    data = grouped(1.0)
    formula = "y ~ x + (1 | g)"
    if kind == "itself":
        formula = "y ~ z + (1 | g)"
        data["z"] = 2.0 * data.y + 1.0
    elif kind == "straight line":
        data["y"] = 3.0 + 2.0 * data.x
    else:
        data["y"] = data.groupby("g").y.transform("mean")
    options = {"seed": 1} if method in ("importance", "advi") else {}
    with pytest.raises(FittingError, match="fits the response perfectly"):
        blm.lmm(formula, data, method=method, **options)


@pytest.mark.parametrize("random", ["(1 | g)", "(x | g)"])
def test_importance_without_fixed_coefficients(random: str) -> None:
    fit = blm.lmm(f"y ~ 0 + {random}", grouped(1.0), method="importance", seed=1, draws=100)
    assert fit.status.code in ("ok", "doubtful")
    assert len(fit.fixef()) == 0
    assert fit.idata.posterior["beta"].shape[-1] == 0

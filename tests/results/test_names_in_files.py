"""Names and labels of the user's that NetCDF, xarray or PyMC do not take: every method and file goes through."""

import uuid

import numpy as np
import pandas as pd
import pytest
import xarray

import bayeslmm as blm

IMPORTANCE = {"draws": 30, "chains": 2, "seed": 1}
SLASHED = "site\N{DIVISION SLASH}plot"


def table(labels=None, index=None):
    rng = np.random.default_rng(0)
    levels = np.repeat(np.arange(6), 10)
    group = list("abcdef") if labels is None else list(labels)
    data = {"y": rng.standard_normal(60) + levels, "x": rng.standard_normal(60), "g": [group[k] for k in levels]}
    return pd.DataFrame(data, index=index)


def through_a_file(fit, tmp_path):
    fit.add("log_likelihood", "posterior_predictive")
    fit.idata.to_netcdf(tmp_path / "idata.nc")
    fit.save(tmp_path / "fit")
    return blm.load(tmp_path / "fit")


@pytest.mark.parametrize(
    "labels",
    [
        pd.interval_range(0, 6),
        pd.period_range("2020-01", periods=6, freq="M"),
        pd.date_range("2020", periods=6, tz="Europe/Vienna"),
        [1, "1", 2.5, "b", "c", "d"],
    ],
    ids=["interval", "period", "time zone", "mixed"],
)
def test_labels_of_levels(labels, tmp_path):
    data = table(labels)
    if isinstance(labels, list):
        data["g"] = pd.Categorical(data["g"], categories=labels)
    fit = blm.Model("y ~ x + (1 | g)", data).fit("importance", **IMPORTANCE)
    again = through_a_file(fit, tmp_path)
    assert again.ranef()["g"].index.equals(fit.ranef()["g"].index)
    assert fit.ranef()["g"].index.tolist() == list(labels)
    with xarray.open_dataset(tmp_path / "idata.nc", group="posterior") as posterior:
        assert len(set(posterior["g"].to_numpy().tolist())) == 6


@pytest.mark.parametrize("labels", [[("a", k) for k in range(6)], [uuid.UUID(int=k) for k in range(6)]])
def test_labels_that_no_table_on_disk_holds(labels, tmp_path):
    fit = blm.Model("y ~ x + (1 | g)", table(labels)).fit("importance", **IMPORTANCE)
    fit.idata.to_netcdf(tmp_path / "idata.nc")
    assert fit.ranef()["g"].index.tolist() == labels
    with pytest.raises(blm.StorageError, match="'g' holds"):
        fit.save(tmp_path / "fit")


@pytest.mark.parametrize(
    "index",
    [
        pd.period_range("2020-01", periods=60, freq="D"),
        pd.date_range("2020", periods=60, tz="UTC"),
        pd.interval_range(0, 60),
        pd.MultiIndex.from_product([range(6), range(10)]),
    ],
    ids=["period", "time zone", "interval", "two levels"],
)
def test_labels_of_rows(index, tmp_path):
    fit = blm.Model("y ~ x + (1 | g)", table(index=index)).fit("importance", **IMPORTANCE)
    again = through_a_file(fit, tmp_path)
    assert list(again.idata.posterior_predictive.data_vars) == ["y"]


def test_slashes_in_names(tmp_path):
    data = table().rename(columns={"g": "site/plot"})
    model = blm.Model("I(y / 10) ~ I(x / 2) + (I(x / 2) | `site/plot`)", data, priors={"sd_site/plot": "HalfNormal(1)"})
    fit = model.fit("importance", **IMPORTANCE)
    again = through_a_file(fit, tmp_path)
    assert list(fit.ranef()) == list(again.ranef()) == ["site/plot"]
    assert {f"sd_{SLASHED}", f"cor_{SLASHED}", f"r_{SLASHED}"} < set(fit.idata.posterior.data_vars)
    assert list(again.idata.posterior_predictive.data_vars) == ["I(y \N{DIVISION SLASH} 10)"]
    assert f"sd_{SLASHED}" in model.to_pymc().named_vars
    assert f"r_{SLASHED}" in model.to_pymc("noncentered").named_vars
    mixed = {"sd_site/plot[I(x / 2)]": "Exponential(1)", "sd_site/plot[Intercept]": "HalfNormal(1)"}
    assert f"sd_{SLASHED}" in blm.Model(model.formula, data, priors=mixed).to_pymc().named_vars
    advi = model.fit("advi", iterations=100, draws=20, seed=1, progressbar=False)
    assert advi.ranef()["site/plot"].shape == (6, 2)

"""Saved fits with damage anywhere: a StorageError, or a fit that is whole."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from damage import altered_records, each_damaged_file, refused
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.results import PosteriorFit
from bayeslmm.results.store.folder import FIT


def read(folder):
    """Load, and look at what was loaded."""
    fit = blm.load(folder)
    assert str(fit.summary()) and fit.status.message
    return fit


@pytest.fixture(scope="module", params=["point", "posterior"])
def folder(request, tmp_path_factory):
    """A small fit with every kind of label that is stored apart."""
    rng = np.random.default_rng(1)
    labels = {
        "g": pd.cut(np.tile([0.5, 1.5, 2.5], 8), [0, 1, 2, 3]),
        "h": pd.PeriodIndex(["2020-01", "2020-02", "2020-03", "2020-04"] * 6, freq="M"),
    }
    rows = pd.MultiIndex.from_product([["a", "b"], pd.date_range("2020-01-01", periods=12, tz="Europe/Zurich")])
    data = pd.DataFrame({"y": rng.normal(size=24), "x": rng.normal(size=24), **labels}, index=rows)
    model = blm.Model("y ~ x + (1 | g) + (1 | h)", data, sigma=1.0, priors={"x": "Normal(0, 5)"})
    fit = model.fit("ml")
    if request.param == "posterior":
        fit = PosteriorFit(model.design, model.spec, draws_around(fit, chains=2, length=30), model.resolved_priors)
    return fit.save(tmp_path_factory.mktemp("damage") / request.param)


def test_altered_records(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "fit")
    record = json.loads((folder / FIT).read_text())
    read(tmp_path / "fit")
    tried = 0
    for what, changed in altered_records(record, np.random.default_rng(7), each=3):
        (tmp_path / "fit" / FIT).write_text(json.dumps(changed))
        try:
            refused(read, tmp_path / "fit")
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
        tried += 1
    assert tried > 200


def test_damaged_files(folder, tmp_path):
    for what, is_record in each_damaged_file(folder, tmp_path / "fit", FIT):
        try:
            message = refused(read, tmp_path / "fit")
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
        assert message or is_record, f"{what} was not noticed"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("data", "index", "levels", 0, "codes"), [10**30] * 24, "'data.index'"),
        (("data", "coded", "h", "freq"), 7, "'data.coded.h.freq' is 7; it must be a text"),
        (("data", "coded", "h", "dtype"), "U1000000000", "does not describe labels"),
        (("bayeslmm",), None, "'bayeslmm' is None; it must be a text"),
        (("model", "sigma"), -1.0, "'model.sigma' is -1.0; it must be a finite positive number"),
        (("surplus",), 1, "the key 'surplus' has no meaning"),
    ],
)
def test_the_key_is_named(folder, tmp_path, path, value, words):
    shutil.copytree(folder, tmp_path / "fit")
    record = json.loads((folder / FIT).read_text())
    holder = record
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    (tmp_path / "fit" / FIT).write_text(json.dumps(record))
    assert words in refused(read, tmp_path / "fit")

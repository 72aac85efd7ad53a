"""Fits of rows that streamed are saved with their sums."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from damage import altered_records, each_damaged_file, refused
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.results import PosteriorFit
from bayeslmm.results.store.folder import DATA, FIT, POSTERIOR, SUMS


def rows(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    g, h = rng.integers(0, 30, n), rng.integers(0, 8, n)
    x = rng.normal(size=n)
    y = 2 + 0.5 * x + rng.normal(size=30)[g] + 0.4 * rng.normal(size=30)[g] * x + rng.normal(size=8)[h]
    return pd.DataFrame(
        {
            "y": y + rng.normal(size=n),
            "x": x,
            "g": g,
            "h": np.array(list("abcdefgh"))[h],
            "drug": pd.Categorical(rng.choice(["b", "a"], n), categories=["b", "a"]),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 5, n), "D"),
            "w": rng.uniform(0.5, 2.0, n),
        }
    )


@pytest.mark.parametrize("method", ["ml", "reml", "map"])
@pytest.mark.parametrize(
    "formula", ["y ~ scale(x) + drug + (x | g) + (1 | h)", "y ~ C(day) + (1 | day:h)", "y ~ x + I(x * 2) + (1 | g)"]
)
def test_a_point_fit_comes_back(tmp_path, method, formula):
    data = rows()
    data.loc[3, "y"] = np.nan
    fit = blm.Model(formula, data, weights="w", chunk_rows=150).fit(method)
    folder = fit.save(tmp_path / "fit")
    assert sorted(path.name for path in folder.iterdir()) == [FIT, SUMS]
    again = blm.load(folder)
    assert again.spec == fit.spec and again.method == method
    assert str(again.summary()) == str(fit.summary())
    assert again.objective == fit.objective and again.n_dropped == fit.n_dropped
    for term, effects in fit.ranef().items():
        assert again.ranef()[term].index.tolist() == effects.index.tolist()
        np.testing.assert_allclose(again.ranef()[term], effects, rtol=1e-8, atol=1e-10)
    new = data.iloc[10:20]
    np.testing.assert_allclose(again.predict(new), fit.predict(new), rtol=1e-9)
    again.save(folder, overwrite=True)
    assert str(blm.load(folder).summary()) == str(fit.summary())


def test_the_rank_found_with_rows_is_kept(tmp_path):
    data = rows()
    data["x1"] = data["x"] + 1e-6 * np.sin(np.arange(len(data)))  # the cross-products of x and x1 look singular
    fit = blm.Model("y ~ x + x1 + (1 | g)", data, chunk_rows=100).fit("reml")
    assert "x1" in fit.fixef().index
    again = blm.load(fit.save(tmp_path / "fit"))
    assert again.fixef().index.tolist() == fit.fixef().index.tolist()


def test_a_posterior_comes_back(tmp_path):
    model = blm.Model("y ~ x + (x | g)", rows(), chunk_rows=150, priors={"x": "Normal(0, 5)"})
    fit = model.fit("importance", draws=60, seed=1)
    folder = fit.save(tmp_path / "fit")
    assert sorted(path.name for path in folder.iterdir()) == [FIT, POSTERIOR, SUMS]
    again = blm.load(folder)
    pd.testing.assert_series_equal(again.fixef(), fit.fixef())
    pd.testing.assert_frame_equal(again.varcorr(), fit.varcorr())
    assert again.status == fit.status and again.priors.table().equals(fit.priors.table())


def test_own_functions_are_passed_again(tmp_path):
    def halved(x):
        return x / 2

    fit = blm.Model("y ~ halved(x) + (1 | g)", rows(), functions={"halved": halved}, chunk_rows=150).fit("ml")
    folder = fit.save(tmp_path / "fit")
    with pytest.raises(blm.StorageError, match="functions of your own"):
        blm.load(folder)
    assert str(blm.load(folder, functions={"halved": halved}).summary()) == str(fit.summary())


def test_labels_that_cannot_be_stored_leave_nothing_behind(tmp_path):
    data = rows().assign(g=pd.PeriodIndex(np.resize(["2020-01", "2020-02", "2020-03"], 400), freq="M"))
    fit = blm.Model("y ~ x + (1 | g)", data, chunk_rows=150).fit("ml")
    with pytest.raises(blm.StorageError, match=r"'g' are neither numbers, texts nor dates"):
        fit.save(tmp_path / "fit")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module", params=["point", "posterior"])
def folder(request, tmp_path_factory):
    model = blm.Model("y ~ scale(x) + drug + (x | g) + (1 | h)", rows(), sigma=1.0, chunk_rows=150)
    fit = model.fit("ml")
    if request.param == "posterior":
        fit = PosteriorFit(model.design, model.spec, draws_around(fit, chains=2, length=30), model.resolved_priors)
    return fit.save(tmp_path_factory.mktemp("damage") / request.param)


def read(folder):
    fit = blm.load(folder)
    assert str(fit.summary()) and fit.status.message


def test_altered_records(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "fit")
    record = json.loads((folder / FIT).read_text())
    for what, changed in altered_records(record, np.random.default_rng(7), each=2):
        (tmp_path / "fit" / FIT).write_text(json.dumps(changed))
        try:
            refused(read, tmp_path / "fit")
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")


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
        (("model", "formula"), "y ~ x + (1 | g)", "'model.formula' is 'y ~ x"),
        (("model", "weights"), "w", "'model.weights' is 'w', and None of the sums"),
        (("data", "sums"), "../sums.npz", "'data.sums' is '../sums.npz'; it must be one of 'sums.npz'"),
    ],
)
def test_the_record_and_the_sums_must_agree(folder, tmp_path, path, value, words):
    shutil.copytree(folder, tmp_path / "fit")
    record = json.loads((folder / FIT).read_text())
    record[path[0]][path[1]] = value
    (tmp_path / "fit" / FIT).write_text(json.dumps(record))
    assert words in refused(read, tmp_path / "fit")
    assert not (folder / DATA).exists()

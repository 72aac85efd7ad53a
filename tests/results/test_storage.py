import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.results import PosteriorFit
from bayeslmm.results.store.folder import DATA, FIT, POSTERIOR
from bayeslmm.results.store.frame import read_frame, write_frame


@pytest.fixture
def saved(reml, tmp_path):
    return reml.save(tmp_path / "fit")


def change(folder, edit, checksums=True):
    """Edit fit.json as someone would who knows how to keep the checksums right."""
    record = json.loads((folder / FIT).read_text())
    edit(record)
    if checksums:
        for name in record["sha256"]:
            record["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / FIT).write_text(json.dumps(record))


# -- round trips --------------------------------------------------------------------------------------------


def assert_same_point(first, second):
    assert str(first.summary()) == str(second.summary())
    assert (first.objective, first.status, first.gradient_norm) == (
        second.objective,
        second.status,
        second.gradient_norm,
    )
    np.testing.assert_array_equal(first.theta, second.theta)
    pd.testing.assert_frame_equal(first.history, second.history)
    pd.testing.assert_frame_equal(first.design.data, second.design.data, check_like=True)
    for name, frame in first.ranef().items():
        pd.testing.assert_frame_equal(frame, second.ranef()[name])


def test_point_fit(reml, saved):
    assert sorted(path.name for path in saved.iterdir()) == [DATA, FIT]
    again = blm.load(saved)
    assert_same_point(reml, again)
    assert again.method == "reml"


def test_weights_offset_and_dropped_rows(sleepstudy, tmp_path):
    data = sleepstudy.assign(o=0.5)
    data.loc[4, "Days"] = np.nan
    weights = np.linspace(1, 2, len(data))
    fit = blm.lmm("log(Reaction) ~ Days + (1 | Subject)", data, "ml", weights=weights, offset="o")
    again = blm.load(fit.save(tmp_path / "fit"))
    assert_same_point(fit, again)
    np.testing.assert_array_equal(again.design.weights, np.delete(weights, 4))
    assert again.n_dropped == fit.n_dropped


def test_failed_and_infinite_numbers_survive(reml, tmp_path):
    from dataclasses import replace

    optimum = replace(reml.optimum, code="failed", message="It did not end.", gradient_norm=np.inf)
    again = blm.load(replace(reml, optimum=optimum).save(tmp_path / "fit"))
    assert again.status.code == "failed"
    assert again.gradient_norm == np.inf


def test_posterior_fit(bayes, tmp_path):
    fit = PosteriorFit(bayes.design, bayes.spec, bayes.draws, bayes.priors)
    fit.add("log_likelihood")
    folder = fit.save(tmp_path / "fit")
    assert sorted(path.name for path in folder.iterdir()) == [DATA, FIT, POSTERIOR]
    again = blm.load(folder)
    for name in ("beta", "sigma"):
        np.testing.assert_array_equal(getattr(again.draws, name), getattr(fit.draws, name))
    np.testing.assert_array_equal(again.draws.cor[0], fit.draws.cor[0])
    np.testing.assert_array_equal(again.draws.stats["diverging"], fit.draws.stats["diverging"])
    assert again.info == fit.info
    assert again.status == fit.status
    assert set(again.idata.groups()) == set(fit.idata.groups())
    xarray_equal = again.idata.log_likelihood["Reaction"].equals(fit.idata.log_likelihood["Reaction"])
    assert xarray_equal
    assert again.idata.posterior.equals(fit.idata.posterior)


def test_posterior_mode(model, tmp_path):
    fit = model.fit("map")
    again = blm.load(fit.save(tmp_path / "fit"))
    assert_same_point(fit, again)
    assert again.priors.items() == fit.priors.items()
    change(tmp_path / "fit", lambda record: record["check"].update(objective=0.0))
    with pytest.raises(blm.StorageError, match="objective"):
        blm.load(tmp_path / "fit")


def test_importance_draws(model, tmp_path):
    fit = model.fit("importance", draws=300, chains=2, seed=4, progressbar=False)
    again = blm.load(fit.save(tmp_path / "fit"))
    np.testing.assert_array_equal(again.draws.effects[0], fit.draws.effects[0])
    assert again.status == fit.status
    assert again.method == "importance"


def test_arviz_reads_the_draws(bayes, tmp_path):
    import arviz

    idata = arviz.from_netcdf(bayes.save(tmp_path / "fit") / POSTERIOR)
    np.testing.assert_array_equal(idata.posterior["r_Subject"], bayes.draws.effects[0])
    assert list(idata.posterior["Subject"].values[:2]) == [308, 309]


def label_sets():
    times = pd.to_datetime(["2020-01-01", "2021-05-01", "2022-01-01"])
    return {
        "integers in a chosen order": pd.Categorical.from_codes([2, 0, 1] * 8, [30, 10, 20], ordered=True),
        "unused category": pd.Categorical.from_codes([2, 0, 1] * 8, ["x", "y", "z", "unused"]),
        "booleans": np.tile([True, False], 12),
        "timestamps": times.repeat(8),
        "time zones": times.tz_localize("Europe/Zurich").repeat(8),
        "intervals": pd.cut(np.tile([0.5, 1.5, 2.5], 8), [0, 1, 2, 3]),
        "periods": pd.PeriodIndex(["2020-01", "2020-02", "2020-03"] * 8, freq="M"),
        "mixed": pd.Series([1, "1", "a"] * 8, dtype=object),
        "strings": pd.array(["ä/b", "", "c d"] * 8, dtype="string"),
        "arrow": pd.array([1, 2, 3] * 8, dtype="int64[pyarrow]"),
        "nullable": pd.array([1, 2, None] * 8, dtype="Int64"),
        "objects": pd.Series(["a", "b", None] * 8, dtype=object),
    }


@pytest.mark.parametrize("kind", label_sets())
def test_labels_keep_their_dtype(kind, tmp_path):
    labels = label_sets()[kind]
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.standard_normal(24), "x": rng.standard_normal(24), "g": labels})
    model = blm.Model("y ~ x + (1 | g)", data, sigma=1.0)
    fit = model.fit("ml")
    again = blm.load(fit.save(tmp_path / "point"))
    pd.testing.assert_frame_equal(again.design.data, fit.design.data)
    pd.testing.assert_index_equal(again.design.terms[0].levels, fit.design.terms[0].levels)
    posterior = PosteriorFit(model.design, model.spec, draws_around(fit, chains=1, length=30))
    loaded = blm.load(posterior.save(tmp_path / "posterior"))
    pd.testing.assert_frame_equal(loaded.ranef()["g"], posterior.ranef()["g"])


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(3, 9, 2, name="row"),
        pd.Index(["a", "b", "a"]),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["u", None]),
        pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-04"], name="day"),
        pd.CategoricalIndex(["a", "b", "a"]),
    ],
    ids=lambda index: type(index).__name__,
)
def test_row_labels_survive(index, tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=index)
    described = json.loads(json.dumps(write_frame(frame, tmp_path / DATA)))
    again = read_frame(tmp_path / DATA, described, FIT, "data")
    assert list(again.index) == list(frame.index)
    assert list(again.index.names) == list(frame.index.names)


def test_labels_that_cannot_be_stored_are_named(sleepstudy, tmp_path):
    data = sleepstudy.assign(g=[frozenset({i % 6}) for i in range(len(sleepstudy))])
    fit = blm.lmm("Reaction ~ Days + (1 | g)", data)
    with pytest.raises(blm.StorageError, match="'g' holds frozenset"):
        fit.save(tmp_path / "fit")
    assert list(tmp_path.iterdir()) == []


def double(x):
    return 2 * x


def test_own_functions_are_passed_again(sleepstudy, tmp_path):
    fit = blm.lmm("Reaction ~ double(Days) + (1 | Subject)", sleepstudy, functions={"double": double})
    folder = fit.save(tmp_path / "fit")
    assert "def " not in (folder / FIT).read_text()
    with pytest.raises(blm.StorageError, match="'double'"):
        blm.load(folder)
    assert_same_point(fit, blm.load(folder, functions={"double": double}))
    with pytest.raises(blm.StorageError, match="objective"):
        blm.load(folder, functions={"double": lambda x: x**2})


def test_priors_are_kept_to_the_last_digit(sleepstudy, tmp_path, reml):
    priors = {"Days": blm.Normal(1 / 3, 10 / 7), "sigma": "HalfNormal(20)"}
    model = blm.Model("Reaction ~ 1 + Days + (1 + Days | Subject)", sleepstudy, priors=priors)
    fit = PosteriorFit(model.design, model.spec, draws_around(reml, length=20), model.resolved_priors)
    again = blm.load(fit.save(tmp_path / "fit"))
    assert again.priors.items() == fit.priors.items()


# -- all or nothing -----------------------------------------------------------------------------------------


def test_existing_places_are_respected(reml, saved, tmp_path):
    with pytest.raises(blm.StorageError, match="overwrite=True"):
        reml.save(saved)
    reml.save(saved, overwrite=True)
    assert blm.load(saved).objective == reml.objective
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    with pytest.raises(blm.StorageError, match="not a saved fit"):
        reml.save(other, overwrite=True)
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(blm.StorageError, match=r"notes\.txt"):
        reml.save(saved, overwrite=True)
    with pytest.raises(blm.StorageError, match="there is no folder"):
        reml.save(tmp_path / "a" / "b")


def test_nothing_is_left_when_writing_fails(bayes, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("bayeslmm.results.store.folder.write_draws", fail)
    with pytest.raises(blm.StorageError, match="disk full"):
        bayes.save(tmp_path / "fit")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", [2_000, 20_000, 60_000])
def test_a_full_disk_costs_neither_the_process_nor_the_fit(bayes, tmp_path, room):
    """In a process of its own, whose files may not grow beyond some bytes; then saved elsewhere with room."""
    bayes.save(tmp_path / "fit")
    assert (tmp_path / "fit" / POSTERIOR).stat().st_size > 60_000
    code = f"""
import resource, bayeslmm as blm
fit = blm.load("fit")
whole = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, whole[1]))
try:
    fit.save("again")
except blm.StorageError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, whole)
fit.save("later")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "again cannot be written: " in done.stdout and "File too large." in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit", "later"]
    assert blm.load(tmp_path / "later").status == bayes.status


def test_overwriting_keeps_the_old_fit_when_writing_fails(reml, saved, monkeypatch):
    monkeypatch.setattr("bayeslmm.results.store.folder.write_frame", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reml.save(saved, overwrite=True)
    monkeypatch.undo()
    assert blm.load(saved).objective == reml.objective
    assert [path.name for path in saved.parent.iterdir()] == ["fit"]


# -- tampering ----------------------------------------------------------------------------------------------


def test_changed_data_are_refused_twice(saved):
    frame = pd.read_parquet(saved / DATA)
    frame.loc[0, "Reaction"] += 1.0
    frame.to_parquet(saved / DATA, index=False)
    with pytest.raises(blm.StorageError, match=r"data\.parquet has changed"):
        blm.load(saved)
    change(saved, lambda record: None)
    with pytest.raises(blm.StorageError, match="objective of the stored data"):
        blm.load(saved)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: r["result"]["theta"].__setitem__(0, 2.0), "objective"),
        (lambda r: r["result"].update(objective=1.0), "objective"),
        (lambda r: r["result"].update(theta=[1.0]), "thetas"),
        (lambda r: r["result"].update(theta="abc"), "result.theta"),
        (lambda r: r["result"].pop("objectives"), "result.objectives"),
        (lambda r: r["result"].update(code="fine"), "result.code"),
        (lambda r: r.pop("model"), "'model'"),
        (lambda r: r["model"].pop("formula"), "model.formula"),
        (lambda r: r["model"].update(formula=3), "model.formula"),
        (lambda r: r["model"].update(formula="Reaction ~ Days"), "theta"),
        (lambda r: r["model"].update(formula='I(__import__("os").system("x")) ~ 1'), "cannot be built"),
        (lambda r: r["model"].update(weights="nowhere"), "cannot be built"),
        (lambda r: r["model"].update(sigma="big"), "model.sigma"),
        (lambda r: r.update(version=99), "version 99"),
        (lambda r: r.update(format="other"), "saved fit"),
        (lambda r: r.update(kind="both"), "'kind'"),
        (lambda r: r.update(method="magic"), "'method'"),
        (lambda r: r["data"].pop("index"), "data.index"),
        (lambda r: r["data"]["columns"].append("z"), "columns"),
        (lambda r: r["data"]["coded"]["Subject"].update(values=[1]), "labels"),
        (lambda r: r["data"]["coded"]["Subject"].update(dtype="nonsense"), "data.coded.Subject"),
    ],
)
def test_changed_records_name_the_key(saved, edit, words):
    change(saved, edit)
    with pytest.raises(blm.StorageError, match=words):
        blm.load(saved)


def test_incomplete_and_foreign_folders(saved, tmp_path):
    (saved / DATA).unlink()
    with pytest.raises(blm.StorageError, match=r"data\.parquet is missing"):
        blm.load(saved)
    (saved / FIT).write_text("{")
    with pytest.raises(blm.StorageError, match="cannot be read"):
        blm.load(saved)
    (saved / FIT).write_text("[" * 100_000)
    with pytest.raises(blm.StorageError, match="cannot be read"):
        blm.load(saved)
    with pytest.raises(blm.StorageError, match="not a saved fit"):
        blm.load(tmp_path)


def test_exchanged_draws_are_refused(model, reml, bayes, tmp_path):
    first = bayes.save(tmp_path / "first")
    other = PosteriorFit(model.design, model.spec, draws_around(reml, seed=9))
    second = other.save(tmp_path / "second")
    (first / POSTERIOR).write_bytes((second / POSTERIOR).read_bytes())
    with pytest.raises(blm.StorageError, match=r"posterior\.nc has changed"):
        blm.load(first)
    change(first, lambda record: None)
    with pytest.raises(blm.StorageError, match="does not hold the draws"):
        blm.load(first)


def test_draws_of_another_model_are_refused(bayes, crossed, tmp_path):
    folder = bayes.save(tmp_path / "fit")
    other = PosteriorFit(crossed.design, crossed.spec, draws_around(crossed.fit("ml"), length=20))
    (folder / POSTERIOR).write_bytes((other.save(tmp_path / "other") / POSTERIOR).read_bytes())
    change(folder, lambda record: None)
    with pytest.raises(blm.StorageError, match=r"'beta' has shape|is missing"):
        blm.load(folder)


def test_a_file_that_is_no_netcdf(bayes, tmp_path):
    folder = bayes.save(tmp_path / "fit")
    (folder / POSTERIOR).write_bytes(b"nothing")
    change(folder, lambda record: None)
    with pytest.raises(blm.StorageError, match=r"posterior\.nc"):
        blm.load(folder)

"""The cross-products of many rows are saved beside the data, and the rows are not summed again."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from damage import each_damaged_file, refused
from simulated_draws import draws_around

import bayeslmm as blm
from bayeslmm.likelihood import crossproducts
from bayeslmm.likelihood import kernel as kernel_module
from bayeslmm.results import PosteriorFit
from bayeslmm.results.store import kernel_sums
from bayeslmm.results.store.folder import DATA, FIT, KERNEL

FORMULAS = [
    "y ~ x",
    "y ~ 0 + x + (1 | g)",
    "y ~ x + (x | g)",
    "y ~ x + (1 | h/g)",
    "y ~ x + (x | g) + (x || h) + (1 | k)",
]


@pytest.fixture(autouse=True)
def _few_rows_are_many(monkeypatch):
    monkeypatch.setattr(kernel_sums, "MANY_ROWS", 1)


def rows(n=300):
    rng = np.random.default_rng(5)
    g, h, k = rng.integers(0, 15, n), rng.integers(0, 5, n), rng.integers(0, 7, n)
    x = rng.normal(size=n)
    y = 3 + x + rng.normal(size=15)[g] + 0.5 * x * rng.normal(size=15)[g] + rng.normal(size=5)[h] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "k": k, "w": rng.uniform(0.5, 2, n), "o": rng.normal(size=n)})


def test_counts_of_pairs_come_back_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(crossproducts, "MANY_PAIRS", 1)
    fit = blm.Model("y ~ x + (1 | g) + (1 | k)", rows()).fit("reml")
    again = blm.load(fit.save(tmp_path / "fit"))
    (kept,), (found,) = (f.kernel.products.lead_pairs for f in (fit, again))
    assert kept.blocks.dtype == found.blocks.dtype == np.float32
    np.testing.assert_array_equal(found.blocks, kept.blocks)


def reseal(folder, name):
    """Make a changed file look untouched."""
    record = json.loads((folder / FIT).read_text())
    record["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / FIT).write_text(json.dumps(record))


@pytest.mark.parametrize("method", ["reml", "map"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_a_fit_comes_back_without_summing_its_rows(tmp_path, monkeypatch, formula, method):
    data = rows()
    data.loc[7, "x"] = np.nan
    fit = blm.Model(formula, data, weights="w", offset="o").fit(method)
    folder = fit.save(tmp_path / "fit")
    assert sorted(path.name for path in folder.iterdir()) == [DATA, FIT, KERNEL]

    def refuse(*_, **__):
        raise AssertionError("the rows were summed")

    monkeypatch.setattr(kernel_module.Kernel, "build", refuse)
    again = blm.load(folder)
    assert again.sigma == fit.sigma and str(again.summary()) == str(fit.summary())
    pd.testing.assert_frame_equal(again.vcov(), fit.vcov(), check_exact=True)
    for name, effects in fit.ranef().items():
        pd.testing.assert_frame_equal(again.ranef()[name], effects, check_exact=True)
    pd.testing.assert_series_equal(again.predict(), fit.predict(), check_exact=True)
    again.save(folder, overwrite=True)
    assert (folder / KERNEL).is_file()


def test_a_posterior_comes_back_without_summing_its_rows(tmp_path, monkeypatch):
    model = blm.Model("y ~ x + (x | g)", rows())
    fit = PosteriorFit(
        model.design, model.spec, draws_around(model.fit("ml"), chains=2, length=30), model.resolved_priors,
        model_kernel=model.kernel,
    )  # fmt: skip
    folder = fit.save(tmp_path / "fit")
    monkeypatch.setattr(kernel_module.Kernel, "build", None)  # not to be called
    assert str(blm.load(folder).summary()) == str(fit.summary())


def test_a_folder_without_sums_is_read_as_before(tmp_path, monkeypatch):
    fit = blm.Model("y ~ x + (x | g)", rows()).fit("reml")
    monkeypatch.setattr(kernel_sums, "MANY_ROWS", 1_000)
    folder = fit.save(tmp_path / "fit")
    assert sorted(path.name for path in folder.iterdir()) == [DATA, FIT]
    assert str(blm.load(folder).summary()) == str(fit.summary())


def test_sums_that_take_more_room_than_the_rows_are_not_stored():
    data = rows().assign(a=np.arange(300) // 2)
    for formula, expected in (("y ~ x + (1 | a)", True), ("y ~ x + o + (x + o | a)", False)):
        model = blm.Model(formula, data)
        assert kernel_sums.worth_storing(model.products_kernel, model.design) == expected


def test_damaged_files(tmp_path):
    folder = blm.Model("y ~ x + (x | g) + (1 | h)", rows()).fit("ml").save(tmp_path / "whole")
    for what, is_record in each_damaged_file(folder, tmp_path / "fit", FIT):
        message = refused(blm.load, tmp_path / "fit")
        assert message or is_record, f"{what} was not noticed"


@pytest.mark.parametrize("formula", ["y ~ x + (1 | h/g)", "y ~ x + (x | g) + (x || h) + (1 | k)"])
def test_arrays_that_no_model_has_are_refused(tmp_path, formula):
    folder = blm.Model(formula, rows()).fit("ml").save(tmp_path / "fit")
    path = folder / KERNEL
    with np.load(path) as found:
        whole = {name: found[name] for name in found.files}
    design = blm.load(folder).design
    for name, array in whole.items():
        huge = array.copy()
        huge.flat[-1:] = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else np.nan
        for changed in (None, array[..., :-1], huge, np.array(array.tolist(), dtype=object)):
            if changed is not None and not array.size:
                continue
            arrays = {key: value for key, value in whole.items() if key != name}
            np.savez(path, **arrays, **({} if changed is None else {name: changed}))
            message = refused(lambda path: kernel_sums.read_kernel(path, design), path)
            assert message and "sums" in message, name
    np.savez(path, **whole)
    assert kernel_sums.read_kernel(path, design).p == 2


def test_sums_of_other_rows_are_refused(tmp_path):
    data = rows()
    one = blm.Model("y ~ x + (1 | g)", data).fit("ml").save(tmp_path / "one")
    other = blm.Model("y ~ x + (1 | g)", data.assign(y=data["y"] * 2)).fit("ml").save(tmp_path / "other")
    (one / KERNEL).write_bytes((other / KERNEL).read_bytes())
    assert "has changed since it was saved" in refused(blm.load, one)
    reseal(one, KERNEL)
    assert "holds the sums of other rows than those stored beside it" in refused(blm.load, one)

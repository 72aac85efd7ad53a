"""Saved fits of generalized models: the same fit again, or a StorageError."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from damage import altered_records, each_damaged_file, refused

import bayeslmm as blm
from bayeslmm.families import Poisson
from bayeslmm.results.store.folder import FIT

ROUNDING = {"rtol": 1e-6, "atol": 1e-8}  # the mode is searched for again


class OwnPoisson(Poisson):
    """A family of the user's own."""

    name = "own"


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(size=60), "g": np.repeat(list("abcdef"), 10)})
    mean = np.exp(1 + 0.4 * data.x + 0.5 * rng.normal(size=6)[np.repeat(np.arange(6), 10)])
    return data.assign(y=rng.negative_binomial(3, 3 / (3 + mean)), exposure=2.0)


@pytest.fixture(scope="module")
def model(counts):
    formula = "y ~ x + offset(log(exposure)) + (x | g)"
    return blm.Model(formula, counts, family="negative_binomial", priors={"shape": "Gamma(2, 0.1)"})


@pytest.fixture(scope="module", params=["ml", "map", "importance"])
def fit(request, model):
    options = {"seed": 1, "draws": 30, "chains": 2, "progressbar": False} if request.param == "importance" else {}
    return model.fit(request.param, **options)


@pytest.fixture(scope="module")
def folder(fit, tmp_path_factory):
    return fit.save(tmp_path_factory.mktemp("generalized") / fit.method)


def read(folder):
    fit = blm.load(folder)
    assert str(fit.summary()) and fit.status.message
    return fit


def test_the_same_fit_again(fit, folder, counts):
    again = read(folder)
    assert type(again) is type(fit)
    assert str(again.summary()) == str(fit.summary())
    np.testing.assert_allclose(again.fixef(), fit.fixef(), **ROUNDING)
    np.testing.assert_allclose(again.vcov(), fit.vcov(), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(again.predict(counts.head(5)), fit.predict(counts.head(5)), **ROUNDING)
    pd.testing.assert_frame_equal(again.varcorr(), fit.varcorr(), check_exact=False, rtol=1e-6)
    np.testing.assert_allclose(again.ranef()["g"], fit.ranef()["g"], **ROUNDING)
    if fit.method == "importance":
        np.testing.assert_array_equal(again.dispersion, fit.dispersion)
        assert set(again.idata.posterior.data_vars) == set(fit.idata.posterior.data_vars)


@pytest.mark.parametrize("n_quad", [0, 1, 9])
@pytest.mark.parametrize("link", ["logit", "cloglog"])
def test_every_objective_and_link(n_quad, link, tmp_path):
    data = blm.load_dataset("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    fit = blm.Model(formula, data, family="binomial", link=link).fit("ml", n_quad=n_quad)
    again = read(fit.save(tmp_path / "fit"))
    assert again.family.link.name == link
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-8)
    assert str(again.summary()) == str(fit.summary())


def test_a_singular_fit(tmp_path):
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"y": rng.poisson(2.0, 80), "x": rng.normal(size=80), "g": np.repeat(np.arange(8), 10)})
    fit = blm.Model("y ~ x + (x | g)", data, family="poisson").fit("ml")
    assert fit.status.code == "boundary"
    again = read(fit.save(tmp_path / "fit"))
    assert again.status == fit.status
    np.testing.assert_allclose(again.vcov(), fit.vcov(), rtol=1e-4)


def test_a_family_of_ones_own_is_not_stored(counts, tmp_path):
    fit = blm.Model("y ~ x + (1 | g)", counts, family=OwnPoisson()).fit("ml")
    with pytest.raises(blm.StorageError, match="'own' is of your own"):
        fit.save(tmp_path / "fit")
    assert not (tmp_path / "fit").exists()


def test_altered_records(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "fit")
    record = json.loads((folder / FIT).read_text())
    tried = 0
    for what, changed in altered_records(record, np.random.default_rng(7), each=1):
        (tmp_path / "fit" / FIT).write_text(json.dumps(changed))
        try:
            refused(read, tmp_path / "fit")
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
        tried += 1
    assert tried > 60


def test_damaged_files(folder, tmp_path):
    for what, is_record in each_damaged_file(folder, tmp_path / "fit", FIT):
        try:
            message = refused(read, tmp_path / "fit")
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")
        assert message or is_record, f"{what} was not noticed"


def test_other_estimates_are_noticed(folder, fit, tmp_path):
    shutil.copytree(folder, tmp_path / "fit")
    record = json.loads((folder / FIT).read_text())
    if fit.method == "ml":
        record["result"]["beta"][0] += 0.01
    elif fit.method == "map":  # the coefficients are found again, given these
        record["result"]["theta"][0] += 0.01
    else:
        record["check"]["objective"] += 0.1
    (tmp_path / "fit" / FIT).write_text(json.dumps(record))
    assert "saved: the folder has changed" in refused(read, tmp_path / "fit")


def test_a_report(fit, tmp_path):
    text = fit.report(tmp_path / "report.html", pictures=fit.method == "ml").read_text(encoding="utf-8")
    assert "negative_binomial, link log" in text
    assert "shape" in text

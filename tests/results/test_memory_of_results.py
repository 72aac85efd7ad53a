"""Reading and saving a posterior needs no second copy of its random effects."""

import tracemalloc

import numpy as np
import pytest

import bayeslmm as blm

SHARE = 0.2  # of the draws of random effects, that anything made from them may take while it is made


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(5000), 3), rng.normal(size=15_000)
    y = rng.normal(size=5000)[g] + x + rng.normal(size=15_000)
    model = blm.Model("y ~ x + (1 | g)", {"y": y, "x": x, "g": g})
    return model.fit("importance", draws=500, chains=2, seed=1, handover="keep")


@pytest.mark.parametrize("name", ["ranef", "ranef_sd", "idata", "fingerprint", "summary", "save"])
def test_no_copy_of_the_draws(fit, name, tmp_path):
    def make(fit, folder):
        if name == "idata":
            return fit.idata
        return fit.save(folder) if name == "save" else getattr(fit, name)()

    small = blm.Model("y ~ 1 + (1 | g)", {"y": [1.0, 2.0, 4.0, 3.0, 7.0, 5.0], "g": [0, 0, 1, 1, 2, 2]})
    make(small.fit("importance", draws=5, seed=1, handover="keep"), tmp_path / "small")  # imports
    tracemalloc.start()
    try:
        made = make(fit, tmp_path / "fit")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made is not None
    assert peak < SHARE * fit.draws.effects[0].nbytes


def test_loading_reads_the_draws_once(fit, tmp_path):
    folder = fit.save(tmp_path / "fit")
    blm.load(folder)
    tracemalloc.start()
    try:
        again = blm.load(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(again.draws.effects[0], fit.draws.effects[0])
    assert peak < (1 + SHARE) * fit.draws.effects[0].nbytes


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_standard_deviations_are_those_of_the_draws(precision):
    data = {"y": [1.0, 2.0, 4.0, 3.0, 7.0, 5.0], "g": [0, 0, 1, 1, 2, 2]}
    model = blm.Model("y ~ 1 + (1 | g)", data)
    fit = model.fit("importance", draws=30, seed=1, handover="keep", precision=precision)
    expected = np.std(fit.draws.effects[0].astype(float), axis=(0, 1), ddof=1)
    np.testing.assert_allclose(fit.ranef_sd()["g"], expected, rtol=1e-12)

"""Shares of zeros with a formula against glmmTMB; `make_zero_reference.R` made the numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

import bayeslmm as blm

REFERENCE = json.loads((Path(__file__).parent / "zero_reference.json").read_text())
FAMILIES = [name for name, found in REFERENCE.items() if isinstance(found, dict)]
BELOW, ABOVE = 1e-5, 1e-4  # of the log-likelihood: never below glmmTMB's, which may stop a little short
SAME_ESTIMATE = 1e-3  # of a standard error


@pytest.mark.parametrize("name", FAMILIES)
def test_maximum_is_that_of_glmmtmb(name):
    known = REFERENCE[name]
    ticks = blm.load_dataset("grouseticks")
    ticks["thinned"] = ticks["TICKS"].where(ticks["INDEX"].astype(int) % 4 != 0, 0)
    model = blm.Model(known["formula"], ticks, family=name, zero=known["zi_formula"])
    fit = model.fit("ml")
    assert fit.status.code == "converged"
    assert -BELOW < fit.loglik - known["loglik"] < ABOVE
    zero = [value for key, value in fit.dispersion.items() if key.startswith("zero[")]
    for found, expected, error in (
        (zero, known["zi"], known["zi_se"]),
        (fit.fixef(), known["fixef"], known["se"]),
    ):
        distance = (np.array(found) - list(expected.values())) / list(error.values())
        np.testing.assert_allclose(distance, 0, atol=SAME_ESTIMATE)
    assert fit.varcorr()["sd"].iloc[0] == pytest.approx(known["sd"], rel=1e-4)
    if "shape" in fit.dispersion:
        assert fit.dispersion["shape"] == pytest.approx(known["dispersion"], rel=1e-4)

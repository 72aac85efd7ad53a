"""NUTS and importance sampling of response distributions against long runs of PyMC's models."""

import numpy as np
import pytest

from bayeslmm.validation.agreement import LIMIT
from benchmarks.calibration.families import CASES, LONG, compare_with_pymc
from benchmarks.calibration.plan import SEED_OF_FAMILIES

pytestmark = pytest.mark.calibration

FEWEST_EFFECTIVE = 400  # for the worst mean or sd: below, errors are no better known than 1 in 20


@pytest.mark.parametrize("name", CASES)
def test_both_methods_give_the_posterior_of_pymc(name):
    found = compare_with_pymc(name, SEED_OF_FAMILIES)
    assert list(found["method"]) == ["nuts", "importance"]
    assert np.maximum(found["mean_z"], found["sd_z"]).max() < LIMIT, found.to_string()
    assert found["reference_ess"].min() >= LONG
    assert found["ess"].min() > FEWEST_EFFECTIVE, found.to_string()

"""Importance sampling, marginal NUTS, and NUTS on the explicit hierarchy, non-centred and centred: one posterior."""

import numpy as np
import pytest

from bayeslmm.validation.agreement import LIMIT
from benchmarks.calibration.four_methods import DATA_SETS, compare_four
from benchmarks.calibration.plan import SEED_OF_AGREEMENT

pytestmark = pytest.mark.calibration

FEWEST_EFFECTIVE = 400  # for the worst mean or sd: below, errors are no better known than 1 in 20
SOME_DIVERGENCES = 160  # one in a hundred draws: the funnel of the centred hierarchy ends a few trajectories


@pytest.mark.parametrize("name", DATA_SETS)
def test_four_methods_give_one_posterior(name):
    found = compare_four(name, SEED_OF_AGREEMENT)
    assert len(found) == 6
    assert np.maximum(found["mean_z"], found["sd_z"]).max() < LIMIT, found.to_string()
    assert found[["first_ess", "second_ess"]].min().min() > FEWEST_EFFECTIVE, found.to_string()
    assert (found["first_divergences"] == 0).all(), found.to_string()  # importance, marginal, non-centred
    centred = found["second"] == "centred NUTS"
    assert (found.loc[~centred, "second_divergences"] == 0).all()
    assert (found.loc[centred, "second_divergences"] <= SOME_DIVERGENCES).all()

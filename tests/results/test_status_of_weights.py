"""Draws of importance sampling are independent: their number is judged, and no mixing."""

import numpy as np
import pandas as pd
import pytest

from bayeslmm.results.status import posterior_status

FEW = pd.DataFrame({"rhat": [1.15, 1.0], "ess_bulk": [18.0, 20.0], "ess_tail": [19.0, 20.0]}, index=["x", "sigma"])


@pytest.mark.parametrize(
    ("info", "code", "mixing"),
    [
        ({"effective_size": 900.0, "k_hat": 0.1, "largest_weight": 2.0}, "doubtful", False),
        ({"sampler": "nutpie"}, "failed", True),
    ],
)
def test_few_weighted_draws_are_imprecise_and_no_more(info, code, mixing):
    status = posterior_status(FEW, {"lp": np.zeros((1, 20))}, info)
    assert status.code == code
    assert ("have not mixed" in status.message) is mixing
    assert "x has 18 effective draws" in status.message

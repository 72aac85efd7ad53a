"""Groups that say nothing of their variance are refused or named, as in models."""

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

import bayeslmm as blm
from bayeslmm.errors import ModelError
from bayeslmm.forest.data.identification import IdentificationWarning


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.standard_normal(60), "g": np.repeat(np.arange(12), 5), "row": np.arange(60)})
    data["y"] = data.x + rng.standard_normal(12)[data.g] + rng.standard_normal(60)
    return data.assign(one=1, h=data.g + 100)


@pytest.mark.parametrize("random", ["(1 | row)", "(1 | one)", "(1 + x | row)"])
def test_em_refuses_what_the_likelihood_does_not_estimate(random: str) -> None:
    with pytest.raises(ModelError, match="no estimate of its random effects"):
        blm.mixed_forest(f"y ~ x + {random}", frame(), learner=DecisionTreeRegressor(max_depth=2))


def test_confounded_groups_are_named() -> None:
    with pytest.warns(IdentificationWarning, match=r"sd_g\[Intercept\] and sd_h\[Intercept\]"):
        blm.mixed_forest("y ~ x + (1 | g) + (1 | h)", frame(), learner=DecisionTreeRegressor(max_depth=2))
